"""Which way runs go through their programs is told to who asks: coverage is built on it."""

from __future__ import annotations

from pathlib import Path

from engine.rules.journey import WaitUntil
from engine.rules.load import is_fixture_file, journey_files
from tests.rules.driver import DAY, NOON, Driver, rule_set

JOURNEY = """
journey: ask
entry: {on: order.placed}
steps:
  - wait_until: {on: message.opened, timeout: 2d}
"""


def test_both_ways_out_of_a_wait_are_told_apart() -> None:
    """A wait whose branches are empty still tells whether the event came or the time was over."""
    rules = rule_set(JOURNEY)
    wait = rules.journeys[0].program[0]
    assert isinstance(wait, WaitUntil)
    for opened, onward in ((True, wait.then_pc), (False, wait.otherwise_pc)):
        driver = Driver(rules)
        driver.outbox.moves = []
        driver.send("order.placed", NOON, amount=1.0)
        if opened:
            driver.send("message.opened", NOON + DAY)
        driver.until(NOON + 3 * DAY)
        assert driver.outbox.moves[:2] == [("ask", 1, -1, 0), ("ask", 1, 0, onward)]


def test_fixture_files_are_no_journeys(tmp_path: Path) -> None:
    """Fixtures lie beside their journeys and are not taken for journeys."""
    for name in ("a.yaml", "a.test.yaml", "b.yml", "b.test.yml", "notes.txt"):
        (tmp_path / name).touch()
    assert [each.name for each in journey_files([tmp_path])] == ["a.yaml", "b.yml"]
    assert is_fixture_file(tmp_path / "b.test.yml")
