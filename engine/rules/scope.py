"""Which names an expression may use, and what kind each is."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from engine.events import EVENT_CLASSES, EVENT_TYPES
from engine.rules.expressions.cel import Kind
from engine.rules.expressions.ranges import Range, Texts
from engine.rules.policy import Policy
from engine.rules.templates import Template

_KIND_BY_TYPE: dict[Any, Kind] = {str: "string", float: "double", int: "int", bool: "bool"}
_HIDDEN = ("customer_id",)  # who it is: never part of a condition, a message value or a reason
T = TypeVar("T")
INQUIRY_FIELDS: dict[str, Kind] = {
    "id": "string",
    "type": "string",
    "time": "int",
    "inquiry_id": "string",
    "sentiment": "double",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What rules can talk about.

    Args:
        features: feature name to kind (`double`, `bool` or `string`).
        columns: feature name to its column in the feature matrix.
        segments: segment name to its code in the `segment` column.
        channels: channels that exist; empty = any.
        templates: templates by name; empty = any.
        ranges: feature name to its lowest and highest value; a feature that is not in it can have any.
        policy: the contact policy; knows the kinds of contact.
    """

    features: Mapping[str, Kind]
    columns: Mapping[str, int]
    segments: Mapping[str, int] = field(default_factory=dict)
    channels: frozenset[str] = frozenset()
    templates: Mapping[str, Template] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    customer: Mapping[str, Kind] = field(init=False, default_factory=dict)
    customer_ranges: Mapping[str, Range] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Lay out every `customer.` variable once: the features, and the traits as a map."""
        variables = {**prefixed("customer", self.features), "customer.traits": "map"}
        object.__setattr__(self, "customer", variables)
        object.__setattr__(self, "customer_ranges", prefixed("customer", self.ranges))


@dataclass(frozen=True, slots=True)
class Scope:
    """The variables an expression can read at one place.

    Args:
        what: the place in words, such as "`when`".
        variables: dotted name to kind.
        roots: first parts of names that can be used here, for hints.
        ranges: dotted name to its lowest and highest value, of those that are known.
        texts: dotted name to the texts it can be, of those that are known.
    """

    what: str
    variables: Mapping[str, Kind]
    roots: tuple[str, ...]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    texts: Texts = field(default_factory=dict)


@lru_cache(maxsize=64)
def event_fields(event_type: str) -> dict[str, Kind]:
    """Return the fields of an event type and their kinds; empty for an unknown type."""
    known = EVENT_TYPES.get(event_type)
    if known is None:
        return {}
    hints = typing.get_type_hints(EVENT_CLASSES[known.family])
    return {name: _KIND_BY_TYPE.get(hint, "map") for name, hint in hints.items() if name not in _HIDDEN}


@lru_cache(maxsize=1)
def any_event_fields() -> dict[str, Kind]:
    """Return the fields that some event type has, each of any kind; maps stay maps."""
    found: dict[str, Kind] = {}
    for event_type in EVENT_TYPES:
        for name, kind in event_fields(event_type).items():
            found[name] = "map" if kind == "map" else "dyn"
    return found


@lru_cache(maxsize=64)
def event_ranges(event_type: str) -> dict[str, Range]:
    """Return the lowest and highest value of an event type's numbers, as far as the schema bounds them."""
    known = EVENT_TYPES.get(event_type)
    if known is None:
        return {}
    found: dict[str, Range] = {}
    for name, hint in typing.get_type_hints(EVENT_CLASSES[known.family], include_extras=True).items():
        metas = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, msgspec.Meta)]
        if metas and metas[0].ge is not None and name != "time":
            found[name] = (float(metas[0].ge), math.inf if metas[0].le is None else float(metas[0].le))
    if event_type == "feedback.csat":
        found["score"] = (1.0, 5.0)
    return found


def prefixed(root: str, fields: Mapping[str, T]) -> dict[str, T]:
    """Return the fields as dotted variables under a root."""
    return {f"{root}.{name}": kind for name, kind in fields.items()}
