"""What the journey machine is given for one row, and where it puts what it decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.actions import Action, Decision
from engine.events import Event
from engine.features.profile import Inquiry, Profile
from engine.features.state import CustomerState
from engine.rules.ledger import Ledger
from engine.rules.times.units import Cap

TEXT_FEATURES = ("last_channel", "locale", "time_zone")  # read from the profile, not from the matrix


class RowContext(msgspec.Struct, frozen=True, gc=False):
    """One row that may matter to journeys.

    Args:
        state: the customer, the row's own event applied.
        event: the event, or None for a timer.
        code: its type's code.
        now_ms: the row's instant.
        reached_ms: what came up to here is known, so the deadlines of journeys are judged up to here.
        values: the customer's feature values by name, as of this row.
        segment_before: name of the segment before this row, or empty.
        segment_after: name of the segment now, or empty.
        absences: (journey index, deadline ms) of the absences that fired at this row.
        schedules: (journey index, instant ms) of the schedules and dates that came at this row.
        crossed: indices of the journeys whose level was crossed at this row.
        candidates: indices of the journeys whose entry columns held, or whose count was reached.
        event_key: hash of the event's id; decides whether the event is sampled.
        ledger: the partition's part in limits over all customers; None only where there are none.
        let_go: the inquiry that is not kept any more since this row opened one more, with its id.
    """

    state: CustomerState
    event: Event | None
    code: int
    now_ms: int
    reached_ms: int
    values: Mapping[str, Any]
    segment_before: str = ""
    segment_after: str = ""
    absences: Sequence[tuple[int, int]] = ()
    schedules: Sequence[tuple[int, int]] = ()
    crossed: Sequence[int] = ()
    candidates: Sequence[int] = ()
    event_key: int = 0
    ledger: Ledger | None = None
    let_go: tuple[str, Inquiry] | None = None

    @property
    def event_id(self) -> str:
        """The event's id, or the timer's."""
        return self.event.id if self.event is not None else f"timer:{self.now_ms}"

    @property
    def event_type(self) -> str:
        """The event's type, or `timer`."""
        return self.event.type if self.event is not None else "timer"


# (journey, version, from, to): a run went from one instruction of its program to another; from -1 = it began,
# to EXITED - n = the journey's n-th exit ended it
Move = tuple[str, int, int, int]
EXITED = -2
# (journey, version, step's path, row): a row of a sending step's table was chosen
Chosen = tuple[str, int, str, int]


@dataclass(slots=True)
class Outbox:
    """What the machine decided, in order.

    Args:
        actions: to send.
        decisions: to log.
        escalations_late_ms: for each inquiry whose answer was found overdue, how long that had been so.
        moves: takes every step of every run, for coverage; None = nobody asks.
        chosen: takes the rows of tables that were chosen, if `moves` is asked for.
    """

    actions: list[Action] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    escalations_late_ms: list[int] = field(default_factory=list)
    moves: list[Move] | None = None
    chosen: list[Chosen] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Deployment-wide settings of the machine.

    Args:
        default_time_zone: IANA zone of customers whose zone is unknown.
        global_caps: contacts per customer over all journeys.
        not_matched_sample: share of events whose non-matches are reported, 0-1.
        control_group: share of all customers who get nothing but transactional messages, 0-1.
        rate_limits: channel to the messages over all customers.
    """

    default_time_zone: str = "UTC"
    global_caps: tuple[Cap, ...] = ()
    not_matched_sample: float = 0.001
    control_group: float = 0.0
    rate_limits: Mapping[str, Cap] = field(default_factory=dict)


class CustomerValues(Mapping[str, Any]):
    """Every `customer.NAME` of one row: columns from the matrix, texts from the profile."""

    __slots__ = ("_columns", "_profile")

    def __init__(self, columns: Mapping[str, Any], profile: Profile) -> None:
        self._columns = columns
        self._profile = profile

    def __getitem__(self, name: str) -> Any:
        if name in TEXT_FEATURES:
            return getattr(self._profile, name)
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._columns
        yield from TEXT_FEATURES

    def __len__(self) -> int:
        return len(self._columns) + len(TEXT_FEATURES)
