"""What an entry already says of its customers: conditions asked at that moment that it rules out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from engine.events import EVENT_TYPES
from engine.features.windows import WINDOWS
from engine.rules.expressions.ranges import Range, Texts, find_oddities_in
from engine.rules.expressions.syntax import Name, Node, parse_expression, walk
from engine.rules.parsing.parsed import ParsedBranch, ParsedEntry, ParsedJourney
from engine.rules.scope import Vocabulary
from engine.rules.text.placement import place_in
from engine.rules.text.source import ErrorList
from engine.rules.text.yaml_nodes import Scalar
from engine.rules.times.units import say_duration

_DAY_S = 86_400
_LATE_DAYS = 1.0
"""How old an event may be when it comes: of one that is older nothing is said."""
_WINDOWED = {"order.placed": ("orders", "orders_days", "spend", "order_value_mean")}
"""The windowed features of an event type, where they are more than its counts."""


def find_ruled_out(parsed: ParsedJourney, vocabulary: Vocabulary, errors: ErrorList) -> None:
    """Note comparisons that never hold at the moment somebody enters, though they may at others.

    Args:
        parsed: the journey; its entry's `when` and a branch that is its first step are looked at.
        vocabulary: knows the features.
        errors: takes the warnings.
    """
    asked = tuple(_asked_at_entry(parsed))
    if not asked:
        return
    entry, texts = parsed.entry, _texts_of(parsed.entry)
    ranges = {name: found for name, found in _ranges_of(entry) if name in vocabulary.customer}
    for scalar in asked:
        for node, name in _ruled_out(
            parse_expression(scalar.text), ranges, texts, vocabulary.customer_ranges
        ):
            said = scalar.text[node.start : node.end].strip()
            message = f"`{said[:60]}` is never true when somebody enters"
            errors.warn("W0414", message, place_in(scalar, node.start), _hint(name, entry, ranges, texts))


def _asked_at_entry(parsed: ParsedJourney) -> Iterator[Scalar]:
    if parsed.entry.when is not None:
        yield parsed.entry.when
    if parsed.steps and isinstance(parsed.steps[0], ParsedBranch):
        yield from (arm.when for arm in parsed.steps[0].arms)


def _ruled_out(
    node: Node, ranges: Mapping[str, Range], texts: Texts, ever: Mapping[str, Range]
) -> Iterator[tuple[Node, str]]:
    """Yield comparisons that do not hold then, but may at other times, each with the name that says so."""
    names = {part.dotted for part in walk(node) if isinstance(part, Name)}
    if names.isdisjoint(ranges) and names.isdisjoint(texts):
        return
    nothing: frozenset[str] = frozenset()
    told = {each.node for each in find_oddities_in(node, ever, nothing)}
    known = {**{name: ever[name] for name in names & ever.keys()}, **ranges}
    for oddity in find_oddities_in(node, known, nothing, texts):
        if oddity.kind == "never" and oddity.node not in told:
            parts = (part.dotted for part in walk(oddity.node) if isinstance(part, Name))
            yield oddity.node, next(name for name in parts if name in ranges or name in texts)


def _hint(name: str, entry: ParsedEntry, ranges: Mapping[str, Range], texts: Texts) -> str:
    """Say what the value is then, and what may be meant."""
    if name in texts:
        return f"{name} is {' or '.join(sorted(texts[name]))} then"
    low, high = ranges[name]
    if entry.kind in ("rises", "falls"):
        return f"{name} is {'above' if entry.kind == 'rises' else 'below'} {entry.level:g} then"
    if entry.kind == "absent":
        away = f"nothing has come for {say_duration(entry.for_ms)} then"
        return f"{away}: {name} is {f'{low:g} or more' if math.isinf(high) else f'{high:g}'}"
    what = entry.event.value if entry.event else ""
    if math.isinf(high):
        return f"the {what} that begins the journey counts already: the first one is {name} == 1"
    stem = EVENT_TYPES[what].stem
    again = f"customer.{stem}_30d == 1 && customer.{stem}_lifetime > 1"
    return f"the {what} that begins the journey is the last one, 0 days ago; the first for 30 days: {again}"


def _texts_of(entry: ParsedEntry) -> dict[str, frozenset[str]]:
    """Return the segment that customers are in when they enter."""
    if entry.segment is not None and entry.kind in ("segment_entered", "schedule"):
        return {"customer.segment": frozenset((entry.segment.value,))}
    return {}


def _ranges_of(entry: ParsedEntry) -> Iterator[tuple[str, Range]]:
    """Yield the features of which the entry says something, and between what values they lie then."""
    if entry.feature is not None:
        yield (
            entry.feature.value,
            (entry.level, math.inf) if entry.kind == "rises" else (-math.inf, entry.level),
        )
    type_ = EVENT_TYPES.get(entry.event.value) if entry.event is not None else None
    if type_ is None or len(entry.events) > 1:
        return
    if entry.kind in ("event", "count"):
        yield f"customer.days_since_{type_.singular}", (0.0, _LATE_DAYS)
        for window, length_s in WINDOWS.items():
            if not length_s or length_s > _LATE_DAYS * _DAY_S:
                yield f"customer.{type_.stem}_{window}", (1.0, math.inf)
    elif entry.kind == "absent":
        days = entry.for_ms / 1_000 / _DAY_S
        since = "signup" if entry.since == "signup" else type_.singular
        yield f"customer.days_since_{since}", (days, math.inf)
        for window, length_s in WINDOWS.items():
            if 0 < length_s < days * _DAY_S:
                for stem in _WINDOWED.get(type_.name, (type_.stem, f"{type_.stem}_days")):
                    yield f"customer.{stem}_{window}", (0.0, 0.0)
