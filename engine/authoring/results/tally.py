"""Gathers what customers got and did: one pass over decisions and events, in the order of the topics.

Nothing of a customer is kept but hashes: some 270 bytes for a run, message or order, 180 for an inquiry.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from engine.actions import Decision, Outcome
from engine.events import EngagementEvent, Event, OrderEvent, ServiceEvent

ENTRY = "entry"
_MESSAGE_EVENTS = ("delivered", "opened", "clicked", "responded", "bounced", "unsubscribed")
FLAGS: Mapping[str, int] = {f"message.{name}": 1 << at for at, name in enumerate(_MESSAGE_EVENTS)}
_GONE = frozenset({"order.cancelled"})
_ANSWERED = frozenset({"inquiry.replied", "inquiry.resolved"})


@dataclass(slots=True)
class Run:
    """One customer's way through a journey, or what the holdout had in its place.

    Args:
        customer: hash of the customer's id.
        version: of the journey.
        entered_ms: when.
        held_out: whether the customer gets nothing.
        control: whether that is because the customer is in the deployment's control group.
        variants: paths of the variants taken.
        converted_ms: when the goal was reached; 0 = was not.
        value: what reaching it was worth; 0 if nothing was said.
    """

    customer: int
    version: int
    entered_ms: int
    held_out: bool
    control: bool = False
    variants: tuple[str, ...] = ()
    converted_ms: int = 0
    value: float = 0.0


@dataclass(slots=True)
class Sent:
    """A message or task that went out.

    Args:
        step: journey, version and path of the step.
        customer: hash of the customer's id.
        flags: what became of it, bits of `FLAGS`.
    """

    step: tuple[str, int, str]
    customer: int
    flags: int = 0


class Order(NamedTuple):
    """An order: hash of the customer's id, when, and what it came to."""

    customer: int
    time_ms: int
    amount: float


@dataclass(slots=True)
class Inquiry:
    """An inquiry: when it was opened, and when first answered; 0 = never seen."""

    opened_ms: int = 0
    answered_ms: int = 0


class ResultTally:
    """What happened in a period.

    Args:
        from_ms: its start.
        to_ms: its end.
        journeys: those asked for; None = all.

    Attributes:
        runs: of each journey, by hash of customer and cause.
        sent: by hash of the action's id.
        held: how often which guard held something back, by journey, outcome and guard.
        orders: orders placed and not cancelled, by hash of customer and order id.
        inquiries: by hash of customer and inquiry id.
        nps: how often which score, 0-10.
        csat: how often which score, 1-5.
        foreign: engagement events of messages that are not among those sent in the period.
        others: engagement events without an action's id.
    """

    def __init__(self, from_ms: int, to_ms: int, journeys: Collection[str] | None = None) -> None:
        self.from_ms = from_ms
        self.to_ms = to_ms
        self._journeys = journeys
        self.runs: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self.sent: dict[int, Sent] = {}
        self.held: Counter[tuple[str, Outcome, str]] = Counter()
        self.orders: dict[int, Order] = {}
        self.inquiries: defaultdict[int, Inquiry] = defaultdict(Inquiry)
        self.nps: Counter[int] = Counter()
        self.csat: Counter[int] = Counter()
        self.foreign = 0
        self.others = 0
        self._cancelled: set[int] = set()
        self._counted: set[int] = set()  # decisions that were held back, and feedback: a repeat counts once
        self._steps: dict[tuple[str, int, str], tuple[str, int, str]] = {}
        self._early: dict[int, int] = {}  # flags of messages whose decision comes later, from another topic
        self._about: dict[type[Event], Callable[..., None]] = {
            EngagementEvent: self._engagement,
            OrderEvent: self._order,
            ServiceEvent: self._service,
        }

    def decision(self, decision: Decision) -> None:
        """Take a decision; one outside of the period or of another journey counts for nothing."""
        if not self.from_ms <= decision.time <= self.to_ms:
            return
        if self._journeys is not None and decision.journey not in self._journeys:
            return
        outcome = decision.outcome
        if outcome in (Outcome.ENTERED, Outcome.HELD_OUT, Outcome.CONVERTED):
            self._run(decision)
        elif outcome is Outcome.FIRED:
            key = _hash(decision.action_id)
            step = (decision.journey, decision.version, decision.step)
            step = self._steps.setdefault(step, step)  # one tuple for all messages of a step
            self.sent.setdefault(key, Sent(step, _hash(decision.customer_id)))
            self.sent[key].flags |= self._early.pop(key, 0)
        if outcome in (Outcome.SUPPRESSED, Outcome.DEFERRED, Outcome.HELD_OUT):
            key = _hash(decision.id)
            if key not in self._counted:
                self._counted.add(key)
                self.held[decision.journey, outcome, decision.reason.guard] += 1

    def _run(self, decision: Decision) -> None:
        key = _hash(decision.customer_id, decision.event_id)
        if decision.step == ENTRY:
            begun = Run(
                _hash(decision.customer_id),
                decision.version,
                decision.time,
                held_out=decision.outcome is Outcome.HELD_OUT,
                control=decision.reason.guard == "control_group",
            )
            self.runs[decision.journey].setdefault(key, begun)
        elif (run := self.runs.get(decision.journey, {}).get(key)) is None:
            return  # entered before the period
        elif decision.outcome is Outcome.CONVERTED:
            value = decision.reason.values.get("value", 0.0)
            run.converted_ms = decision.time
            run.value = float(value) if isinstance(value, int | float) else 0.0
        elif decision.outcome is Outcome.ENTERED and decision.step not in run.variants:
            run.variants = (*run.variants, decision.step)

    def event(self, event: Event) -> None:
        """Take an event; one outside of the period counts for nothing."""
        about = self._about.get(type(event))
        if about is not None and self.from_ms <= event.time <= self.to_ms:
            about(event)

    def _engagement(self, event: EngagementEvent) -> None:
        flag = FLAGS.get(event.type)
        if flag is None:
            key = _hash(event.source, event.id)
            if key not in self._counted:
                self._counted.add(key)
                scores = self.nps if event.type == "feedback.nps" else self.csat
                scores[round(event.score)] += 1
        elif not event.action_id:
            self.others += 1
        elif (sent := self.sent.get(key := _hash(event.action_id))) is not None:
            sent.flags |= flag
        else:
            self._early[key] = self._early.get(key, 0) | flag

    def _order(self, event: OrderEvent) -> None:
        key = _hash(event.customer_id, event.order_id)
        if event.type in _GONE:
            self._cancelled.add(key)
            self.orders.pop(key, None)
        elif event.type == "order.placed" and key not in self._cancelled:
            self.orders[key] = Order(_hash(event.customer_id), event.time, event.amount)

    def _service(self, event: ServiceEvent) -> None:
        key = _hash(event.customer_id, event.inquiry_id)
        if event.type == "inquiry.opened":
            inquiry = self.inquiries[key]
            inquiry.opened_ms = min(inquiry.opened_ms or event.time, event.time)
        elif event.type in _ANSWERED:
            inquiry = self.inquiries[key]
            inquiry.answered_ms = min(inquiry.answered_ms or event.time, event.time)

    def close(self) -> None:
        """Count what is left: engagement with messages of another time or journey."""
        self.foreign, self._early = len(self._early), {}


def _hash(*parts: str) -> int:
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode())
