"""Segments: named groups of customers, judged for a whole wave at once; the first that matches wins.

They are data (`deploy/segments.yaml`): lists of comparisons of a feature with a number, joined by `all` and
`any`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.features.catalog import NEVER_DAYS, Source
from engine.features.registry import FeatureSpace
from engine.features.yaml_file import Entry, Problems, fields, items, name_of, nearest, whole_number

MAX_SEGMENTS = 64
MAX_COMPARISONS = 32
MAX_DEPTH = 4
NO_CHANGE_MS = 1 << 62

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_COMPARISON = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Comparison:
    """A feature compared with a number."""

    feature: str
    sign: str
    number: float


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions of which all, or any, must hold."""

    every: bool
    parts: tuple[Condition, ...]


Condition = Comparison | Group
# the number of a comparison; or whether all must hold, or any, and of which
_Plan = int | tuple[bool, "tuple[_Plan, ...]"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment.

    Args:
        name: what rules call it.
        code: 1-255, stored with each customer; never reused.
        condition: who belongs to it; an empty `all` takes everybody.
        description: for people.
    """

    name: str
    code: int
    condition: Condition
    description: str = ""

    def comparisons(self) -> Iterator[Comparison]:
        """Yield every comparison in the condition."""
        return _comparisons(self.condition)


def _comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    else:
        for part in condition.parts:
            yield from _comparisons(part)


class Segments:
    """The segments of a deployment over a feature space.

    Args:
        segments: in order of precedence.
        space: computes every feature they compare (`features_of`).
    """

    def __init__(self, segments: Sequence[Segment], space: FeatureSpace) -> None:
        self.segments = tuple(segments)
        self.codes: dict[str, int] = {segment.name: segment.code for segment in segments}
        names = [""] * 256  # a retired code in an old state has no name, like 0
        for segment in segments:
            names[segment.code] = segment.name
        self.names: tuple[str, ...] = tuple(names)
        self._columns = {
            it.feature: space.index[it.feature] for segment in segments for it in segment.comparisons()
        }
        each = list(dict.fromkeys(it for segment in segments for it in segment.comparisons()))
        self._tested = np.array([self._columns[it.feature] for it in each], np.intp)
        self._comparisons = [(_COMPARE[it.sign], it.number) for it in each]
        numbers = {it: number for number, it in enumerate(each)}
        # the first that matches wins, so it is written last
        self._plans = [(it.code, _plan(it.condition, numbers)) for it in reversed(self.segments)]
        self._plan_changes(space)

    def _plan_changes(self, space: FeatureSpace) -> None:
        """Note the comparisons that change by the mere passing of time: those on days since something."""
        aging = sorted(
            {
                (self._columns[it.feature], int(np.ceil(it.number * _DAY_S)) + (it.sign in {"<=", ">"}))
                for segment in self.segments
                for it in segment.comparisons()
                if _ages(space, it.feature)
            }
        )
        self._aging_columns = np.array([column for column, _ in aging], np.int64)
        self._aging_s = np.array([after_s for _, after_s in aging], np.int64)
        # an event can't bring a change by the mere passing of time sooner than this
        self.min_change_ms = min((after_s * 1000 for _, after_s in aging), default=NO_CHANGE_MS)

    def classify(self, matrix: Floats) -> npt.NDArray[np.uint8]:
        """Return each row's segment.

        Args:
            matrix: `(rows, features)`, from the feature space these segments were built with.

        Returns:
            `(rows,) uint8` codes; 0 = none matches.
        """
        codes = np.zeros(len(matrix), np.uint8)
        values = matrix.take(self._tested, axis=1).T
        masks = [
            compare(column, number)
            for column, (compare, number) in zip(values, self._comparisons, strict=True)
        ]
        for code, plan in self._plans:
            codes[_mask(plan, masks, len(matrix))] = code
        return codes

    def next_change_ms(self, matrix: Floats, now_ms: Int64s) -> Int64s:
        """Return when a row's segment may change although nothing happens to the customer.

        Only days-since features are looked ahead; a windowed count that falls as entries leave the window is
        noticed at the customer's next row.

        Args:
            matrix: as in `classify`.
            now_ms: `(rows,)` instants of the rows.

        Returns:
            `(rows,) int64` ms, later than `now_ms`; `NO_CHANGE_MS` = never.
        """
        if not len(self._aging_columns):
            return np.full(len(matrix), NO_CHANGE_MS, np.int64)
        days = matrix[:, self._aging_columns]
        now_s = (now_ms // 1000)[:, None]
        change_s = now_s - np.rint(days * _DAY_S).astype(np.int64) + self._aging_s
        ahead = (change_s > now_s) & (days < NEVER_DAYS)
        next_ms: Int64s = np.where(ahead, change_s * 1000, NO_CHANGE_MS).min(axis=1)
        return next_ms


def _plan(condition: Condition, numbers: Mapping[Comparison, int]) -> _Plan:
    if isinstance(condition, Comparison):
        return numbers[condition]
    return condition.every, tuple(_plan(part, numbers) for part in condition.parts)


def _mask(plan: _Plan, masks: Sequence[Mask], rows: int) -> Mask:
    """Return which rows a condition holds for, from those each comparison holds for."""
    if isinstance(plan, int):
        return masks[plan]
    every, parts = plan
    if not parts:
        return np.full(rows, every)
    joined = _mask(parts[0], masks, rows)
    for part in parts[1:]:
        other = _mask(part, masks, rows)
        joined = joined & other if every else joined | other
    return joined


def _ages(space: FeatureSpace, name: str) -> bool:
    feature = space.describe(name)
    return feature.source in {Source.RECENCY, Source.FIRST} or (
        feature.source is Source.HEAD and feature.unit == "days"
    )


def features_of(segments: Sequence[Segment]) -> set[str]:
    """Return the names of the features segments compare."""
    return {it.feature for segment in segments for it in segment.comparisons()}


def parse_segments(entry: Entry, features: dict[str, str], problems: Problems) -> tuple[Segment, ...]:
    """Read the `segments` list.

    Args:
        entry: the list in the file.
        features: name to kind of every feature a condition may compare.
        problems: takes what is wrong.
    """
    found: list[Segment] = []
    for item in items(entry, problems, MAX_SEGMENTS):
        segment = _parse_segment(item, features, problems)
        if segment is None:
            continue
        for other in found:
            if segment.name == other.name or segment.code == other.code:
                problems.add(
                    "E0807",
                    f"segment {segment.name!r} repeats the name or code of {other.name!r}",
                    item.place,
                )
        found.append(segment)
    return tuple(found)


def _parse_segment(item: Entry, features: dict[str, str], problems: Problems) -> Segment | None:
    keys = fields(item, ("name", "code", "description", "all", "any", "otherwise"), problems)
    name, code = name_of(keys, item, problems), whole_number(keys, item, 1, 255, problems)
    forms = [key for key in ("all", "any", "otherwise") if key in keys]
    if len(forms) != 1:
        problems.add(
            "E0805", f"{item.label} needs exactly one of 'all', 'any', 'otherwise: true'", item.place
        )
        return None
    if forms == ["otherwise"]:
        condition: Condition | None = Group(every=True, parts=())
        if keys["otherwise"].value is not True:
            problems.add("E0806", "otherwise must be true", keys["otherwise"].place)
    else:
        condition = _parse_group(keys[forms[0]], forms[0] == "all", features, problems, 1)
    if not name or code is None or condition is None:
        return None
    description = keys["description"].value if "description" in keys else ""
    return Segment(name, code, condition, str(description))


def _parse_group(
    entry: Entry, every: bool, features: dict[str, str], problems: Problems, depth: int
) -> Group | None:
    if depth > MAX_DEPTH:
        problems.add("E0804", f"conditions are nested more than {MAX_DEPTH} deep", entry.place)
        return None
    parts = [
        _parse_condition(item, features, problems, depth) for item in items(entry, problems, MAX_COMPARISONS)
    ]
    if not parts:
        problems.add("E0805", f"{entry.label} has no condition", entry.place)
    good = tuple(part for part in parts if part is not None)
    return Group(every, good) if len(good) == len(parts) and parts else None


def _parse_condition(
    item: Entry, features: dict[str, str], problems: Problems, depth: int
) -> Condition | None:
    if isinstance(item.value, str):
        return parse_comparison(item, features, problems)
    keys = fields(item, ("all", "any"), problems)
    if len(keys) != 1:
        problems.add(
            "E0806",
            f"{item.label} must be a comparison such as 'orders_30d >= 2', or one 'all' or 'any'",
            item.place,
        )
        return None
    ((key, group),) = keys.items()
    return _parse_group(group, key == "all", features, problems, depth + 1)


def parse_comparison(item: Entry, features: dict[str, str], problems: Problems) -> Comparison | None:
    """Read `FEATURE SIGN NUMBER`; truth values compare with `true` and `false`."""
    match = _COMPARISON.fullmatch(item.value)
    if match is None:
        problems.add(
            "E0806", f"{item.value!r} is not a comparison", item.place, "write it like 'orders_30d >= 2'"
        )
        return None
    name, sign, text = match.groups()
    kind = features.get(name)
    if kind is None or kind == "code":
        problems.add("E0808", f"unknown feature {name!r}", item.place, nearest(name, features))
        return None
    number = _number(text, kind)
    if number is None:
        expected = "true or false" if kind == "bool" else "a number"
        problems.add("E0806", f"{text!r} is not {expected}", item.place)
        return None
    return Comparison(name, sign, number)


def _number(text: str, kind: str) -> float | None:
    if kind == "bool":
        return {"true": 1.0, "false": 0.0}.get(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= 1e15 else None
