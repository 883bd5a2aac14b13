"""Judges what came of a case against what it expects, and lays both side by side in a timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.actions import Action, Decision, Outcome
from engine.authoring.fixtures import STANDING, Case, Expectation
from engine.authoring.fixtures_expect import NOWHERE
from engine.authoring.simulation import Record, Standing
from engine.events import Scalar

_LAST = 2**31
ENTRY = "entry"
_EXACT = ("send", "suppressed", "held_out")  # not expected, they fail the case
_KINDS = {
    Outcome.SUPPRESSED: "suppressed",
    Outcome.DEFERRED: "deferred",
    Outcome.HELD_OUT: "held_out",
    Outcome.NOT_MATCHED: "not_entered",
    Outcome.ENTERED: "entered",
    Outcome.EXITED: "exited",
    Outcome.COMPLETED: "completed",
    Outcome.CONVERTED: "converted",
}


@dataclass(slots=True)
class Got:
    """One thing that came of a case.

    Args:
        kind: as in an expectation.
        time_ms: when.
        customer_id: whose.
        journey: the journey.
        step: the step's path.
        value: the channel, guard or journey.
        template: of a send, or empty.
        data: of a message or conversion.
        until_ms: of a deferral.
        text: why, in words.
        order: its place among the decisions.
    """

    kind: str
    time_ms: int
    customer_id: str
    journey: str
    step: str
    value: str
    text: str
    template: str = ""
    data: Mapping[str, Scalar] = field(default_factory=dict)
    until_ms: int = 0
    order: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline.

    Args:
        time_ms: when.
        label: whose.
        happened: the event, or empty.
        expected: what was expected, or empty.
        got: what came, or empty.
        verdict: `ok`, `missing`, `unexpected`, `different`, or empty where nothing was to be judged.
        expectation: what was expected; None where nothing was.
        order: its place among the lines of one instant.
    """

    time_ms: int
    label: str
    happened: str = ""
    expected: str = ""
    got: str = ""
    verdict: str = ""
    expectation: Expectation | None = None
    order: int = 0


def compare(
    case: Case, record: Record, ids: Mapping[str, str], templates: Mapping[tuple[str, str], str]
) -> list[Line]:
    """Return the timeline of a case; it passed when no verdict is worse than `ok`.

    Args:
        case: what is expected.
        record: what came.
        ids: the id of each customer, by label.
        templates: (journey, step's path) to the template sent there.
    """
    return _Comparison(case, record, ids, templates).lines()


class _Comparison:
    """Matches each expectation with at most one thing that came."""

    def __init__(
        self, case: Case, record: Record, ids: Mapping[str, str], templates: Mapping[tuple[str, str], str]
    ) -> None:
        self._case = case
        self._record = record
        self._ids = ids
        self._labels = {customer_id: label for label, customer_id in ids.items()}
        fired = {each.action_id: order for order, each in enumerate(record.decisions) if each.action_id}
        self._left = [_of_action(each, fired[each.id]) for each in record.actions]
        self._left += [
            _of_decision(each, order, templates)
            for order, each in enumerate(record.decisions)
            if each.outcome in _KINDS
        ]
        self._left.sort(key=lambda got: (got.time_ms, got.order))

    def lines(self) -> list[Line]:
        """Return the lines by time; at one instant what happened, what came, what is asked of it."""
        lines = self._pins()
        lines += [Line(e.at_ms, e.event.customer_id, happened=e.said) for e in self._case.events]
        missed: list[Expectation] = []
        decided = [each for each in self._case.expect if each.kind not in STANDING]
        # those that name an instant choose first
        for each in sorted(decided, key=lambda each: each.at_ms is None):
            got = next((one for one in self._left if self._meets(one, each)), None)
            if got is None:
                missed.append(each)
            else:
                self._left.remove(got)
                lines.append(Line(got.time_ms, each.label, "", each.said, _say(got), "ok", each, got.order))
        lines += self._missed(missed)
        lines += [self._not_expected(got) for got in self._left]
        lines += [self._stand(each) for each in self._case.expect if each.kind in STANDING]
        return sorted(lines, key=lambda line: (line.time_ms, not line.happened, line.order))

    def _pins(self) -> list[Line]:
        found = []
        for customer in self._case.customers:
            for pin in customer.pins:
                values = ", ".join(f"{name} {_plain(value)}" for name, value in pin.values.items())
                at_ms = max(pin.from_ms, self._case.start_ms)
                found.append(Line(at_ms, customer.label, f"given {values}"))
        return found

    def _meets(self, got: Got, want: Expectation) -> bool:
        return _in_time(got, want) and self._same(got, want)

    def _same(self, got: Got, want: Expectation) -> bool:
        """Whether a thing is what is expected, apart from when."""
        return (
            got.kind == want.kind
            and got.customer_id == self._ids[want.label]
            and _is(got, want.value)
            and want.template in ("", got.template)
            and want.step in ("", got.step)
            and want.journey in ("", got.journey)
            and want.until_ms in (0, got.until_ms)
            and all(name in got.data and _equal(got.data[name], to) for name, to in want.data.items())
        )

    def _missed(self, missed: Sequence[Expectation]) -> list[Line]:
        """Put beside each unmet expectation what came instead, if anything like it did."""
        lines = []
        for each in missed:
            got = self._instead(each)
            at_ms = self._case.until_ms if each.at_ms is None else each.at_ms
            if got is not None and (got.time_ms == each.at_ms or each.at_ms is None):
                self._left.remove(got)
                lines.append(
                    Line(got.time_ms, each.label, "", each.said, _say(got), "different", each, got.order)
                )
            else:
                lines.append(Line(at_ms, each.label, "", each.said, "", "missing", each, _LAST))
        return lines

    def _instead(self, want: Expectation) -> Got | None:
        mine = [got for got in self._left if got.customer_id == self._ids[want.label]]
        alike = [got for got in mine if got.kind == want.kind and _in_time(got, want)]
        at_once = [got for got in mine if got.kind in _EXACT and got.time_ms == want.at_ms]
        return next(iter(alike), None) or next(iter(at_once), None)

    def _not_expected(self, got: Got) -> Line:
        wrong = self._case.only and got.kind in _EXACT
        label = self._labels[got.customer_id]
        return Line(got.time_ms, label, got=_say(got), verdict="unexpected" if wrong else "", order=got.order)

    def _stand(self, want: Expectation) -> Line:
        at_ms = self._case.until_ms if want.at_ms is None else want.at_ms
        standing = self._record.standings[self._ids[want.label], at_ms]
        holds, got = _judge_standing(standing, want)
        return Line(at_ms, want.label, "", want.said, got, "ok" if holds else "different", want, _LAST)


def _judge_standing(standing: Standing, want: Expectation) -> tuple[bool, str]:
    if want.kind == "segment":
        return standing.segment == want.value, f"segment {standing.segment or 'none'}"
    if want.kind == "set":
        there = standing.traits.get(want.value)
        said = f"{want.value} is {_plain(there)}" if there is not None else f"{want.value} is not set"
        return _equal(there, want.to), said
    steps = [step for journey, step in standing.positions if want.journey in ("", journey)]
    said = "position " + (
        ", ".join(f"{step} of {journey}" for journey, step in standing.positions) or NOWHERE
    )
    return (not steps if want.value == NOWHERE else want.value in steps), said


def _of_action(action: Action, order: int) -> Got:
    return Got(
        kind="send",
        time_ms=action.time,
        customer_id=action.customer_id,
        journey=action.journey,
        step=action.step,
        value=action.channel,
        text=action.reason.text,
        template=action.template,
        data=action.data,
        order=order,
    )


def _of_decision(decision: Decision, order: int, templates: Mapping[tuple[str, str], str]) -> Got:
    entered_a_variant = decision.outcome is Outcome.ENTERED and decision.step != ENTRY
    return Got(
        kind="variant" if entered_a_variant else _KINDS[decision.outcome],
        time_ms=decision.time,
        customer_id=decision.customer_id,
        journey=decision.journey,
        step=decision.step,
        value=decision.step.rpartition(".")[2] if entered_a_variant else decision.reason.guard,
        text=decision.reason.text,
        template=templates.get((decision.journey, decision.step), ""),
        data=decision.reason.values,
        until_ms=decision.until,
        order=order,
    )


def _in_time(got: Got, want: Expectation) -> bool:
    return want.at_ms is None or want.at_ms <= got.time_ms <= want.at_ms + want.within_ms


def _is(got: Got, value: str) -> bool:
    """Whether the word behind the kind is right: a guard or channel, a journey, or an event's name."""
    if not value or value == got.value:
        return True
    if got.kind in ("entered", "completed", "converted"):
        return value == got.journey
    if got.kind == "exited":
        words = value.replace(".", " ").replace("_", " ")
        return got.text == words or got.text.startswith(f"{words} and ")
    return False


def _equal(one: Scalar | None, other: Scalar | None) -> bool:
    """Whether two values are the same; a truth value is no number, 200 is 200.0."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _say(got: Got) -> str:
    if got.kind == "send":
        data = ", ".join(f"{name}: {_plain(value)}" for name, value in got.data.items())
        return f"send {got.value} {got.template}" + (f" {{{data}}}" if data else "")
    if got.kind == "entered":
        return f"entered {got.journey}: {got.text}"
    if got.kind == "variant":
        return f"variant {got.value} ({got.step} of {got.journey})"
    if got.kind == "completed":
        return f"completed {got.journey}"
    if got.kind == "converted":
        data = ", ".join(f"{name}: {_plain(value)}" for name, value in got.data.items())
        return f"converted {got.journey} {{{data}}}"
    what = f"{got.template}, " if got.template else ""
    if got.kind == "not_entered":
        what = f"{got.journey}, "
    return f"{got.kind} {got.value} ({what}{got.text})"


def _plain(value: Scalar | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
