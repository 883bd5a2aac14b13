"""A backtest finds what a worker would have done with the same log, and leaves no trace."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from engine.actions import Action, Decision
from engine.authoring.backtest.replay import Replay
from engine.authoring.backtest.tally import Tally
from engine.demo.data import build_log
from engine.events import Event, Family
from engine.features.churn.snapshot import shipped_prior
from engine.settings import BatchSettings, DecisionSettings, IdSettings, Settings
from engine.streams.backtest import run as backtest
from engine.streams.backtest.log import LogIndex
from engine.streams.backtest.read import LogReader
from engine.streams.backtest.run import Plan, RuleFiles, pipeline_of, plan_groups, run_backtest
from engine.streams.wire.codec import decode_action, decode_decision, encode_json
from engine.streams.wire.watermark import WATERMARK_HEADER
from tests.streams.replay import Log, MemoryRecord, Tap, replay, write_log

PARTITIONS = 3
SETTINGS = Settings(
    clock="replay",
    ids=IdSettings(remembered=300),
    decisions=DecisionSettings(not_matched_sample=0.0),
    batch=BatchSettings(max_records=700),
)
JOURNEYS = """
journey: cart-hint
entry: {on: cart.added, reentry: after 7d}
goal: {on: order.placed, within: 7d}
exit: [{on: order.placed}]
guards: {consent: marketing, cap: [1 per 2d], quiet_hours: "22:00-08:00", holdout: 20%}
steps:
  - wait: 1h
  - {send: email, template: cart}
  - wait_until: {on: message.opened, timeout: 2d}
    otherwise:
      - {send: push, template: cart-again}
---
journey: thanks
transactional: true
entry: {on: order.placed, reentry: always}
goal: {on: order.placed, within: 60d, value: event.amount}
steps:
  - {send: email, template: thanks, data: {orders: int(customer.orders_lifetime)}}
---
journey: browse
entry: {on: product.viewed, reentry: after 1d}
guards: {consent: marketing}
steps:
  - {send: push, template: look}
---
journey: keen
entry: {on: {count: product.viewed, at_least: 2, within: 7d}, reentry: after 7d}
guards: {consent: marketing}
steps:
  - {send: push, template: keen}
---
journey: monday
entry: {on: {schedule: "0 9 * * MON", zone: customer, segment: new}, reentry: after 7d}
guards: {consent: marketing}
steps:
  - {send: push, template: monday}
---
journey: lapsed
entry: {on: {segment_entered: churn_risk}, reentry: always}
steps:
  - {send: email, template: miss-you}
"""


def rule_files(text: str = JOURNEYS) -> RuleFiles:
    """Return journeys as a rule set."""
    return RuleFiles(
        "the test's", tuple((f"{n}.yaml", part.encode()) for n, part in enumerate(text.split("---")))
    )


def shuffled(rng: random.Random, customers: int = 40) -> list[tuple[Family, Event]]:
    """Return a year and a half of some customers, with late events, repeats and two at one instant."""
    events = list(build_log(seed=11, customers=customers).events())
    for _ in range(len(events) // 20):
        at = rng.randrange(len(events) - 40)
        match rng.randrange(3):
            case 0:  # late
                events.insert(at + rng.randrange(1, 40), events.pop(at))
            case 1:  # a repeat
                events.insert(at + rng.randrange(1, 40), events[at])
            case _:
                family, event = events[at + 1]
                events[at + 1] = family, msgspec.structs.replace(event, time=events[at][1].time)
    return events


def write_lines(path: Path, events: Iterable[tuple[Family, Event]]) -> Path:
    """Write events as JSON Lines, with a broken line and an empty one among them."""
    lines = [encode_json(event) for _, event in events]
    lines[3:3] = [b"", b'{"type": "order.placed", "customer_id": "c"}']
    path.write_bytes(b"\n".join(lines))
    return path


def until(log: Log, end_ms: int) -> Log:
    """Say on every topic that time went on to an instant."""
    mark = [(WATERMARK_HEADER, str(end_ms).encode())]
    for place, records in log.items():
        last = records.pop()
        records.append(MemoryRecord((*place, len(records)), (None, b""), mark))
        records.append(MemoryRecord((*place, len(records)), last.written, last.extra))
    return log


def decided(tap: Tap) -> tuple[dict[str, Action], dict[str, Decision]]:
    """Return what a worker sent, by id."""
    actions: dict[str, Action] = {}
    decisions: dict[str, Decision] = {}
    for topic, _, value, _ in tap.records:
        if topic.startswith("engage.actions."):
            actions[msgspec.json.decode(value or b"")["id"]] = decode_action(value)
        elif topic == "engage.decisions":
            decisions[msgspec.json.decode(value or b"")["id"]] = decode_decision(value)
    return actions, decisions


def replayed(
    index: LogIndex, rules: RuleFiles, most: int
) -> tuple[dict[str, Action], dict[str, Decision], Tally]:
    """Return what a backtest decides, by id."""
    actions: dict[str, Action] = {}
    decisions: dict[str, Decision] = {}
    tally = Tally()
    end_ms = index.span_ms()[1]
    run = Replay(pipeline_of(rules, SETTINGS, shipped_prior()), range(PARTITIONS))
    for piece in index.of(range(PARTITIONS), end_ms).slices(most, end_ms, 300, tally):
        outcome = run.step(piece)
        actions.update({each.id: each for each in outcome.actions})
        decisions.update({each.id: each for each in outcome.decisions})
    return actions, decisions, tally


@pytest.mark.parametrize("most", [37, 100_000])
async def test_a_backtest_decides_what_a_worker_decides(tmp_path: Path, most: int) -> None:
    """Same log, same rules: the same actions and decisions, with late events and repeats in the log."""
    events = shuffled(random.Random(5))
    rules = rule_files()
    paths = []
    for name, data in rules.sources:
        (tmp_path / name).write_bytes(data)
        paths.append(str(tmp_path / name))
    live = msgspec.structs.replace(SETTINGS, rules=msgspec.structs.replace(SETTINGS.rules, paths=paths))
    index = LogReader(PARTITIONS).files([write_lines(tmp_path / "log.jsonl", events)], tmp_path / "spool")
    log = until(write_log(live, events, PARTITIONS), index.span_ms()[1])
    _, tap = await replay(live, log, seed=1, most=500)
    live_actions, live_decisions = decided(tap)
    actions, decisions, tally = replayed(index, rules, most)
    assert len(live_actions) > 200
    assert {each.outcome for each in live_decisions.values()} >= {
        "fired", "suppressed", "deferred", "held_out", "entered", "exited", "completed", "converted",

    }  # fmt: skip
    assert (index.invalid, tally.duplicates > 0, tally.late > 0) == (1, True, True)
    assert actions == live_actions
    assert decisions == live_decisions


def plan(index: LogIndex, rules: RuleFiles, other: RuleFiles | None = None, from_ms: int = 0) -> Plan:
    """Return a plan over a whole log."""
    return Plan(SETTINGS, rules, other, shipped_prior(), from_ms, index.span_ms()[1])


def test_the_tally_counts_what_was_decided(tmp_path: Path) -> None:
    """What is sent and held back within the period is counted once; what lies before only builds state."""
    events = list(build_log(seed=11, customers=40).events())
    rules = rule_files()
    index = LogReader(PARTITIONS).files([write_lines(tmp_path / "log.jsonl", events)], tmp_path / "spool")
    first_ms, last_ms = index.span_ms()
    from_ms = first_ms + (last_ms - first_ms) // 10
    actions, decisions, _ = replayed(index, rules, 5_000)
    tally = run_backtest(plan(index, rules, from_ms=from_ms), index, 1, lambda _: None).tally
    sent = Counter((each.journey, each.step) for each in actions.values() if each.time >= from_ms)
    held = Counter(
        (each.journey, each.outcome.value, each.reason.guard)
        for each in decisions.values()
        if each.time >= from_ms and each.outcome in {"suppressed", "deferred", "held_out", "converted"}
    )
    assert min(len(sent), len(held)) > 2
    found: Counter[tuple[str, str]] = Counter()
    guards: Counter[tuple[str, str, str]] = Counter()
    arms: set[str] = set()
    for cell, count in tally.cells.items():
        if cell.what == "sent":
            found[cell.journey, cell.step] += count
        elif cell.what in {"suppressed", "deferred", "held_out"}:
            guards[cell.journey, cell.what, cell.detail] += count
        elif cell.what == "converted":
            guards[cell.journey, cell.what, ""] += count
            arms.add(cell.detail)
    assert (found, guards) == (sent, held)
    assert arms == {"treated", "holdout"}
    entered = sum(count for cell, count in tally.cells.items() if cell[:2] == ("thanks", "entered"))
    assert entered == sum(each.journey == "thanks" and each.time >= from_ms for each in actions.values())
    assert tally.values["thanks", "treated"] > 0
    assert tally.events == index.events
    assert tally.counted == sum(event.time >= from_ms for _, event in events)


def test_partitions_and_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process or two, partitions together or one by one: the same counts and differences."""
    events = list(build_log(seed=3, customers=30).events())
    index = LogReader(PARTITIONS).files([write_lines(tmp_path / "log.jsonl", events)], tmp_path / "spool")
    job = plan(index, rule_files(), rule_files(JOURNEYS.replace("1 per 2d", "1 per 9d")))
    told: list[int] = []
    together = run_backtest(job, index, 1, told.append)
    assert sum(told) == together.tally.events
    assert any(each.changed for each in together.differences.values())
    told.clear()
    assert run_backtest(job, index, 2, told.append) == together
    assert sum(told) == together.tally.events
    monkeypatch.setattr(backtest, "MAX_CUSTOMERS", 10)
    assert len(plan_groups(index.customers, 1)) == PARTITIONS
    assert run_backtest(job, index, 1, told.append) == together


def test_the_same_rules_differ_in_nothing(tmp_path: Path) -> None:
    """A rule set compared with itself gives nobody anything new."""
    events = list(build_log(seed=3, customers=30).events())
    index = LogReader(PARTITIONS).files([write_lines(tmp_path / "log.jsonl", events)], tmp_path / "spool")
    found = run_backtest(plan(index, rule_files(), rule_files()), index, 1, lambda _: None)
    assert found.differences
    assert not any(each.changed for each in found.differences.values())
