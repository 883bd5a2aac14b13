"""The model's passport."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.errors import EngineError
from engine.features.churn.hazard import FEATURE_COUNT, HAZARD_FEATURES
from engine.features.churn.snapshot import (
    check_horizon,
    decode_snapshot,
    encode_snapshot,
    feature_hash,
    shipped_prior,
)


def test_json_round_trip_is_exact() -> None:
    """Every float survives the way through JSON to the last bit."""
    prior = shipped_prior()
    assert decode_snapshot(encode_snapshot(prior)) == prior


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("features", HAZARD_FEATURES[::-1], "feature list"),
        ("features_hash", "0" * 16, "feature list 0000000000000000"),
        ("format", 2, "format 2"),
        ("horizon_days", 100, "churn horizon 100 days"),
        ("hazard_days", 7, "hazard of 7 days"),
        ("mbg_share", 1.5, "mbg_share 1.5"),
        ("prior_share", -0.1, "prior_share -0.1"),
    ],
)
def test_snapshot_that_does_not_fit_is_refused(field: str, value: Any, message: str) -> None:
    """A worker never scores with a model made for other features or out of bounds."""
    snapshot = msgspec.structs.replace(shipped_prior(), **{field: value})
    with pytest.raises(EngineError, match=message):
        decode_snapshot(encode_snapshot(snapshot))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights", (1.0,) * 16, "16 weights"),
        ("weights", (1e300,) * FEATURE_COUNT, "among the weights"),
        ("variances", (-1.0,) * FEATURE_COUNT, "negative variance"),
        ("intercept", 1e99, "intercept 1e"),
        ("rows", -1, "-1 rows"),
    ],
)
def test_parameters_out_of_bounds_are_refused(field: str, value: Any, message: str) -> None:
    """Absurd parameters are stopped before they reach a score."""
    prior = shipped_prior()
    broken = msgspec.structs.replace(prior, hazard=msgspec.structs.replace(prior.hazard, **{field: value}))
    with pytest.raises(EngineError, match=message):
        decode_snapshot(encode_snapshot(broken))


def test_mbg_parameters_must_be_positive() -> None:
    """A drop-out parameter of zero would divide by zero later."""
    prior = shipped_prior()
    broken = msgspec.structs.replace(prior, mbg=msgspec.structs.replace(prior.mbg, a=0.0))
    with pytest.raises(EngineError, match=r"mbg a 0\.0"):
        decode_snapshot(encode_snapshot(broken))


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b" " * 70_000])
def test_bytes_that_are_no_snapshot_are_refused(payload: bytes) -> None:
    """Malformed and oversized payloads raise the engine's own error."""
    with pytest.raises(EngineError, match="model snapshot"):
        decode_snapshot(payload)


def test_hash_depends_on_the_order_of_features() -> None:
    """Swapping two columns is another feature list."""
    assert feature_hash() == feature_hash(HAZARD_FEATURES)
    assert feature_hash(HAZARD_FEATURES[::-1]) != feature_hash()


@pytest.mark.parametrize("horizon_days", [0, 29, 45, 390, -30])
def test_horizon_must_be_whole_steps(horizon_days: int) -> None:
    """Only multiples of the hazard's 30 days can be chained."""
    with pytest.raises(EngineError, match="multiple of 30"):
        check_horizon(horizon_days)
