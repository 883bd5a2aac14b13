"""The journey machine: one row of one customer, in a fixed order.

1. goals: the row's event may be what a journey entered before was to bring about;
2. exits: the row's event takes the customer out of journeys, also in the middle of a wait;
3. what is due: waits that are over, timeouts, deferred messages;
4. waits for an event: the row's event may be the one;
5. inquiries: overdue ones, and those that are not to wait;
6. entries: absences, schedules and dates, segment changes, levels crossed, the row's own event; last, one
   of each exclusion group.

What comes at the same instant goes by priority.
"""

from __future__ import annotations

import msgspec

from engine.actions import Outcome, Reason
from engine.events import say_type
from engine.features.profile import Position
from engine.features.state import CustomerState
from engine.rules.admission import enter_grouped
from engine.rules.context import EXITED, CustomerValues, MachineSettings, Outbox, RowContext
from engine.rules.entries import (
    enter_absent,
    enter_by_event,
    enter_crossed,
    enter_scheduled,
    enter_segments,
    enter_unanswered,
    refuse_let_go,
    unmark_closed,
)
from engine.rules.goals import reach_goals
from engine.rules.guards import ContactMemory
from engine.rules.journey import Journey, WaitUntil
from engine.rules.keys import mark_of
from engine.rules.limits import MAX_DURATION_MS
from engine.rules.mismatches import explain_mismatches
from engine.rules.release import OUT_PC, moved
from engine.rules.ruleset import RuleSet
from engine.rules.runner import Runner, step_path
from engine.rules.sentences import say_condition
from engine.rules.times.local_time import MIN_DEFERRAL_MS


class JourneyMachine:
    """Runs journeys, row by row; holds no state of its own.

    Args:
        rules: the rule set.
        settings: default zone, global caps, sampling, rate limits.

    Attributes:
        limited: whether something is limited over all customers, so that rows need a ledger.
        min_delay_ms: the shortest time after which a row can want a timer.
    """

    def __init__(self, rules: RuleSet, settings: MachineSettings | None = None) -> None:
        self.rules = rules
        self.settings = settings or MachineSettings()
        self._sampled_below = int(self.settings.not_matched_sample * 2**64)
        every_ms = max((cap.window_ms for cap in self.settings.global_caps), default=0)
        self._memory = ContactMemory(rules.cap_windows_ms, rules.policy.windows_ms, every_ms)
        # whether customers compete: then rows have to come in the order of their instants, and with a ledger
        self.limited = bool(self.settings.rate_limits) or rules.has_entry_caps
        self.min_delay_ms = min(
            rules.min_delay_ms, MIN_DEFERRAL_MS if self.settings.rate_limits else MAX_DURATION_MS
        )

    def run(self, context: RowContext, outbox: Outbox) -> None:
        """Work on one row.

        Args:
            context: the row; its customer's profile is changed.
            outbox: takes actions and decisions in order.
        """
        state = context.state
        values = CustomerValues(context.values, state.profile)
        runner = Runner(self.rules, self.settings, context, outbox, values, self._memory)
        if state.profile.goals:
            reach_goals(runner)
        if state.profile.positions:
            if self.rules.release.moves:
                self._migrate(runner)
            self._exits(runner)
            # Who comes to a wait in this row waits for a later event: this one lies before the wait.
            waiting = self._waiting(runner)
            self._due(runner)
            self._waits(runner, waiting)
        if context.let_go is not None:
            refuse_let_go(runner, *context.let_go)
        if state.profile.entered:
            unmark_closed(runner)
        if state.profile.inquiries and self.rules.unanswered:
            enter_unanswered(runner)
        enter_absent(runner)
        enter_scheduled(runner)
        enter_segments(runner)
        enter_crossed(runner)
        enter_by_event(runner)
        if runner.grouped:
            enter_grouped(runner)
        if context.event is not None and self.sampled(context.event_key):
            explain_mismatches(runner)

    def journey_due_ms(self, state: CustomerState) -> int:
        """Return the earliest instant anything in the customer's journeys is due; 0 = nothing is.

        Args:
            state: the customer, after `run`.
        """
        profile = state.profile
        due = [position.due_ms for position in profile.positions if position.due_ms]
        for inquiry_id, inquiry in profile.inquiries.items():
            if not inquiry.replied:
                for index in self.rules.unanswered:
                    journey = self.rules.journeys[index]
                    waits = self.rules.takes(index, state.customer_id)
                    if waits and mark_of(journey, inquiry_id) not in profile.entered:
                        due.append(inquiry.opened_ms + journey.for_ms)
        return min(due, default=0)

    def sampled(self, event_key: int) -> bool:
        """Tell whether an event's row should be run even if nothing matched, to report why not.

        Args:
            event_key: hash of the event's id, 64 bits; so the answer is the same each time.
        """
        return event_key < self._sampled_below

    def _migrate(self, runner: Runner) -> None:
        """Let those inside a version go on in another, where a publication says so; their instants stay."""
        moves = self.rules.release.moves
        for position in runner.context.state.profile.positions:
            for version, pc in moved(moves, position.journey, position.version, position.pc):
                if pc == OUT_PC:
                    runner.leave(position)
                    text = f"taken out by the migration to version {version}"
                    runner.decide(position, "end", Outcome.EXITED, Reason(text=text, guard="version"))
                    break
                after = msgspec.structs.replace(position, version=version, pc=pc)
                _replace(runner, position, after)
                position = after  # noqa: PLW2901 - the same run, one version on

    def _exits(self, runner: Runner) -> None:
        """Take the customer out where the event says so, or where the journey is gone."""
        for position in runner.context.state.profile.positions:
            journey = self.rules.by_name.get((position.journey, position.version))
            if journey is None or position.pc >= len(journey.program):
                _lost(runner, position)
                continue
            number, text = _exit_reason(runner, journey, position)
            if text:
                runner.moved(journey, position.pc, EXITED - number)
                runner.leave(position)
                path = step_path(journey, position.pc)
                runner.decide(position, path, Outcome.EXITED, Reason(text=text, guard="exit"))

    def _due(self, runner: Runner) -> None:
        """Go on with what is due, the earliest first."""
        reached_ms = runner.context.reached_ms
        positions = runner.context.state.profile.positions
        due = [position for position in positions if 0 < position.due_ms <= reached_ms]
        if len(due) > 1:
            due.sort(key=lambda each: (each.due_ms, -self.rules.by_name[each.journey, each.version].priority))
        for position in due:
            journey = self.rules.by_name[position.journey, position.version]
            _settle(runner, position, runner.resume(journey, position))

    def _waiting(self, runner: Runner) -> list[tuple[Journey, Position, WaitUntil]]:
        """Return the positions that wait for an event of the row's type."""
        if runner.context.event is None:
            return []
        found = []
        code = runner.context.code
        for position in runner.context.state.profile.positions:
            journey = self.rules.by_name[position.journey, position.version]
            step = journey.program[position.pc]
            if isinstance(step, WaitUntil) and any(each.code == code for each in step.awaited):
                found.append((journey, position, step))
        return found

    @staticmethod
    def _waits(runner: Runner, waiting: list[tuple[Journey, Position, WaitUntil]]) -> None:
        """Go on where the row's event is the one waited for, unless the time was over before."""
        for journey, position, step in waiting:
            if all(each is not position for each in runner.context.state.profile.positions):
                continue
            facts, code = runner.facts(position), runner.context.code
            if any(
                each.code == code and (each.where is None or facts.holds(each.where)) for each in step.awaited
            ):
                begun = msgspec.structs.replace(position, pc=step.then_pc, due_ms=0)
                _settle(runner, position, runner.advance(journey, begun, position.pc))


def _exit_reason(runner: Runner, journey: Journey, position: Position) -> tuple[int, str]:
    """Return which exit takes the customer out of a run at the row's event and why, or an empty text."""
    before, after = runner.context.segment_before, runner.context.segment_after
    for number, each in enumerate(journey.exits):
        if each.segment:
            entered = each.event_type == "segment_entered"
            if before != after and each.segment == (after if entered else before):
                return number, f"{'entered' if entered else 'left'} segment {each.segment}"
            continue
        if runner.context.event is not None and each.code == runner.context.code:
            facts = runner.facts(position)
            if each.where is None:
                return number, say_type(each.event_type)
            if facts.holds(each.where):
                return number, f"{each.event_type.replace('.', ' ')} and {say_condition(each.where, facts)}"
    return 0, ""


def _lost(runner: Runner, position: Position) -> None:
    """End a run whose journey (or step) is not in the rule set any more."""
    runner.leave(position)
    newest = max(
        (journey for journey in runner.rules.journeys if journey.name == position.journey),
        key=lambda journey: journey.version,
        default=None,
    )
    text = f"version {position.version} of this journey is not there any more"
    reason = Reason(text=text, guard="version" if newest else "removed")
    runner.decide(position, "end", Outcome.EXITED, reason)


def _replace(runner: Runner, before: Position, after: Position) -> None:
    profile = runner.context.state.note()
    profile.positions = [after if each is before else each for each in profile.positions]


def _settle(runner: Runner, before: Position, after: Position | None) -> None:
    """Put a moved position in the place of the old one, or end the run."""
    if after is not None:
        _replace(runner, before, after)
        return
    runner.leave(before)
