"""A customer's whole state and its packed form: one value in Redis.

The hot parts are bytes that are only ever appended to or replaced, never changed in place: a batch takes them
as they were at each of its rows, joins them and looks at the result with numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from engine.errors import StateError
from engine.events import PURPOSES
from engine.features.profile import Profile, decode_profile, encode_profile
from engine.features.tiles import MARK_BYTES, MAX_MARKS, MAX_VALUES, TILE_BYTES, VALUE_BYTES, Folded, fold
from engine.features.zones import zone_index

LAYOUT_VERSION = 1

# What the profile says in numbers, all of them int64, so that the heads of a batch are one array.
HEAD_COLUMNS = (
    "first_seen_s",  # 0 = unknown
    "signup_s",  # 0 = unknown
    "inquiry_ms",  # when the oldest open inquiry without an answer was opened; 0 = none
    "zone",  # index of this process (`zones.zone_index`), so a head is never stored
    "consents",  # bit i: consents to PURPOSES[i]
    "inquiries",  # open ones
)

_HEAD = struct.Struct(f"={len(HEAD_COLUMNS)}q")
_CONSENT_BITS = {purpose: 1 << bit for bit, purpose in enumerate(PURPOSES)}
_MARK = struct.Struct("<IB").pack
_VALUE = struct.Struct("<IBd").pack
_MARKS_FULL = MAX_MARKS * MARK_BYTES
_VALUES_FULL = MAX_VALUES * VALUE_BYTES


# Layout 1: version u8, flags u8, then u64 words whose low 48 bits are an instant in ms and whose high 16 bits
# a number of entries: clock | marks, first_seen | values, due | tiles, [signup,] [next_score,]; then segment
# u8, bytes of purchases u8; then marks, values, tiles, purchases, [profile]. What is in brackets is there by
# its flag.
_OWN_SIGNUP, _OWN_SCORE, _SIGNUP_IS_FIRST, _SCORE_IS_DUE, _PROFILE = 1, 2, 4, 8, 16
_WORDS = (
    struct.Struct("<BBQQQBB"),
    struct.Struct("<BBQQQQBB"),
    struct.Struct("<BBQQQQBB"),
    struct.Struct("<BBQQQQQBB"),
)
_INSTANT = (1 << 48) - 1


class CustomerState:
    """Everything the engine keeps of one customer.

    Args:
        customer_id: whose state it is.
        clock_ms: up to here deadlines have been judged for this customer; 0 = nothing has been known of them.
        due_ms: the timer stored for this customer; 0 = none.
        journey_due_ms: what of it comes from journeys; 0 = nothing, -1 = to be found out. Not stored.
        next_score_ms: next weekly risk score; 0 = none.
        marks: entries without a value (`tiles.MARK_DTYPE`).
        values: entries with a value (`tiles.VALUE_DTYPE`).
        tiles: folded entries (`tiles.TILE_DTYPE`).
        purchases: the churn model's record, empty before the first order.
        segment: code of the segment last announced; 0 = none yet.
        profile_data: the profile's stored form (constructor only); decoded when first asked for.
    """

    __slots__ = (
        "_first_seen_ms",
        "_head",
        "_profile",
        "_profile_data",
        "_signup_ms",
        "clock_ms",
        "customer_id",
        "due_ms",
        "journey_due_ms",
        "marks",
        "next_score_ms",
        "purchases",
        "segment",
        "tiles",
        "values",
    )

    def __init__(self, customer_id: str, profile_data: bytes = b"") -> None:
        self.customer_id = customer_id
        self._clear(profile_data)

    def _clear(self, profile_data: bytes) -> None:
        self.clock_ms = 0
        self.due_ms = 0
        self.journey_due_ms = -1
        self.next_score_ms = 0
        self.marks = b""
        self.values = b""
        self.tiles = b""
        self.purchases = b""
        self._first_seen_ms = 0
        self._signup_ms = 0
        self.segment = 0
        self._profile: Profile | None = None
        self._profile_data: bytes | None = profile_data
        self._head: bytes | None = None

    def forget(self) -> None:
        """Erase everything but the id, as if the customer had never been seen."""
        self.__init__(self.customer_id)  # type: ignore[misc]

    def shadow(self) -> CustomerState:
        """Return a copy of what `head` is made of, to look ahead on: entries stay behind."""
        copy = CustomerState(self.customer_id, self.profile_data())
        copy._first_seen_ms = self._first_seen_ms
        copy._signup_ms = self._signup_ms
        return copy

    @property
    def first_seen_ms(self) -> int:
        """The earliest instant anything is known of; 0 = unknown."""
        return self._first_seen_ms

    @first_seen_ms.setter
    def first_seen_ms(self, instant_ms: int) -> None:
        self._first_seen_ms = instant_ms
        self._head = None

    @property
    def signup_ms(self) -> int:
        """When the customer signed up; 0 = unknown."""
        return self._signup_ms

    @signup_ms.setter
    def signup_ms(self, instant_ms: int) -> None:
        self._signup_ms = instant_ms
        self._head = None

    @property
    def profile(self) -> Profile:
        """The profile, for reading; whoever changes it takes it from `mutate`."""
        profile = self._profile
        if profile is None:
            assert self._profile_data is not None
            profile = self._profile = decode_profile(self._profile_data)
        return profile

    def mutate(self) -> Profile:
        """Return the profile for changing; call it anew before each change."""
        self._head = None
        return self.note()

    def note(self) -> Profile:
        """Return the profile for changing what shows in no column of `head`: positions, contacts, texts."""
        profile = self.profile
        self._profile_data = None
        return profile

    @property
    def head(self) -> bytes:
        """The numeric columns that come from the profile, as one row of `HEAD_COLUMNS`."""
        head = self._head
        if head is None:
            head = self._head = self._build_head()
        return head

    def _build_head(self) -> bytes:
        profile = self.profile
        consents = waiting_since_ms = 0
        for purpose, time_s in profile.consents.items():
            if time_s > 0:
                consents |= _CONSENT_BITS.get(purpose, 0)
        if profile.inquiries:
            unanswered = [inquiry.opened_ms for inquiry in profile.inquiries.values() if not inquiry.replied]
            waiting_since_ms = min(unanswered, default=0)
        return _HEAD.pack(
            self._first_seen_ms // 1000,
            self._signup_ms // 1000,
            waiting_since_ms,
            zone_index(profile.time_zone),
            consents,
            len(profile.inquiries),
        )

    def record(self, kind: int, time_s: int, value: float | None = None) -> bool:
        """Append an entry.

        Args:
            kind: code of the event type or declared series, 0-199.
            time_s: when it happened, seconds; late ones are welcome.
            value: amount or score, or None for a kind without one.

        Returns:
            Whether the entries are over their bound now, so that `fold` is due.
        """
        if value is None:
            self.marks = marks = self.marks + _MARK(time_s, kind)
            return len(marks) > _MARKS_FULL
        self.values = values = self.values + _VALUE(time_s, kind, value)
        return len(values) > _VALUES_FULL

    def fold(self, now_ms: int, time_zone: str | None = None) -> None:
        """Fold the oldest entries into tiles if their number is over the bound; else do nothing.

        Args:
            now_ms: the row's instant; ages are counted from it.
            time_zone: the customer's zone as of the row; the profile's own when None.
        """
        if len(self.marks) <= _MARKS_FULL and len(self.values) <= _VALUES_FULL:
            return
        zone = zone_index(self.profile.time_zone if time_zone is None else time_zone)
        folded: Folded = fold(self.marks, self.values, self.tiles, now_ms // 1000, zone)
        self.marks, self.values, self.tiles = folded.marks, folded.values, folded.tiles

    def profile_data(self) -> bytes:
        """Return the profile's stored form."""
        data = self._profile_data
        if data is None:
            assert self._profile is not None
            data = self._profile_data = encode_profile(self._profile)
        return data

    def pack(self) -> bytes:
        """Return the state as one value of layout `LAYOUT_VERSION`."""
        marks, values, tiles, purchases = self.marks, self.values, self.tiles, self.purchases
        first_seen_ms, due_ms = self._first_seen_ms, self.due_ms
        signup_ms, score_ms = self._signup_ms, self.next_score_ms
        flags = 0
        more: tuple[int, ...] = ()
        if signup_ms:
            if signup_ms == first_seen_ms:
                flags = _SIGNUP_IS_FIRST
            else:
                flags, more = _OWN_SIGNUP, (signup_ms,)
        if score_ms:
            if score_ms == due_ms:
                flags |= _SCORE_IS_DUE
            else:
                flags |= _OWN_SCORE
                more = (*more, score_ms)
        profile = self._profile_data
        if profile is None:
            profile = self.profile_data()
        if profile:
            flags |= _PROFILE
        header = _WORDS[flags & 3].pack(
            LAYOUT_VERSION,
            flags,
            self.clock_ms | len(marks) // MARK_BYTES << 48,
            first_seen_ms | len(values) // VALUE_BYTES << 48,
            due_ms | len(tiles) // TILE_BYTES << 48,
            *more,
            self.segment,
            len(purchases),
        )
        return b"".join((header, marks, values, tiles, purchases, profile))


pack = CustomerState.pack


def unpack(customer_id: str, data: bytes) -> CustomerState:
    """Read a packed state of this or an older layout.

    Args:
        customer_id: whose state it is; the value does not repeat it.
        data: what `pack` returned, now or in an earlier release.

    Raises:
        StateError: the layout is newer than this engine reads, or the value is cut off.
    """
    if not data:
        raise StateError("stored state is empty")
    reader = _READERS.get(data[0])
    if reader is None:
        if data[0] > LAYOUT_VERSION:
            raise StateError(
                f"state layout {data[0]} is newer than this engine reads ({LAYOUT_VERSION}): "
                "upgrade this worker, or restore the state the older engine wrote"
            )
        raise StateError(f"state layout {data[0]} is unknown")
    try:
        return reader(customer_id, data)
    except (struct.error, IndexError) as error:
        raise StateError(f"stored state of {len(data)} bytes is cut off") from error


def _read_layout_1(customer_id: str, data: bytes) -> CustomerState:
    flags = data[1]
    header = _WORDS[flags & 3]
    _, _, clock, first_seen, due, *more, segment, purchases = header.unpack_from(data)
    values_at = header.size + (clock >> 48) * MARK_BYTES
    tiles_at = values_at + (first_seen >> 48) * VALUE_BYTES
    purchases_at = tiles_at + (due >> 48) * TILE_BYTES
    profile_at = purchases_at + purchases
    if profile_at + bool(flags & _PROFILE) > len(data):
        raise IndexError(profile_at)
    state = CustomerState(customer_id, data[profile_at:])
    state.clock_ms = clock & _INSTANT
    state.first_seen_ms = first_seen & _INSTANT
    state.due_ms = due & _INSTANT
    state.segment = segment
    if flags & _OWN_SIGNUP:
        state.signup_ms = more[0]
    elif flags & _SIGNUP_IS_FIRST:
        state.signup_ms = state.first_seen_ms
    if flags & _OWN_SCORE:
        state.next_score_ms = more[-1]
    elif flags & _SCORE_IS_DUE:
        state.next_score_ms = state.due_ms
    state.marks = data[header.size : values_at]
    state.values = data[values_at:tiles_at]
    state.tiles = data[tiles_at:purchases_at]
    state.purchases = data[purchases_at:profile_at]
    return state


# One reader per layout ever released: a new layout adds its own and keeps the old ones.
_READERS: dict[int, Callable[[str, bytes], CustomerState]] = {1: _read_layout_1}
