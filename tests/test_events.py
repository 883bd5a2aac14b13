"""Laws of events: codes, bounds, keys, and what the slow road says about what is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidEvent
from engine.events import (
    EARLIEST_MS,
    EVENT_TYPES,
    FIRST_SERIES_CODE,
    LATEST_MS,
    MAX_AHEAD_MS,
    TYPE_BY_CODE,
    ClickEvent,
    Event,
    Family,
    OrderEvent,
    ProfileEvent,
    event_key,
)
from engine.validation import accepts, build, latest_ms, read_fields, time_zones, validate
from tests.event_examples import events

NOW_MS = 1_700_000_000_000


def order(**changes: Any) -> dict[str, Any]:
    """Make the fields of a valid order."""
    fields = {"id": "e1", "type": "order.placed", "customer_id": "c1", "time": NOW_MS}
    return fields | {"order_id": "o1", "amount": 5.0} | changes


def refusal(family: Family, fields: dict[str, Any]) -> InvalidEvent:
    """Return why fields are refused on the live clock."""
    with pytest.raises(InvalidEvent) as caught:
        read_fields(family, fields, latest_ms(NOW_MS))
    return caught.value


def test_codes_are_unique_and_below_the_declared_series() -> None:
    """A code stands in stored state, so no two types share one and none reaches into the declared range."""
    assert len(TYPE_BY_CODE) == len(EVENT_TYPES)
    assert all(0 <= code < FIRST_SERIES_CODE for code in TYPE_BY_CODE)


def test_stems_are_unique() -> None:
    """Feature names are built from stems, so no two types share a plural or a singular."""
    assert len({kind.stem for kind in EVENT_TYPES.values()}) == len(EVENT_TYPES)
    assert len({kind.singular for kind in EVENT_TYPES.values()}) == len(EVENT_TYPES)


@given(events())
def test_a_valid_event_passes_both_roads(event: Event) -> None:
    """Whatever the fast road accepts the slow one builds, equal field by field."""
    family = EVENT_TYPES[event.type].family
    assert accepts(event, family, LATEST_MS) or event.type == "order.placed"
    assert build(family, msgspec.structs.asdict(event), LATEST_MS) == event
    assert validate(event) is event


_BROKEN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=200),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.floats(), st.integers()), max_size=3),
)


@given(st.data())
def test_the_fast_road_never_passes_what_the_slow_one_refuses(data: st.DataObject) -> None:
    """Both roads agree on any value in any field, so which one a record takes does not matter."""
    event = data.draw(events())
    family = EVENT_TYPES[event.type].family
    name = data.draw(st.sampled_from(type(event).__struct_fields__))
    fields = msgspec.structs.asdict(event) | {name: data.draw(_BROKEN)}
    try:
        slow: Event | None = build(family, fields, LATEST_MS)
    except InvalidEvent:
        slow = None
    try:
        fast: Event | None = msgspec.convert(fields, type(event))
    except (msgspec.ValidationError, UnicodeError):
        fast = None
    if fast is not None and accepts(fast, family, LATEST_MS):
        assert slow == fast


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"type": "order.plced"}, "type_unknown", "order.plced"),
        ({"type": "page.viewed"}, "type_unknown", "belongs to the click topic"),
        ({"type": "Zhang San, Beijing"}, "type_unknown", "text of 18 characters"),
        ({"type": 7}, "field_invalid", "field type is a whole number"),
        ({"type": None}, "field_missing", "field type is missing"),
        ({"id": None}, "field_missing", "field id is missing"),
        ({"id": ""}, "field_invalid", "field id has 0 bytes"),
        ({"id": "é" * 65}, "field_invalid", "field id has 130 bytes"),
        ({"order_id": ""}, "field_invalid", "field order_id"),
        ({"amount": None}, "field_missing", "field amount is missing"),
        ({"amount": -0.01}, "field_invalid", "field amount is -0.01"),
        ({"amount": 1e13}, "field_invalid", "field amount"),
        ({"amount": float("nan")}, "field_invalid", "field amount is nan, expected a finite number"),
        ({"amount": float("inf")}, "field_invalid", "field amount is inf"),
        ({"amount": "5"}, "field_invalid", "field amount is text of 1 characters, expected float"),
        ({"amount": [5]}, "field_invalid", "field amount is a list"),
        ({"amount": True}, "field_invalid", "field amount is a boolean"),
        ({"items": 1.5}, "field_invalid", "field items is 1.5"),
        ({"props": {"a": float("nan")}}, "field_invalid", "field props holds a number that is not finite"),
        ({"props": {"a": [1]}}, "field_invalid", "field props is an object"),
        ({"props": {str(n): n for n in range(65)}}, "field_invalid", "field props"),
        ({"props": {"a": 2**63}}, "field_invalid", "field props"),
        ({"props": {"a" * 129: 1}}, "field_invalid", "field props"),
        ({"id": "a\ud800"}, "field_invalid", "field id holds a lone surrogate"),
        ({"customer_id": "a\ud800"}, "customer_id_invalid", "lone surrogate"),
        ({"reason": "a\ud800", "amount": 0}, "field_invalid", "field reason holds a lone surrogate"),
        ({"props": {"a\udfff": 1}, "amount": 0}, "field_invalid", "field props holds a lone surrogate"),
        ({"source": "s" * 129}, "field_invalid", "field source is text of 129 characters"),
        ({"customer_id": ""}, "customer_id_invalid", "0 bytes"),
        ({"customer_id": "c" * 129}, "customer_id_invalid", "129 bytes"),
        ({"customer_id": "王" * 43}, "customer_id_invalid", "129 bytes"),
        ({"customer_id": 42}, "customer_id_invalid", "a whole number"),
        ({"customer_id": None}, "field_missing", "customer_id"),
        ({"time": "yesterday"}, "field_invalid", "RFC 3339"),
        ({"time": "2023-11-14T22:13:20"}, "field_invalid", "RFC 3339 with a zone"),
        ({"time": 1.5}, "field_invalid", "a number"),
        ({"time": True}, "field_invalid", "a boolean"),
        ({"time": EARLIEST_MS - 1}, "time_out_of_range", "before 1990-01-01"),
        ({"time": NOW_MS // 1000}, "time_out_of_range", "looks like seconds"),
        ({"time": NOW_MS + MAX_AHEAD_MS + 1}, "time_out_of_range", "1 ms later than allowed"),
        ({"time": 10**400}, "time_out_of_range", "very much later"),
        ({"time": -(10**400)}, "time_out_of_range", "before 1990"),
        ({"time": "0001-01-01T00:00:00Z"}, "time_out_of_range", "before 1990"),
    ],
)
def test_an_order_with_one_wrong_field(changes: dict[str, Any], reason: str, detail: str) -> None:
    """A refusal names the field and the kind of value that is wrong, with a reason of the closed list."""
    error = refusal(Family.ORDER, order(**changes))
    assert (error.reason, detail in error.detail) == (reason, True), error.detail


@pytest.mark.parametrize(
    ("family", "changes", "reason", "detail"),
    [
        (Family.PROFILE, {"type": "consent.granted"}, "field_missing", "field purpose is missing"),
        (
            Family.PROFILE,
            {"type": "consent.withdrawn", "purpose": "spam"},
            "field_invalid",
            "one of marketing",
        ),
        (
            Family.PROFILE,
            {"type": "customer.signed_up", "time_zone": "Mars/Olympus"},
            "field_invalid",
            "IANA",
        ),
        (Family.PROFILE, {"type": "profile.updated", "traits": {"a": [1]}}, "field_invalid", "field traits"),
        (Family.ENGAGEMENT, {"type": "feedback.nps"}, "field_missing", "field score is missing"),
        (Family.ENGAGEMENT, {"type": "feedback.nps", "score": 10.5}, "field_invalid", "field score is 10.5"),
        (Family.ENGAGEMENT, {"type": "feedback.csat", "score": 0}, "field_invalid", "expected 1 to 5"),
        (Family.ENGAGEMENT, {"type": "feedback.csat", "score": 6}, "field_invalid", "expected 1 to 5"),
        (Family.SERVICE, {"type": "inquiry.opened"}, "field_missing", "field inquiry_id is missing"),
        (
            Family.SERVICE,
            {"type": "inquiry.opened", "inquiry_id": "i", "sentiment": -1.1},
            "field_invalid",
            "field sentiment is -1.1",
        ),
    ],
)
def test_what_a_type_asks_for(family: Family, changes: dict[str, Any], reason: str, detail: str) -> None:
    """Consent needs a known purpose, feedback a score in its range, a zone an IANA name."""
    error = refusal(family, {"id": "e", "customer_id": "c", "time": NOW_MS} | changes)
    assert (error.reason, detail in error.detail) == (reason, True), error.detail


def test_zero_counts_as_given() -> None:
    """A free order and an NPS answer of 0 are valid; only a missing value is refused."""
    assert read_fields(Family.ORDER, order(amount=0), LATEST_MS) == OrderEvent(**order(amount=0.0))
    answer = {"id": "e", "type": "feedback.nps", "customer_id": "c", "time": NOW_MS, "score": 0}
    assert read_fields(Family.ENGAGEMENT, answer, LATEST_MS).type == "feedback.nps"


def test_the_live_clock_bounds_the_future_and_the_replay_clock_only_what_can_be_stored() -> None:
    """An hour ahead is the last valid instant live; without a clock the end of unsigned 32-bit seconds is."""
    ahead = order(time=NOW_MS + MAX_AHEAD_MS)
    assert read_fields(Family.ORDER, ahead, latest_ms(NOW_MS)).time == NOW_MS + MAX_AHEAD_MS
    assert read_fields(Family.ORDER, order(time=LATEST_MS), latest_ms(None)).time == LATEST_MS
    with pytest.raises(InvalidEvent, match="time_out_of_range"):
        read_fields(Family.ORDER, order(time=LATEST_MS + 1), latest_ms(None))


@pytest.mark.parametrize(
    "text", ["2023-11-14T22:13:20Z", "2023-11-15T06:13:20.000999+08:00", "2023-11-14t22:13:20.0z"]
)
def test_time_may_be_rfc_3339_text(text: str) -> None:
    """Any zone gives the same instant; what is finer than a millisecond is cut off."""
    assert read_fields(Family.ORDER, order(time=text), latest_ms(NOW_MS)).time == NOW_MS


def test_null_means_not_given_except_in_traits() -> None:
    """A null field takes its default, a null prop is dropped, a null trait stays: it removes the trait."""
    event = read_fields(Family.ORDER, order(coupon=None, props={"a": None, "b": 1}), LATEST_MS)
    assert event == OrderEvent(**order(props={"b": 1}))
    fields = {"id": "e", "type": "profile.updated", "customer_id": "c", "time": NOW_MS, "traits": {"a": None}}
    profile = read_fields(Family.PROFILE, fields, LATEST_MS)
    assert isinstance(profile, ProfileEvent)
    assert profile.traits == {"a": None}


def test_details_hold_no_personal_data() -> None:
    """Whatever text a record holds, a refusal repeats none of it."""
    secret = "Zhang San +86 138 0013 8000"
    for name in ("id", "customer_id", "order_id", "type", "time", "amount", "items", "source", "props"):
        for value in (secret * 10, [secret], {secret: [secret]}):
            fields = order(**{name: value, "email": secret})
            error = refusal(Family.ORDER, fields)
            assert "Zhang" not in f"{error} {error.detail} {error.__cause__}"


def test_event_key_depends_on_source_and_id_only() -> None:
    """The key by which repeats are found separates sources and ignores all but source and id."""
    first = ClickEvent(id="1", type="page.viewed", customer_id="c", time=NOW_MS, source="a")
    assert event_key(first) == event_key(msgspec.structs.replace(first, time=NOW_MS + 1, url="/x"))
    assert event_key(first) != event_key(msgspec.structs.replace(first, source="b"))
    assert event_key(first) != event_key(msgspec.structs.replace(first, id="1a", source=""))
    assert 0 <= event_key(first) < 2**64


def test_validate_bounds_a_program_s_events_too() -> None:
    """An event made by a program is held to what a record is held to."""
    event = OrderEvent(id="e", type="order.placed", customer_id="c", time=NOW_MS, order_id="o", amount=-1.0)
    with pytest.raises(InvalidEvent, match=r"field amount is -1\.0"):
        validate(event)


def test_time_zones_are_the_pinned_ones() -> None:
    """Zones come from the tzdata package, so every machine knows the same."""
    assert {"UTC", "Asia/Shanghai", "Europe/Kyiv"} <= time_zones()
    assert "localtime" not in time_zones()
