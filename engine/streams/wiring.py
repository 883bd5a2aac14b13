"""From settings to the parts a process is made of."""

from __future__ import annotations

from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot, shipped_prior
from engine.features.definitions import Definitions
from engine.pipeline.core import Pipeline
from engine.rules.context import MachineSettings
from engine.rules.machine import JourneyMachine
from engine.rules.ruleset import RuleSet
from engine.rules.times.units import read_cap, read_share
from engine.settings import Settings
from engine.streams.files import definitions_of, rules_of
from engine.streams.kafka import KafkaSettings
from engine.streams.security.links import kafka_properties


def kafka_settings(settings: Settings, client_id: str) -> KafkaSettings:
    """Return what the transport needs of the settings.

    Args:
        settings: all settings.
        client_id: the client's name in the broker's logs.
    """
    kafka, batch = settings.kafka, settings.batch
    return KafkaSettings(
        bootstrap=kafka.bootstrap_servers,
        group_id=kafka.group,
        group_protocol=kafka.group_protocol,
        client_id=client_id,
        topics=tuple(settings.event_topics().values()),
        batch_max_records=batch.max_records,
        session_timeout_ms=kafka.session_timeout_ms,
        fetch_min_bytes=batch.fetch_min_bytes,
        fetch_wait_max_ms=batch.fetch_wait_ms,
        live=settings.clock == "live",
        extra=kafka_properties(kafka),
    )


def build_pipeline(settings: Settings, snapshot: Snapshot | None = None) -> Pipeline:
    """Put the pure core together.

    Args:
        settings: all settings.
        snapshot: the churn model; the shipped prior when None.

    Raises:
        ConfigError: a file is not there, or a cap can't be read.
        RuleErrors: rules or segments are wrong.
    """
    definitions = definitions_of(settings)
    return pipeline_of(settings, definitions, rules_of(settings, definitions), snapshot)


def pipeline_of(
    settings: Settings, definitions: Definitions, rules: RuleSet, snapshot: Snapshot | None = None
) -> Pipeline:
    """Put the pure core together over rules at hand.

    Args:
        settings: all settings.
        definitions: segments and features.
        rules: compiled against exactly the columns they need, as `rules_of` does.
        snapshot: the churn model; the shipped prior when None.

    Raises:
        ConfigError: a cap can't be read.
    """
    space = definitions.space(rules.features)
    machine = JourneyMachine(rules, machine_settings(settings))
    return Pipeline(
        rules=rules,
        space=space,
        segments=definitions.segments_over(space),
        machine=machine,
        scorer=Scorer(snapshot or shipped_prior(settings.churn.horizon_days)),
        series=definitions.series,
        score_every_ms=settings.churn.score_every_days * 86_400_000,
    )


def machine_settings(settings: Settings) -> MachineSettings:
    """Return the deployment-wide settings of the journey machine.

    Args:
        settings: all settings.
    """
    return MachineSettings(
        default_time_zone=settings.default_time_zone,
        global_caps=tuple(cap for text in settings.global_cap if (cap := read_cap(text)) is not None),
        not_matched_sample=settings.decisions.not_matched_sample,
        control_group=read_share(settings.control_group) or 0.0,
        rate_limits={
            channel: limit
            for channel, text in settings.rate_limits.items()
            if (limit := read_cap(text)) is not None
        },
    )
