"""`engage rules test` as a command: what it prints and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.cli import app

Run = Callable[..., Result]

JOURNEY = """\
journey: thanks
entry:
  on: order.placed
  where: event.amount >= 100.0
guards:
  consent: marketing
  send_window: 09:00-18:00
steps:
  - send: email
    template: thanks
"""
FIXTURE = """\
fixtures: thanks
start: 2026-03-02T10:00:00+00:00
customer: {time_zone: UTC, consent: [marketing]}

cases:
  - name: a large order is thanked for
    events:
      - {at: 0s, order.placed: {order_id: o-1, amount: 120}}
    expect:
      - {at: 0s, send: email, template: thanks}
"""
AT_NIGHT = """
  - name: at night the thanks wait for the window
    events:
      - {at: 11h, order.placed: {order_id: o-2, amount: 120}}
    expect:
      - {at: 11h, deferred: send_window}
      - {at: 23h, send: email, template: thanks}
"""
WRONG = """
  - name: a small order is thanked for
    events:
      - {at: 0s, order.placed: {order_id: o-3, amount: 5}}
    expect:
      - {at: 0s, send: email, template: thanks}
"""
LIMITED = """
  - name: the second message in a minute waits for room
    customers:
      a: {time_zone: UTC, consent: [marketing]}
      b: {time_zone: UTC, consent: [marketing]}
    events:
      - {at: 0s, order.placed: {order_id: o-4, amount: 120}, who: a}
      - {at: 1s, order.placed: {order_id: o-5, amount: 120}, who: b}
    expect:
      - {at: 0s, send: email, template: thanks, who: a}
      - {at: 1s, deferred: rate_limit, who: b}
      - {at: 61s, send: email, template: thanks, who: b}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `engage rules test` on a journey and its fixtures; no templates are declared, so any will do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGAGE_CONFIG", str(tmp_path / "engage.toml"))
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "rules").mkdir()

    def call(*arguments: str, fixture: str | None = FIXTURE, settings: str = "") -> Result:
        (tmp_path / "engage.toml").write_text(f'{settings}[rules]\npaths = ["rules"]\n', "utf-8")
        (tmp_path / "rules" / "thanks.yaml").write_text(JOURNEY, "utf-8")
        if fixture is not None:
            (tmp_path / "rules" / "thanks.test.yaml").write_text(fixture, "utf-8")
        return CliRunner().invoke(app, ["rules", "test", *arguments])

    return call


def test_cases_that_pass_exit_with_0(run: Run) -> None:
    """Every case passes, one of them after a send window: the last line says how many, the exit code is 0."""
    found = run(fixture=FIXTURE + AT_NIGHT)
    assert found.exit_code == 0, found.output
    assert found.output.splitlines()[-1] == "2 cases of 1 journey: 2 passed"


def test_a_case_that_fails_shows_its_timeline_and_exits_with_1(run: Run) -> None:
    """The failing case is named with file and line, and shows what was expected and what came of it."""
    found = run(fixture=FIXTURE + WRONG)
    assert found.exit_code == 1
    assert "thanks.test.yaml:" in found.output
    assert "a small order is thanked for: 1 difference" in found.output
    assert "MISSING" in found.output
    assert "order.placed" in found.output
    assert found.output.splitlines()[-1] == "2 cases of 1 journey: 1 passed, 1 failed"


def test_json_tells_programs_the_same(run: Run) -> None:
    """`--json` prints one object with counts, cases and the timeline of those that failed."""
    found = run("--json", fixture=FIXTURE + WRONG)
    assert found.exit_code == 1
    report = json.loads(found.output)
    assert (report["passed"], report["failed"], report["errors"]) == (1, 1, [])
    assert [case["passed"] for case in report["cases"]] == [True, False]
    assert report["cases"][1]["timeline"]
    assert "coverage" not in report


def test_coverage_shows_what_no_case_went_through(run: Run) -> None:
    """`--coverage` gives each journey's percentage and the guard that held nothing back; it fails nothing."""
    found = run("--coverage")
    assert found.exit_code == 0, found.output
    assert "no case for guard send_window" in found.output


def test_too_little_coverage_exits_with_1(run: Run) -> None:
    """`--min-coverage` fails a journey below it, names it, and passes one that reaches it."""
    low = run("--min-coverage", "100")
    assert low.exit_code == 1
    assert "coverage of thanks is" in low.output
    assert run("--min-coverage", "1").exit_code == 0


def test_nothing_to_run_is_no_success(run: Run) -> None:
    """A folder with journeys but without cases exits with 1: a wrong path must not pass for a good test."""
    found = run(fixture=None)
    assert found.exit_code == 1
    assert "thanks.yaml: no fixtures" in found.output


def test_a_case_meets_the_rate_limits_of_the_settings(run: Run) -> None:
    """With a rate limit set, the second customer's message of a window is deferred, else it is sent."""
    limits = 'rate_limits = {email = "1 per 1m"}\n'
    limited = run(fixture=FIXTURE + LIMITED, settings=limits)
    assert limited.exit_code == 0, limited.output
    assert run(fixture=FIXTURE + LIMITED).exit_code == 1
