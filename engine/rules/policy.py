"""The contact policy: how often customers of a segment may be contacted, by kind of contact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.rules.condition import Condition
from engine.rules.context import TEXT_FEATURES
from engine.rules.sentences import Facts
from engine.rules.times.units import Cap

ANY_KIND = "any"
KINDS = ("promotion", "care", "service", "survey")  # unless the policy file lists others


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """The caps of some customers.

    Args:
        segment: who; empty = of every segment.
        when: what must hold besides, or None.
        caps: kind of contact to its caps; `any` counts every contact.
    """

    segment: str
    when: Condition | None
    caps: Mapping[str, tuple[Cap, ...]]

    @property
    def who(self) -> str:
        """The customers of the row in words."""
        return self.segment or "everybody"

    def matches(self, facts: Facts) -> bool:
        """Tell whether the row is a customer's."""
        if self.segment and facts.values["segment"] != self.segment:
            return False
        return self.when is None or facts.holds(self.when)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rows in order; a customer's is the first that matches.

    Args:
        rows: in order.
        kinds: the kinds of contact journeys may name.
    """

    rows: tuple[PolicyRow, ...] = ()
    kinds: tuple[str, ...] = KINDS
    windows_ms: Mapping[str, int] = field(init=False, default_factory=dict)
    """Kind of contact to the longest window over which any row counts it, ms."""

    def __post_init__(self) -> None:
        """Work out the longest windows once."""
        windows: dict[str, int] = {}
        for row in self.rows:
            for kind, caps in row.caps.items():
                windows[kind] = max(windows.get(kind, 0), *(cap.window_ms for cap in caps))
        object.__setattr__(self, "windows_ms", windows)

    def row_of(self, facts: Facts) -> PolicyRow | None:
        """Return a customer's row, or None when no row says anything about them."""
        return next((row for row in self.rows if row.matches(facts)), None)

    @property
    def features(self) -> frozenset[str]:
        """The features its conditions read."""
        bounds = [row.when.whole for row in self.rows if row.when is not None]
        found = {name for bound in bounds for _, root, name, _ in bound.sources if root == "customer"}
        return frozenset(found - {"traits", *TEXT_FEATURES})
