"""The trainer's whole state as bytes, queues included: a restart loses no label and doubles none."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from engine.errors import StateError
from engine.features.churn.blend import BlendShare
from engine.features.churn.blocks import Columns, TrainingBlock, concatenate
from engine.features.churn.history import PurchaseLog, StatisticsLog
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.model import HazardModel
from engine.features.churn.quality import QualityLog
from engine.features.churn.snapshot import HazardParameters, Snapshot, feature_hash
from engine.features.churn.trainer import SampledDay, ScoredDay, TrainerCore, TrainerSettings
from engine.features.churn.trial import TrialWindow
from engine.features.churn.value import SpendParameters

STATE_FORMAT: Final = 6


class _Head(msgspec.Struct):
    format: int
    features_hash: str


class _State(msgspec.Struct):
    format: int
    features_hash: str
    settings: TrainerSettings
    prior: Snapshot
    hazard: HazardParameters
    averaged: HazardParameters
    mbg: MbgParameters
    spend: SpendParameters | None
    passed_s: dict[int, int]
    next_day: int
    last_fit_day: int
    version: int
    labels: list[int]
    late_rows: int
    mbg_fits: list[int]
    waiting: Columns
    sampled: dict[int, tuple[bytes, bytes, bytes, bytes, bytes, bytes]]
    scored: dict[int, tuple[bytes, ...]]
    purchases: dict[str, Any]
    statistics: dict[str, Any]
    blend: dict[str, Any]
    quality: dict[str, Any]
    trials: dict[int, Any] = {}


def dump_trainer(core: TrainerCore) -> bytes:
    """Serialise a trainer.

    Args:
        core: between two calls to it.

    Returns:
        msgpack; the same core gives the same bytes.
    """
    state = _State(
        format=STATE_FORMAT,
        features_hash=feature_hash(),
        settings=core.settings,
        prior=core.prior,
        hazard=core.model.latest(),
        averaged=core.model.parameters(),
        mbg=core.mbg,
        spend=core.spend,
        passed_s=dict(sorted(core.passed_s.items())),
        next_day=core.next_day,
        last_fit_day=core.last_fit_day,
        version=core.version,
        labels=core.labels,
        late_rows=core.late_rows,
        mbg_fits=core.mbg_fits,
        waiting=concatenate(core.waiting).columns(),
        sampled={
            day: (*kept.rows.columns(), kept.weights.astype("<f8").tobytes())
            for day, kept in sorted(core.sampled.items())
        },
        scored={day: _pack_scored(kept) for day, kept in sorted(core.scored.items())},
        purchases=core.purchases.to_state(),
        statistics=core.statistics.to_state(),
        blend=core.blend.to_state(),
        quality=core.quality.to_state(),
        trials=core.trials.to_state(),
    )
    return msgspec.msgpack.encode(state)


def load_trainer(payload: bytes, settings: TrainerSettings | None = None) -> TrainerCore:
    """Restore what `dump_trainer` wrote.

    Args:
        payload: the bytes.
        settings: settings to go on with, or None for those in the payload. Partitions and horizon must
            be the same: queues are keyed by them.

    Returns:
        A trainer that goes on exactly where the other stopped.

    Raises:
        StateError: the payload is malformed, of another format, or for other features or settings.
    """
    try:
        head = msgspec.msgpack.decode(payload, type=_Head)
        if head != _Head(STATE_FORMAT, feature_hash()):
            raise StateError(
                f"trainer state: of another release, format {head.format} and features {head.features_hash} "
                f"instead of {STATE_FORMAT} and {feature_hash()}"
            )
        state = msgspec.msgpack.decode(payload, type=_State)
    except msgspec.DecodeError as error:
        raise StateError(f"trainer state: {error}") from error
    settings = settings or state.settings
    for name in ("partitions", "horizon_days"):
        if getattr(settings, name) != getattr(state.settings, name):
            raise StateError(
                f"trainer state: {name} {getattr(state.settings, name)}, now {getattr(settings, name)}"
            )
    core = TrainerCore(settings, state.prior)
    try:
        _restore(core, state)
    except (KeyError, ValueError, TypeError) as error:
        raise StateError(f"trainer state: {error}") from error
    return core


def widen_trainer(payload: bytes, partitions: int) -> bytes:
    """Make a trainer's state that of more partitions: the new ones have passed what theirs came from has.

    Args:
        payload: what `dump_trainer` returned.
        partitions: how many there are now, a multiple of what there were.

    Returns:
        The same trainer for them.

    Raises:
        StateError: the payload cannot be read.
    """
    core = load_trainer(payload)
    before = core.settings.partitions
    if before == partitions:
        return payload
    core.settings = msgspec.structs.replace(core.settings, partitions=partitions)
    core.passed_s = {
        number: core.passed_s[number % before]
        for number in range(partitions)
        if number % before in core.passed_s
    }
    return dump_trainer(core)


def _restore(core: TrainerCore, state: _State) -> None:
    core.model = HazardModel(core.settings.learning_rate, state.hazard, state.averaged)
    core.mbg = state.mbg
    core.spend = state.spend
    core.passed_s = state.passed_s
    core.next_day = state.next_day
    core.last_fit_day = state.last_fit_day
    core.version = state.version
    core.labels = state.labels
    core.late_rows = state.late_rows
    core.mbg_fits = state.mbg_fits
    waiting = TrainingBlock.of_columns(state.waiting)
    core.waiting = [waiting] if len(waiting) else []
    core.sampled = {
        day: SampledDay(TrainingBlock.of_columns(parts[:5]), np.frombuffer(parts[5], "<f8"))
        for day, parts in state.sampled.items()
    }
    core.scored = {day: _unpack_scored(parts) for day, parts in state.scored.items()}
    core.purchases = PurchaseLog.from_state(state.purchases)
    core.statistics = StatisticsLog.from_state(state.statistics)
    core.blend = BlendShare.from_state(state.blend, core.settings.horizon_days)
    core.quality = QualityLog.from_state(state.quality)
    core.trials = TrialWindow.from_state(state.trials)


def _pack_scored(day: ScoredDay) -> tuple[bytes, ...]:
    return (
        day.customers.astype("<u8").tobytes(),
        day.time_s.astype("<u4").tobytes(),
        day.risk.astype("<f4").tobytes(),
        day.hazard.astype("<f4").tobytes(),
        day.mbg.astype("<f4").tobytes(),
        day.group.tobytes(),
        day.segments.tobytes(),
    )


def _unpack_scored(parts: tuple[bytes, ...]) -> ScoredDay:
    return ScoredDay(
        np.frombuffer(parts[0], "<u8"),
        np.frombuffer(parts[1], "<u4"),
        np.frombuffer(parts[2], "<f4"),
        np.frombuffer(parts[3], "<f4"),
        np.frombuffer(parts[4], "<f4"),
        np.frombuffer(parts[5], np.uint8),
        np.frombuffer(parts[6], np.uint8),
    )
