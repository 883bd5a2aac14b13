"""Features marketers declare: an event, what of it, over which window, under which conditions.

A declared feature is a series of its own in the customer's state, under a code that is never reused. It
counts from the day it is declared: what happened before is not in the state, and its description says so.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.events import EVENT_CLASSES, EVENT_TYPES, FIRST_SERIES_CODE, LAST_SERIES_CODE, EventType, Scalar
from engine.features.catalog import BUILT_IN, TEXTS, Feature, Source
from engine.features.series import OPERATORS, Series, Test
from engine.features.windows import WINDOWS
from engine.features.yaml_file import Entry, Problems, fields, items, name_of, nearest, whole_number

MAX_DECLARED = 64
MAX_TESTS = 8

_AGGREGATES = {
    "count": (Source.COUNT, "events"),
    "distinct_days": (Source.DAYS, "days"),
    "sum": (Source.SUM, ""),
    "mean": (Source.MEAN, ""),
}
_KEYS = ("name", "code", "event", "field", "aggregate", "window", "where", "since", "meaning")
_TEST = re.compile(r"\s*(?:event\.)?([a-z_]+(?:\.[A-Za-z0-9_-]+)?)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*")
_ENVELOPE = {"id", "type", "customer_id", "time", "props"}


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared feature: its entry in the table and the series behind it."""

    feature: Feature
    series: Series


def by_event(declared: Iterable[Declared]) -> Mapping[int, tuple[Series, ...]]:
    """Return the series to record for each event type's code, for `apply.apply_event`."""
    found: dict[int, tuple[Series, ...]] = {}
    for one in declared:
        found[one.series.event_code] = (*found.get(one.series.event_code, ()), one.series)
    return found


def parse_declared(entry: Entry, problems: Problems) -> tuple[Declared, ...]:
    """Read the `features` list.

    Args:
        entry: the list in the file.
        problems: takes what is wrong.
    """
    taken = {feature.name for feature in BUILT_IN} | set(TEXTS)
    codes: set[int] = set()
    found: list[Declared] = []
    for item in items(entry, problems, MAX_DECLARED):
        one = _parse_one(item, problems)
        if one is None:
            continue
        if one.feature.name in taken:
            problems.add("E0807", f"there is a feature {one.feature.name!r} already", item.place)
        elif one.series.code in codes:
            free = next(
                (code for code in range(FIRST_SERIES_CODE, LAST_SERIES_CODE) if code not in codes), None
            )
            problems.add(
                "E0807", f"code {one.series.code} is taken", item.place, f"{free} is free in this file"
            )
        else:
            found.append(one)
        taken.add(one.feature.name)
        codes.add(one.series.code)
    return tuple(found)


def _parse_one(item: Entry, problems: Problems) -> Declared | None:
    before = len(problems.errors)
    keys = fields(item, _KEYS, problems)
    name = name_of(keys, item, problems)
    code = whole_number(keys, item, FIRST_SERIES_CODE, LAST_SERIES_CODE, problems)
    event_name = _choice(keys, "event", item, EVENT_TYPES, problems)
    aggregate = _choice(keys, "aggregate", item, _AGGREGATES, problems)
    window = _choice(keys, "window", item, WINDOWS, problems)
    since = _since(keys, item, problems)
    if code is None or not (name and event_name and aggregate and window and since):
        return None
    kind = EVENT_TYPES[event_name]
    field = _field(keys, kind, aggregate, item, problems)
    tests = _tests(keys["where"], kind, problems) if "where" in keys else ()
    if len(problems.errors) > before:
        return None
    source, unit = _AGGREGATES[aggregate]
    meaning = str(keys["meaning"].value).strip() if "meaning" in keys else f"{aggregate} of {event_name}"
    feature = Feature(
        name=name,
        kind="number",
        unit=unit,
        default=0.0,
        window=window,
        meaning=f"{meaning.rstrip('.')} ({window}; counted since {since}).",
        source=source,
        event_kind=code,
        at=list(WINDOWS).index(window),
        since=since,
    )
    return Declared(feature, Series(code, kind.code, field, tests))


def _choice(
    keys: Mapping[str, Entry], key: str, item: Entry, known: Mapping[str, object], problems: Problems
) -> str:
    """Return a required key whose value is one of `known`."""
    entry = keys.get(key)
    if entry is None:
        problems.add("E0805", f"{item.label} has no {key!r}", item.place)
        return ""
    if not isinstance(entry.value, str) or entry.value not in known:
        hint = nearest(str(entry.value), known) or f"one of {', '.join(known)}"
        problems.add("E0806", f"unknown {key} {entry.value!r}", entry.place, hint)
        return ""
    return entry.value


def _since(keys: Mapping[str, Entry], item: Entry, problems: Problems) -> str:
    entry = keys.get("since")
    if entry is None:
        hint = "the day it goes live: it counts from then on"
        problems.add("E0805", f"{item.label} has no 'since'", item.place, hint)
        return ""
    try:
        return dt.date.fromisoformat(str(entry.value)).isoformat()
    except ValueError:
        problems.add("E0806", f"since {entry.value!r} must be a date such as 2026-01-31", entry.place)
        return ""


def _known_field(field: str, kind: EventType) -> bool:
    if field.startswith("props."):
        return True
    return field in set(EVENT_CLASSES[kind.family].__struct_fields__) - _ENVELOPE


def _field(
    keys: Mapping[str, Entry], kind: EventType, aggregate: str, item: Entry, problems: Problems
) -> str | None:
    """Return the field added up or averaged; counts have none."""
    entry = keys.get("field")
    valued = aggregate in {"sum", "mean"}
    if entry is None:
        if valued:
            problems.add("E0805", f"{item.label} needs 'field': what to {aggregate}", item.place)
        return None
    field = str(entry.value).removeprefix("event.")
    if not valued:
        problems.add("E0806", f"{aggregate} takes no field", entry.place)
    elif not _known_field(field, kind):
        known = EVENT_CLASSES[kind.family].__struct_fields__
        problems.add("E0808", f"{kind.name} has no field {field!r}", entry.place, nearest(field, known))
    return field


def _tests(entry: Entry, kind: EventType, problems: Problems) -> tuple[Test, ...]:
    found = []
    for item in items(entry, problems, MAX_TESTS):
        match = _TEST.fullmatch(item.value) if isinstance(item.value, str) else None
        if match is None:
            hint = "write it like 'props.tier == premium'"
            problems.add("E0806", f"{item.value!r} is not a comparison", item.place, hint)
            continue
        field, sign, text = match.groups()
        if not _known_field(field, kind):
            known = EVENT_CLASSES[kind.family].__struct_fields__
            problems.add("E0808", f"{kind.name} has no field {field!r}", item.place, nearest(field, known))
        else:
            found.append(Test(field, sign, _constant(text)))
    assert set(OPERATORS) >= {test.sign for test in found}
    return tuple(found)


def _constant(text: str) -> Scalar:
    """Return what a constant means: true, false, a number, or a text (quotes optional)."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text
