"""Journeys in plain English."""

from __future__ import annotations

from collections.abc import Sequence

from engine.authoring.show.words import Words, code
from engine.events import EVENT_TYPES, say_type
from engine.rules.limits import DEFAULT_EXPIRES_MS
from engine.rules.parsing.parsed import (
    DEFAULT_PRIORITY,
    ParsedEntry,
    ParsedExit,
    ParsedGoal,
    ParsedGuards,
    ParsedLeave,
    ParsedRun,
    ParsedSend,
    ParsedSet,
    ParsedSplit,
    ParsedTable,
    ParsedWait,
    ParsedWaitUntil,
)
from engine.rules.sentences import say_name
from engine.rules.text.yaml_nodes import Scalar
from engine.rules.times.cron import say_cron
from engine.rules.times.units import Cap, say_duration, write_time
from engine.rules.times.until import Until
from engine.rules.times.windows import SendWindow

_HEADINGS = {
    "enters": "who enters",
    "leaves": "who leaves early",
    "goal": "goal",
    "guards": "what may hold back",
    "steps": "what happens",
    "owner": "owner",
    "off": "switched off: nobody enters",
    "end": "the end",
    "start": "enters",
    "sequence": "sequence",
}
_COMPARED = {
    "<": "is under",
    "<=": "is at most",
    ">": "is over",
    ">=": "is at least",
    "==": "is",
    "!=": "is not",
}
_TESTED = {
    "contains": "contains",
    "startsWith": "begins with",
    "endsWith": "ends with",
    "matches": "matches",
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TEENS = range(11, 14)


class English(Words):
    """See `Words`."""

    def heading(self, name: str) -> str:
        """See `Words`."""
        return _HEADINGS[name]

    def event(self, name: str) -> str:
        """See `Words`."""
        return say_type(name)

    def name(self, path: Sequence[str]) -> str:
        """See `Words`."""
        said = say_name(path)
        return f"the entry's {said}" if path[0] == "entry" else said

    def compare(self, subject: str, operator: str, constant: str) -> str:
        """See `Words`."""
        return f"{subject} {_COMPARED[operator]} {constant}"

    def flag(self, subject: str, *, wanted: bool) -> str:
        """See `Words`."""
        return f"{subject} is {'true' if wanted else 'false'}"

    def known(self, subject: str, *, wanted: bool) -> str:
        """See `Words`."""
        return f"{subject} is {'known' if wanted else 'not known'}"

    def text_test(self, subject: str, function: str, text: str) -> str:
        """See `Words`."""
        return f'{subject} {_TESTED.get(function, function)} "{text}"'

    def one_of(self, subject: str, values: Sequence[str]) -> str:
        """See `Words`."""
        return f"{subject} is {self.any_of(values)}"

    def all_of(self, parts: Sequence[str]) -> str:
        """See `Words`."""
        return " and ".join(parts)

    def any_of(self, parts: Sequence[str]) -> str:
        """See `Words`."""
        return " or ".join(parts)

    def bracket(self, said: str) -> str:
        """See `Words`."""
        return f"({said})"

    def none_of(self, said: str) -> str:
        """See `Words`."""
        return f"not ({said})"

    def with_condition(self, event: str, where: Scalar) -> str:
        """See `Words`."""
        return f"{event} where {self.condition(where)}"

    def entry(self, entry: ParsedEntry) -> list[str]:
        """See `Words`."""
        said = [f"a customer enters {self._enters(entry)}"]
        if entry.where is not None and entry.kind != "count":
            said.append(f"only where {self.condition(entry.where)}")
        if entry.when is not None:
            said.append(f"only if {self.condition(entry.when)}")
        at_once = [self.condition(each) for each in (entry.at_once_where, entry.at_once_when) if each]
        if at_once:
            said.append(f"at once if {self.any_of(at_once)}")
        if entry.per is not None:
            said.append(f"one run for each {self.name(entry.per.value.split('.'))}, side by side")
        said.append(self._again(entry))
        return said

    def _enters(self, entry: ParsedEntry) -> str:
        event = self._events(entry)
        thing = _thing(entry)
        length = say_duration(entry.for_ms) if entry.for_ms else ""
        segment = entry.segment.value if entry.segment else ""
        match entry.kind:
            case "absent":
                return {
                    "last": f"when {length} have gone by without another {thing}",
                    "first": f"when no second {thing} came within {length} of the first",
                    "signup": f"when no {thing} came within {length} of signing up",
                }[entry.since]
            case "unanswered":
                return f"when an inquiry stays unanswered for {length}"
            case "segment_entered" | "segment_exited":
                becomes = f"becomes {segment}" if entry.kind == "segment_entered" else f"is {segment} no more"
                return f"when the segment {becomes}"
            case "count":
                where = f" where {self.condition(entry.where)}" if entry.where is not None else ""
                return f"at the {_ordinal(entry.at_least)} {event}{where} within {length}"
            case "schedule" | "date" | "rises" | "falls":
                return self._of_itself(entry, segment)
            case _:
                return f"at each {event}"

    def _events(self, entry: ParsedEntry) -> str:
        events = entry.events or ((entry.event,) if entry.event else ())
        return self.any_of([self.event(each.value) for each in events])

    def _of_itself(self, entry: ParsedEntry, segment: str) -> str:
        """Say an entry that no event makes: a level crossed, a date, a schedule."""
        if entry.feature is not None:
            moves = "rises above" if entry.kind == "rises" else "falls below"
            return f"when {self.name(entry.feature.value.split('.'))} {moves} {entry.level:g}"
        if entry.until is not None:
            return f"at {_until(entry.until)}"
        assert entry.schedule is not None
        whose = f"in {entry.zone}" if entry.zone else "by the customer's own clock"
        inside = f", if in segment {segment}" if segment else ""
        return f"{say_cron(entry.schedule.text)}, {whose}{inside}"

    def _again(self, entry: ParsedEntry) -> str:
        runs = " for the same one" if entry.per is not None or entry.kind == "unanswered" else ""
        match entry.reentry.rule:
            case "always":
                return "again each time"
            case "after":
                return f"again{runs} after {say_duration(entry.reentry.after_ms)} at the earliest"
            case _:
                return f"once only{runs}" if not runs else f"never again{runs}"

    def leaves(self, leave: ParsedExit) -> str:
        """See `Words`."""
        if leave.segment is not None:
            name = leave.segment.value
            becomes = f"becomes {name}" if leave.event.value == "segment_entered" else f"is {name} no more"
            return f"at once when the segment {becomes}"
        return f"at once at {self.awaited(leave)}"

    def goal(self, goal: ParsedGoal) -> str:
        """See `Words`."""
        event = self.event(goal.event.value)
        said = self.with_condition(event, goal.where) if goal.where is not None else event
        worth = f", worth {self.value(goal.value)}" if goal.value is not None else ""
        return f"{said} within {say_duration(goal.within_ms)} of entering{worth}"

    def guards(self, guards: ParsedGuards, *, transactional: bool) -> list[str]:
        """See `Words`."""
        said = self._held_messages(guards)
        if transactional:
            said.insert(0, "transactional: passes consent, caps and quiet hours, never the suppression list")
        if guards.exclusion_group is not None:
            said.append(f"in one journey of the group {guards.exclusion_group.value} at a time")
        if guards.exclusion_group is not None or guards.priority != DEFAULT_PRIORITY:
            said.append(f"priority {guards.priority} of 100")
        if guards.entry_cap is not None:
            span = say_duration(guards.entry_cap.window_ms)
            said.append(f"at most {guards.entry_cap.count:,} entries in {span}, all customers together")
        if guards.holdout:
            said.append(f"{guards.holdout * 100:g}% get nothing, to compare with")
        return said

    def _held_messages(self, guards: ParsedGuards) -> list[str]:
        said = []
        if guards.consent is not None:
            said.append(f"only with consent to {guards.consent.value.replace('_', ' ')}")
        if guards.contact is not None:
            said.append(f"counts as {guards.contact.value} in the contact policy")
        if guards.caps:
            said.append(f"at most {self.all_of([_cap(cap) for cap in guards.caps])}, by this journey")
        if guards.quiet_hours is not None:
            hours = f"{guards.quiet_hours}, the customer's own time"
            said.append(f"no message in quiet hours ({hours}): put off to their end")
        if guards.send_windows:
            windows = self.any_of([_window(window) for window in guards.send_windows])
            said.append(f"messages only {windows}, the customer's own time: put off to the next opening")
        return said

    def send(self, step: ParsedSend) -> tuple[str, list[str]]:
        """See `Words`."""
        what = "a task for a person" if step.channel.value == "agent" else step.channel.value
        urgent = " (high priority)" if step.priority == "high" else ""
        notes = [f"{name}: {self.value(value)}" for name, value in step.data]
        if step.table is not None:
            notes.extend(self.table(step.table))
        if step.expires_ms != DEFAULT_EXPIRES_MS:
            notes.append(f"not later than {say_duration(step.expires_ms)} after")
        return f"{what}: {step.template}{urgent}", notes

    def table(self, table: ParsedTable) -> list[str]:
        """See `Words`."""
        columns = [self.value(column) for column in table.columns]
        lines = []
        for row in table.rows:
            given = ", ".join(
                f"{name.value} {cell.text}" for name, cell in zip(table.give, row.values, strict=False)
            )
            asked = self.row(columns, row)
            lines.append(f"{given} if {asked}" if asked else f"otherwise {given}")
        return lines

    def wait(self, step: ParsedWait) -> str:
        """See `Words`."""
        if step.until is not None:
            return f"wait until {_until(step.until)}"
        return f"wait {say_duration(step.wait_ms)}"

    def wait_until(self, step: ParsedWaitUntil) -> tuple[str, str, str]:
        """See `Words`."""
        events = self.any_of([self.awaited(each) for each in step.awaited])
        if step.until is not None:
            limit = f"until {_until(step.until)} at the latest"
        else:
            limit = f"at most {say_duration(step.timeout_ms)}"
        return f"wait {limit} for {events}", "it comes", "it does not come"

    def branch(self) -> str:
        """See `Words`."""
        return "the first that holds"

    def arm(self, when: Scalar | None) -> str:
        """See `Words`."""
        return f"if {self.condition(when)}" if when is not None else "else"

    def split(self, step: ParsedSplit) -> str:
        """See `Words`."""
        return f"divide customers ({step.name})" if step.name else "divide customers"

    def variant(self, name: str, share: float) -> str:
        """See `Words`."""
        return f"{name}: {share * 100:g}%"

    def run(self, step: ParsedRun) -> str:
        """See `Words`."""
        return f"run the sequence {step.sequence.value}"

    def set_trait(self, step: ParsedSet) -> str:
        """See `Words`."""
        return f"set the trait {step.trait.replace('_', ' ')} to {self.value(step.to)}"

    def leave(self, step: ParsedLeave) -> str:
        """See `Words`."""
        del step
        return "leave the journey"


def _thing(entry: ParsedEntry) -> str:
    known = EVENT_TYPES.get(entry.event.value) if entry.event else None
    return known.singular.replace("_", " ") if known else code(entry.event.value if entry.event else "")


def _until(until: Until) -> str:
    said = write_time(until.minute)
    if until.weekdays:
        said += f" on {' or '.join(_DAYS[day] for day in until.weekdays)}"
    if until.trait:
        days = f"{until.before_days} day{'' if until.before_days == 1 else 's'}"
        before = f"{days} before" if until.before_days else "on"
        which = "the next anniversary of the" if until.yearly else "the"
        said += f" {before} {which} date in trait {until.trait.replace('_', ' ')}"
    return f"{said}, {until.zone} time" if until.zone else f"{said}, the customer's own time"


def _window(window: SendWindow) -> str:
    times = str(window).rsplit(" ", maxsplit=1)[-1]
    days = list(window.days)
    if len(days) == len(_DAYS):
        return times
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{_DAYS[days[0]]} to {_DAYS[days[-1]]} {times}"
    return f"{' and '.join(_DAYS[day] for day in days)} {times}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in _TEENS else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _cap(cap: Cap) -> str:
    return f"{cap.count} message{'' if cap.count == 1 else 's'} in {say_duration(cap.window_ms)}"
