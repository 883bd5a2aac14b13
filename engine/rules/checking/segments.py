"""Segments that files name, alone or in a condition on the customer: they must exist."""

from __future__ import annotations

from engine.rules.checked import CheckedExpression
from engine.rules.checking.expressions import check_condition
from engine.rules.expressions.syntax import Binary, Literal, Name, walk
from engine.rules.scope import Scope, Vocabulary
from engine.rules.text.placement import place_in
from engine.rules.text.source import ErrorList, Placed, nearest
from engine.rules.text.yaml_nodes import Scalar


def check_segment(segment: Placed[str], vocabulary: Vocabulary, errors: ErrorList) -> None:
    """Note a segment that does not exist.

    Args:
        segment: its name.
        vocabulary: knows the segments.
        errors: takes the problem.
    """
    if segment.value not in vocabulary.segments:
        hint = nearest(segment.value, vocabulary.segments) or "see the segments file"
        errors.add("E0212", f"unknown segment {segment.value[:60]!r}", segment.place, hint)


def check_when(
    scalar: Scalar | None, scope: Scope, vocabulary: Vocabulary, errors: ErrorList
) -> CheckedExpression | None:
    """Check a condition on the customer.

    Args:
        scalar: the expression, or None when there is none.
        scope: the names it may use.
        vocabulary: knows the segments.
        errors: takes every problem.
    """
    if scalar is None:
        return None
    when = check_condition(scalar, scope, errors)
    if when is not None:
        _compared_segments(when, scalar, vocabulary, errors)
    return when


def _compared_segments(
    when: CheckedExpression, scalar: Scalar, vocabulary: Vocabulary, errors: ErrorList
) -> None:
    """A comparison with a segment that does not exist could never be true."""
    for part in walk(when.node):
        if not isinstance(part, Binary) or part.operator not in ("==", "!=", "in"):
            continue
        sides = (part.left, part.right)
        if not any(isinstance(side, Name) and side.dotted == "customer.segment" for side in sides):
            continue
        for constant in (each for side in sides for each in walk(side) if isinstance(each, Literal)):
            if isinstance(constant.value, str) and constant.value not in vocabulary.segments:
                hint = nearest(constant.value, vocabulary.segments) or "see the segments file"
                place = place_in(scalar, max(scalar.text.find(constant.value) - 1, 0))
                errors.add("E0212", f"unknown segment {constant.value[:60]!r}", place, hint)
