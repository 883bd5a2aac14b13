"""Draws the dashboards for docs/dashboards.md, in four minutes: `python -m tests.monitoring.draw_dashboards`.

No Grafana is at hand, so matplotlib draws what Prometheus answers to the panels' own queries: the real
Prometheus, scraping a real worker under a small load. Grafana's frames and colours differ.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.faults.harness import Deployment
from tests.monitoring.servers import free_port, load, prometheus
from tests.monitoring.test_dashboards import DASHBOARDS

FOLDER = Path(__file__).parent.parent.parent / "docs" / "dashboards"
SPAN_S = 180
STEP_S = 2
RATE = "[15s]"
MAX_SERIES = 8  # of a panel; the largest
_COLUMNS = 2
_LABEL = re.compile(r"^\{\{(\w+)\}\}$")
_UNITS = {"ops": "1/s", "short": "", "bool": "", "none": ""}


def main() -> None:
    """Gather for three minutes, then draw."""
    mpl.use("Agg")
    mpl.rcParams |= {
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    mpl.rcParams |= {"svg.hashsalt": "engage", "svg.fonttype": "none"}
    with tempfile.TemporaryDirectory(prefix="engage-dashboards-") as name:
        folder, port = Path(name), free_port()
        settings = {"ENGAGE_CLOCK": "live", "ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_HTTP_PORT": str(port)}
        with EmbeddedBroker() as broker, ValkeyServer(folder / "valkey") as valkey:
            deployment = Deployment("drawn", broker.bootstrap, valkey.url, folder, settings)
            deployment.engage("topics", "create")
            with deployment.worker(), prometheus(folder, port) as address, load(broker.bootstrap):
                time.sleep(SPAN_S + 15)
                end_s = time.time()
                for title, panels in DASHBOARDS.items():
                    _draw(title, panels, address, end_s)


def _draw(name: str, panels: list[Any], address: str, end_s: float) -> None:
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(11, 1.9 * rows), layout="constrained")
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, _COLUMNS, number + 1)
        unit = _UNITS.get(panel.unit, panel.unit if panel.unit != "percentunit" else "%")
        axes.set_title(f"{panel.title}, {unit}" if unit else panel.title, loc="left")
        asked = panel.queries.items()
        lines = [line for legend, query in asked for line in _range(address, legend, query, end_s)]
        for legend, at_s, values in sorted(lines, key=lambda line: -max(line[2]))[:MAX_SERIES]:
            axes.plot(at_s, values, linewidth=1, label=legend)
        _dress(axes, panel, bool(lines))
    path = FOLDER / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    sys.stdout.write(f"wrote {path.name}, {path.stat().st_size // 1024} kB\n")


def _dress(axes: Axes, panel: Any, drawn: bool) -> None:
    axes.set_xlim(-SPAN_S, 0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at_s, _: f"{at_s:.0f} s"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    elif panel.unit == "bytes":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size / 1e6:.4g} MB"))
    if drawn:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.set_yticks([])
        why = f"no data here: needs {panel.needs}" if panel.needs else "no data here"
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color="grey", wrap=True)


def _range(address: str, legend: str, query: str, end_s: float) -> list[tuple[str, list[float], list[float]]]:
    """Ask for a query's series: legend, seconds before the end, values."""
    asked = {
        "query": query.replace("[$__rate_interval]", RATE),
        "start": end_s - SPAN_S,
        "end": end_s,
        "step": STEP_S,
    }
    with urllib.request.urlopen(
        f"{address}/api/v1/query_range?{urllib.parse.urlencode(asked)}", timeout=30
    ) as answer:
        found = json.load(answer)
    lines = []
    for series in found["data"]["result"]:
        points = [(at_s - end_s, float(text)) for at_s, text in series["values"]]
        points = [point for point in points if math.isfinite(point[1])]
        if points:
            label = _LABEL.search(legend)
            shown = series["metric"].get(label[1], "") if label else legend
            lines.append((shown, [at_s for at_s, _ in points], [value for _, value in points]))
    return lines


if __name__ == "__main__":
    main()
