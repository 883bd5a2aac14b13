"""Goes through the rows of a wave in order: segment changes, journeys, the next timer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES
from engine.features.apply import change_profile
from engine.features.registry import FeatureSpace
from engine.features.state import CustomerState
from engine.pipeline.before import Before, end_of
from engine.pipeline.changes import SegmentChange, segment_change
from engine.pipeline.found import NOTHING, Found
from engine.pipeline.row_values import RowValues
from engine.pipeline.waves import ERASURE, Wave
from engine.rules.context import Outbox, RowContext
from engine.rules.ledger import Ledger
from engine.rules.machine import JourneyMachine
from engine.rules.reactions import Reactions

Floats = npt.NDArray[np.float64]

NEVER_MS = 2**62
_INQUIRY_CODES = frozenset(
    EVENT_TYPES[name].code for name in ("inquiry.opened", "inquiry.replied", "inquiry.resolved")
)


class Walk:
    """What is done row by row with one rule set.

    Args:
        machine: the journey machine.
        space: feature columns.
        segments: names of the segments, by code.
    """

    def __init__(self, machine: JourneyMachine, space: FeatureSpace, segments: Sequence[str]) -> None:
        self._machine = machine
        self._rules = machine.rules
        self._space = space
        self._segments = segments
        self._dates = machine.rules.dates or None
        self._zone = machine.settings.default_time_zone
        self._reactions = Reactions(machine.rules)

    def rows(
        self,
        wave: Wave,
        before: Before,
        matrix: Floats,
        segment_codes: Sequence[int],
        found: Found,
        ledgers: Mapping[int, Ledger],
        outbox: Outbox,
        changes: list[SegmentChange],
    ) -> list[tuple[int, int]]:
        """Decide on the rows of a wave; set each customer's segment and next timer.

        Args:
            wave: the rows; their customers' profiles are changed.
            before: what the customers were before each row, and how far each goes.
            matrix: `(rows, features) float64`.
            segment_codes: the segment of each row.
            found: what was judged for all rows at once.
            ledgers: each partition's part in limits over all customers.
            outbox: takes actions and decisions.
            changes: takes changes of segment.

        Returns:
            runs of rows that came too early, as first and end: the row before set a timer that is due first.
        """
        names, states, last = self._segments, wave.states, len(wave) - 1
        reached, clocks_after = before.reached_ms, before.clock_after_ms
        undone: list[tuple[int, int]] = []
        go_on = 0
        entering, by_customer, zone = found.entering(), found.by_customer, self._zone
        asking = found.asking()
        for number, (state, event, code, now_ms, reached_ms, key, after, change_ms) in enumerate(
            zip(
                states,
                wave.events,
                wave.codes,
                wave.now_ms,
                reached,
                wave.keys,
                segment_codes,
                found.next_ms.tolist(),
                strict=True,
            )
        ):
            if code == ERASURE or number < go_on:
                continue
            left = state.segment
            if after != left:
                state.segment = after
                changes.append(segment_change(state, event, now_ms, names[left], names[after]))
            let_go = None if event is None else change_profile(state, event, code, now_ms)
            own = NOTHING
            clock_ms = clocks_after[number]
            if by_customer and (number in asking or state.profile.beyond or 0 < state.due_ms <= clock_ms):
                own = found.of_customer(number, state, event, clock_ms, zone)
            if (
                own is not NOTHING
                or number in entering
                or self._concerns(state, code, now_ms, reached_ms, key, left, after)
            ):
                context = RowContext(
                    state=state,
                    event=event,
                    code=code,
                    now_ms=now_ms,
                    reached_ms=reached_ms,
                    values=RowValues(self._space, names, matrix, number),
                    segment_before=names[left],
                    segment_after=names[after],
                    absences=found.absences.get(number, ()),
                    schedules=found.at_instants(number, own),
                    crossed=own.crossed,
                    candidates=found.by_event(number, own.enough),
                    event_key=key,
                    ledger=ledgers[wave.partitions[number]],
                    let_go=let_go,
                )
                self._machine.run(context, outbox)
                state.journey_due_ms = self._machine.journey_due_ms(state)
            self._arm(state, reached_ms, clock_ms, change_ms)
            if number < last and states[number + 1] is state and 0 < state.due_ms <= reached[number + 1]:
                go_on = end_of(states, number + 1)
                undone.append((number + 1, go_on))
        return undone

    def _concerns(
        self,
        state: CustomerState,
        code: int,
        now_ms: int,
        reached_ms: int,
        key: int,
        before: int,
        after: int,
    ) -> bool:
        """Whether a row may move a customer's journeys although nothing was found to enter by it."""
        due_ms = state.journey_due_ms
        if due_ms < 0:
            due_ms = state.journey_due_ms = self._machine.journey_due_ms(state)
        if 0 < due_ms <= reached_ms:  # at an event: rules that came since have a deadline that has passed
            return True
        if code in _INQUIRY_CODES:
            return True
        reactions, changed = self._reactions, after != before
        if changed and reactions.enter_by_segment(self._segments[before], self._segments[after]):
            return True
        if (changed or code in reactions.codes) and reactions.moves(
            state.profile, code, now_ms, changed=changed
        ):
            return True
        return self._machine.sampled(key) and code in self._rules.by_code

    def _arm(self, state: CustomerState, reached_ms: int, clock_ms: int, change_ms: int) -> None:
        """Set the customer's timer: the first of what is due; after the row, which may have set a date."""
        due_ms = change_ms
        if self._dates is not None and state.profile.traits:
            due_ms = min(due_ms, self._dates.next_ms(state.profile, clock_ms, self._zone))
        if 0 < state.journey_due_ms < due_ms:
            due_ms = state.journey_due_ms
        if 0 < state.next_score_ms < due_ms:
            due_ms = state.next_score_ms
        assert due_ms > reached_ms, "a timer must lie ahead"
        state.due_ms = due_ms if due_ms < NEVER_MS else 0
