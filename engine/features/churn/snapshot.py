"""The model as one immutable object with a passport, exchanged as JSON."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from engine.errors import EngineError
from engine.features.churn.evaluation import Quality
from engine.features.churn.hazard import FEATURE_COUNT, HAZARD_FEATURES
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.value import SpendParameters

SNAPSHOT_FORMAT: Final = 1
HAZARD_DAYS: Final = 30
MAX_HORIZON_DAYS: Final = 360
MAX_SNAPSHOT_BYTES: Final = 512 * 1024
"""Most of it is quality by segment, of which there are 64 at most."""
_LARGEST: Final = 1e15


def feature_hash(features: Sequence[str] = HAZARD_FEATURES) -> str:
    """Hash an ordered feature list, 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(features).encode()).hexdigest()[:16]


class HazardParameters(msgspec.Struct, frozen=True):
    """State of the scaler and the logistic regression, in the order of the feature list.

    Args:
        weights: one per feature, on scaled features.
        intercept: log-odds of a purchase within 30 days at the mean of every feature.
        means: the scaler's.
        variances: the scaler's.
        rows: rows learned from.
    """

    weights: tuple[float, ...]
    intercept: float
    means: tuple[float, ...]
    variances: tuple[float, ...]
    rows: int


class Trial(msgspec.Struct, frozen=True):
    """How a snapshot did against the live one on the labels that matured last; losses are in nats.

    Args:
        rows: rows whose 30 days have passed within the window; the risk judged is that of 30 days.
        live_version: version of the live snapshot; -1 = there was none that fits.
        log_loss: of the trainer, each row judged before it was learned; None without rows.
        own_log_loss: of this very snapshot on the same rows, to catch what has just gone wrong.
        live_log_loss: of the live snapshot on the same rows.
        bound: by how much the larger of the first two may exceed the third.
        passed: whether the snapshot may go live.
    """

    rows: int
    live_version: int
    log_loss: float | None
    own_log_loss: float | None
    live_log_loss: float | None
    bound: float
    passed: bool


class Progress(msgspec.Struct, frozen=True):
    """How the trainer stood when it made a snapshot.

    Args:
        waiting_rows: rows that wait for the slowest partition to pass their day.
        queued_labels: sampled rows waiting for their 30 days.
        queued_risks: scored rows waiting for the horizon.
        late_rows: rows that came after their day was done, repeats included.
        mbg_fitted: fits of MBG/NBD that converged.
        mbg_failed: fits that did not, or had too little to learn from.
    """

    waiting_rows: int
    queued_labels: int
    queued_risks: int
    late_rows: int
    mbg_fitted: int
    mbg_failed: int


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a worker needs to score, and where it comes from.

    Args:
        version: counts the trainer's snapshots, from 1; 0 is the shipped prior.
        cut_off_s: stream time up to which purchases are known, seconds since the epoch.
        horizon_days: the risk is that of no purchase in this many days, a multiple of `hazard_days`.
        hazard: the learned hazard model.
        mbg: MBG/NBD parameters.
        prior: the hazard model blended in while labels are few, or None.
        prior_share: its share of the log-odds, 0 … 1.
        mbg_share: share of MBG/NBD in the blend of log-odds, 0 … 1 (`blend.BlendShare`).
        labels_came_back: matured labels of rows followed by a purchase within `hazard_days`.
        labels_gone: matured labels of the others.
        engine_version: of the package that made it.
        river_version: of the library that learned it.
        validation: prequential quality by group of rows (`all`, `actionable`, `purchase`).
        recent: the same over the last two to three months of judged rows.
        segments: prequential quality by the segment customers were in when their risk was given.
        recent_segments: the same over the last two to three months of judged rows.
        spend: gamma-gamma parameters, or None while too few have paid.
        progress: of the trainer; None in the one that ships.
        trial: against the snapshot that was live when this one was made, or None.
        features: the feature list.
        features_hash: hash of the list.
        hazard_days: days of one step of the chain.
        format: of this object.
    """

    version: int
    cut_off_s: int
    horizon_days: int
    hazard: HazardParameters
    mbg: MbgParameters
    prior: HazardParameters | None
    prior_share: float
    mbg_share: float
    labels_came_back: int
    labels_gone: int
    engine_version: str
    river_version: str
    validation: dict[str, Quality] = {}
    recent: dict[str, Quality] = {}
    segments: dict[str, Quality] = {}
    recent_segments: dict[str, Quality] = {}
    spend: SpendParameters | None = None
    progress: Progress | None = None
    trial: Trial | None = None
    features: tuple[str, ...] = HAZARD_FEATURES
    features_hash: str = feature_hash()
    hazard_days: int = HAZARD_DAYS
    format: int = SNAPSHOT_FORMAT

    @property
    def labels(self) -> int:
        """Matured labels of both classes."""
        return self.labels_came_back + self.labels_gone


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Serialise to JSON."""
    return msgspec.json.encode(snapshot)


def decode_snapshot(payload: bytes) -> Snapshot:
    """Read a snapshot and refuse one that this engine cannot score with.

    Args:
        payload: JSON as `encode_snapshot` wrote it.

    Returns:
        The snapshot, checked.

    Raises:
        EngineError: malformed, made for other features, or a number out of bounds.
    """
    if len(payload) > MAX_SNAPSHOT_BYTES:
        raise EngineError(f"model snapshot: {len(payload)} bytes, at most {MAX_SNAPSHOT_BYTES}")
    try:
        snapshot = msgspec.json.decode(payload, type=Snapshot)
    except msgspec.DecodeError as error:
        raise EngineError(f"model snapshot: {error}") from error
    check_snapshot(snapshot)
    return snapshot


def check_snapshot(snapshot: Snapshot) -> None:
    """Refuse a snapshot that this engine cannot score with.

    Raises:
        EngineError: made for other features, or a number out of bounds.
    """
    if snapshot.format != SNAPSHOT_FORMAT:
        raise EngineError(f"model snapshot: format {snapshot.format}, this engine reads {SNAPSHOT_FORMAT}")
    if snapshot.features != HAZARD_FEATURES or snapshot.features_hash != feature_hash():
        raise EngineError(
            f"model snapshot: feature list {snapshot.features_hash}, this engine computes {feature_hash()}"
        )
    check_horizon(snapshot.horizon_days)
    if snapshot.hazard_days != HAZARD_DAYS:
        raise EngineError(f"model snapshot: hazard of {snapshot.hazard_days} days, not {HAZARD_DAYS}")
    for name, share in (("prior_share", snapshot.prior_share), ("mbg_share", snapshot.mbg_share)):
        if not 0.0 <= share <= 1.0:
            raise EngineError(f"model snapshot: {name} {share}, must lie in 0 … 1")
    for parameters in (snapshot.hazard, snapshot.prior):
        if parameters is not None:
            _check_hazard(parameters)
    _check_buying(snapshot)


def _check_buying(snapshot: Snapshot) -> None:
    for name in ("r", "alpha", "a", "b"):
        _check_positive(f"mbg {name}", getattr(snapshot.mbg, name))
    if snapshot.spend is not None:
        for name, value in (
            ("p", snapshot.spend.p),
            ("q - 1", snapshot.spend.q - 1.0),
            ("v", snapshot.spend.v),
        ):
            _check_positive(f"spend {name}", value)


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0.0 < value < _LARGEST):
        raise EngineError(f"model snapshot: {name} {value}, must be positive and finite")


def check_horizon(horizon_days: int) -> None:
    """Refuse a churn horizon that is no whole number of hazard steps.

    Raises:
        EngineError: not a multiple of 30 in 30 … 360.
    """
    if horizon_days % HAZARD_DAYS or not HAZARD_DAYS <= horizon_days <= MAX_HORIZON_DAYS:
        raise EngineError(
            f"churn horizon {horizon_days} days, must be a multiple of {HAZARD_DAYS} up to {MAX_HORIZON_DAYS}"
        )


def _check_hazard(parameters: HazardParameters) -> None:
    for name in ("weights", "means", "variances"):
        values = getattr(parameters, name)
        if len(values) != FEATURE_COUNT:
            raise EngineError(f"model snapshot: {len(values)} {name}, expected {FEATURE_COUNT}")
        for value in values:
            if not (math.isfinite(value) and abs(value) < _LARGEST):
                raise EngineError(f"model snapshot: {value} among the {name}")
    if min(parameters.variances) < 0.0:
        raise EngineError(f"model snapshot: negative variance {min(parameters.variances)}")
    if not (math.isfinite(parameters.intercept) and abs(parameters.intercept) < _LARGEST):
        raise EngineError(f"model snapshot: intercept {parameters.intercept}")
    if parameters.rows < 0:
        raise EngineError(f"model snapshot: {parameters.rows} rows")


@cache
def shipped_prior(horizon_days: int = 90) -> Snapshot:
    """Return the prior that ships with the engine, for scoring before labels mature.

    It was fitted on every fourth customer of the public CDNOW log by `python -m engine.features.churn.prior`.

    Args:
        horizon_days: what the risk is to be of; the chain of hazards reaches as far as one likes.
    """
    shipped = decode_snapshot(files("engine.features.churn").joinpath("prior.json").read_bytes())
    return msgspec.structs.replace(shipped, horizon_days=horizon_days)
