"""The ported workloads' rules are sound, and the counts they are held against say what the originals say."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from engine.config import load_settings
from engine.events import EVENT_TYPES, Family, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.streams.wire.codec import Decoder
from engine.streams.wiring import build_pipeline
from loadtest.ported import NOT_EXPRESSED, WORKLOADS, Ported, Result, Row, sent, wrong


def _actions(pipeline: Pipeline, rows: list[Row], prefix: str) -> Result:
    """Work on events in the pure core, in batches, all of them at one instant, as a backlog is."""
    decoder, start_ms = Decoder("live"), 1_780_000_000_000
    now_ms = start_ms + 1_800_000
    states: dict[str, CustomerState] = {}
    rates, until_ms = {0: GlobalRate()}, {0: now_ms}
    found: Result = {}
    numbered = iter(sent(prefix, rows, start_ms))
    while batch := list(itertools.islice(numbered, 200)):
        work_rows, touched = [], {}
        for template, identifier, time_ms in batch:
            value = f'{{"id":"{identifier}","time":{time_ms},'.encode() + template.tail
            event = decoder.decode(Family.CLICK, value, template.key, now_ms)
            name = event.customer_id
            touched[name] = states.setdefault(name, CustomerState(name))
            work_rows.append(EventRow(0, event, EVENT_TYPES[event.type].code, now_ms, event_key(event)))
        outcome = pipeline.process(Work(work_rows, {}, touched, until_ms, rates, replay=False))
        for action in outcome.actions:
            found[action.journey, action.event_id] = {
                name: float(value) for name, value in action.data.items()
            }
    return found


@pytest.mark.parametrize("ported", WORKLOADS, ids=lambda ported: ported.channel)
def test_the_core_says_what_the_plain_count_says(ported: Ported, tmp_path: Path) -> None:
    """The engine takes each workload's files as they are; its actions equal the count written apart."""
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    for name, text in ported.rules.items():
        (journeys / f"{name}.yaml").write_text(text, "utf-8")
    segments = tmp_path / "segments.yaml"
    segments.write_text(ported.segments(), "utf-8")
    settings = load_settings({"rules.paths": str(journeys), "segments.path": str(segments)}, environ={})
    rows = ported.draw(2_000)
    expected = ported.expect((f"{ported.channel}-{number}", row) for number, row in enumerate(rows))
    assert len(expected) > 300
    assert wrong(_actions(build_pipeline(settings), rows, ported.channel), expected) == ""


def test_statistics_by_hand() -> None:
    """q17 counts by price band, adds up and averages, each bid included in what is told at it."""
    q17 = WORKLOADS[0]
    bids = [("a", "bid", 9_999.0), ("b", "bid", 5.0), ("a", "bid", 10_000.0), ("a", "bid", 1_000_000.0)]
    said = q17.expect((f"e{number}", bid) for number, bid in enumerate(bids))
    last = {"total": 3, "low": 1, "middle": 1, "high": 1, "sum": 1_019_999.0, "mean": 1_019_999.0 / 3}
    assert said["ported-q17", "e3"] == last
    assert said["ported-q17", "e1"]["total"] == 1


def test_views_alone_are_counted() -> None:
    """The Yahoo benchmark's filter leaves clicks and purchases out."""
    ads = [("c", "view", 0.0), ("c", "click", 0.0), ("c", "view", 0.0)]
    said = WORKLOADS[2].expect((f"e{number}", event) for number, event in enumerate(ads))
    assert said == {("ported-ysb", "e0"): {"total": 1}, ("ported-ysb", "e2"): {"total": 2}}


def test_matches_are_rare() -> None:
    """A record matches 0.2 of ShuffleBench's rules on average."""
    shuffle = WORKLOADS[3]
    rows = shuffle.draw(20_000)
    found = shuffle.expect((f"e{number}", row) for number, row in enumerate(rows))
    assert 0.15 < len(found) / len(rows) < 0.25


def test_wrong_results_are_told() -> None:
    """Missing, surplus and false actions are told apart; the last digit of a sum is not false."""
    expected = {("j", "e1"): {"sum": 3.0}, ("j", "e2"): {"sum": 4.0}}
    assert wrong({("j", "e1"): {"sum": 3.0 + 1e-12}, ("j", "e2"): {"sum": 4.0}}, expected) == ""
    found = {("j", "e1"): {"sum": 3.1}, ("j", "e9"): {"sum": 4.0}}
    assert wrong(found, expected) == "1 actions missing, 1 actions not expected, 1 actions with other values"


def test_what_cannot_be_said_is_said() -> None:
    """A workload that the engine cannot express has a reason and no figure."""
    assert all(each.what.startswith("cannot be expressed") and not each.per_s for each in NOT_EXPRESSED)
