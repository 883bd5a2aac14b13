"""Timers of the live clock: after a stop, in chunks, from memory and from the store."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import metrics as table
from engine.events import Event
from engine.rules.context import Outbox, RowContext
from engine.settings import IdSettings, TimerSettings
from engine.streams.steps import due
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER
from tests.streams.replay import MemoryRecord
from tests.streams.stage import NOW_MS, PARTITIONS, Stage, event, place

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FOLLOW_UP_MS = 10 * MINUTE_MS
PEOPLE = [f"c{number}" for number in range(40)]


def follow_ups(stage: Stage) -> list[str]:
    """Return who got the follow-up, in order."""
    return [each["customer_id"] for each in stage.tap.actions() if each["template"] == "how-was-it"]


async def deliver(stage: Stage) -> list[str]:
    """Let an order arrive at each customer, a second apart and in an order of its own; return that order."""
    people = random.Random(5).sample(PEOPLE, len(PEOPLE))
    for name in people:
        await stage.send(event("order.delivered", name, 1, stage.now_ms))
        stage.now_ms += 1000
    return people


async def work_off(stage: Stage) -> None:
    """Hand over empty batches as long as a timer is due, as the consumer does."""
    while stage.handler.next_wakeup_s() == 0:
        await stage.work()


@pytest.mark.parametrize("chunk", [250, 7, 1])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "memory lost"])
async def test_after_a_stop_what_came_due_fires_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, *, lost: bool
) -> None:
    """After an hour's stop every due timer fires once, by due instant across customers and partitions."""
    monkeypatch.setattr(due, "TIMERS_ALONE", chunk)
    stage = Stage(tmp_path)
    await stage.own()
    people = await deliver(stage)
    assert follow_ups(stage) == []
    if lost:
        stage.renew()
        await stage.own()
    stage.let_pass(HOUR_MS)
    assert stage.handler.next_wakeup_s() == 0
    await stage.send(event("page.viewed", "somebody else", 1, stage.now_ms))
    await work_off(stage)
    assert follow_ups(stage) == people
    stage.now_ms += HOUR_MS
    await stage.work()
    assert follow_ups(stage) == people


@pytest.mark.parametrize("most", [100, 100_000])
async def test_more_due_than_memory_may_hold(tmp_path: Path, most: int) -> None:
    """With more timers at one instant than memory may hold, all fire, and the store is empty of them."""
    stage = Stage(tmp_path, timers=TimerSettings(max_loaded=most))
    await stage.own()
    people = [f"p{number}" for number in range(500)]
    await stage.send(*[event("order.delivered", name) for name in people])
    stage.renew()
    await stage.own()
    stage.now_ms += FOLLOW_UP_MS - 1
    await stage.work()
    assert follow_ups(stage) == []
    stage.now_ms += 1
    await work_off(stage)
    assert sorted(follow_ups(stage)) == sorted(people)
    assert all(due_ms > stage.now_ms for due_ms in stage.timers().values())


async def test_events_do_not_wait_for_the_timers_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many timers are due, an event is worked on with the next step, after its customer's own."""
    monkeypatch.setattr(due, "TIMERS_BESIDE_EVENTS", 5)
    stage = Stage(tmp_path)
    await stage.own()
    people = await deliver(stage)
    stage.let_pass(HOUR_MS)
    last = people[-1]
    await stage.send(
        event("complaint.filed", "somebody else", 1, stage.now_ms),
        event("order.cancelled", last, 2, stage.now_ms),
    )
    for name in ("somebody else", last):
        state = stage.state(name)
        assert state is not None
        assert state.clock_ms == stage.now_ms, "worked on at once"
    assert follow_ups(stage) == [*people[:5], last]
    await work_off(stage)
    assert sorted(follow_ups(stage)) == sorted(people)


async def test_wakeup_is_the_next_timer(tmp_path: Path) -> None:
    """The worker wakes for the earliest timer in memory, and to load those past the horizon."""
    stage = Stage(tmp_path, timers=TimerSettings(horizon_s=900))
    await stage.own()
    await stage.work()
    horizon_s = 900.0
    assert stage.handler.next_wakeup_s() == horizon_s
    await stage.send(event("order.delivered", "c1"))
    assert stage.handler.next_wakeup_s() == FOLLOW_UP_MS / 1000
    await stage.send(event("inquiry.opened", "c2"))
    assert stage.handler.next_wakeup_s() == 5 * 60
    stage.now_ms += 5 * MINUTE_MS
    assert stage.handler.next_wakeup_s() == 0
    await stage.work()
    assert [each["template"] for each in stage.tap.actions()] == ["call"]
    await stage.send(event("order.placed", "c2", 1, stage.now_ms))
    assert stage.handler.next_wakeup_s() == 5 * 60


async def test_wakeup_does_not_spin(tmp_path: Path) -> None:
    """After any batch the next wake-up lies ahead: nothing due is left, no load is pending."""
    stage = Stage(tmp_path)
    await stage.own()
    for number in range(30):
        await stage.send(event("order.delivered", f"c{number % 4}", number, stage.now_ms))
        await stage.work()
        wakeup_s = stage.handler.next_wakeup_s()
        assert wakeup_s is not None
        assert wakeup_s > 0
        stage.now_ms += 2 * MINUTE_MS


async def test_a_reply_in_time_prevents_the_call(tmp_path: Path) -> None:
    """An inquiry answered a moment before its deadline does not escalate; one answered after it has."""
    stage = Stage(tmp_path)
    await stage.own()
    await stage.send(event("inquiry.opened", "c1"), event("inquiry.opened", "c2"))
    stage.now_ms += 5 * MINUTE_MS - 1
    await stage.send(event("inquiry.replied", "c1", at_ms=stage.now_ms))
    stage.let_pass(1)
    await stage.send(event("inquiry.replied", "c2", at_ms=stage.now_ms))
    (call,) = [each for each in stage.tap.actions() if each["template"] == "call"]
    assert call["customer_id"] == "c2"
    assert call["time"] == NOW_MS + 5 * MINUTE_MS


MINUTES_LATER = 9 * MINUTE_MS


async def away(stage: Stage) -> None:
    """Let inquiries of two customers come and nobody be there for nine minutes; then be there again."""
    await stage.own()
    await stage.send(event("inquiry.opened", "c1"), event("inquiry.opened", "c4"))
    stage.renew()
    stage.now_ms += MINUTES_LATER
    await stage.own()


def calls(stage: Stage) -> list[str]:
    """Return for whom a person was called, in order."""
    return [each["customer_id"] for each in stage.tap.actions() if each["template"] == "call"]


async def test_after_a_stop_deadlines_wait_for_what_came_meanwhile(tmp_path: Path) -> None:
    """An inquiry that was answered while nobody was there does not escalate; one that was not, does."""
    stage = Stage(tmp_path)
    await away(stage)
    assert stage.handler.next_wakeup_s() is None, "nothing is known yet, so no clock wakes"
    await stage.work(behind_ms={})
    assert calls(stage) == []
    await stage.work(stage.record(event("page.viewed", "c1", 1, NOW_MS + MINUTE_MS)), behind_ms={})
    assert calls(stage) == [], "its own row, too, leaves the deadline alone"
    answer = stage.record(event("inquiry.replied", "c1", at_ms=NOW_MS + 2 * MINUTE_MS))
    await stage.work(answer, behind_ms=dict.fromkeys(range(PARTITIONS), 0))
    await work_off(stage)
    assert calls(stage) == ["c4"]


async def test_a_customer_met_while_catching_up_waits_as_well(tmp_path: Path) -> None:
    """An inquiry read after its deadline escalates once what came meanwhile is read, and not before."""
    stage = Stage(tmp_path)
    await stage.own()
    stage.now_ms += MINUTES_LATER
    for name in ("c1", "c4"):
        await stage.work(stage.record(event("inquiry.opened", name)), behind_ms={})
    await stage.work(stage.record(event("inquiry.replied", "c1", at_ms=NOW_MS + MINUTE_MS)), behind_ms={})
    assert calls(stage) == []
    await stage.work(behind_ms=dict.fromkeys(range(PARTITIONS), 0))
    assert calls(stage) == ["c4"]


async def test_how_late_escalations_are_is_told_wherever_they_are_found(tmp_path: Path) -> None:
    """By a timer in time, by one that waited, and at an event that was read after the deadline."""
    stage = Stage(tmp_path)
    await stage.own()
    metrics = stage.handler._tally._metrics
    await stage.send(event("inquiry.opened", "c1"), event("order.placed", "c2"))
    assert not metrics.buckets(table.ESCALATION_LATE).sum()
    stage.let_pass(5 * MINUTE_MS)
    await stage.work()
    stage.let_pass(2 * MINUTE_MS)
    await stage.send(event("inquiry.opened", "c2"))  # it comes two minutes after its deadline
    await stage.send(event("inquiry.opened", "c4", at_ms=stage.now_ms))
    stage.let_pass(5 * MINUTE_MS + 45_000)
    await stage.work()
    assert calls(stage) == ["c1", "c2", "c4"]
    bounds = table.ESCALATION_LATE.bounds
    found = dict(zip(bounds, metrics.buckets(table.ESCALATION_LATE).tolist(), strict=False))
    assert {bound: count for bound, count in found.items() if count} == {0.1: 1, 60.0: 1, 120.0: 1}


async def test_an_inquiry_beyond_the_bound_does_not_vanish_without_a_word(tmp_path: Path) -> None:
    """The oldest of 17 that wait leaves a decision; one that was answered or has escalated leaves none."""
    stage = Stage(tmp_path)
    await stage.own()

    def opened(*numbers: int) -> list[Event]:
        return [event("inquiry.opened", "c1", number, stage.now_ms + number) for number in numbers]

    def refused() -> list[tuple[str, str, str]]:
        told = [each for each in stage.tap.sent("engage.decisions") if each["outcome"] == "suppressed"]
        return [(each["journey"], each["reason"]["guard"], each["event_id"]) for each in told]

    await stage.send(*opened(*range(16)))
    assert refused() == []
    await stage.send(*opened(16))
    assert refused() == [("rescue", "bound", "inquiry.opened-c1-0")]
    await stage.send(event("inquiry.replied", "c1", 1, stage.now_ms + 20), *opened(17))
    assert len(refused()) == 1, "the second has its answer"
    stage.let_pass(6 * MINUTE_MS)
    await stage.work()
    await stage.send(*opened(18))
    assert len(refused()) == 1, "the third has escalated"
    assert len(calls(stage)) == 16
    assert stage.handler._tally._metrics.value(table.SUPPRESSED, "bound") == 1


async def test_what_was_due_before_the_backlog_comes_at_once(tmp_path: Path) -> None:
    """Behind by four minutes, what was due five minutes ago is judged, and what was two minutes ago not."""
    stage = Stage(tmp_path)
    await away(stage)
    later = event("inquiry.opened", "c3", at_ms=NOW_MS + 2 * MINUTE_MS)
    behind_ms = dict.fromkeys(range(PARTITIONS), 4 * MINUTE_MS)
    for records in ([stage.record(later)], []):
        await stage.work(*records, behind_ms=behind_ms)
    assert sorted(calls(stage)) == ["c1", "c4"]
    stage.now_ms += 2 * MINUTE_MS
    await stage.work(behind_ms=behind_ms)
    assert sorted(calls(stage)) == ["c1", "c3", "c4"]


LOST = """
journey: lost
transactional: true
entry:
  on: {absent: product.viewed, for: 5m}
steps:
  - {send: email, template: look-again}
"""


def lost(stage: Stage) -> list[str]:
    """Return who was told to look again, in order."""
    return [each["customer_id"] for each in stage.tap.actions() if each["template"] == "look-again"]


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "fallen behind"])
async def test_who_is_met_while_catching_up_enters_by_what_has_not_happened_since(
    tmp_path: Path, stopped: bool
) -> None:
    """Who came while nobody read has their deadline when it is read; what was over before is over."""
    journeys = tmp_path / "lost.yaml"
    journeys.write_text(LOST, "utf-8")
    stage = Stage(tmp_path, journeys=[str(journeys)])
    everywhere = dict.fromkeys(range(PARTITIONS), 0)
    await stage.own()
    await stage.send(event("page.viewed", "c1"), event("page.viewed", "c4"))
    await stage.send(
        event("page.viewed", "c1", 1), event("page.viewed", "c4", 1)
    )  # now it is known that all is read
    if stopped:
        stage.renew()
        await stage.own()
    stage.now_ms += MINUTES_LATER
    behind_ms: dict[int, int] = {} if stopped else dict.fromkeys(range(PARTITIONS), MINUTES_LATER - 1)
    for name in ("c2", "c3"):
        fresh = event("product.viewed", name, at_ms=NOW_MS + MINUTE_MS)
        await stage.work(stage.record(fresh), behind_ms=behind_ms)
    old = event("product.viewed", "c5", at_ms=NOW_MS - 6 * MINUTE_MS)
    await stage.work(stage.record(old), behind_ms=behind_ms)
    again = event("product.viewed", "c2", 1, at_ms=NOW_MS + 2 * MINUTE_MS)
    await stage.work(stage.record(again), behind_ms=behind_ms)
    later = event("product.viewed", "c3", 1, at_ms=NOW_MS + 5 * MINUTE_MS)
    await stage.work(stage.record(later), behind_ms=behind_ms)
    assert lost(stage) == []
    await stage.work(behind_ms=everywhere)
    assert lost(stage) == ["c2"]


async def test_at_the_first_start_what_lies_behind_is_over(tmp_path: Path) -> None:
    """Nobody enters by what was over before there was an engine, be it stopped while it reads that."""
    journeys = tmp_path / "lost.yaml"
    journeys.write_text(LOST, "utf-8")
    stage = Stage(tmp_path, journeys=[str(journeys)])
    await stage.own()
    stage.now_ms += MINUTES_LATER
    await stage.work(stage.record(event("product.viewed", "c1")), behind_ms={})
    stage.renew()
    await stage.own()
    await stage.work(stage.record(event("product.viewed", "c4")), behind_ms={})
    await stage.work(behind_ms=dict.fromkeys(range(PARTITIONS), 0))
    assert lost(stage) == []


async def test_one_partition_behind_holds_no_other_back(tmp_path: Path) -> None:
    """Deadlines of a partition that is read go on while another is not."""
    stage = Stage(tmp_path)
    await away(stage)
    assert {place("c1"), place("c4")} == {0, 1}
    await stage.work(behind_ms={place("c4"): 0})
    assert calls(stage) == ["c4"]
    wakeup_s = stage.handler.next_wakeup_s()
    assert wakeup_s is not None
    assert wakeup_s > 0, "nor does it keep the worker awake"


async def test_a_partition_taken_up_again_is_not_read(tmp_path: Path) -> None:
    """What a batch says of a partition that went back in time meanwhile is of before."""
    stage = Stage(tmp_path)
    await stage.own()
    await stage.send(event("inquiry.opened", "c1"), event("inquiry.opened", "c4"))
    backup = stage.server.dump()
    await stage.send(event("inquiry.replied", "c1", at_ms=NOW_MS + MINUTE_MS))
    stage.server.restore(backup)
    stage.now_ms += MINUTES_LATER
    await stage.send(event("page.viewed", "c1", 1, stage.now_ms))
    assert stage.consumer.sought, "the partition is read again"
    assert "c1" not in calls(stage), "nothing of it is judged before"


KINDS = (
    "order.placed",
    "order.delivered",
    "inquiry.opened",
    "inquiry.replied",
    "page.viewed",
    "erasure.requested",
)
MOMENTS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(("c1", "c2", "c3")), st.integers(0, 3 * FOLLOW_UP_MS)),
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOMENTS, st.integers(0, 99), st.booleans())
def test_how_the_log_is_cut_changes_nothing(
    tmp_path: Path, moments: list[tuple[str, str, int]], seed: int, raises: bool
) -> None:
    """On the replay clock any cut of any log has the same outcome, also when a customer's orders raise."""
    log: list[Event] = []
    at_ms = NOW_MS
    for number, (kind, name, gap_ms) in enumerate(moments):
        at_ms += gap_ms
        log.append(event(kind, name, number, at_ms))
    outcomes = [
        asyncio.run(replayed(tmp_path, log, each, raises=raises)) for each in (None, random.Random(seed))
    ]
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][1]) == len(set(outcomes[0][1]))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOMENTS, st.integers(0, 99))
def test_a_timer_that_raises_harms_nobody_else(
    tmp_path: Path, moments: list[tuple[str, str, int]], seed: int
) -> None:
    """Whatever is due for a customer whose timers raise, the others have what they have without it."""
    log: list[Event] = []
    at_ms = NOW_MS
    for number, (kind, name, gap_ms) in enumerate(moments):
        at_ms += gap_ms
        log.append(event(kind, name, number, at_ms))
    calm = asyncio.run(replayed(tmp_path, log, None, raises=False))
    hurt = asyncio.run(replayed(tmp_path, log, random.Random(seed), raises=True, at_timers=True))
    for number, (states, timers, offsets, *_) in calm[0].items():
        others = [
            {name: value for name, value in found.items() if name != b"c2"}
            for found in (states, hurt[0][number][0], timers, hurt[0][number][1])
        ]
        assert others[0] == others[1]
        assert others[2] == others[3]
        assert offsets == hurt[0][number][2]
    assert set(hurt[1]) <= set(calm[1])


def fail_at_follow_ups(stage: Stage) -> list[Event]:
    """Let a rule raise when a follow-up is due; return events by which a call is due two minutes later."""
    run = stage.handler.pipeline.machine.run

    def broken(context: RowContext, outbox: Outbox) -> None:
        assert not any(0 < each.due_ms <= context.reached_ms for each in context.state.profile.positions)
        run(context, outbox)

    stage.handler.pipeline.machine.run = broken  # type: ignore[method-assign]
    return [event("order.delivered", "c1"), event("inquiry.opened", "c1", at_ms=NOW_MS + 7 * MINUTE_MS)]


async def test_what_is_due_after_a_failed_timer_comes_in_time(tmp_path: Path) -> None:
    """A rule that raises delays nothing else of its customer."""
    stage = Stage(tmp_path)
    await stage.own()
    for each in fail_at_follow_ups(stage):
        stage.now_ms = each.time
        await stage.send(each)
    stage.now_ms = NOW_MS + FOLLOW_UP_MS
    await stage.work()
    assert stage.timers() == {"c1": NOW_MS + 12 * MINUTE_MS}
    stage.now_ms += 2 * MINUTE_MS
    await stage.work()
    assert [each["template"] for each in stage.tap.actions()] == ["call"]


async def test_what_is_due_after_a_failed_timer_in_a_step_is_not_set_aside_with_it(tmp_path: Path) -> None:
    """On the replay clock only what is due at the instant that fails is taken out, however long a step is."""
    stage = Stage(tmp_path, clock="replay")
    await stage.own()
    records = [stage.record(each) for each in fail_at_follow_ups(stage)]
    await stage.work(*records, *[watermark(stage, *where, NOW_MS + HOUR_MS) for where in stage.log])
    assert [each["time"] for each in stage.tap.actions()] == [NOW_MS + 12 * MINUTE_MS]


async def test_an_event_is_not_set_aside_for_what_it_begins(tmp_path: Path) -> None:
    """On the replay clock an event and the timer it sets may be one step; where that raises, it counts."""
    stage = Stage(tmp_path, clock="replay")
    await stage.own()
    record = stage.record(fail_at_follow_ups(stage)[0])
    await stage.work(record, *[watermark(stage, *where, NOW_MS + HOUR_MS) for where in stage.log])
    assert stage.tap.letters() == []
    state = stage.state("c1")
    assert state is not None
    assert state.profile.positions == []


def watermark(stage: Stage, topic: str, number: int, at_ms: int) -> MemoryRecord:
    """Append a watermark to the log."""
    mark = stage.raw(topic, None, b"", at=number)
    mark.extra.append((WATERMARK_HEADER, str(at_ms).encode()))
    return mark


async def replayed(
    folder: Path, log: list[Event], rng: random.Random | None, *, raises: bool, at_timers: bool = False
) -> tuple[dict[int, Any], list[str]]:
    """Work a log off, whole or in pieces; return what is stored and the ids of the actions."""
    stage = Stage(folder, clock="replay", ids=IdSettings(remembered=5))
    run = stage.handler.pipeline.machine.run

    def broken(context: RowContext, outbox: Outbox) -> None:
        guilty = context.event is None if at_timers else context.event_type == "order.placed"
        assert not raises or context.state.customer_id != "c2" or not guilty
        run(context, outbox)

    stage.handler.pipeline.machine.run = broken  # type: ignore[method-assign]
    await stage.own()
    records = [stage.record(each) for each in log]
    records += [watermark(stage, topic, number, END_OF_STREAM_MS) for topic, number in stage.log]
    while records:
        size = len(records) if rng is None else rng.randint(1, 5)
        await stage.work(*records[:size])
        records = records[size:]
    return stage.stored(), sorted(each["id"] for each in stage.tap.actions())


def test_the_people_are_on_both_partitions() -> None:
    """The order across partitions is only tested when both have somebody."""
    assert {place(name) for name in PEOPLE} == {0, 1}
