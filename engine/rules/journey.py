"""A compiled journey: a flat program and everything the machine needs to run it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.events import Scalar
from engine.rules.condition import Bound, Condition
from engine.rules.parsing.parsed import DEFAULT_CONTACT, DEFAULT_PRIORITY, Reentry
from engine.rules.times.units import Cap, QuietHours
from engine.rules.times.until import Until
from engine.rules.times.windows import SendWindow

DataValue = Scalar | Bound


class Send(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Fire an action unless a guard holds it back; then go on with the next instruction.

    Args:
        path: the step's path in the file, such as `steps[1].otherwise[0]`.
        channel: the channel, `agent` for a task for a person.
        template: the template.
        data: message values; constants or programs.
        priority: `normal` or `high`.
        expires_ms: how long after the decision the action may still be delivered.
        because: what led here after the entry, in words, or empty.
        row: gives the number of the row chosen of its table; None without a table.
    """

    path: str
    channel: str
    template: str
    data: tuple[tuple[str, DataValue], ...]
    priority: str
    expires_ms: int
    because: str
    row: Bound | None = None


class Wait(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Stay for `wait_ms`, or, when that is 0, until `until`."""

    path: str
    wait_ms: int
    until: Until | None = None


class Awaited(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event waited for."""

    code: int
    where: Condition | None


class WaitUntil(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Stay until one of the events comes (go on at `then_pc`) or the time is over (`otherwise_pc`).

    Args:
        path: the step's path.
        awaited: the events; one type may be among them with several conditions.
        timeout_ms: how long, or 0: until `until`.
        until: until when, or None.
        then_pc: where to go on when an event comes.
        otherwise_pc: where to go on when none has come.
    """

    path: str
    awaited: tuple[Awaited, ...]
    timeout_ms: int
    until: Until | None
    then_pc: int
    otherwise_pc: int


class Arm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One way out of a branch: go on at `pc` if `when` holds."""

    path: str
    when: Condition
    pc: int


class Branch(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Go on at the first arm that holds, else at `else_pc`; judged when the run comes here."""

    path: str
    arms: tuple[Arm, ...]
    else_pc: int


class Variant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One way out of a split: go on at `pc` for hashes below `below` that no variant before takes."""

    path: str
    name: str
    below: float
    pc: int


class Split(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Go on at the variant a hash of `key` and the customer's id falls into.

    Args:
        path: the step's path.
        name: the split's own name, or empty.
        key: what is hashed with the customer's id, in this order.
        variants: in file order; the last one's `below` is 1.
    """

    path: str
    name: str
    key: tuple[str, ...]
    variants: tuple[Variant, ...]


class SetTrait(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Write a trait."""

    path: str
    trait: str
    value: DataValue


class Jump(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Go on at `pc`."""

    pc: int


class Leave(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """End the run."""

    path: str


Instruction = Send | Wait | WaitUntil | Branch | Split | SetTrait | Jump | Leave
#: Steps a customer can stand at: those that wait, and sends, which a guard may put off.
STANDING = (Send, Wait, WaitUntil)


class Exit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What ends the run wherever it stands: an event, or a change of segment.

    Args:
        code: code of the event type, or -1.
        event_type: its name, or `segment_entered`, `segment_exited`.
        where: the condition on the event, or None.
        segment: the segment entered or left, or empty.
    """

    code: int
    event_type: str
    where: Condition | None
    segment: str = ""


class Goal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a journey is to bring about.

    Args:
        code: code of the event type hoped for.
        event_type: its name.
        where: the condition on the event, or None.
        within_ms: how long after the entry it counts.
        value: what it is worth: a number, a program, or None.
        correlation: fields of the entry event to keep with it.
    """

    code: int
    event_type: str
    where: Condition | None
    within_ms: int
    value: DataValue | None
    correlation: tuple[str, ...]


class Journey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of one journey.

    Args:
        name: the journey's name.
        version: its version.
        description: what it is for.
        owner: who answers for it.
        file: where it was written.
        enabled: whether customers may enter; those inside go on.
        transactional: passes caps and quiet hours, never suppression.
        kind: a key of `parse_entry.ENTRY_KINDS`, or `event`.
        code: code of the entry's (first) event type, or -1.
        segment: the segment of a segment entry or schedule, or empty.
        for_ms: how long absent or unanswered, or within which time is counted.
        since: `last`, `first` or `signup`.
        reentry: whether and when a customer may enter again.
        trigger: the entry in words.
        where: the entry's condition on the event.
        when: the entry's condition on the customer.
        at_once_where: for `unanswered`: an inquiry this holds for doesn't wait.
        at_once_when: for `unanswered`: a customer this holds for doesn't wait.
        consent: the purpose asked for, or empty.
        caps: frequency caps of this journey.
        quiet_hours: when no message goes out, or None.
        holdout: share of customers who enter but get nothing, 0-1.
        contact: the kind of contact its messages are, as the contact policy counts them.
        send_windows: when messages go out; none = always.
        priority: 0-100; at the same instant the higher one goes first.
        exclusion_group: of the journeys of a group a customer is in one at a time; empty = no group.
        entry_cap: entries over all customers, or None.
        exits: events that end a run.
        program: the steps, flat.
        correlation: fields of the entry event to keep with a position.
        lines: where things stand in the file: `entry` and each step's path to its line.
        at_least: for `count`: how many events.
        schedule: for `schedule`: when, as `Cron.plain`.
        zone: for `schedule`: whose clocks count, or empty for each customer's own.
        per: the event's field that tells runs apart, as `(name,)` or `("props", name)`; or empty.
        goal: what the journey is to bring about, or None.
        codes: codes of all event types of the entry.
        feature: for `rises` and `falls`: the feature.
        level: for `rises` and `falls`: the level it crosses.
        until: for `date`: the trait, and which instant of its day.
    """

    name: str
    version: int
    description: str
    owner: str
    file: str
    enabled: bool
    transactional: bool
    kind: str
    code: int
    segment: str
    for_ms: int
    since: str
    reentry: Reentry
    trigger: str
    where: Condition | None
    when: Condition | None
    at_once_where: Condition | None
    at_once_when: Condition | None
    consent: str
    caps: tuple[Cap, ...]
    quiet_hours: QuietHours | None
    holdout: float
    exits: tuple[Exit, ...]
    program: tuple[Instruction, ...]
    correlation: tuple[str, ...]
    lines: Mapping[str, int] = msgspec.field(default_factory=dict)
    contact: str = DEFAULT_CONTACT
    send_windows: tuple[SendWindow, ...] = ()
    priority: int = DEFAULT_PRIORITY
    exclusion_group: str = ""
    entry_cap: Cap | None = None
    at_least: int = 0
    schedule: str = ""
    zone: str = ""
    per: tuple[str, ...] = ()
    goal: Goal | None = None
    codes: tuple[int, ...] = ()
    feature: str = ""
    level: float = 0.0
    until: Until | None = None

    @property
    def waits(self) -> bool:
        """Whether a run can last, so that it needs a place among the customer's positions."""
        lasting = any(isinstance(step, Wait | WaitUntil) for step in self.program)
        return lasting or self.quiet_hours is not None or bool(self.send_windows)
