"""The feature table: complete, unambiguous, and the same in the docs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.events import EVENT_TYPES, PURPOSES
from engine.features.catalog import BUILT_IN, Feature, Source
from engine.features.reference import document
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState
from engine.features.windows import WINDOWS

DOCS = Path(__file__).parents[2] / "docs" / "features.md"
PROMISED = (
    *(
        f"{stem}_{window}"
        for stem in ("orders", "visits", "spend", "nps_mean", "csat_mean")
        for window in WINDOWS
    ),
    *(f"order_value_mean_{window}" for window in WINDOWS),
    *(f"{kind.stem}_{window}" for kind in EVENT_TYPES.values() if kind.code != 28 for window in WINDOWS),
    *(f"visits_days_{window}" for window in WINDOWS),
    *(f"{stem}_month_{back}" for stem in ("orders", "spend") for back in range(4)),
    *(f"consent_{purpose}" for purpose in PURPOSES),
    *("days_since_order", "days_since_visit", "days_since_signup", "days_since_first_order"),
    *("activity_ratio_7d_30d", "activity_ratio_7d_90d", "order_gap_mean_days", "open_inquiries"),
    *("rfm_recency", "rfm_frequency", "rfm_monetary", "churn_risk", "segment", "nps_last", "csat_last"),
)


def test_every_promised_name_is_there_once() -> None:
    """The names of the public contract exist, and no name has two meanings."""
    names = [feature.name for feature in BUILT_IN]
    assert len(names) == len(set(names))
    assert set(PROMISED) <= set(names)


def test_index_and_names_agree() -> None:
    """Each name's index is its place among the columns."""
    space = FeatureSpace()
    assert all(space.names[space.index[name]] == name for name in space.names)
    assert space.describe("orders_30d").window == "30d"
    assert space.kinds["consent_marketing"] == "bool"


def test_set_column_fills_what_the_caller_computes() -> None:
    """A column set shows in the matrix; setting one that isn't needed does nothing."""
    space = FeatureSpace(needed={"churn_risk"})
    matrix = space.matrix(RowBatch.of([CustomerState("a"), CustomerState("b")], [1000, 1000], [0, 0]))
    space.set_column(matrix, "churn_risk", np.array([0.25, 0.5]))
    space.set_column(matrix, "segment", [1, 2])
    assert matrix.tolist() == [[0.25], [0.5]]


def test_unknown_and_doubled_names_are_refused() -> None:
    """A feature nobody defined, or defined twice, is an error when the space is built."""
    with pytest.raises(ValueError, match="unknown features: ordres_30d"):
        FeatureSpace(needed={"ordres_30d"})
    with pytest.raises(ValueError, match="'orders_30d' is declared twice"):
        FeatureSpace([Feature("orders_30d", "number", "", 0.0, "30d", "", Source.COUNT, 64, 3)])


def test_the_docs_hold_the_table() -> None:
    """docs/features.md shows exactly the features there are (the module reference writes them)."""
    text = DOCS.read_text(encoding="utf-8")
    assert document(text) == text
