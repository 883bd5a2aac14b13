"""What a rule file says, before anything is checked against features and events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

from engine.rules.silence import Silence
from engine.rules.source import Place, Placed, SourceText
from engine.rules.units import Cap, QuietHours
from engine.rules.windows import SendWindow
from engine.rules.yaml_nodes import Scalar


@dataclass(frozen=True, slots=True)
class Reentry:
    """When a customer may enter again: `never`, `always`, or `after` `after_ms` since the last entry."""

    rule: str
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class ParsedEntry:
    """Who enters and when.

    Args:
        kind: `event`, `absent`, `unanswered`, `segment_entered` or `segment_exited`.
        event: the event type waited for or missed; None for segments.
        segment: the segment's name; None unless `kind` is about segments.
        for_ms: how long absent or unanswered; else 0.
        since: `last`, `first` or `signup`, for `absent`.
        where: CEL over the event, or None.
        when: CEL over the customer, or None.
        at_once_where: for `unanswered`: CEL over the inquiry; one it holds for does not wait.
        at_once_when: for `unanswered`: CEL over the customer; one it holds for does not wait.
        reentry: whether and when a customer may enter again.
        place: where the entry stands.
    """

    kind: str
    event: Placed[str] | None
    segment: Placed[str] | None
    for_ms: int
    since: str
    where: Scalar | None
    when: Scalar | None
    at_once_where: Scalar | None
    at_once_when: Scalar | None
    reentry: Reentry
    place: Place


@dataclass(frozen=True, slots=True)
class ParsedExit:
    """An event that takes the customer out at once."""

    event: Placed[str]
    where: Scalar | None


DEFAULT_CONTACT = "promotion"
DEFAULT_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class ParsedGuards:
    """What may hold a message or an entry back.

    Args:
        consent: the purpose asked for; None asks for none.
        contact: the kind of contact its messages are; None = `DEFAULT_CONTACT`.
        caps: contacts by this journey.
        quiet_hours: when no message goes out.
        send_windows: when messages go out; none = always.
        priority: 0-100; the higher one goes first.
        exclusion_group: of the journeys of a group a customer is in one at a time.
        entry_cap: entries over all customers.
        holdout: share of customers who enter but get nothing, 0-1.
    """

    consent: Placed[str] | None = None
    contact: Placed[str] | None = None
    caps: tuple[Cap, ...] = ()
    quiet_hours: QuietHours | None = None
    send_windows: tuple[SendWindow, ...] = ()
    priority: int = DEFAULT_PRIORITY
    exclusion_group: Placed[str] | None = None
    entry_cap: Cap | None = None
    holdout: float = 0.0


@dataclass(frozen=True, slots=True)
class ParsedSend:
    """A message or a task."""

    path: str
    place: Place
    channel: Placed[str]
    template: str
    data: tuple[tuple[str, Scalar], ...]
    priority: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class ParsedWait:
    """A pause of `wait_ms`."""

    path: str
    place: Place
    wait_ms: int


@dataclass(frozen=True, slots=True)
class ParsedWaitUntil:
    """Wait for an event: `then` when it comes in time, `otherwise` when it does not."""

    path: str
    place: Place
    event: Placed[str]
    where: Scalar | None
    timeout_ms: int
    then: tuple[ParsedStep, ...]
    otherwise: tuple[ParsedStep, ...]


@dataclass(frozen=True, slots=True)
class ParsedSet:
    """Write a trait."""

    path: str
    place: Place
    trait: str
    to: Scalar


@dataclass(frozen=True, slots=True)
class ParsedLeave:
    """The `exit` step."""

    path: str
    place: Place


ParsedStep = ParsedSend | ParsedWait | ParsedWaitUntil | ParsedSet | ParsedLeave


@dataclass(frozen=True, slots=True)
class ParsedJourney:
    """One journey file, its values read and placed, its names and expressions not yet judged."""

    source: SourceText
    name: Placed[str]
    description: str
    owner: str
    version: int
    enabled: bool
    transactional: bool
    entry: ParsedEntry
    exits: tuple[ParsedExit, ...]
    guards: ParsedGuards
    steps: tuple[ParsedStep, ...]
    silences: tuple[Silence, ...] = ()


def step_lines(steps: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Yield the path and line of every step, those inside of other steps included."""
    for step in steps:
        path, place = getattr(step, "path", None), getattr(step, "place", None)
        if isinstance(path, str) and isinstance(place, Place):
            yield path, place.line
        if is_dataclass(step):
            for part in fields(step):
                inner = getattr(step, part.name)
                if isinstance(inner, tuple):
                    yield from step_lines(inner)
