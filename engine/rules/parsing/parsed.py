"""What a rule file says, before anything is checked against features and events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.rules.parsing.silence import Silence
from engine.rules.text.source import START, Place, Placed, SourceText
from engine.rules.text.yaml_nodes import Node, Scalar
from engine.rules.times.cron import Cron
from engine.rules.times.units import Cap, QuietHours
from engine.rules.times.until import Until
from engine.rules.times.windows import SendWindow


@dataclass(frozen=True, slots=True)
class Reentry:
    """When a customer may enter again: `never`, `always`, or `after` `after_ms` since the last entry."""

    rule: str
    after_ms: int = 0


NEVER_AGAIN = Reentry("never")


@dataclass(frozen=True, slots=True)
class ParsedEntry:
    """Who enters and when.

    Args:
        kind: a key of `parse_entry.ENTRY_KINDS`, or `event`.
        event: the event type waited for, counted or missed, the first of several; None for the other kinds.
        segment: the segment's name; None unless `kind` is about segments, or a schedule over one.
        for_ms: how long absent or unanswered, or within which time is counted; else 0.
        since: `last`, `first` or `signup`, for `absent`.
        where: CEL over the event, or None.
        when: CEL over the customer, or None.
        at_once_where: for `unanswered`: CEL over the inquiry; one it holds for does not wait.
        at_once_when: for `unanswered`: CEL over the customer; one it holds for does not wait.
        reentry: whether and when a customer may enter again.
        place: where the entry stands.
        at_least: for `count`: how many events.
        schedule: for `schedule`: when.
        zone: for `schedule`: the time zone whose clocks count, or empty for each customer's own.
        per: field of the event that tells runs side by side apart, or None.
        events: all event types waited for, when there are several.
        feature: for `rises` and `falls`: the feature, as `customer.NAME`.
        level: for `rises` and `falls`: the level it crosses.
        until: for `date`: the trait, and which instant of its day.
    """

    kind: str
    event: Placed[str] | None = None
    segment: Placed[str] | None = None
    for_ms: int = 0
    since: str = "last"
    where: Scalar | None = None
    when: Scalar | None = None
    at_once_where: Scalar | None = None
    at_once_when: Scalar | None = None
    reentry: Reentry = NEVER_AGAIN
    reentry_given: bool = False
    place: Place = START
    at_least: int = 0
    schedule: Cron | None = None
    zone: str = ""
    per: Placed[str] | None = None
    events: tuple[Placed[str], ...] = ()
    feature: Placed[str] | None = None
    level: float = 0.0
    until: Until | None = None


@dataclass(frozen=True, slots=True)
class ParsedGoal:
    """What a journey is to bring about.

    Args:
        event: the event type hoped for.
        where: CEL over the event, or None.
        within_ms: how long after the entry it counts.
        value: CEL over the event: what it is worth, or None.
    """

    event: Placed[str]
    where: Scalar | None
    within_ms: int
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class ParsedExit:
    """What takes the customer out at once: an event, or a change of segment.

    Args:
        event: the event type; for a segment the kind of change, `segment_entered` or `segment_exited`.
        where: CEL over the event, or None.
        segment: the segment, or None.
    """

    event: Placed[str]
    where: Scalar | None
    segment: Placed[str] | None = None


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
        lines: each guard there is to its line.
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
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One row of a table: what each column must be, and what it gives then."""

    cells: tuple[Scalar, ...]
    values: tuple[Scalar, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """A decision table; the first row whose cells all hold gives the values.

    Args:
        columns: the CEL expressions under `on`.
        give: names of the data values it gives.
        rows: from the top.
        whole: whether every row could be read.
        place: where the table stands.
    """

    columns: tuple[Scalar, ...]
    give: tuple[Placed[str], ...]
    rows: tuple[ParsedRow, ...]
    whole: bool
    place: Place


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
    table: ParsedTable | None = None
    template_place: Place = START


@dataclass(frozen=True, slots=True)
class ParsedWait:
    """A pause of `wait_ms`, or, when that is 0, until `until`."""

    path: str
    place: Place
    wait_ms: int
    until: Until | None = None


@dataclass(frozen=True, slots=True)
class ParsedAwaited:
    """One of the events a `wait_until` waits for."""

    event: Placed[str]
    where: Scalar | None


@dataclass(frozen=True, slots=True)
class ParsedWaitUntil:
    """Wait for an event: `then` when one of them comes in time, `otherwise` when none does.

    Args:
        path: the step's path.
        place: where it stands.
        awaited: the events, at least one.
        timeout_ms: how long; 0 when `until` says it.
        until: until when; None when `timeout_ms` says it.
        then: steps after an event.
        otherwise: steps after the time is over.
    """

    path: str
    place: Place
    awaited: tuple[ParsedAwaited, ...]
    timeout_ms: int
    until: Until | None
    then: tuple[ParsedStep, ...]
    otherwise: tuple[ParsedStep, ...]


@dataclass(frozen=True, slots=True)
class ParsedArm:
    """One way out of a `branch`: CEL over the customer (and `entry.event`), and the steps behind it."""

    path: str
    when: Scalar
    steps: tuple[ParsedStep, ...]


@dataclass(frozen=True, slots=True)
class ParsedBranch:
    """The first arm whose `when` holds, else `otherwise` (written `else`)."""

    path: str
    place: Place
    arms: tuple[ParsedArm, ...]
    otherwise: tuple[ParsedStep, ...]


@dataclass(frozen=True, slots=True)
class ParsedVariant:
    """One way out of a `split`; `share` in hundredths of a percent, 0-10,000."""

    path: str
    name: Placed[str]
    share: int
    steps: tuple[ParsedStep, ...]


@dataclass(frozen=True, slots=True)
class ParsedSplit:
    """Customers divided by weights; `name` is empty when the author gave none."""

    path: str
    place: Place
    name: str
    variants: tuple[ParsedVariant, ...]


@dataclass(frozen=True, slots=True)
class ParsedRun:
    """Run a sequence of the file."""

    path: str
    place: Place
    sequence: Placed[str]


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


ParsedStep = (
    ParsedSend
    | ParsedWait
    | ParsedWaitUntil
    | ParsedBranch
    | ParsedSplit
    | ParsedRun
    | ParsedSet
    | ParsedLeave
)


Nested = Callable[[Node | None, str], tuple[ParsedStep, ...]]  # reads a list of steps, given its path


@dataclass(frozen=True, slots=True)
class ParsedSequence:
    """Steps under a name, to be run from others; their paths begin with the name: `offer[0]`."""

    name: Placed[str]
    steps: tuple[ParsedStep, ...]


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
    sequences: tuple[ParsedSequence, ...] = ()
    goal: ParsedGoal | None = None


def children_of(step: ParsedStep) -> tuple[tuple[ParsedStep, ...], ...]:
    """Return the lists of steps inside a step, in file order; not those of a sequence it runs."""
    match step:
        case ParsedWaitUntil():
            return (step.then, step.otherwise)
        case ParsedBranch():
            return (*(arm.steps for arm in step.arms), step.otherwise)
        case ParsedSplit():
            return tuple(variant.steps for variant in step.variants)
        case _:
            return ()


def part_lines(journey: ParsedJourney) -> dict[str, int]:
    """Return where things stand: `entry`, `guards.NAME`, `exit[0]` and each step's path to its line."""
    sequences = {each.name.value: each.steps for each in journey.sequences}
    return {
        "entry": journey.entry.place.line,
        **{f"guards.{name}": line for name, line in journey.guards.lines.items()},
        **{f"exit[{number}]": each.event.place.line for number, each in enumerate(journey.exits)},
        **({"goal": journey.goal.event.place.line} if journey.goal is not None else {}),
        **{path: place.line for path, place in step_places(journey.steps, sequences)},
    }


def step_places(
    steps: Iterable[ParsedStep], sequences: Mapping[str, tuple[ParsedStep, ...]], prefix: str = ""
) -> Iterator[tuple[str, Place]]:
    """Yield the path and place of every step, arm and variant; of sequences for each place they are run.

    Args:
        steps: the steps to begin with.
        sequences: the journey's sequences by name; none may run itself.
        prefix: what goes before the paths.
    """
    for step in steps:
        yield prefix + step.path, step.place
        match step:
            case ParsedSend(table=ParsedTable(rows=rows)):
                yield from (
                    (f"{prefix}{step.path}.table[{number}]", row.place) for number, row in enumerate(rows)
                )
            case ParsedBranch(arms=arms):
                yield from ((prefix + arm.path, arm.when.place) for arm in arms)
            case ParsedSplit(variants=variants):
                yield from ((prefix + each.path, each.name.place) for each in variants)
            case ParsedRun(sequence=sequence):
                inlined = f"{prefix}{step.path}.run."
                yield from step_places(sequences[sequence.value], sequences, inlined)
        for inner in children_of(step):
            yield from step_places(inner, sequences, prefix)
