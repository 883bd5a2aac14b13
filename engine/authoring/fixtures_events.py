"""Reads the events of a case: `{at: 0d, order.placed: {amount: 100}}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

import msgspec

from engine.authoring.fixtures import MAX_EVENTS, CaseCustomer, CaseEvent
from engine.authoring.instants import read_span
from engine.errors import InvalidEvent
from engine.events import EVENT_CLASSES, EVENT_TYPES, LATEST_MS, EventType
from engine.rules.reader import Reader, kind_of
from engine.rules.source import Place, nearest
from engine.rules.yaml_nodes import Mapping as Keys
from engine.rules.yaml_nodes import Node, Scalar
from engine.validation import build

_OWN = ("at", "who", "time", "every", "times")
_KEPT_BACK = ("customer_id", "type", "time")
_MAPS = ("props", "traits")
_SAID = 6  # fields of an event in the timeline

Instant = Callable[[Node | None, str, tzinfo], int | None]


@dataclass(slots=True)
class _Numbers:
    """Counts what an author need not number: events, orders, inquiries."""

    events: int = 0
    orders: dict[str, int] = field(default_factory=dict)
    inquiries: dict[str, int] = field(default_factory=dict)

    def defaults(self, kind: EventType, label: str) -> dict[str, Any]:
        """Return the ids an event has if its author gives none: those of the latest order and inquiry."""
        self.events += 1
        found: dict[str, Any] = {"id": f"event-{self.events}"}
        if kind.family == "order":
            number = self.orders[label] = self.orders.get(label, 0) + (kind.name == "order.placed")
            found["order_id"] = f"order-{max(1, number)}"
        if kind.family == "service":
            number = self.inquiries[label] = self.inquiries.get(label, 0) + (kind.name == "inquiry.opened")
            found["inquiry_id"] = f"inquiry-{max(1, number)}"
        return found


def read_events(
    node: Node | None, read: Reader, customers: Mapping[str, CaseCustomer], instant: Instant
) -> tuple[CaseEvent, ...]:
    """Read the events of a case.

    Args:
        node: the list.
        read: reads nodes, notes what is wrong.
        customers: by label; the first is meant where `who` is left out.
        instant: reads an instant of the case.

    Returns:
        The events by time, those of one instant as in the file.
    """
    numbers = _Numbers()
    found: list[CaseEvent] = []
    for item in read.listed(node, MAX_EVENTS, "events"):
        if not isinstance(item, Keys):
            read.errors.add("E0203", f"an event must be keys with values, not {kind_of(item)}", item.place)
            continue
        found.extend(_Item(item, read, customers, instant, numbers).events())
        if len(found) > MAX_EVENTS:
            read.errors.add("E0208", f"the case has more than {MAX_EVENTS} events", item.place)
            break
    return tuple(sorted(found, key=lambda each: each.at_ms))


def who(node: Node | None, read: Reader, customers: Mapping[str, CaseCustomer]) -> CaseCustomer:
    """Return the customer a `who` names; the first when it is left out or, with an error, wrong."""
    first = next(iter(customers.values()))
    if node is None:
        return first
    label = node.text if isinstance(node, Scalar) else ""
    if label not in customers:
        hint = nearest(label, customers) or "customers: " + ", ".join(customers)
        read.errors.add("E0508", f"no customer of this case is called {label[:40]!r}", node.place, hint)
        return first
    return customers[label]


class _Item:
    """One element of `events`."""

    def __init__(
        self,
        item: Keys,
        read: Reader,
        customers: Mapping[str, CaseCustomer],
        instant: Instant,
        numbers: _Numbers,
    ) -> None:
        self._item = item
        self._read = read
        self._own = {key.text: value for key, value in item.items if key.text in _OWN}
        self._kinds = [(key, value) for key, value in item.items if key.text not in _OWN]
        self._customer = who(self._own.get("who"), read, customers)
        self._instant = instant
        self._numbers = numbers

    def events(self) -> list[CaseEvent]:
        """Return the event, or as many as `times` says."""
        at_ms = self._at("at")
        if len(self._kinds) != 1:
            hint = "write {at: 0d, order.placed: {amount: 100}}"
            said = f"an event must name one event type, not {len(self._kinds)}"
            self._read.errors.add("E0509", said, self._item.place, hint)
            return []
        (key, value), known = self._kinds[0], EVENT_TYPES
        if key.text not in known:
            hint = nearest(key.text, known) or "docs/events.md lists the event types"
            self._read.errors.add("E0509", f"unknown event type {key.text[:40]!r}", key.place, hint)
            return []
        if at_ms is None:
            self._read.required(self._read.fields(self._item, [*_OWN, key.text], "an event"), "at", "it")
            return []
        given = self._fields(value, known[key.text])
        return [
            event
            for each_ms in self._instants(at_ms)
            if (event := self._event(known[key.text], given, each_ms, key.place)) is not None
        ]

    def _at(self, name: str) -> int | None:
        return self._instant(self._own.get(name), name, self._customer.zone)

    def _instants(self, at_ms: int) -> list[int]:
        every, times = self._own.get("every"), self._own.get("times")
        count = self._read.integer(times, 1, 1, MAX_EVENTS, "times")
        if (every is None) != (times is None):
            there = every or times
            assert there is not None
            self._read.errors.add("E0509", "`every` and `times` go together", there.place)
            return [at_ms]
        every_ms = read_span(every.text) if isinstance(every, Scalar) else 0
        if every is not None and not (every_ms and every_ms > 0):
            self._read.errors.add("E0204", "every must be a duration", every.place, "such as 1d or 12h")
            return [at_ms]
        return [at_ms + number * (every_ms or 0) for number in range(count)]

    def _fields(self, node: Node, kind: EventType) -> dict[str, Any]:
        """Return the fields as plain values; unknown ones are errors."""
        if isinstance(node, Scalar) and node.value is None:
            return {}
        known = [each.name for each in msgspec.structs.fields(EVENT_CLASSES[kind.family])]
        names = [name for name in known if name not in _KEPT_BACK]
        fields = self._read.fields(node, names, f"the event {kind.name}")
        found: dict[str, Any] = {}
        for name, value in fields.by_name.items():
            if name in _MAPS and isinstance(value, Keys):
                found[name] = {
                    key.text: each.value if isinstance(each, Scalar) else None for key, each in value.items
                }
            elif isinstance(value, Scalar):
                found[name] = value.value
            else:
                self._read.errors.add("E0510", f"{name} cannot be {kind_of(value)}", value.place)
        return found

    def _event(self, kind: EventType, given: Mapping[str, Any], at_ms: int, place: Place) -> CaseEvent | None:
        shift_ms = 0
        time_ms = self._at("time")
        if time_ms is not None:
            shift_ms = time_ms - at_ms
            if shift_ms > 0:
                node = self._own["time"]
                self._read.errors.add("E0503", "time lies after `at`: it has not happened yet", node.place)
        fields = {
            **self._numbers.defaults(kind, self._customer.label),
            **given,
            "type": kind.name,
            "customer_id": self._customer.label,
            "time": at_ms + shift_ms,
        }
        try:
            event = build(kind.family, fields, LATEST_MS)
        except InvalidEvent as error:
            self._read.errors.add("E0510", f"not a valid {kind.name}: {error.detail}", place)
            return None
        return CaseEvent(at_ms, event, _say(kind, given))


def _say(kind: EventType, given: Mapping[str, Any]) -> str:
    shown = [f"{name} {_value(value)}" for name, value in list(given.items())[:_SAID]]
    return kind.name + (f" ({', '.join(shown)})" if shown else "")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(each)}" for name, each in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
