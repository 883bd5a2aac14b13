"""What the engine knows of one customer, read from the store without disturbing the worker that owns them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError, TransientError
from engine.events import TIMER_CODE
from engine.features.churn.activity import activity_of
from engine.features.churn.explanation import RiskExplanation, explain_risk
from engine.features.churn.purchases import unpack_many
from engine.features.churn.rate import GlobalRate
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot, shipped_prior
from engine.features.profile import Profile
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState, unpack
from engine.pipeline.value import fill_value
from engine.settings import Settings
from engine.streams.files import definitions_of
from engine.streams.kafka import KafkaSettings, partition_counts
from engine.streams.models.topic import read_models
from engine.streams.partition import partition_of
from engine.streams.steps.partitions import RATE_FIELD
from engine.streams.store.redis import RedisStore

Floats = npt.NDArray[np.float64]


class FeatureValue(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of the customer.

    Args:
        name: as rules call it, without `customer.`.
        value: as of now.
        unit: its unit, or empty.
        meaning: one sentence.
        window: what time it looks back over, or empty.
        is_default: whether nothing is known that would make it differ from its default.
    """

    name: str
    value: float | bool | str
    unit: str
    meaning: str
    window: str
    is_default: bool


class CustomerView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a customer, for people and for JSON.

    Args:
        customer_id: whose.
        partition: of the event topics; decides which worker owns them.
        state_bytes: size of the stored value.
        now_ms: the instant everything is as of.
        first_seen_ms: first event; 0 = unknown.
        signup_ms: sign-up; 0 = unknown.
        due_ms: the next timer; 0 = none.
        next_score_ms: the next weekly churn score; 0 = none.
        segment: the segment last announced, or empty.
        churn_risk: probability of no purchase within the horizon; 0 before the first order.
        churn_model: version of the model that says so; 0 is the one that ships.
        risk: the churn risk taken apart; None before the first order.
        profile: zone, consents, traits, inquiries, positions, entries, contacts, counts, goals.
        features: every feature.
    """

    customer_id: str
    partition: int
    state_bytes: int
    now_ms: int
    first_seen_ms: int
    signup_ms: int
    due_ms: int
    next_score_ms: int
    segment: str
    churn_risk: float
    churn_model: int
    risk: RiskExplanation | None
    profile: dict[str, Any]
    features: tuple[FeatureValue, ...]


async def read_customer(settings: Settings, kafka: KafkaSettings, customer_id: str) -> CustomerView | None:
    """Read a customer from the store and compute everything as of now.

    Args:
        settings: all settings; on the replay clock "now" is the customer's own last instant.
        kafka: how to reach Kafka; asked for the partition count and the live model.
        customer_id: whom.

    Returns:
        The view, or None when the store does not know the customer.

    Raises:
        TransientError: Redis does not answer.
        StateError: a newer engine wrote the state.
    """
    stored = await read_stored(settings, kafka, customer_id)
    return None if stored is None else view_stored(settings, kafka, stored)


@dataclass(frozen=True, slots=True)
class Stored:
    """A customer as the store holds them.

    Args:
        state: the customer.
        partition: of the event topics.
        size: of the stored value, bytes.
        rate: the partition's global purchase rate.
    """

    state: CustomerState
    partition: int
    size: int
    rate: GlobalRate


async def read_stored(settings: Settings, kafka: KafkaSettings, customer_id: str) -> Stored | None:
    """Read a customer's state from the store; arguments, result and errors as for `read_customer`."""
    key = customer_id.encode()
    partition = partition_of(key, _partitions(settings, kafka))
    store = RedisStore.of(settings.redis)
    try:
        data = await store.get(partition, key)
        rate_data = await store.field(partition, RATE_FIELD)
    finally:
        await store.close()
    if data is None:
        return None
    rate = GlobalRate.from_bytes(rate_data) if rate_data else GlobalRate()
    return Stored(unpack(customer_id, data), partition, len(data), rate)


def view_stored(settings: Settings, kafka: KafkaSettings, stored: Stored) -> CustomerView:
    """Compute the view of a stored customer with the live model; arguments as for `read_customer`."""
    model = newest_model(settings, kafka)
    return view(settings, stored.state, stored.partition, stored.size, stored.rate, model)


def view(
    settings: Settings,
    state: CustomerState,
    partition: int,
    state_bytes: int,
    rate: GlobalRate,
    model: Snapshot,
) -> CustomerView:
    """Compute the view of a state.

    Args:
        settings: all settings.
        state: the customer.
        partition: theirs.
        state_bytes: size of the stored value.
        rate: the partition's global purchase rate.
        model: the churn model.

    Returns:
        The view.
    """
    now_ms = state.clock_ms if settings.clock == "replay" else time.time_ns() // 1_000_000
    definitions = definitions_of(settings)
    space = definitions.space()
    segments = definitions.segments_over(space)
    matrix = space.matrix(RowBatch.of([state], [now_ms], [TIMER_CODE]))
    risk = _risk(space, matrix, state, now_ms, rate, model)
    space.set_column(matrix, "segment", [state.segment])
    return CustomerView(
        customer_id=state.customer_id,
        partition=partition,
        state_bytes=state_bytes,
        now_ms=now_ms,
        first_seen_ms=state.first_seen_ms,
        signup_ms=state.signup_ms,
        due_ms=state.due_ms,
        next_score_ms=state.next_score_ms,
        segment=segments.names[state.segment],
        churn_risk=risk,
        churn_model=model.version,
        risk=_explained(space, matrix, state, now_ms, rate, model),
        profile=_profile(state.profile),
        features=_features(space, segments.names, matrix[0].tolist()),
    )


def _partitions(settings: Settings, kafka: KafkaSettings) -> int:
    """Ask Kafka for the partition count; without Kafka believe the settings."""
    try:
        counts = partition_counts(kafka, settings.kafka.timeout_ms / 1000)
    except TransientError:
        return settings.topics.partitions
    return counts.get(settings.topics.click, settings.topics.partitions)


def newest_model(settings: Settings, kafka: KafkaSettings) -> Snapshot:
    """Return what workers score with; the model that ships when nothing is published or there is no Kafka."""
    prior = shipped_prior(settings.churn.horizon_days)
    try:
        live = read_models(kafka, settings.topics.models).live
    except (TransientError, ConfigError):
        return prior
    return live if live is not None and live.horizon_days == prior.horizon_days else prior


def _risk(
    space: FeatureSpace, matrix: Floats, state: CustomerState, now_ms: int, rate: GlobalRate, model: Snapshot
) -> float:
    """Write what the churn model says into the matrix; return the risk."""
    if not state.purchases:
        return 0.0
    now_s = np.array([now_ms // 1000])
    stats = unpack_many(state.purchases, np.ones(1, np.bool_))
    scorer, rates, activity = Scorer(model), rate.at(now_s), activity_of(space, matrix)
    risk = scorer.score(stats, now_s.astype(np.float64), rates, activity)
    space.set_column(matrix, "churn_risk", risk)
    fill_value(space, matrix, scorer, np.zeros(1, np.int64), stats, now_s, rates, activity)
    return float(risk[0])


def _explained(
    space: FeatureSpace, matrix: Floats, state: CustomerState, now_ms: int, rate: GlobalRate, model: Snapshot
) -> RiskExplanation | None:
    if not state.purchases:
        return None
    now_s = now_ms // 1000
    stats = unpack_many(state.purchases, np.ones(1, np.bool_))
    rate_now = float(rate.at([now_s])[0])
    return explain_risk(model, stats, float(now_s), rate_now, activity_of(space, matrix))


def _profile(profile: Profile) -> dict[str, Any]:
    """Write the profile with names; it is stored without."""
    fields: dict[str, Any] = {name: getattr(profile, name) for name in profile.__struct_fields__}
    fields["inquiries"] = {key: msgspec.structs.asdict(item) for key, item in profile.inquiries.items()}
    for name in ("positions", "contacts", "goals"):
        fields[name] = [msgspec.structs.asdict(item) for item in fields[name]]
    return fields


def _features(
    space: FeatureSpace, segments: tuple[str, ...], values: list[float]
) -> tuple[FeatureValue, ...]:
    found = []
    for feature, number in zip(space.features, values, strict=True):
        value: float | bool | str = number
        if feature.kind == "bool":
            value = bool(number)
        elif feature.kind == "code":
            value = segments[int(number)]
        found.append(
            FeatureValue(
                name=feature.name,
                value=value,
                unit=feature.unit,
                meaning=feature.meaning,
                window=feature.window,
                is_default=number == feature.default,
            )
        )
    return tuple(found)
