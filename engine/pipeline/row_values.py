"""The feature values of one row by name, for the conditions that look at a single customer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.features.registry import FeatureSpace

Floats = npt.NDArray[np.float64]


class RowValues(Mapping[str, float | bool | str]):
    """The feature values of one row by name, read from the matrix when asked for."""

    __slots__ = ("_matrix", "_row", "_segments", "_space")

    def __init__(self, space: FeatureSpace, segments: Sequence[str], matrix: Floats, row: int) -> None:
        self._space = space
        self._segments = segments
        self._matrix = matrix
        self._row = row

    def __getitem__(self, name: str) -> float | bool | str:
        value = self._matrix[self._row, self._space.index[name]]
        if name == "segment":
            return self._segments[int(value)]
        return float(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._space.names)

    def __len__(self) -> int:
        return len(self._space.names)
