"""Entries by a feature that rises above a level or falls below one: the batch first, then each customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.features.profile import MAX_BEYOND
from engine.features.state import CustomerState
from engine.rules.journey import Journey

Floats = NDArray[np.float64]


class CrossingIndex:
    """All `rises` and `falls` entries of a rule set, one array comparison per level.

    Args:
        journeys: the rule set's journeys; those by crossing that are enabled are taken.
        columns: feature name to its column in the matrix.
    """

    def __init__(self, journeys: Sequence[Journey], columns: Mapping[str, int]) -> None:
        levels: dict[tuple[int, str, float], list[int]] = {}
        for index, journey in enumerate(journeys):
            if journey.kind in ("rises", "falls") and journey.enabled:
                levels.setdefault((columns[journey.feature], journey.kind, journey.level), []).append(index)
        self.levels = levels

    def beyond(self, matrix: Floats) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose feature is beyond the level, by row, then journey.

        Args:
            matrix: `(rows, features) float64`.
        """
        found: list[tuple[int, int]] = []
        for (column, kind, level), journeys in self.levels.items():
            values = matrix[:, column]
            holds = values > level if kind == "rises" else values < level
            for row in np.flatnonzero(holds).tolist():
                found.extend((row, journey) for journey in journeys)
        return sorted(found)


def newly_beyond(journeys: Sequence[Journey], state: CustomerState, beyond: Sequence[int]) -> Sequence[int]:
    """Note which levels the customer is beyond; return the journeys whose level was crossed at this row.

    Args:
        journeys: the rule set's journeys.
        state: the customer; changed when a level was crossed, in either direction.
        beyond: the journeys beyond whose level the customer is, by index.
    """
    known = state.profile.beyond
    if not beyond and not known:
        return ()
    names = [journeys[index].name for index in beyond]
    if names == known:  # the usual row: nothing has been crossed
        return ()
    kept = [name for name in known if name in names]
    room = MAX_BEYOND - len(kept)
    fresh = sorted(set(names).difference(kept))[:room]
    if fresh or len(kept) < len(known):
        state.note().beyond = sorted([*kept, *fresh])
    return [index for index in beyond if journeys[index].name in fresh]
