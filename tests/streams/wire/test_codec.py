"""Laws of the wire: what goes in comes out; what is broken is refused with a reason, never a crash."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.actions import Action, Decision, Outcome, Reason, action_id
from engine.errors import InvalidEvent
from engine.events import (
    EVENT_TYPES,
    MAX_AHEAD_MS,
    MAX_RECORD_BYTES,
    DeadLetterReason,
    Event,
    Family,
    OrderEvent,
)
from engine.streams.wire.avro import encode_avro_single_object
from engine.streams.wire.codec import (
    Decoder,
    decode_action,
    decode_decision,
    encode_action,
    encode_decision,
    encode_json,
)
from tests.event_examples import events

NOW_MS = 1_700_000_000_000
LIVE = Decoder("live")
REPLAY = Decoder("replay")
ORDER = {
    "id": "e1",
    "type": "order.placed",
    "customer_id": "c1",
    "time": NOW_MS,
    "order_id": "o1",
    "amount": 99.5,
}


def family_of(event: Event) -> Family:
    """Return the family of an event's type."""
    return EVENT_TYPES[event.type].family


def live(value: bytes | None, key: bytes | None = b"c1", family: Family = Family.ORDER) -> Event:
    """Decode on the live clock."""
    return LIVE.decode(family, value, key, NOW_MS)


def refusal(value: bytes | None, key: bytes | None = b"c1", family: Family = Family.ORDER) -> InvalidEvent:
    """Return why a record is refused."""
    with pytest.raises(InvalidEvent) as caught:
        live(value, key, family)
    assert caught.value.reason in set(DeadLetterReason)
    return caught.value


def order_json(**changes: Any) -> bytes:
    """Make the JSON of a valid order."""
    return json.dumps(ORDER | changes).encode()


@given(events())
def test_json_round_trip(event: Event) -> None:
    """An event comes out of JSON as it went in."""
    assert REPLAY.decode(family_of(event), encode_json(event), event.customer_id.encode(), 0) == event


@given(events())
def test_escaped_and_spaced_json_is_the_same(event: Event) -> None:
    """Escapes, white space and the order of fields do not change what is read."""
    fields = dict(reversed(msgspec.structs.asdict(event).items()))
    spaced = b" \n" + json.dumps(fields, indent=1, ensure_ascii=True).encode() + b"\n"
    assert REPLAY.decode(family_of(event), spaced, event.customer_id.encode(), 0) == event


@given(events())
def test_avro_single_object_round_trip(event: Event) -> None:
    """An event comes out of Avro as it went in."""
    value = encode_avro_single_object(event)
    assert REPLAY.decode(family_of(event), value, event.customer_id.encode(), 0) == event


@given(st.sampled_from(Family), st.binary(max_size=200))
@example(Family.ORDER, b"\x00\x00\x00\x00\x01rest")
def test_any_bytes_are_an_event_or_a_refusal(family: Family, value: bytes) -> None:
    """Arbitrary bytes raise nothing but a refusal with a reason of the closed list."""
    for prefix in (b"", b"{", b"\xc3\x01", b"\x00"):
        refusal(prefix + value, family=family)


@given(events(), st.data())
def test_damaged_records_are_an_event_or_a_refusal(event: Event, data: st.DataObject) -> None:
    """A record cut off or with bytes replaced raises nothing but a refusal."""
    encode = data.draw(st.sampled_from([encode_json, encode_avro_single_object]))
    value = bytearray(encode(event))
    for _ in range(data.draw(st.integers(0, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    del value[data.draw(st.integers(0, len(value))) :]
    reason = None
    try:
        found = REPLAY.decode(family_of(event), bytes(value), event.customer_id.encode(), 0)
    except InvalidEvent as error:
        reason = error.reason
    if reason is None:
        assert REPLAY.decode(family_of(event), encode_json(found), found.customer_id.encode(), 0) == found
    else:
        assert reason in set(DeadLetterReason)


_EXAMPLES = {
    DeadLetterReason.NOT_DECODABLE: (b"\xff\xfe", b"c1"),
    DeadLetterReason.SCHEMA_UNKNOWN: (b"\xc3\x01" + b"\x07" * 20, b"c1"),
    DeadLetterReason.SCHEMA_INCOMPATIBLE: (b"", b"c1"),  # made in the test: needs an encoder
    DeadLetterReason.TYPE_UNKNOWN: (order_json(type="order.lost"), b"c1"),
    DeadLetterReason.FIELD_MISSING: (b'{"type": "order.placed"}', b"c1"),
    DeadLetterReason.FIELD_INVALID: (order_json(amount=-1), b"c1"),
    DeadLetterReason.KEY_MISMATCH: (order_json(), b"c2"),
    DeadLetterReason.CUSTOMER_ID_INVALID: (order_json(customer_id="c" * 129), b"c" * 129),
    DeadLetterReason.RECORD_TOO_LARGE: (order_json(note="x" * MAX_RECORD_BYTES), b"c1"),
    DeadLetterReason.TIME_OUT_OF_RANGE: (order_json(time=NOW_MS + MAX_AHEAD_MS + 1), b"c1"),
}


@pytest.mark.parametrize(
    "reason", [r for r in DeadLetterReason if r is not DeadLetterReason.PROCESSING_FAILED]
)
def test_every_reason_of_the_codec_has_an_example(reason: DeadLetterReason) -> None:
    """Each code of the closed list is what some record gets; `processing_failed` is the worker's own."""
    assert _EXAMPLES.keys() == set(DeadLetterReason) - {DeadLetterReason.PROCESSING_FAILED}
    value, key = _EXAMPLES[reason]
    if reason is DeadLetterReason.SCHEMA_INCOMPATIBLE:
        value = encode_avro_single_object(msgspec.convert({**ORDER}, OrderEvent))
        assert refusal(value, key, Family.CLICK).reason == reason
    else:
        assert refusal(value, key).reason == reason


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "no value"),
        (b"", "no value"),
        (b"   ", "not json"),
        (b"[1]", "first byte 0x5b"),
        (b"\xef\xbb\xbf{}", "first byte 0xef"),
        (b"{", "not json"),
        (b'{"a": 1} {"b": 2}', "extra data"),
        (b"{'a': 1}", "not json"),
        (b'{"id": "\xff"}', "not utf-8"),
        (b'{"id": "\xed\xa0\x80"}', "not utf-8"),
        (b'{"id": "\\ud800"}', "lone surrogate"),
        (b'{"x": ' + b"[" * 60_000, "nested too deeply"),
        (b'{"x": ' + b'{"a":' * 12_000, "nested too deeply"),
        (b'{"id": ' + b"9" * 60_000 + b"}", "too long a number"),
        (b"\xc3", "single-object header"),
        (b"\xc3\x02" + b"\x00" * 20, "single-object header"),
        (b"\x00\x00", "cut off"),
    ],
)
def test_bytes_that_are_no_record(value: bytes | None, detail: str) -> None:
    """Broken, hostile and foreign bytes are refused as not decodable, with the way in which they are."""
    error = refusal(value)
    assert error.reason == DeadLetterReason.NOT_DECODABLE
    assert detail in error.detail.lower()


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_amounts_that_are_not_finite_are_refused_by_name(literal: str) -> None:
    """NaN and infinities, in the forms senders write them, name the field that holds them."""
    error = refusal(order_json().replace(b"99.5", literal.encode()))
    assert (error.reason, "field amount" in error.detail) == (DeadLetterReason.FIELD_INVALID, True)


def test_the_size_bound_is_on_the_byte() -> None:
    """A record of 64 KiB passes, one of a byte more does not."""
    room = MAX_RECORD_BYTES - len(order_json(note=""))
    assert live(order_json(note="x" * room)).id == "e1"
    assert refusal(order_json(note="x" * (room + 1))).reason == DeadLetterReason.RECORD_TOO_LARGE


def test_the_two_clocks() -> None:
    """Live refuses what is more than an hour ahead of now; replay takes it, for its time is the log's."""
    late = order_json(time=NOW_MS + MAX_AHEAD_MS + 1)
    assert refusal(late).reason == DeadLetterReason.TIME_OUT_OF_RANGE
    assert REPLAY.decode(Family.ORDER, late, b"c1", 0).time == NOW_MS + MAX_AHEAD_MS + 1
    assert live(order_json(time=NOW_MS + MAX_AHEAD_MS)).time == NOW_MS + MAX_AHEAD_MS


def test_the_key_must_be_the_customer() -> None:
    """A record that any key but the customer's placed is another worker's, so it is refused."""
    assert "is missing" in refusal(order_json(), None).detail
    assert "differs" in refusal(order_json(), b"C1").detail
    assert live(order_json(customer_id="王小明"), "王小明".encode()).customer_id == "王小明"


def test_ids_are_bounded_in_bytes() -> None:
    """128 bytes pass in any script, 129 do not."""
    for identity in ("c" * 128, "王" * 42 + "ab", "😀" * 32):
        assert live(order_json(customer_id=identity), identity.encode()).customer_id == identity
    for identity in ("c" * 129, "王" * 43, "😀" * 32 + "a"):
        error = refusal(order_json(customer_id=identity), identity.encode())
        assert error.reason == DeadLetterReason.CUSTOMER_ID_INVALID
        assert refusal(order_json(id=identity)).reason == DeadLetterReason.FIELD_INVALID


def test_unknown_fields_are_ignored() -> None:
    """A sender may be newer than the engine: what it adds does no harm, however it looks."""
    extra = order_json(new_field={"a": [1, {"b": None}]}, big=10**30)
    assert live(extra) == live(order_json())


def test_of_a_repeated_field_the_last_counts() -> None:
    """Repeated JSON names are read as most parsers read them, on both roads."""
    fast = order_json()[:-1] + b', "amount": 1.0}'
    slow = fast.replace(str(NOW_MS).encode(), b'"2023-11-14T22:13:20Z"')
    assert live(fast) == live(slow)
    assert live(fast) == msgspec.convert(ORDER | {"amount": 1.0}, OrderEvent)


def test_time_as_text_equals_time_as_number() -> None:
    """RFC 3339 and milliseconds give the same event."""
    assert live(order_json(time="2023-11-15T06:13:20+08:00")) == live(order_json())


ACTION = Action(
    id=action_id("欢迎", 1, "c1", "e1", "steps[0]"),
    customer_id="c1",
    journey="欢迎",
    version=1,
    step="steps[0]",
    channel="email",
    template="welcome",
    data={"coupon": "NEW20", "days": 3},
    priority="normal",
    transactional=False,
    reason=Reason(text="signed up a moment ago", values={"churn_risk": 0.25}),
    event_id="e1",
    event_type="customer.signed_up",
    event_time=NOW_MS,
    time=NOW_MS + 7,
    expires_at=NOW_MS + 86_400_000,
)


def test_an_action_is_a_cloud_event_in_binary_mode() -> None:
    """An action's headers are CloudEvents attributes without personal data; its value is the action."""
    value, headers = encode_action(ACTION)
    assert decode_action(value) == ACTION
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": ACTION.id.encode(),
        "ce_source": b"/engage/journeys/%E6%AC%A2%E8%BF%8E",
        "ce_type": b"engage.action.fired",
        "ce_time": b"2023-11-14T22:13:20.007Z",
        "content-type": b"application/json",
    }


def test_a_decision_is_a_cloud_event_in_binary_mode() -> None:
    """A decision's type tells its outcome; its value is the decision."""
    decision = Decision(
        id="d1",
        customer_id="c1",
        journey="win-back",
        version=2,
        step="entry",
        outcome=Outcome.HELD_OUT,
        reason=Reason(text="in the holdout", guard="holdout"),
        event_id="e1",
        event_type="order.placed",
        time=-1,
    )
    value, headers = encode_decision(decision)
    assert decode_decision(value) == decision
    assert dict(headers)["ce_type"] == b"engage.decision.held_out"
    assert dict(headers)["ce_time"] == b"1969-12-31T23:59:59.999Z"
