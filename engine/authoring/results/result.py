"""The results of a period: figures for people and programs, and what they cannot say."""

from __future__ import annotations

from typing import Final

import msgspec

LIMITS: Final = (
    (
        "An interval holds the true difference 19 times in 20 if the end of the period was fixed beforehand. "
        "Whoever looks every day and stops when it looks good will find effects that are not there, and of "
        "twenty journeys that do nothing one looks as if it did."
    ),
    (
        "Only the difference to the holdout, or between variants, is brought about by the journey. Opens and "
        "clicks are not: those who open are the ones who would have come anyway."
    ),
)


class StepResult(msgspec.Struct, kw_only=True):
    """What became of the messages of one send step.

    Args:
        version: of the journey.
        step: its path.
        channel: empty if this version is not among the rules known.
        template: the same.
        sent: messages, or tasks for people.
        customers: who got them.
        delivered: of the messages sent; the same for those below.
        opened: see there.
        clicked: see there.
        responded: see there.
        bounced: see there.
        unsubscribed: see there.
    """

    version: int
    step: str
    channel: str
    template: str
    sent: int
    customers: int
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    responded: int = 0
    bounced: int = 0
    unsubscribed: int = 0


class ArmResult(msgspec.Struct, kw_only=True):
    """Customers of one arm, each with the first entry of the period.

    Args:
        name: `treated`, `holdout`, or the variant.
        customers: how many, of those whose time for the goal is over.
        converted: how many of them reached the goal.
        share: converted of customers, 0-1.
        low: lower end of its 95 % interval.
        high: upper end.
        value: what reaching the goal was worth, for each customer of the arm, those who did not included.
    """

    name: str
    customers: int
    converted: int
    share: float
    low: float
    high: float
    value: float


class Effect(msgspec.Struct, kw_only=True):
    """How one arm differs from another.

    Args:
        arm: the one.
        than: the other.
        share: difference of the shares, 0-1.
        low: lower end of its interval; with more than two variants wider, so that all hold together.
        high: upper end.
        value: difference of the value for each customer; None if nobody's is known to differ.
        value_low: lower end of its 95 % interval.
        value_high: upper end.
        verdict: `higher`, `lower`, or `open`: the interval holds zero.
    """

    arm: str
    than: str
    share: float
    low: float
    high: float
    value: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    verdict: str


class Comparison(msgspec.Struct, kw_only=True):
    """Arms and their differences.

    Args:
        arms: treated and holdout, or the variants of a split by name.
        effects: treated less holdout, or each pair of variants.
    """

    arms: list[ArmResult]
    effects: list[Effect]


class JourneyResult(msgspec.Struct, kw_only=True):
    """One journey.

    Args:
        journey: its name.
        entered: runs begun; a journey that neither waits nor has a goal tells of none.
        held_out: entries that got nothing, for the sake of comparison.
        reached: customers who got a message or task.
        sent: messages and tasks.
        steps: by version and step.
        suppressed: by guard.
        deferred: by guard.
        goal: in words, empty if there is none.
        undecided: customers whose time for the goal is not over; in no arm below.
        lift: treated beside the holdout; None without a goal.
        splits: by the split's path.
    """

    journey: str
    entered: int
    held_out: int
    reached: int
    sent: int
    steps: list[StepResult]
    suppressed: dict[str, int]
    deferred: dict[str, int]
    goal: str
    undecided: int
    lift: Comparison | None
    splits: dict[str, Comparison]


class Repurchase(msgspec.Struct, kw_only=True):
    """Who bought, and who bought again within the period.

    Args:
        orders: placed and not cancelled.
        buyers: customers with one at least.
        again: customers with two at least.
    """

    orders: int
    buyers: int
    again: int


class Responses(msgspec.Struct, kw_only=True):
    """How long inquiries waited for their first answer.

    Args:
        opened: inquiries opened in the period.
        answered: of them, how many were answered.
        p50_s: half of the answered ones waited no longer, seconds; None if none was answered.
        p90_s: nine in ten.
        due: opened more than five minutes before the end of the period.
        in_time: of those, how many were answered within five minutes.
        late: not answered yet, and older than that at the end of the period.
    """

    opened: int
    answered: int
    p50_s: float | None
    p90_s: float | None
    due: int
    in_time: int
    late: int


class Satisfaction(msgspec.Struct, kw_only=True):
    """What customers say.

    Args:
        nps_answers: to "would you recommend us".
        nps: share of 9 and 10 less share of 0 to 6, -100 to 100; None without an answer.
        csat_answers: to "how satisfied are you".
        csat: their mean, 1-5; None without an answer.
    """

    nps_answers: int
    nps: float | None
    csat_answers: int
    csat: float | None


class Results(msgspec.Struct, kw_only=True):
    """What happened in a period.

    Args:
        since: its start, ISO 8601.
        until: its end.
        reached: customers who got a message or task from any journey.
        sent: messages and tasks.
        journeys: those that did anything, by messages sent.
        together: all journeys: customers who entered one beside those whom the control group kept out,
            and how many of either ordered between that and the end; None without a control group.
        repurchase: buyers.
        responses: inquiries.
        satisfaction: feedback.
        notes: about these very figures.
        limits: what such figures cannot say.
    """

    since: str
    until: str
    reached: int
    sent: int
    journeys: list[JourneyResult]
    together: Comparison | None
    repurchase: Repurchase
    responses: Responses
    satisfaction: Satisfaction
    notes: list[str]
    limits: tuple[str, ...] = LIMITS
