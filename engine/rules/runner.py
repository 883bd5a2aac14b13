"""Carries one customer through the steps of a journey: sends, waits, traits, the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.actions import AGENT, Action, Decision, Outcome, Reason, action_id, deterministic_id
from engine.events import Scalar
from engine.features.profile import MAX_TRAITS, Contact, Position, Profile
from engine.rules.condition import Bound
from engine.rules.context import CustomerValues, MachineSettings, Outbox, RowContext
from engine.rules.expressions.cel import CelFailure
from engine.rules.guards import Attempt, ContactMemory, Verdict, judge_rate, judge_send, share_of
from engine.rules.journey import (
    Branch,
    DataValue,
    Journey,
    Jump,
    Leave,
    Send,
    SetTrait,
    Split,
    Variant,
    Wait,
    WaitUntil,
)
from engine.rules.limits import MAX_ACTION_TEXT, MAX_REASON_CHARS
from engine.rules.pause import judge_pause
from engine.rules.ruleset import RuleSet
from engine.rules.sentences import Facts, entry_values, seen_values
from engine.rules.times.local_time import zone_of
from engine.rules.times.until import NoDate, until_ms

REASON = "_reason"  # key of a position's fields under which the reason of the entry is kept
_EVENT_TYPE, _EVENT_TIME = "type", "time"


class Runner(msgspec.Struct, frozen=True, gc=False):
    """Works on one row; every decision goes to the outbox.

    Args:
        rules: the rule set.
        settings: default zone, global caps.
        context: the row.
        outbox: takes actions and decisions.
        values: the customer's features as of the row.
        memory: how long contacts are counted.
        grouped: who may enter a journey of an exclusion group; decided at the row's end.
    """

    rules: RuleSet
    settings: MachineSettings
    context: RowContext
    outbox: Outbox
    values: CustomerValues
    memory: ContactMemory
    grouped: list[tuple[Journey, Any]] = []

    def facts(self, position: Position | None = None) -> Facts:
        """Return what conditions are judged on, for a customer inside a journey or about to enter one."""
        entry: Mapping[str, Any] = position.event if position is not None else {}
        return Facts(self.values, self.context.event, entry, self.context.state.profile.traits)

    def advance(self, journey: Journey, position: Position, came_from: int = -1) -> Position | None:
        """Go on from where the position stands until something has to be waited for.

        Args:
            journey: the position's journey.
            position: where to begin.
            came_from: the instruction the run stood at before; -1 = it begins here.

        Returns:
            the position with its next due instant, or None when the run is over.
        """
        pc = position.pc
        while pc < len(journey.program):
            self.moved(journey, came_from, pc)
            came_from = pc
            match journey.program[pc]:
                case Send() as send:
                    verdict = self._send(journey, send, position)
                    if verdict is not None and verdict.until_ms:
                        return _put_off(position, pc, verdict, self.context.now_ms)
                    if position.put_off_ms:
                        position = msgspec.structs.replace(position, put_off_ms=0, reserved_ms=0)
                    pc += 1
                case Wait() | WaitUntil() as wait:
                    due_ms = self._wait_end(wait, position)
                    if due_ms is None:
                        return None
                    if due_ms > self.context.now_ms:
                        return msgspec.structs.replace(position, pc=pc, due_ms=due_ms, deferred=False)
                    pc = behind(wait, pc)
                case Leave():
                    break
                case step:
                    position, pc = self._go_on(step, pc, position)
        else:
            self.moved(journey, came_from, pc)
        if self.lasts(journey):
            self.decide(position, "end", Outcome.COMPLETED, Reason(text="went through every step"))
        return None

    def moved(self, journey: Journey, came_from: int, pc: int) -> None:
        """Tell which way a run went, if anybody asks; see `Move`."""
        if self.outbox.moves is not None:
            self.outbox.moves.append((journey.name, journey.version, came_from, pc))

    def leave(self, position: Position) -> None:
        """Take a run out of the customer's positions."""
        profile = self.context.state.note()
        profile.positions = [each for each in profile.positions if each is not position]

    def _wait_end(self, wait: Wait | WaitUntil, position: Position) -> int | None:
        """Return when a wait that begins now is over; None when the run has ended for want of a date."""
        now_ms = self.context.now_ms
        if wait.until is None:
            return now_ms + (wait.wait_ms if isinstance(wait, Wait) else wait.timeout_ms)
        profile = self.context.state.profile
        zone = zone_of(wait.until.zone or profile.time_zone, self.settings.default_time_zone)
        try:
            return until_ms(wait.until, now_ms, zone, profile.traits)
        except NoDate as none:
            self.decide(position, wait.path, Outcome.EXITED, Reason(text=str(none), guard="trait"))
            return None

    def _go_on(
        self, step: Branch | Split | SetTrait | Jump, pc: int, position: Position
    ) -> tuple[Position, int]:
        """Do a step that holds nobody; return the position, with what to tell later, and where to go on."""
        match step:
            case Branch():
                facts = self.facts(position)
                pcs = (arm.pc for arm in step.arms if facts.holds(arm.when))
                return position, next(pcs, step.else_pc)
            case Split():
                return self._split(step, position)
            case SetTrait():
                self._set_trait(step, position)
                return position, pc + 1
            case Jump(pc=target):
                return position, target

    def _split(self, step: Split, position: Position) -> tuple[Position, int]:
        """Take the customer's variant: always the same one, told by a decision and in later reasons."""
        variant = variant_of(step, self.context.state.customer_id)
        said = f"variant {variant.name} of {step.name}" if step.name else f"variant {variant.name}"
        self.decide(position, variant.path, Outcome.ENTERED, Reason(text=said))
        before = str(position.event.get(REASON, ""))[: MAX_REASON_CHARS - len(said) - 2]
        event = {**position.event, REASON: f"{before}; {said}" if before else said}
        return msgspec.structs.replace(position, event=event), variant.pc

    def resume(self, journey: Journey, position: Position) -> Position | None:
        """Go on with a position whose instant has come."""
        pc = came_from = position.pc
        step = journey.program[pc]
        if isinstance(step, Send):
            first_ms = position.put_off_ms or position.due_ms
            if self.context.now_ms > first_ms + step.expires_ms:
                verdict = Verdict(Outcome.SUPPRESSED, "expired", "the message came too late to be of use")
                self._decide_send(step, position, verdict)
                position = msgspec.structs.replace(position, put_off_ms=0, reserved_ms=0)
                pc += 1
        elif isinstance(step, WaitUntil):
            pc = step.otherwise_pc
        else:
            pc += 1
        onward = msgspec.structs.replace(position, pc=pc, due_ms=0, deferred=False)
        return self.advance(journey, onward, came_from)

    def _send(self, journey: Journey, send: Send, position: Position) -> Verdict | None:
        """Fire the action, or say why not and return it."""
        profile, now_ms = self.context.state.profile, self.context.now_ms
        attempt = Attempt(
            journey=journey,
            send=send,
            customer_id=self.context.state.customer_id,
            profile=profile,
            facts=self.facts(position),
            now_ms=now_ms,
            put_off_ms=position.put_off_ms,
            reserved_ms=position.reserved_ms,
        )
        if journey.name in self.rules.release.paused:
            verdict: Verdict | None = judge_pause(attempt)
        else:
            verdict = judge_send(attempt, self.rules.policy, self.settings)
        remembered = send.channel != AGENT and not journey.transactional
        if verdict is None and remembered and self.memory.is_full(profile, now_ms):
            text = f"{len(profile.contacts)} contacts are still counted by caps, no further one can be kept"
            verdict = Verdict(Outcome.SUPPRESSED, "contact_history", text)
        data: dict[str, Scalar] = {}
        if verdict is None:
            try:
                data = {name: self._value(value, position) for name, value in send.data}
            except CelFailure as failure:
                verdict = Verdict(
                    Outcome.SUPPRESSED, "data", f"a message value could not be computed: {failure}"
                )
        # the last to be asked, so that no place under a limit is taken in vain
        verdict = verdict or judge_rate(attempt, self.context.ledger, self.settings)
        if verdict is not None:
            self._decide_send(send, position, verdict)
            return verdict
        self._fire(journey, send, position, data)
        if remembered:
            contact = Contact(now_ms // 1000, journey.name, send.channel, journey.contact)
            self.memory.remember(self.context.state.note(), contact, now_ms)
        return None

    def lasts(self, journey: Journey) -> bool:
        """Tell whether a run can last, so that it needs a place among the customer's positions."""
        if journey.waits or journey.transactional or not self.settings.rate_limits:
            return journey.waits
        limits = self.settings.rate_limits
        return any(isinstance(step, Send) and step.channel in limits for step in journey.program)

    def _fire(self, journey: Journey, send: Send, position: Position, data: dict[str, Scalar]) -> None:
        customer_id = self.context.state.customer_id
        now_ms = self.context.now_ms
        step = f"{send.path}#{position.instance}" if position.instance else send.path
        action = Action(
            id=action_id(journey.name, journey.version, customer_id, position.event_id, step),
            customer_id=customer_id,
            journey=journey.name,
            version=journey.version,
            step=send.path,
            channel=send.channel,
            template=send.template,
            data=data,
            priority=send.priority,
            transactional=journey.transactional,
            reason=self._reason(journey, send, position),
            event_id=position.event_id,
            event_type=str(position.event.get(_EVENT_TYPE, "")),
            event_time=_whole(position.event.get(_EVENT_TIME, 0)),
            time=now_ms,
            expires_at=now_ms + send.expires_ms,
        )
        self.outbox.actions.append(action)
        if self.outbox.moves is not None and send.row is not None:
            row = int(self._value(send.row, position))
            self.outbox.chosen.append((journey.name, journey.version, send.path, row))
        self.decide(position, send.path, Outcome.FIRED, action.reason, fired_id=action.id)

    def _reason(self, journey: Journey, send: Send, position: Position) -> Reason:
        text = str(position.event.get(REASON, journey.trigger))
        if send.because:
            text = f"{text}; {send.because}"
        facts = self.facts(position)
        event = facts.event
        if event is not None and event.id == position.event_id:  # still at the row of the entry
            return Reason(text=text, values=entry_values(journey, facts))
        return Reason(text=text, values=seen_values(journey.when, facts) if journey.when else {})

    def _decide_send(self, send: Send, position: Position, verdict: Verdict) -> None:
        reason = Reason(text=verdict.text, guard=verdict.guard, values=dict(verdict.values))
        self.decide(position, send.path, verdict.outcome, reason, until_ms=verdict.until_ms)

    def _value(self, value: DataValue, position: Position) -> Scalar:
        if not isinstance(value, Bound):
            return value
        facts = self.facts(position)
        found = value.program.value(value.bindings(facts.values, None, facts.entry, facts.traits))
        return found[:MAX_ACTION_TEXT] if isinstance(found, str) else found

    def _set_trait(self, step: SetTrait, position: Position) -> None:
        profile: Profile = self.context.state.note()
        if step.trait not in profile.traits and len(profile.traits) >= MAX_TRAITS:
            return
        try:
            profile.traits[step.trait] = self._value(step.value, position)
        except CelFailure:
            return

    def decide(
        self,
        position: Position,
        step: str,
        outcome: Outcome,
        reason: Reason,
        *,
        until_ms: int = 0,
        fired_id: str = "",
    ) -> None:
        """Put a decision about a run into the outbox."""
        self.outbox.decisions.append(
            Decision(
                id=deterministic_id(
                    "decision",
                    position.journey,
                    position.version,
                    self.context.state.customer_id,
                    position.event_id,
                    position.instance,
                    step,
                    outcome,
                    until_ms,
                ),
                customer_id=self.context.state.customer_id,
                journey=position.journey,
                version=position.version,
                step=step,
                outcome=outcome,
                reason=reason,
                event_id=position.event_id,
                event_type=str(position.event.get(_EVENT_TYPE, "")),
                time=self.context.now_ms,
                until=until_ms,
                action_id=fired_id,
            )
        )


def variant_of(step: Split, customer_id: str) -> Variant:
    """Return the variant of a split a customer falls into."""
    share = share_of(*step.key, customer_id)
    return next((each for each in step.variants if share < each.below), step.variants[-1])


def behind(wait: Wait | WaitUntil, pc: int) -> int:
    """Return where a run goes on when the time of a wait at `pc` is over."""
    return wait.otherwise_pc if isinstance(wait, WaitUntil) else pc + 1


def _put_off(position: Position, pc: int, verdict: Verdict, now_ms: int) -> Position:
    """Return a position that stays at a send until a guard lets it be tried again."""
    return msgspec.structs.replace(
        position,
        pc=pc,
        due_ms=verdict.until_ms,
        deferred=True,
        put_off_ms=position.put_off_ms or now_ms,
        reserved_ms=verdict.until_ms if verdict.guard == "rate_limit" else 0,
    )


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def step_path(journey: Journey, pc: int) -> str:
    """Return the path of the step at `pc`."""
    step = journey.program[pc] if pc < len(journey.program) else None
    return step.path if step is not None and not isinstance(step, Jump) else "end"
