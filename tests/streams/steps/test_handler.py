"""What a batch leaves behind: states, timers, actions, dead letters and offsets, each exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import metrics as table
from engine.events import DeadLetterReason
from engine.features.tiles import MARK_BYTES, VALUE_BYTES
from engine.settings import CacheSettings, SegmentSettings
from engine.streams.wire.codec import encode_json
from tests.streams.replay import MemoryRecord
from tests.streams.stage import Stage, event, place

CLICKS = "engage.clicks"
MINUTE_MS = 60_000
POISON: list[tuple[str, bytes, bytes]] = [
    (DeadLetterReason.NOT_DECODABLE, b"a", b"\xff\x00rubbish"),
    (DeadLetterReason.SCHEMA_UNKNOWN, b"a", b"\xc3\x01" + b"\x07" * 30),
    (
        DeadLetterReason.TYPE_UNKNOWN,
        b"a",
        b'{"type":"page.burnt","id":"1","customer_id":"a","time":1768219200000}',
    ),
    (DeadLetterReason.FIELD_MISSING, b"a", b'{"type":"page.viewed","customer_id":"a","time":1768219200000}'),
    (
        DeadLetterReason.FIELD_INVALID,
        b"a",
        b'{"type":"cart.added","id":"1","customer_id":"a","time":1768219200000,"price":NaN}',
    ),
    (
        DeadLetterReason.KEY_MISMATCH,
        b"a",
        b'{"type":"page.viewed","id":"1","customer_id":"b","time":1768219200000}',
    ),
    (
        DeadLetterReason.CUSTOMER_ID_INVALID,
        b"a",
        b'{"type":"page.viewed","id":"1","customer_id":"","time":1768219200000}',
    ),
    (DeadLetterReason.RECORD_TOO_LARGE, b"a", b"{" + b" " * 70_000 + b"}"),
    (
        DeadLetterReason.TIME_OUT_OF_RANGE,
        b"a",
        b'{"type":"page.viewed","id":"1","customer_id":"a","time":1768226400000}',
    ),
]


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    """Provide a worker that owns every partition."""
    made = Stage(tmp_path)
    await made.own()
    return made


@pytest.mark.parametrize(("reason", "key", "value"), POISON, ids=[reason for reason, _, _ in POISON])
async def test_poison_goes_to_the_dead_letters(stage: Stage, reason: str, key: bytes, value: bytes) -> None:
    """A record that can't be processed is set aside whole, with its place and reason; the batch goes on."""
    before = stage.record(event("page.viewed", "a", 1))
    poison = stage.raw(CLICKS, key, value)
    after = stage.record(event("page.viewed", "a", 2))
    offsets = await stage.work(before, poison, after)
    ((kept, headers),) = stage.tap.letters()
    assert kept == value
    assert headers["engage-reason"] == reason
    found = headers["engage-topic"], int(headers["engage-partition"]), int(headers["engage-offset"])
    assert found == poison.where
    assert offsets == {(CLICKS, place("a")): 3}
    state = stage.state("a")
    assert state is not None
    assert len(state.marks) == 2 * MARK_BYTES


def test_every_reason_is_covered() -> None:
    """A new reason code needs a poison record here."""
    elsewhere = {DeadLetterReason.SCHEMA_INCOMPATIBLE, DeadLetterReason.PROCESSING_FAILED}
    assert {reason for reason, _, _ in POISON} | elsewhere == set(DeadLetterReason)


async def test_repeats_count_once(stage: Stage) -> None:
    """A repeated event id changes nothing, in the same batch, a later one, or after the memory is lost."""
    order = event("order.placed", "a", 1)
    await stage.send(order, order)
    await stage.send(order)
    stage.renew()
    await stage.own()
    offsets = await stage.send(order)
    assert [action["template"] for action in stage.tap.actions()] == ["hello", "thanks"]
    state = stage.state("a")
    assert state is not None
    assert len(state.values) == VALUE_BYTES
    assert offsets == {("engage.orders", place("a")): 4}, "offsets pass repeats"


async def test_records_of_other_partitions_are_dropped(stage: Stage) -> None:
    """What arrives for a partition that is not ours leaves no trace and no offset."""
    foreign = MemoryRecord((CLICKS, 77, 0), (b"a", encode_json(event("page.viewed", "a"))))
    assert await stage.work(foreign) == {}
    assert stage.stored()[place("a")][0] == {}


async def test_erasure_leaves_nothing_and_a_new_start(stage: Stage) -> None:
    """After an erasure neither state nor timer is left; the next event meets an unknown customer."""
    await stage.send(
        event("order.placed", "a", 1), event("order.delivered", "a", 1), event("order.placed", "b")
    )
    assert "a" in stage.timers()
    await stage.send(event("erasure.requested", "a", 1))
    assert stage.state("a") is None
    assert "a" not in stage.timers()
    assert segments(stage) == {"new": 1}
    stage.now_ms += 11 * MINUTE_MS
    await stage.work()
    assert [action["template"] for action in of(stage, "a")] == ["hello", "thanks"], "no follow-up"
    await stage.send(event("order.placed", "a", 2, stage.now_ms))
    assert [action["data"]["orders"] for action in of(stage, "a") if action["template"] == "thanks"] == [1, 1]
    assert segments(stage) == {"new": 2}
    state = stage.state("a")
    assert state is not None
    assert state.first_seen_ms == stage.now_ms


async def test_erasure_in_the_middle_of_a_batch(stage: Stage) -> None:
    """Events before an erasure in the same batch are gone with it, events after it count anew."""
    await stage.send(
        event("order.placed", "a", 1), event("erasure.requested", "a", 1), event("order.placed", "a", 2)
    )
    thanks = [action for action in stage.tap.actions() if action["template"] == "thanks"]
    assert [action["data"]["orders"] for action in thanks] == [1, 1]
    assert segments(stage) == {"new": 1}


async def test_erasure_alone_leaves_nothing(stage: Stage) -> None:
    """An erasure of somebody unknown writes no state."""
    await stage.send(event("erasure.requested", "a"))
    assert stage.state("a") is None
    assert stage.timers() == {}


async def test_segment_changes_are_events_and_entries(stage: Stage) -> None:
    """Entering and leaving a segment is told on its topic, counted, and lets journeys begin."""
    await stage.send(event("order.placed", "a", 1))
    (entered,) = stage.tap.sent("engage.segments")
    assert (entered["entered"], entered["exited"]) == ("new", "")
    stage.now_ms += 8 * 24 * 60 * MINUTE_MS
    await stage.work()
    *_, left = stage.tap.sent("engage.segments")
    assert (left["entered"], left["exited"]) == ("regular", "new")
    assert [action["template"] for action in stage.tap.actions()] == ["hello", "thanks", "bye"]
    assert segments(stage) == {"new": 0, "regular": 1}


async def test_customers_of_revoked_partitions_are_not_counted(stage: Stage) -> None:
    """The gauges of customers and segments follow the partitions to their new owner."""
    await stage.send(*[event("order.placed", f"c{number}") for number in range(8)])
    metrics = stage.handler._tally._metrics
    assert metrics.value(table.SEGMENT_CUSTOMERS, "new") == 8
    await stage.handler.on_revoked(frozenset(stage.log), lost=False)
    assert metrics.value(table.SEGMENT_CUSTOMERS, "new") == 0
    assert metrics.value(table.CUSTOMERS) == 0
    await stage.own()
    assert metrics.value(table.SEGMENT_CUSTOMERS, "new") == 8


async def test_declared_features_are_recorded(tmp_path: Path) -> None:
    """A declared feature's series keeps the events its conditions let through, and only those."""
    declared = tmp_path / "segments.yaml"
    declared.write_text(
        "segments:\n  - {name: all, code: 1, otherwise: true}\n"
        "features:\n  - {name: premium_views_7d, code: 64, event: product.viewed, aggregate: count,"
        ' window: 7d, where: ["props.tier == premium"], since: 2026-01-01, meaning: Views of premium.}\n'
    )
    folder = tmp_path / "journeys"
    folder.mkdir()
    (folder / "j.yaml").write_text(
        "journey: premium\ntransactional: true\n"
        "entry: {on: product.viewed, when: customer.premium_views_7d >= 2, reentry: always}\n"
        "steps:\n  - {send: email, template: premium}\n"
    )
    stage = Stage(tmp_path / "unused", journeys=[str(folder)], segments=SegmentSettings(path=str(declared)))
    await stage.own()
    for number, tier in enumerate(("premium", "basic", "premium", "basic")):
        await stage.send(event("product.viewed", "a", number, props={"tier": tier}))
    assert [action["event_id"] for action in stage.tap.actions()] == [
        "product.viewed-a-2",
        "product.viewed-a-3",
    ]


@pytest.mark.parametrize("customers", [0, 1, 3])
async def test_a_small_cache_changes_nothing(tmp_path: Path, customers: int) -> None:
    """With hardly any room in the cache the outcome is the same to the byte."""
    outcomes = []
    for folder, cache in (
        (tmp_path / "wide", CacheSettings()),
        (tmp_path / "narrow", CacheSettings(customers=customers)),
    ):
        stage = Stage(folder, cache=cache)
        await stage.own()
        for round_number in range(4):
            at_ms = stage.now_ms
            await stage.send(*[event("order.placed", f"c{n}", round_number, at_ms) for n in range(10)])
            await stage.send(*[event("order.delivered", f"c{n}", round_number, at_ms) for n in range(5)])
            stage.now_ms += 7 * MINUTE_MS
        assert all(len(owned.states) <= max(customers, 10) for owned in owners(stage)) or cache.customers > 10
        outcomes.append((stage.stored(), [action["id"] for action in stage.tap.actions()]))
    assert outcomes[0] == outcomes[1]


async def test_dead_letters_and_decisions_do_not_tell_details(stage: Stage) -> None:
    """The engine's own words about a record never repeat what the customer wrote."""
    secret = "my card is 4111"
    bad = encode_json(event("inquiry.opened", "a", text=secret)).replace(
        b'"inquiry_id":"i0"', b'"inquiry_id":7'
    )
    stage.handler.pipeline.machine.run = raiser("a")  # type: ignore[method-assign]
    await stage.work(
        stage.raw("engage.service", b"a", bad), stage.record(event("inquiry.opened", "a", 1, text=secret))
    )
    letters = stage.tap.letters()
    assert [headers["engage-reason"] for _, headers in letters] == ["field_invalid", "processing_failed"]
    assert not any(secret in text for _, headers in letters for text in headers.values())


def raiser(customer_id: str) -> Any:
    """Return a machine's `run` that fails for one customer."""

    def run(context: Any, _outbox: Any) -> None:
        if context.state.customer_id == customer_id:
            raise ValueError(f"nothing of {context.event} may be told")

    return run


def of(stage: Stage, customer_id: str) -> list[dict[str, Any]]:
    """Return a customer's actions."""
    return [action for action in stage.tap.actions() if action["customer_id"] == customer_id]


def owners(stage: Stage) -> list[Any]:
    """Return what the worker keeps of its partitions."""
    return list(stage.handler.holdings.owned.values())


def segments(stage: Stage) -> dict[str, int]:
    """Return the customers by segment, over all partitions, as memory and store agree on them."""
    totals: dict[str, int] = {}
    for number, part in stage.server.dump().items():
        stored = msgspec.json.decode(part.fields.get("segments", b"{}"))
        assert stored == stage.handler.holdings.owned[number].segments
        for name, count in stored.items():
            totals[name] = totals.get(name, 0) + count
    return totals
