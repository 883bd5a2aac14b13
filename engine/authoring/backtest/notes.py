"""What to know about one backtest: where its log, its period or its model falls short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.features.registry import FeatureSpace
from engine.features.windows import WINDOWS
from engine.rules.ruleset import RuleSet
from engine.rules.times.period import iso
from engine.rules.times.units import say_duration

_DAY_MS = 86_400_000
_SHOWN = 4


def notes_on(
    rules: RuleSet, space: FeatureSpace, begins_ms: int, from_ms: int, invalid: int, wrong: Sequence[str]
) -> Iterator[str]:
    """Yield the notes, each a sentence or two.

    Args:
        rules: the rule set.
        space: the features it reads.
        begins_ms: the first event of the log.
        from_ms: start of the period.
        invalid: records that are no valid event.
        wrong: the first of them, in words.
    """
    known_ms = from_ms - begins_ms
    lead = f"the log begins {iso(begins_ms)[:10]}, {_days(known_ms)} before the period"
    short = [each for each in space.features if WINDOWS.get(each.window or "", 0) * 1000 > known_ms]
    if short:
        names = _some([each.name for each in sorted(short, key=lambda each: -WINDOWS[each.window])])
        yield f"{lead}: features that look back further count too little at first ({names})."
    lifelong = [each.name for each in space.features if each.window == "lifetime"]
    if lifelong:
        yield f"Lifetime features know nothing from before {iso(begins_ms)[:10]} ({_some(lifelong)})."
    absent = [each for each in rules.journeys if each.kind == "absent" and each.for_ms > known_ms]
    if absent:
        names = _some([f"{each.name} after {say_duration(each.for_ms)}" for each in absent])
        yield f"{lead}: whoever went away before that is not seen to be absent ({names})."
    if invalid:
        yield f"{invalid} records are no valid event and were left out, first: {'; '.join(wrong)}."


def _days(span_ms: int) -> str:
    return f"{span_ms / _DAY_MS:.1f} days" if span_ms % _DAY_MS else f"{span_ms // _DAY_MS} days"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
