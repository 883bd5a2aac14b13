"""`engage model evaluate` from a file to the table, the page and the JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from engine.authoring.evaluation.result import BASE, MBG, OURS, RULE, Evaluation
from engine.cli import app
from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import load_cdnow

SHARE = 200  # of CDNOW's customers one in so many
DAYS = 270


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log as a shop exports it, refunds included."""
    log = load_cdnow()
    log = log.of((log.customers % SHARE == 0) & (log.time_s < log.time_s[0] + DAYS * DAY_S))
    lines = ["Customer ID,Order Date,Total"]
    for customer, time_s, amount in zip(log.customers, log.time_s, log.amount, strict=True):
        lines.append(f"{customer},{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d},{amount:.2f}")
    lines += [f"{line.rsplit(',', 1)[0]},-5.00" for line in lines[1:21]]
    path = tmp_path_factory.mktemp("evaluate") / "orders.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def run(*words: str) -> Result:
    """Run the command as a user without a deployment does."""
    return CliRunner(env={"COLUMNS": "120", "ENGAGE_CONFIG": ""}).invoke(app, ["model", "evaluate", *words])


def test_a_table_a_page_and_a_speed(orders: Path, tmp_path: Path) -> None:
    """The terminal has every model and how many rows a second; the page is written where it was said."""
    page = tmp_path / "churn.html"
    done = run(str(orders), "--alone", "--html", str(page))
    assert done.exit_code == 0, done.output
    for text in (OURS, MBG, RULE, BASE, "log-loss", "rows/s", f"report: {page}", "20 refunds"):
        assert text in done.output
    assert "Churn risk on orders.csv" in page.read_text("utf-8")


def test_the_same_as_json(orders: Path) -> None:
    """With --json standard output is one object that holds all figures."""
    done = run(str(orders), "--alone", "--json")
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout, type=Evaluation)
    assert [each.name for each in found.models] == [OURS, MBG, RULE, BASE]
    assert found.models[0].quality["all"].rows > 500
    assert found.purchases == len(orders.read_text("utf-8").splitlines()) - 21


def test_an_empty_log_is_told_in_a_line(tmp_path: Path) -> None:
    """No purchase is an error of the caller's, without a trace of Python."""
    path = tmp_path / "orders.csv"
    path.write_text("customer,time,amount\n", "utf-8")
    done = run(str(path), "--alone")
    assert done.exit_code == 2
    assert "orders.csv: there is no purchase in it" in done.output
    assert "Traceback" not in done.output
