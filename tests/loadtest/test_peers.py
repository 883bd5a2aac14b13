"""The comparison's jobs are what they are said to be, and what is wrong with a peer's output is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.peers import environments, outputs
from loadtest.peers.backlog import Backlog
from loadtest.peers.jobs import ORDERED, VIEWED, WINDOW_MS, WITHIN_MS, Progress, Seen, counts, triggers
from loadtest.peers.report import print_table, rows, summary
from loadtest.peers.side import PEERS, Measured
from loadtest.workload import Workload, templates

MINUTE_MS = 60_000


def _events(*told: tuple[str, int]) -> list[Seen]:
    return [Seen("anna", kind, minute * MINUTE_MS, f"e{minute}") for kind, minute in told]


def _fired(*told: tuple[str, int]) -> list[str]:
    return [identifier for _, identifier in triggers(_events(*told))]


def test_third_view() -> None:
    """The third view within 30 minutes fires, and uses the three up."""
    views = [(VIEWED, minute) for minute in (0, 10, 29, 30, 31, 32)]
    assert _fired(*views) == ["e29", "e32"]


def test_views_too_far_apart() -> None:
    """A view exactly 30 minutes before the last one is outside."""
    assert _fired((VIEWED, 0), (VIEWED, 10), (VIEWED, 30)) == []
    assert _fired((VIEWED, 0), (VIEWED, 10), (VIEWED, 30), (VIEWED, 35)) == ["e35"]


def test_order_holds_back() -> None:
    """Nothing fires within 30 minutes of an order; the views are kept for later."""
    told = [(ORDERED, 5), (VIEWED, 10), (VIEWED, 20), (VIEWED, 34), (VIEWED, 35)]
    assert _fired(*told) == ["e35"]


def test_windows() -> None:
    """Counts go by customer and aligned window, its end belonging to the next."""
    minutes = WINDOW_MS // MINUTE_MS
    found = counts(_events((VIEWED, 0), (ORDERED, minutes - 1), (VIEWED, minutes)))
    assert found == {("anna", 0): 2, ("anna", WINDOW_MS): 1}


def test_backlog_is_the_workload() -> None:
    """The plain count sees the same customers, types and times that are sent."""
    backlog = Backlog("b", templates(Workload(customers=50), 200), 300, 10.0, 1_000)
    seen = list(backlog.seen())
    sent = list(backlog.events())
    assert len(seen) == len(sent) == 300
    for event, (template, identifier, time_ms) in zip(seen, sent, strict=True):
        assert f'"type":"{event.kind}"'.encode() in template.tail
        assert (event.customer.encode(), event.identifier, event.time_ms) == (
            template.key,
            identifier,
            time_ms,
        )
    closing = list(backlog.closing())
    assert {template.key for template, _, _ in closing} == {template.key for template, _, _ in sent}
    assert min(time_ms for _, _, time_ms in closing) >= seen[-1].time_ms + 2 * WINDOW_MS
    assert WITHIN_MS % WINDOW_MS == 0


def test_faults_are_told() -> None:
    """Wrong, missing and repeated results are told apart; what is missing counts only in a whole run."""
    expected = {("a", 0): 2, ("b", 0): 1}
    assert outputs.fault_of_counts(expected, 0, expected, whole=True) == ""
    assert outputs.fault_of_counts({("a", 0): 3}, 1, expected, whole=True) == (
        "1 windows wrong, 1 windows missing, 1 windows written twice"
    )
    assert outputs.fault_of_counts({("a", 0): 2}, 0, expected, whole=False) == ""
    actions = {("a", "e1"), ("a", "e2")}
    assert outputs.fault_of_actions({("a", "e1"), ("b", "e9")}, 0, actions, whole=True) == (
        "1 actions wrong, 1 actions missing"
    )


def test_progress_speaks_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A peer's process says how far it came, once, at the end of the backlog."""
    progress = Progress(0.0, 1_200)
    for _ in range(1_500):
        progress.tick()
    said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("peer ")]
    assert len(said) == 1
    assert '"records": 1200' in said[0]


def test_medians_and_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    """The median of the rounds counts, and the engine's rate is told over each peer's."""
    runs = [Measured("engine", "full", 30_000, 2.0, 50.0, 0.0)]
    runs += [Measured("bytewax", "count", 1_000 * times, 1.0, 9.0, 0.0) for times in (5, 10, 90)]
    found = summary([], runs, {"faust": "no wheel\nfor this Python"})
    by_subject = {each["subject"]: each for each in found["medians"]}
    assert by_subject["bytewax"]["per_s"] == 10_000
    assert by_subject["bytewax"]["engine_times"] == 1.5
    assert len(rows(found)) == 2
    print_table(found)
    assert "no wheel" in capsys.readouterr().out


@pytest.mark.parametrize("peer", PEERS)
def test_requirements_are_pinned(peer: str) -> None:
    """Each peer's packages have one exact version each, and its module can be read by any Python."""
    pinned = environments.versions(peer)
    lines = Path(environments.__file__).with_name("requirements").joinpath(f"{peer}.txt").read_text("utf-8")
    assert len(pinned) == len(lines.splitlines())
    assert "://" not in lines


def test_jobs_need_nothing_installed() -> None:
    """What the peers' environments import of ours needs the standard library alone."""
    code = f"import sys; sys.path.insert(0, {str(environments.ROOT)!r}); import loadtest.peers.jobs"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
