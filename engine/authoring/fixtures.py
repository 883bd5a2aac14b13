"""What a fixture file says: cases of customers, events and what must come of them.

The file is read by `fixtures_parse`, run by `simulation`, judged by `fixtures_compare`;
docs/testing-journeys.md is the author's view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from engine.events import Event, Scalar
from engine.features.profile import Contact
from engine.rules.source import Place

MAX_CASES: Final = 500  # of a file
MAX_CUSTOMERS: Final = 100  # of a case
MAX_EVENTS: Final = 1_000  # of a case, repetitions counted
MAX_EXPECTATIONS: Final = 500  # of a case
MAX_SPAN_MS: Final = 1_200 * 86_400_000  # from the first event of a case to its end
MAX_ROWS: Final = 5_000  # of a case: events and timers
ALWAYS_MS: Final = -(2**62)

# what an expectation may be about: things decided, and how the customer is at an instant
DECIDED: Final = (
    "send",
    "suppressed",
    "deferred",
    "held_out",
    "entered",
    "variant",
    "not_entered",
    "exited",
    "completed",
    "converted",
)
STANDING: Final = ("position", "set", "segment")


@dataclass(frozen=True, slots=True)
class Pin:
    """Feature values that hold from an instant on.

    Args:
        from_ms: since when; `ALWAYS_MS` = all along.
        values: feature to value; the segment by its name.
    """

    from_ms: int
    values: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class CaseCustomer:
    """A customer of a case, as they are when it begins.

    Args:
        label: what the case calls them.
        place: where they stand in the file.
        customer_id: as given, or empty: one that falls where the case wants it is found.
        zone: their time zone, or the deployment's.
        time_zone: as given, or empty.
        locale: as given, or empty.
        last_channel: as given, or empty.
        consents: purpose or `purpose/channel` to whether they agreed.
        traits: what the business says of them.
        suppressed: channel to the reason nothing may be sent there.
        signup_ms: when they signed up; 0 = unknown.
        contacts: messages sent before.
        entered: journey to the instant of an earlier entry, ms.
        pins: feature values, by time.
        arm: `treated`, `holdout` or `control`, or empty: wherever the id falls.
        split: split's name (or step path) to the variant.
    """

    label: str
    place: Place
    zone: tzinfo
    customer_id: str = ""
    time_zone: str = ""
    locale: str = ""
    last_channel: str = ""
    consents: Mapping[str, bool] = field(default_factory=dict)
    traits: Mapping[str, Scalar] = field(default_factory=dict)
    suppressed: Mapping[str, str] = field(default_factory=dict)
    signup_ms: int = 0
    contacts: tuple[Contact, ...] = ()
    entered: Mapping[str, int] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    arm: str = ""
    split: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether anything is known of them before the case begins."""
        return bool(
            self.time_zone
            or self.locale
            or self.last_channel
            or self.consents
            or self.traits
            or self.suppressed
            or self.signup_ms
            or self.contacts
            or self.entered
        )


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """An event of a case; its `customer_id` is the customer's label until the case is run.

    Args:
        at_ms: when it reaches the engine; before the start it only fills the past.
        event: the event.
        said: how the timeline shows it.
    """

    at_ms: int
    event: Event
    said: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come of it.

    Args:
        kind: of `DECIDED` or `STANDING`.
        value: the channel, guard, event, journey, step path, segment or trait; empty = any.
        label: whose.
        place: where it stands in the file.
        at_ms: when; None = whenever.
        within_ms: how much later it may be.
        template: of a send, or empty = any.
        step: the step's path, or empty = any.
        journey: the journey, or empty = any of those under test.
        data: values a message must carry, or a conversion must have; others may be there.
        until_ms: of a deferral, until when; 0 = any.
        to: of a trait, its value; None = the trait must not be there.
        said: as the timeline shows it.
    """

    kind: str
    value: str
    label: str
    place: Place
    at_ms: int | None
    said: str
    within_ms: int = 0
    template: str = ""
    step: str = ""
    journey: str = ""
    data: Mapping[str, Scalar] = field(default_factory=dict)
    until_ms: int = 0
    to: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a journey.

    Args:
        name: what it shows.
        place: where it stands in the file.
        start_ms: when it begins: from here on the journeys run.
        until_ms: how far the clock runs.
        customers: at least one.
        events: in order of time.
        expect: in file order.
        others: further journeys that run beside the one under test.
        only: whether sends, suppressions and holdouts that are not expected fail the case.
    """

    name: str
    place: Place
    start_ms: int
    until_ms: int
    customers: tuple[CaseCustomer, ...]
    events: tuple[CaseEvent, ...]
    expect: tuple[Expectation, ...]
    others: tuple[str, ...]
    only: bool


@dataclass(frozen=True, slots=True)
class FixtureFile:
    """The cases of one file.

    Args:
        file: its path.
        journey: the journey under test.
        place: where its name stands.
        cases: in file order.
    """

    file: str
    journey: str
    place: Place
    cases: tuple[Case, ...]
