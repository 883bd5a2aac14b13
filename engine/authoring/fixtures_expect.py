"""Reads what a case expects: `{at: 90d, send: email, template: winback-survey}`."""

from __future__ import annotations

from collections.abc import Mapping

from engine.authoring.fixtures import DECIDED, STANDING, CaseCustomer, Expectation
from engine.authoring.fixtures_events import Instant, who
from engine.authoring.instants import read_span
from engine.events import EVENT_TYPES
from engine.events import Scalar as Value
from engine.rules.reader import Reader, kind_of
from engine.rules.source import nearest
from engine.rules.yaml_nodes import Mapping as Keys
from engine.rules.yaml_nodes import Node, Scalar

NOWHERE = "none"
_ANY = ("at", "within", "who", "journey")
_MORE: Mapping[str, tuple[str, ...]] = {
    "send": ("template", "data", "step"),
    "suppressed": ("template", "step"),
    "deferred": ("template", "step", "until"),
    "exited": ("step",),
    "variant": ("step",),
    "converted": ("data",),
}
_KEYS = (*DECIDED, *STANDING, *_ANY, "template", "data", "step", "until")


def read_expectation(
    node: Node, read: Reader, customers: Mapping[str, CaseCustomer], instant: Instant
) -> Expectation | None:
    """Read one expectation.

    Args:
        node: the element of `expect`.
        read: reads nodes, notes what is wrong.
        customers: by label; the first is meant where `who` is left out.
        instant: reads an instant of the case.
    """
    if not isinstance(node, Keys):
        said = f"an expectation must be keys with values, not {kind_of(node)}"
        read.errors.add("E0203", said, node.place)
        return None
    names = [key.text for key, _ in node.items]
    kinds = [name for name in names if name in (*DECIDED, *STANDING)]
    if len(kinds) != 1:
        _unclear(node, kinds, read)
        return None
    kind = kinds[0]
    fields = read.fields(node, (kind, *_ANY, *_MORE.get(kind, ())), f"an expectation of `{kind}`")
    customer = who(fields.get("who"), read, customers)
    value, to = _value(kind, fields.get(kind), read)
    return Expectation(
        kind=kind,
        value=value,
        label=customer.label,
        place=node.place,
        at_ms=instant(fields.get("at"), "at", customer.zone),
        said=_say(node, kind),
        within_ms=_within_ms(fields.get("within"), read),
        template=read.text(fields.get("template"), "a template"),
        step=read.text(fields.get("step"), "a step"),
        journey=read.text(fields.get("journey"), "a journey"),
        data=_data(fields.get("data"), read),
        until_ms=instant(fields.get("until"), "until", customer.zone) or 0,
        to=to,
    )


def _unclear(node: Keys, kinds: list[str], read: Reader) -> None:
    if kinds:
        said = f"one expectation cannot be both `{kinds[0]}` and `{kinds[1]}`"
        read.errors.add("E0511", said, node.place, "write two")
        return
    unknown = next((key for key, _ in node.items if key.text not in _KEYS), None)
    hint = nearest(unknown.text, (*DECIDED, *STANDING)) if unknown is not None else ""
    hint = hint or "one of: " + ", ".join((*DECIDED, *STANDING))
    read.errors.add("E0511", "what is expected here?", unknown.place if unknown else node.place, hint)


def _value(kind: str, node: Node | None, read: Reader) -> tuple[str, Value | None]:
    """Return what stands behind the kind, and for a trait the value it must have."""
    if node is None:
        return "", None
    if kind == "set":
        return _trait(node, read)
    if not isinstance(node, Scalar):
        read.errors.add("E0203", f"{kind} must be a word, not {kind_of(node)}", node.place)
        return "", None
    if node.value is True and kind not in STANDING:
        return "", None  # `entered: true`: by whatever
    if node.value is None or isinstance(node.value, bool):
        read.errors.add("E0203", f"{kind} must be a word, not {kind_of(node)}", node.place)
    if kind == "exited" and "." in node.text and node.text not in EVENT_TYPES:
        hint = nearest(node.text, EVENT_TYPES)
        read.errors.add("E0509", f"unknown event type {node.text[:40]!r}", node.place, hint)
    return node.text, None


def _trait(node: Node, read: Reader) -> tuple[str, Value | None]:
    if not isinstance(node, Keys) or len(node.items) != 1 or not isinstance(node.items[0][1], Scalar):
        read.errors.add("E0203", "set must be one trait with its value", node.place, "set: {vip: true}")
        return "", None
    key, value = node.items[0]
    return key.text, value.value if isinstance(value, Scalar) else None


def _within_ms(node: Node | None, read: Reader) -> int:
    if node is None:
        return 0
    found = read_span(node.text) if isinstance(node, Scalar) else None
    if found is None or found < 0:
        read.errors.add("E0204", "within must be a duration", node.place, "such as 0s, 5m or 1d")
        return 0
    return found


def _data(node: Node | None, read: Reader) -> dict[str, Value]:
    if node is None:
        return {}
    if not isinstance(node, Keys):
        read.errors.add("E0203", f"data must be keys with values, not {kind_of(node)}", node.place)
        return {}
    found: dict[str, Value] = {}
    for key, value in node.items:
        if isinstance(value, Scalar) and value.value is not None:
            found[key.text] = value.value
        else:
            said = f"a data value must be one text, number or truth value, not {kind_of(value)}"
            read.errors.add("E0203", said, value.place)
    return found


def _say(node: Keys, kind: str) -> str:
    """Return the expectation as it is written, without when and who."""
    items = {key.text: value for key, value in node.items if key.text not in ("at", "who")}
    first = items.pop(kind, None)
    parts = [f"{kind} {_plain(first)}".strip()]
    template = items.pop("template", None)
    if template is not None:
        parts.append(_plain(template))
    parts.extend(f"{name} {_plain(value)}" for name, value in items.items())
    return " ".join(parts)


def _plain(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Keys):
        return "{" + ", ".join(f"{key.text}: {_plain(value)}" for key, value in node.items) + "}"
    return ""
