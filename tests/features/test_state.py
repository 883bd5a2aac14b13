"""Laws of the packed customer state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StateError
from engine.features.churn.purchases import RECORD_BYTES
from engine.features.profile import Contact, Inquiry, OpenGoal, Position, Profile
from engine.features.state import LAYOUT_VERSION, CustomerState, pack, unpack

START_MS = 1_690_000_000_000


def typical() -> CustomerState:
    """Return a customer with 24 entries: 20 marks, 4 orders; a zone, a consent, a churn record."""
    state = CustomerState("c-1")
    state.first_seen_ms = state.signup_ms = START_MS
    state.clock_ms = START_MS + 40 * 86_400_000
    state.due_ms = state.next_score_ms = START_MS + 47 * 86_400_000
    for number in range(20):
        state.record(number % 6, START_MS // 1000 + number * 150_000)
    for number in range(4):
        state.record(8, START_MS // 1000 + number * 800_000, 99.95 + number)
    state.purchases = bytes(RECORD_BYTES)
    profile = state.mutate()
    profile.time_zone = "Asia/Shanghai"
    profile.consents["marketing"] = START_MS // 1000
    return state


names = st.text(min_size=1, max_size=12)
instants = st.integers(0, (1 << 48) - 1)
seconds = st.integers(0, (1 << 32) - 1)
scalars = st.text(max_size=20) | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.booleans()
profiles = st.builds(
    Profile,
    time_zone=names.filter(lambda name: len(name) > 1)
    | st.sampled_from(["", "UTC", "Asia/Shanghai", "Pacific/Apia"]),
    locale=st.text(max_size=5),
    last_channel=st.text(max_size=5),
    consents=st.dictionaries(
        st.sampled_from(["marketing", "marketing/email", "analytics", "third_party", "own"]),
        st.integers(-9, 9),
    ),
    entered=st.dictionaries(names, instants, max_size=3),
    contacts=st.lists(st.builds(Contact, seconds, names, names), max_size=3),
    positions=st.lists(
        st.builds(
            Position,
            journey=names,
            version=st.integers(1, 9),
            instance=st.text(max_size=5),
            pc=st.integers(0, 99),
            entered_ms=instants,
            due_ms=instants,
            event_id=names,
            event=st.dictionaries(names, scalars | st.dictionaries(names, scalars, max_size=2), max_size=3),
            deferred=st.booleans(),
        ),
        max_size=2,
    ),
    traits=st.dictionaries(names, scalars, max_size=4),
    inquiries=st.dictionaries(
        names, st.builds(Inquiry, instants, names, st.floats(-1, 1), st.booleans()), max_size=2
    ),
    suppressed=st.dictionaries(names, names, max_size=2),
    counts=st.dictionaries(names, st.lists(instants, min_size=1, max_size=3), max_size=2),
    goals=st.lists(
        st.builds(
            OpenGoal,
            journey=names,
            version=st.integers(1, 9),
            instance=st.text(max_size=5),
            entered_ms=instants,
            until_ms=instants,
            event_id=names,
            event=st.dictionaries(names, scalars, max_size=2),
            held_out=st.booleans(),
        ),
        max_size=2,
    ),
)


@given(
    profile=st.just(Profile()) | profiles,
    numbers=st.tuples(instants, instants, instants, instants, instants, st.integers(0, 255)),
    marks=st.lists(st.tuples(st.integers(0, 199), seconds), max_size=8),
    values=st.lists(st.tuples(st.integers(0, 199), seconds, st.floats(allow_nan=False)), max_size=8),
    equal=st.booleans(),
)
def test_unpack_reverses_pack(
    profile: Profile,
    numbers: tuple[int, int, int, int, int, int],
    marks: list[tuple[int, int]],
    values: list[tuple[int, int, float]],
    equal: bool,
) -> None:
    """Whatever the state, reading its packed form gives it back, profile included."""
    state = CustomerState("客户-7")
    state.clock_ms, state.first_seen_ms, state.signup_ms, state.due_ms, state.next_score_ms, state.segment = (
        numbers
    )
    if equal:
        state.signup_ms, state.next_score_ms = state.first_seen_ms, state.due_ms
    for kind, time_s in marks:
        state.record(kind, time_s)
    for kind, time_s, value in values:
        state.record(kind, time_s, value)
    state.purchases = b"p" * len(marks)
    for field in profile.__struct_fields__:
        setattr(state.mutate(), field, getattr(profile, field))
    again = unpack("客户-7", pack(state))
    for field in CustomerState.__slots__:
        if not field.startswith("_"):
            assert getattr(again, field) == getattr(state, field)
    assert (again.first_seen_ms, again.signup_ms, again.segment) == (
        state.first_seen_ms,
        state.signup_ms,
        state.segment,
    )
    assert again.profile == profile
    assert again.head == state.head
    assert pack(again) == pack(state)


def test_a_typical_customer_is_small() -> None:
    """A customer of 24 entries packs into at most 250 bytes, so that key and value are 320 bytes in Redis."""
    assert len(pack(typical())) <= 250


def test_a_position_and_a_contact_stay_affordable() -> None:
    """One journey in progress and one message sent add at most 80 bytes."""
    state = typical()
    before = len(pack(state))
    profile = state.mutate()
    profile.positions.append(Position("win-back", 1, "", 3, START_MS, START_MS, "8f14e45f"))
    profile.contacts.append(Contact(START_MS // 1000, "win-back", "email"))
    assert len(pack(state)) - before <= 80


def test_a_newer_layout_is_refused() -> None:
    """A value a newer engine wrote is never guessed at."""
    data = bytes([9]) + pack(typical())[1:]
    with pytest.raises(
        StateError, match=rf"state layout 9 is newer than this engine reads \({LAYOUT_VERSION}\)"
    ):
        unpack("c-1", data)


@given(st.integers(0, 240))
def test_a_value_cut_off_is_refused(length: int) -> None:
    """A value that lost its end raises StateError by the time its profile is read."""
    data = pack(typical())
    with pytest.raises(StateError):
        _ = unpack("c-1", data[: min(length, len(data) - 1)]).profile


def test_head_follows_the_profile() -> None:
    """A change through mutate shows in the head, and heads taken before keep what they showed."""
    state = typical()
    before = state.head
    state.mutate().consents["analytics"] = 5
    assert state.head != before
    state.mutate().consents["analytics"] = -5
    assert state.head == before
