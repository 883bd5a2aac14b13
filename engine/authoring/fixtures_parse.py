"""Reads fixture files (`NAME.test.yaml`): every mistake with its place, as in rule files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from engine.authoring.fixtures import (
    MAX_CASES,
    MAX_CUSTOMERS,
    MAX_EXPECTATIONS,
    MAX_SPAN_MS,
    Case,
    CaseCustomer,
    CaseEvent,
    Expectation,
    FixtureFile,
)
from engine.authoring.fixtures_customer import CustomerReader
from engine.authoring.fixtures_events import read_events
from engine.authoring.fixtures_expect import read_expectation
from engine.authoring.instants import read_absolute, read_instant, say_span
from engine.rules.reader import Fields, Reader
from engine.rules.source import ErrorList, Place
from engine.rules.units import UNIT_MS
from engine.rules.yaml_nodes import Mapping as Keys
from engine.rules.yaml_nodes import Node, Scalar, read_text, read_yaml

DEFAULT_START = "2026-03-02T10:00:00"  # a Monday
_SHARED = ("start", "customer", "given", "with")
FILE_KEYS = ("fixtures", *_SHARED, "cases")
CASE_KEYS = ("name", *_SHARED, "customers", "arm", "split", "events", "expect", "until", "only")
_A_DAY_MS = UNIT_MS["d"]


@dataclass(frozen=True, slots=True)
class Known:
    """What fixtures can name.

    Args:
        features: feature to `double`, `bool` or `string`.
        segments: names of the segments.
        default_zone: IANA zone of customers without one.
    """

    features: Mapping[str, str]
    segments: Collection[str]
    default_zone: str = "UTC"


def read_fixtures(file: str, data: bytes, errors: ErrorList, known: Known) -> FixtureFile | None:
    """Read a fixture file.

    Args:
        file: its path, for messages.
        data: its bytes.
        errors: takes what is wrong.
        known: what it can name.

    Returns:
        The cases, or None when the file can't be read at all; only right if `errors` stayed empty.
    """
    source = read_text(file, data, errors)
    tree = read_yaml(source, errors) if source is not None else None
    if tree is None:
        return None
    read = Reader(errors)
    fields = read.fields(tree, FILE_KEYS, "a fixture file")
    journey = read.name(read.required(fields, "fixtures", "a fixture file"), "a journey")
    nodes = read.listed(read.required(fields, "cases", "a fixture file"), MAX_CASES, "cases")
    cases = [_CaseReader(read, known, fields, node).case() for node in nodes]
    if not nodes and not errors.errors:
        errors.add("E0501", "there is no case in this file", tree.place, "add a case under `cases:`")
    found = tuple(case for case in cases if case is not None)
    _refuse_same_names(found, errors)
    if journey is None:
        return None
    return FixtureFile(file, journey.value, journey.place, found)


def _refuse_same_names(cases: tuple[Case, ...], errors: ErrorList) -> None:
    seen: dict[str, Place] = {}
    for case in cases:
        first = seen.setdefault(case.name, case.place)
        if first is not case.place:
            said = f"two cases are called {case.name[:60]!r}"
            errors.add("E0502", said, case.place, f"the first is on line {first.line}")


class _CaseReader:
    """Reads one case; what it leaves out is taken from the file's own keys."""

    def __init__(self, read: Reader, known: Known, shared: Fields, node: Node) -> None:
        self._read = read
        self._known = known
        self._shared = shared
        self._node = node
        self._fields = read.fields(node, CASE_KEYS, "a case")
        self._start_ms = 0

    def case(self) -> Case | None:
        """Return the case, or None when there is nothing to go on with."""
        read, fields = self._read, self._fields
        name = read.text(read.required(fields, "name", "a case"), "the name of a case")
        expected = read.required(fields, "expect", "a case")
        if not isinstance(self._node, Keys):
            return None
        customers = self._customers()
        if not customers:
            return None
        first = customers[0].zone
        labels = {each.label: each for each in customers}
        events = read_events(fields.get("events"), read, labels, self._instant)
        expect = tuple(
            found
            for item in read.listed(expected, MAX_EXPECTATIONS, "expect")
            if (found := read_expectation(item, read, labels, self._instant)) is not None
        )
        until_ms = self._until_ms(first, events, expect)
        self._refuse_early(expect, until_ms)
        return Case(
            name=name,
            place=fields.place,
            start_ms=self._start_ms,
            until_ms=until_ms,
            customers=customers,
            events=events,
            expect=expect,
            others=self._others(),
            only=read.boolean(fields.get("only"), True, "only"),
        )

    def _customers(self) -> tuple[CaseCustomer, ...]:
        """Return the case's customers; as a side effect the start of the case is known."""
        read, fields = self._read, self._fields
        shared = self._shared.get("customer")
        several, one = fields.get("customers"), fields.get("customer")
        if several is not None and one is not None:
            read.errors.add("E0210", "a case has `customer` or `customers`, not both", several.place)
        reader = CustomerReader(read, self._known.features, self._known.segments, self._known.default_zone)
        base = reader.keys(shared)
        blocks: list[tuple[str, Node | None, Place]] = []
        if several is None:
            blocks.append(("customer", one, one.place if one is not None else fields.place))
        elif isinstance(several, Keys):
            blocks.extend((key.text, value, key.place) for key, value in several.items)
        else:
            read.errors.add("E0203", "customers must be keys with values: a name for each", several.place)
        if len(blocks) > MAX_CUSTOMERS:
            said = f"customers has {len(blocks)} elements, the limit is {MAX_CUSTOMERS}"
            read.errors.add("E0208", said, fields.place)
            blocks = blocks[:MAX_CUSTOMERS]
        prepared = [(label, reader.keys(node), place) for label, node, place in blocks]
        if prepared:
            self._start_ms = self._start(reader.zone({**base, **prepared[0][1]}))
        given = fields.get("given") or self._shared.get("given")
        of_case = {"given": given, "arm": fields.get("arm"), "split": fields.get("split")}
        common = {**base, **{key: node for key, node in of_case.items() if node is not None}}
        return tuple(
            reader.customer(label, {**common, **own}, place, self._start_ms) for label, own, place in prepared
        )

    def _start(self, zone: tzinfo) -> int:
        node = self._fields.get("start") or self._shared.get("start")
        default_ms = read_absolute(DEFAULT_START, zone)
        assert default_ms is not None
        if node is None:
            return default_ms
        found = read_absolute(node.text, zone) if isinstance(node, Scalar) else None
        if found is None or not 1_000_000_000_000 <= found <= 4_000_000_000_000:
            hint = "write a date and a time such as 2026-03-02T10:00:00+08:00, between 2001 and 2096"
            self._read.errors.add("E0503", "start is not an instant", node.place, hint)
            return default_ms
        return found

    def _instant(self, node: Node | None, what: str, zone: tzinfo) -> int | None:
        """Return an instant of the case, ms; None when it is missing or, with an error, wrong."""
        if node is None:
            return None
        found = read_instant(node.text, self._start_ms, zone) if isinstance(node, Scalar) else None
        if found is None:
            said = node.text[:40] if isinstance(node, Scalar) else "this"
            hint = (
                "write a span after the start such as 90d 2h, a time of day such as 1d 09:00, or a date-time"
            )
            self._read.errors.add("E0503", f"{what} cannot be {said!r}", node.place, hint)
            return None
        if abs(found - self._start_ms) > MAX_SPAN_MS:
            said = f"{what} is more than {say_span(MAX_SPAN_MS)} from the start"
            self._read.errors.add("E0503", said, node.place)
            return None
        return found

    def _until_ms(self, zone: tzinfo, events: tuple[CaseEvent, ...], expect: tuple[Expectation, ...]) -> int:
        node = self._fields.get("until")
        found = self._instant(node, "until", zone)
        if found is not None and node is not None:
            if found < self._start_ms:
                self._read.errors.add("E0503", "until lies before the start", node.place)
            return found
        instants = [self._start_ms, *(event.at_ms for event in events)]
        instants += [each.at_ms + each.within_ms for each in expect if each.at_ms is not None]
        return max(instants) + _A_DAY_MS

    def _refuse_early(self, expect: tuple[Expectation, ...], until_ms: int) -> None:
        for each in expect:
            if each.at_ms is not None and not self._start_ms <= each.at_ms <= until_ms:
                when = "before the start" if each.at_ms < self._start_ms else "after `until`"
                self._read.errors.add("E0504", f"this is expected {when} of the case", each.place)

    def _others(self) -> tuple[str, ...]:
        node = self._fields.get("with") or self._shared.get("with")
        names = [self._read.name(item, "a journey") for item in self._read.listed(node, 100, "with")]
        return tuple(name.value for name in names if name is not None)
