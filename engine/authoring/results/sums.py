"""Sums a tally up: arms, differences, messages by step, and the shop's own figures."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from statistics import NormalDist

import numpy as np

from engine.actions import Outcome
from engine.authoring.intervals import (
    Difference,
    Sample,
    mean_difference,
    share_difference,
    share_interval,
)
from engine.authoring.results.plans import Plan
from engine.authoring.results.result import (
    ArmResult,
    Comparison,
    Effect,
    JourneyResult,
    Repurchase,
    Responses,
    Results,
    Satisfaction,
    StepResult,
)
from engine.authoring.results.tally import FLAGS, ResultTally, Run
from engine.rules.times.period import iso

ANSWER_IN_S = 300.0  # what an inquiry is promised
_ERROR = 0.05


def results_of(tally: ResultTally, plans: Mapping[tuple[str, int], Plan], notes: Iterable[str]) -> Results:
    """Sum a tally up.

    Args:
        tally: closed.
        plans: what is known of each version of each journey.
        notes: what the reader has to say.
    """
    names = {*tally.runs, *(each.step[0] for each in tally.sent.values()), *(key[0] for key in tally.held)}
    journeys = [_journey(name, tally, plans) for name in names]
    return Results(
        since=iso(tally.from_ms),
        until=iso(tally.to_ms),
        reached=len({each.customer for each in tally.sent.values()}),
        sent=len(tally.sent),
        journeys=sorted(journeys, key=lambda each: (-each.sent, -each.entered, each.journey)),
        together=_together(tally, plans),
        repurchase=_repurchase(tally),
        responses=_responses(tally),
        satisfaction=_satisfaction(tally),
        notes=[*notes, *_notes(tally, plans)],
    )


def _journey(name: str, tally: ResultTally, plans: Mapping[tuple[str, int], Plan]) -> JourneyResult:
    runs = tally.runs.get(name, {}).values()
    sent = [each for each in tally.sent.values() if each.step[0] == name]
    newest = max((version for journey, version in plans if journey == name), default=0)
    goal = plans[name, newest].goal if newest else ""
    first = _first_runs(name, runs, plans)
    decided = [run for run in first if _is_over(name, run, tally, plans)]
    has_goal = bool(goal) or any(run.converted_ms for run in first)
    held = {
        outcome: {
            guard: n for (journey, what, guard), n in tally.held.items() if (journey, what) == (name, outcome)
        }
        for outcome in (Outcome.SUPPRESSED, Outcome.DEFERRED)
    }
    return JourneyResult(
        journey=name,
        entered=sum(not run.held_out for run in runs),
        held_out=sum(run.held_out for run in runs),
        reached=len({each.customer for each in sent}),
        sent=len(sent),
        steps=_steps(name, tally, plans),
        suppressed=held[Outcome.SUPPRESSED],
        deferred=held[Outcome.DEFERRED],
        goal=goal,
        undecided=len(first) - len(decided) if has_goal else 0,
        lift=_lift(decided) if has_goal else None,
        splits=dict(_splits(decided)) if has_goal else {},
    )


def _first_runs(name: str, runs: Iterable[Run], plans: Mapping[tuple[str, int], Plan]) -> list[Run]:
    """Return each customer's first run of the period: runs of one customer are not independent.

    Whoever enters again in time has the goal counted for that run; here it is the first one's, if it was
    reached within that one's time.
    """
    by_customer: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_customer[run.customer].append(run)
    return [_first_run(name, own, plans) for own in by_customer.values()]


def _first_run(name: str, runs: list[Run], plans: Mapping[tuple[str, int], Plan]) -> Run:
    first = min(runs, key=lambda run: run.entered_ms)
    plan = plans.get((name, first.version))
    reached = [
        run
        for run in runs
        if run.converted_ms and (plan is None or run.converted_ms <= first.entered_ms + plan.within_ms)
    ]
    if not reached:
        return dataclasses.replace(first, converted_ms=0, value=0.0)
    earliest = min(reached, key=lambda run: run.converted_ms)
    return dataclasses.replace(first, converted_ms=earliest.converted_ms, value=earliest.value)


def _is_over(name: str, run: Run, tally: ResultTally, plans: Mapping[tuple[str, int], Plan]) -> bool:
    """Whether the time for the goal is over, as far as is known; who has reached it early is not ahead."""
    plan = plans.get((name, run.version))
    return plan is None or run.entered_ms + plan.within_ms <= tally.to_ms


def _steps(name: str, tally: ResultTally, plans: Mapping[tuple[str, int], Plan]) -> list[StepResult]:
    counts: defaultdict[tuple[int, str], Counter[int]] = defaultdict(Counter)
    people: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
    for each in tally.sent.values():
        journey, version, step = each.step
        if journey == name:
            counts[version, step][each.flags] += 1
            people[version, step].add(each.customer)
    found = []
    for (version, step), flags in sorted(counts.items()):
        plan = plans.get((name, version))
        channel, template = plan.sends.get(step, ("", "")) if plan else ("", "")
        what = {
            event.removeprefix("message."): sum(n for bits, n in flags.items() if bits & flag)
            for event, flag in FLAGS.items()
        }
        found.append(
            StepResult(
                version=version,
                step=step,
                channel=channel,
                template=template,
                sent=flags.total(),
                customers=len(people[version, step]),
                **what,
            )
        )
    return found


def _lift(runs: Iterable[Run]) -> Comparison:
    arms: dict[str, list[Run]] = {"treated": [], "holdout": []}
    for run in runs:
        arms["holdout" if run.held_out else "treated"].append(run)
    return _compare({name: own for name, own in arms.items() if own})


def _splits(runs: Iterable[Run]) -> Iterator[tuple[str, Comparison]]:
    by_split: defaultdict[str, defaultdict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for path in run.variants:
            split, _, variant = path.rpartition(".")
            by_split[split][variant].append(run)
    for split, variants in sorted(by_split.items()):
        yield split, _compare(dict(sorted(variants.items())))


def _compare(arms: Mapping[str, list[Run]]) -> Comparison:
    """Compare each arm with those after it; with many pairs each interval is wider (Bonferroni)."""
    pairs = list(combinations(arms, 2))
    z = NormalDist().inv_cdf(1 - _ERROR / (2 * max(1, len(pairs))))
    return Comparison(
        arms=[_arm(name, runs) for name, runs in arms.items()],
        effects=[_effect((one, arms[one]), (other, arms[other]), z) for one, other in pairs],
    )


def _arm(name: str, runs: list[Run]) -> ArmResult:
    converted = sum(bool(run.converted_ms) for run in runs)
    share = converted / len(runs)
    low, high = share_interval(share, len(runs))
    value = _values(runs).mean
    return ArmResult(
        name=name, customers=len(runs), converted=converted, share=share, low=low, high=high, value=value
    )


def _values(runs: Iterable[Run]) -> Sample:
    worth = np.array([run.value for run in runs])
    return Sample(len(worth), float(worth.sum()), float((worth * worth).sum()))


def _effect(one: tuple[str, list[Run]], other: tuple[str, list[Run]], z: float) -> Effect:
    share = share_difference(
        (sum(bool(run.converted_ms) for run in one[1]), len(one[1])),
        (sum(bool(run.converted_ms) for run in other[1]), len(other[1])),
        z,
    )
    known = any(run.value for run in (*one[1], *other[1]))
    value = mean_difference(_values(one[1]), _values(other[1]), z) if known else None
    return Effect(
        arm=one[0],
        than=other[0],
        share=share.value,
        low=share.low,
        high=share.high,
        value=value.value if value else None,
        value_low=value.low if value else None,
        value_high=value.high if value else None,
        verdict=_verdict(share),
    )


def _verdict(difference: Difference) -> str:
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else "open"


def _together(tally: ResultTally, plans: Mapping[tuple[str, int], Plan]) -> Comparison | None:
    """Compare the customers of all journeys with the control group: what was ordered after the first entry.

    Journeys that do not tell of every entry are left out: they would tell of more customers of one arm.
    """
    first: dict[int, Run] = {}
    for name, runs in tally.runs.items():
        for run in runs.values():
            plan = plans.get((name, run.version))
            kept = first.get(run.customer)
            if plan is not None and plan.tells and (kept is None or run.entered_ms < kept.entered_ms):
                first[run.customer] = run
    if not any(run.control for run in first.values()):
        return None
    found = {customer: dataclasses.replace(run, converted_ms=0, value=0.0) for customer, run in first.items()}
    for order in tally.orders.values():
        mine = found.get(order.customer)
        if mine is not None and order.time_ms > mine.entered_ms:
            mine.converted_ms, mine.value = order.time_ms, mine.value + order.amount
    arms = {"treated": False, "control group": True}
    by_arm = {name: [run for run in found.values() if run.control is arm] for name, arm in arms.items()}
    return _compare({name: runs for name, runs in by_arm.items() if runs})


def _repurchase(tally: ResultTally) -> Repurchase:
    orders = Counter(order.customer for order in tally.orders.values())
    return Repurchase(
        orders=orders.total(), buyers=len(orders), again=sum(count > 1 for count in orders.values())
    )


def _responses(tally: ResultTally) -> Responses:
    opened = [each for each in tally.inquiries.values() if each.opened_ms]
    waits_s = [max(0.0, (each.answered_ms - each.opened_ms) / 1000) for each in opened if each.answered_ms]
    p50_s, p90_s = (float(each) for each in np.percentile(waits_s, (50, 90))) if waits_s else (None, None)
    due = [each for each in opened if tally.to_ms - each.opened_ms > ANSWER_IN_S * 1000]
    return Responses(
        opened=len(opened),
        answered=len(waits_s),
        p50_s=p50_s,
        p90_s=p90_s,
        due=len(due),
        in_time=sum(0 < each.answered_ms <= each.opened_ms + ANSWER_IN_S * 1000 for each in due),
        late=sum(not each.answered_ms for each in due),
    )


def _satisfaction(tally: ResultTally) -> Satisfaction:
    nps, csat = tally.nps, tally.csat
    promoters = sum(count for score, count in nps.items() if score >= 9)
    detractors = sum(count for score, count in nps.items() if score <= 6)
    return Satisfaction(
        nps_answers=nps.total(),
        nps=100 * (promoters - detractors) / nps.total() if nps else None,
        csat_answers=csat.total(),
        csat=sum(score * count for score, count in csat.items()) / csat.total() if csat else None,
    )


def _notes(tally: ResultTally, plans: Mapping[tuple[str, int], Plan]) -> Iterator[str]:
    unknown = sorted(
        name
        for name, runs in tally.runs.items()
        if any((name, run.version) not in plans for run in runs.values())
    )
    if unknown:
        yield (
            f"Of {', '.join(unknown)}, a version ran that is not among the rules known here: entries whose "
            "time for the goal is not over count, too, and both arms look worse than they are."
        )
    if tally.others:
        yield (
            f"{tally.others:,} engagement events name no message (`action_id`) and count for no step. Have "
            "your channels send the action's id back."
        )
    if tally.foreign:
        yield (
            f"Something came back of {tally.foreign:,} messages that were not sent in this period, or that "
            "another journey sent: they are not counted."
        )
