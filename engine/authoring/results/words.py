"""Figures as people read them, the same in the terminal and on the page."""

from __future__ import annotations

from typing import NamedTuple

from engine.authoring.results.result import ArmResult, Effect, JourneyResult, Responses, Results

_MINUTE_S = 60
_HOUR_S = 3600


class Ranged(NamedTuple):
    """A figure and the interval it lies in."""

    value: str
    interval: str

    def __str__(self) -> str:
        """Write both in one line."""
        return f"{self.value} ({self.interval})"


def say_share(arm: ArmResult) -> Ranged:
    """Say an arm's share."""
    return Ranged(f"{arm.share:.1%}", f"{arm.low:.1%} to {arm.high:.1%}")


def say_points(effect: Effect) -> Ranged:
    """Say a difference of shares in percentage points."""
    return Ranged(_signed(effect.share), f"{_signed(effect.low)} to {_signed(effect.high)}")


def _signed(share: float) -> str:
    return f"{share * 100:+.1f}"


def say_value(effect: Effect) -> Ranged | None:
    """Say a difference of value for each customer; None if none is known."""
    if effect.value is None or effect.value_low is None or effect.value_high is None:
        return None
    return Ranged(f"{effect.value:+,.2f}", f"{effect.value_low:+,.2f} to {effect.value_high:+,.2f}")


def say_lift(each: JourneyResult) -> str:
    """Say in short whether a journey did what it is for; empty without a goal."""
    if each.lift is None:
        return ""
    if not each.lift.effects:
        return _why_unknown(each)
    (effect,) = each.lift.effects
    treated = each.lift.arms[0]
    if effect.verdict == "open":
        return "no difference to be seen"
    extra = abs(effect.share) * treated.customers
    if effect.verdict == "lower":
        return f"{extra:,.0f} customers fewer than without it"
    return f"{extra:,.0f} customers more than without it"


def _why_unknown(each: JourneyResult) -> str:
    if each.undecided and (each.lift is None or not each.lift.arms):
        return "too early"
    return "one arm is empty" if each.held_out else "no holdout to compare with"


def say_effect(effect: Effect) -> str:
    """Say in words how one variant did beside another, and by how many points."""
    points = say_points(effect)
    by = f"({points.value} points, {points.interval})"
    if effect.verdict == "open":
        return f"{effect.arm} and {effect.than}: no difference to be seen {by}"
    return f"{effect.arm} does {'better' if effect.verdict == 'higher' else 'worse'} than {effect.than} {by}"


def say_wait(seconds: float | None) -> str:
    """Say a time waited."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:.1f} h"


def say_rate(part: int, whole: int) -> str:
    """Say a part of a whole in percent; a dash without a whole."""
    return f"{part / whole:.1%}" if whole else "–"


def answered_in_time(responses: Responses) -> str:
    """Say how many of the inquiries whose five minutes are over were answered within them."""
    return say_rate(responses.in_time, responses.due)


def headline(results: Results) -> list[tuple[str, str]]:
    """Return the figures one looks at first: number, and what it is."""
    shop, replies, said = results.repurchase, results.responses, results.satisfaction
    found = [
        (f"{results.reached:,}", "customers reached"),
        (f"{results.sent:,}", "messages and tasks"),
        (f"{shop.buyers:,}", "customers ordered"),
        (say_rate(shop.again, shop.buyers), "of them again (repurchase)"),
    ]
    if replies.opened:
        found.append((answered_in_time(replies), "of inquiries answered in 5 min"))
        found.append((say_wait(replies.p50_s), "half of the answers came within"))
    if said.nps is not None:
        found.append((f"{said.nps:+.0f}", f"NPS ({said.nps_answers:,} answers)"))
    if said.csat is not None:
        found.append((f"{said.csat:.2f}", f"CSAT of 5 ({said.csat_answers:,} answers)"))
    return found
