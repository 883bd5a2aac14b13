"""The report holds every figure and says which runs must not be believed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench import Run, as_data
from loadtest.generator import Sent
from loadtest.page import write as write_page
from loadtest.report import machine, print_table, write_report
from loadtest.search import LagSample, Trial
from loadtest.workload import Workload


def _run(subject: str, fault: str = "") -> dict[str, Any]:
    run = Run(subject, 10_000, 30, Sent(300_000, 9_000, 0, 3.0, 0.0), cpu_us_per_event=12.0, fault=fault)
    run.samples.append(LagSample(1.0, 10_000, 9_900))
    data = as_data(run)
    data["latencies"] = {
        "percentiles_ms": {"50": 7.1, "99": 14.2, "99.9": 21.0, "100": 30.5},
        "curve_ms": [(0.0, 3.0), (50.0, 7.1), (99.0, 14.2), (99.9, 21.0)],
    }
    data["figures"] = {"action_ms": {"50": 2.5, "99": 5.5}} if subject == "engine" else {}
    return data


def _result(fault: str = "") -> dict[str, Any]:
    return {
        "machine": machine(Path("scratch")),
        "workload": asdict(Workload()),
        "plan": {},
        "trials": [asdict(Trial(40_000, 60, sustained=True, growth=0.0))],
        "search_runs": [_run("engine")],
        "sustained_per_s": 40_000,
        "latency": [{"relay": _run("relay"), "engine": _run("engine", fault)}],
        "workers": 1,
        "backlog_per_s": 40_000.0,
        "stock_faust_per_s": 16_000.0,
        "bytes_per_customer": 310.0,
    }


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """Latency, engine time, rate, the multiple of stock Faust and bytes a customer are on the terminal."""
    assert print_table(_result()) == 0
    shown = capsys.readouterr().out
    for text in ("7.1", "14.2", "2.5 / 5.5", "40,000 events/s", "2.5 times", "310 bytes"):
        assert text in shown


def test_a_run_with_a_fault_is_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A faulty run is shown as failed and counted, so that the command's exit code says it."""
    assert print_table(_result("7 of 90 actions were not seen")) == 1
    assert "FAILED: 7 of 90 actions were not seen" in capsys.readouterr().out


def test_json_and_page_are_written(tmp_path: Path) -> None:
    """Programs get JSON, people one page with the pictures in it, however much of it was measured."""
    path = write_report(_result(), tmp_path / "out")
    assert json.loads(path.read_text("utf-8"))["sustained_per_s"] == 40_000
    curve = {"pipeline_us": {"128": {"1": 20.0, "1000": 23.0}}, "machine": machine(Path("scratch"))}
    (tmp_path / "out" / "curve.json").write_text(json.dumps(curve), "utf-8")
    page, data = write_page(tmp_path / "out")
    text = page.read_text("utf-8")
    assert text.count("data:image/png;base64") == 4
    assert "Cost by number of rules" in text
    assert "Peers" not in text
    assert set(json.loads(data.read_text("utf-8"))) == {"loadtest", "curve"}
