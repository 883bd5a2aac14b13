"""The dashboards in the repository are what the code makes, and the real Prometheus answers every panel."""

from __future__ import annotations

import math
import re
import runpy
import time
from pathlib import Path
from typing import Any

import pytest

from engine.metrics import METRICS
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.faults.harness import Deployment
from tests.monitoring.servers import PATIENCE_S, free_port, load, prometheus, query

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "grafana"
_CODE = runpy.run_path(str(FOLDER / "dashboards.py"))
DASHBOARDS: dict[str, list[Any]] = _CODE["DASHBOARDS"]
RATE = "[6s]"  # Prometheus scrapes once a second here


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_a_dashboard_is_up_to_date(name: str) -> None:
    """A changed panel without `make docs` does not pass."""
    assert (FOLDER / f"engage-{name}.json").read_text("utf-8") == _CODE["text"](name)


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_a_dashboard_reads_metrics_that_exist(name: str) -> None:
    """Every name is in the table of metrics; titles are unique."""
    text = " ".join(query for panel in DASHBOARDS[name] for query in panel.queries.values())
    found = {re.sub(r"_(bucket|count|sum)$", "", each) for each in re.findall(r"\bengage_[a-z_]+", text)}
    assert found <= {metric.name for metric in METRICS}
    titles = [panel.title for panel in DASHBOARDS[name]]
    assert len(titles) == len(set(titles))


@pytest.mark.prometheus
def test_every_panel_has_data(tmp_path: Path) -> None:
    """Against a worker under a small load no query fails, and only what needs more than that is empty."""
    port = free_port()
    settings = {"ENGAGE_CLOCK": "live", "ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_HTTP_PORT": str(port)}
    with EmbeddedBroker() as broker, ValkeyServer(tmp_path / "valkey") as valkey:
        deployment = Deployment("panels", broker.bootstrap, valkey.url, tmp_path, settings)
        deployment.engage("topics", "create")
        with deployment.worker(), prometheus(tmp_path, port) as address, load(broker.bootstrap):
            missing = {
                (name, panel.title, legend): text.replace("[$__rate_interval]", RATE)
                for name, panels in DASHBOARDS.items()
                for panel in panels
                for legend, text in panel.queries.items()
            }
            excused = {
                (name, panel.title) for name, panels in DASHBOARDS.items() for panel in panels if panel.needs
            }
            for text in missing.values():
                has_data(address, text)  # none fails, also without data
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                missing = {key: text for key, text in missing.items() if not has_data(address, text)}
                if all(key[:2] in excused for key in missing):
                    break
                time.sleep(0.5)
            assert not {key for key in missing if key[:2] not in excused}


def has_data(address: str, text: str) -> bool:
    """Whether a query has data that is a number; it must not fail."""
    return any(not math.isnan(float(series["value"][1])) for series in query(address, text))
