"""The feature space: which features there are, and their values for a whole wave.

`FeatureSpace` is built once from the built-in table and the declared features. `matrix` computes `(rows,
features)`; rules refer to its columns by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.features.catalog import BUILT_IN, TEXTS, Feature, Source, kinds_of
from engine.features.fillers import MAKERS, Fill, RfmSteps
from engine.features.rows import RowBatch
from engine.features.windows import VISITS, Kinds, Tables

CHUNK_ROWS = 256  # so many rows' tables stay in the processor's cache

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Block:
    """Columns that come out of one computation.

    Args:
        columns: where they go in the matrix.
        fill: writes them: `fill(out, tables)`, `out` is `(rows, len(columns))`.
    """

    columns: slice
    fill: Fill


class FeatureSpace:
    """All features of a deployment and how a wave's matrix is computed.

    Args:
        declared: features marketers declared (`declared.Declared.feature`).
        needed: names to compute; None = all. What a rule set doesn't need costs nothing.
        rfm: steps of the RFM scores.

    Raises:
        ValueError: a needed name does not exist, or a declared name is taken.
    """

    def __init__(
        self,
        declared: Iterable[Feature] = (),
        needed: Collection[str] | None = None,
        rfm: RfmSteps | None = None,
    ) -> None:
        table = {feature.name: feature for feature in BUILT_IN}
        for feature in declared:
            if feature.name in table or feature.name in TEXTS:
                raise ValueError(f"feature {feature.name!r} is declared twice")
            table[feature.name] = feature
        if needed is not None:
            unknown = sorted(set(needed) - table.keys())
            if unknown:
                raise ValueError(f"unknown features: {', '.join(unknown)}")
        chosen = [feature for feature in table.values() if needed is None or feature.name in needed]
        order = {source: at for at, source in enumerate(Source)}
        chosen.sort(key=lambda feature: order[feature.source])
        self.features: tuple[Feature, ...] = tuple(chosen)
        self.names: tuple[str, ...] = tuple(feature.name for feature in chosen)
        self.index: dict[str, int] = {name: column for column, name in enumerate(self.names)}
        self._places: dict[tuple[str, ...], npt.NDArray[np.intp] | None] = {}
        self._rfm = rfm or RfmSteps()
        self._kinds = _kinds(chosen)
        self._blocks = self._plan()

    @property
    def kinds(self) -> dict[str, str]:
        """Name to kind (`number`, `bool`, `code`) of every column."""
        return {feature.name: feature.kind for feature in self.features}

    def describe(self, name: str) -> Feature:
        """Return a feature's entry in the table.

        Raises:
            KeyError: there is no such feature here.
        """
        return self.features[self.index[name]]

    def matrix(self, rows: RowBatch) -> Floats:
        """Compute the features of a wave.

        Args:
            rows: the wave; each row is seen as of itself, its own event included.

        Returns:
            `(rows, features) float64`, columns as in `names`. `churn_risk` and `segment` are 0 until the
            caller sets them.
        """
        out: Floats = np.empty((len(rows), len(self.names)))
        for first in range(0, len(rows), CHUNK_ROWS):
            last = first + CHUNK_ROWS
            part = rows if len(rows) <= CHUNK_ROWS else rows.part(first, last)
            tables = Tables(part, self._kinds)
            for block in self._blocks:
                block.fill(out[first:last, block.columns], tables)
        return out

    def places(self, names: tuple[str, ...]) -> npt.NDArray[np.intp] | None:
        """Return the columns of some features, for who asks for them at every batch.

        Args:
            names: of the features.

        Returns:
            `(names,)` columns, or None when one of them is not computed here.
        """
        if names not in self._places:
            known = all(name in self.index for name in names)
            self._places[names] = np.array([self.index[name] for name in names]) if known else None
        return self._places[names]

    def set_column(self, matrix: Floats, name: str, values: npt.ArrayLike) -> None:
        """Write a column the caller computes; without effect if the feature isn't needed.

        Args:
            matrix: what `matrix` returned.
            name: such as `churn_risk`.
            values: `(rows,)`.
        """
        column = self.index.get(name)
        if column is not None:
            matrix[:, column] = values

    def _plan(self) -> tuple[_Block, ...]:
        blocks: list[_Block] = []
        for source in Source:
            columns = [at for at, feature in enumerate(self.features) if feature.source is source]
            if columns:
                members = [self.features[at] for at in columns]
                blocks.append(
                    _Block(
                        slice(columns[0], columns[-1] + 1), MAKERS[source](members, self._kinds, self._rfm)
                    )
                )
        return tuple(blocks)


def _kinds(features: Sequence[Feature]) -> Kinds:
    """Return the entry kinds that the features look at, in a fixed order."""
    used = {kind for feature in features for kind in kinds_of(feature)}
    valued = {
        feature.event_kind
        for feature in features
        if feature.source in {Source.SUM, Source.MEAN, Source.RFM} and feature.event_kind >= 0
    }
    dated = {
        kind
        for feature in features
        if feature.source in {Source.RECENCY, Source.FIRST, Source.GAP, Source.RFM}
        for kind in kinds_of(feature)
    }
    columns = sorted(used, key=lambda kind: (64 if kind == VISITS else kind, kind))
    return Kinds(columns, sorted(valued), sorted(dated))
