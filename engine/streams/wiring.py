"""From settings to the parts a process is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError, RuleError, RuleErrors
from engine.features.catalog import TEXTS, range_of
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot, shipped_prior
from engine.features.definitions import Definitions, load_definitions
from engine.pipeline.core import Pipeline
from engine.resources import shipped
from engine.rules.context import MachineSettings
from engine.rules.journey import Journey
from engine.rules.load import load_journeys, load_templates, vocabulary_of
from engine.rules.machine import JourneyMachine
from engine.rules.policy import Policy
from engine.rules.policy_file import load_policy
from engine.rules.release import Release
from engine.rules.ruleset import RuleSet, features_of
from engine.rules.scope import Vocabulary
from engine.rules.templates import Template
from engine.rules.times.units import read_cap, read_share
from engine.settings import Settings
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
        extra=kafka_properties(kafka),
    )


def definitions_of(settings: Settings) -> Definitions:
    """Read the deployment's segments and features.

    Raises:
        ConfigError: the file is not there.
        RuleErrors: it is wrong; every problem with its place.
    """
    path = Path(settings.segments.path) if settings.segments.path else shipped("segments.yaml")
    try:
        return load_definitions(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"segments.path {str(path)!r}: {error.strerror}") from None


def rules_of(
    settings: Settings,
    definitions: Definitions,
    warnings: list[RuleError] | None = None,
    *,
    alone: bool = True,
) -> RuleSet:
    """Read the deployment's journeys; the rule set refers to exactly the feature columns they need.

    Args:
        settings: all settings.
        definitions: segments and features.
        warnings: takes what is possible, but hardly meant.
        alone: in this process only; False for a command that has no threads yet and may use every core.

    Raises:
        RuleErrors: every problem of every file.
    """
    errors: list[RuleError] = []
    vocabulary = vocabulary_over(settings, definitions, errors)
    rules = load_journeys(rule_paths(settings), vocabulary, warnings, errors, alone=alone)
    return rule_set_of(settings, definitions, rules.journeys)


def rule_paths(settings: Settings) -> list[Path]:
    """Return where the deployment's journey files are."""
    return [Path(path) for path in settings.rules.paths] or [shipped("journeys")]


def vocabulary_over(
    settings: Settings,
    definitions: Definitions,
    errors: list[RuleError] | None = None,
    columns: Sequence[str] | None = None,
) -> Vocabulary:
    """Return what journeys can talk about: every feature there is, the contact policy, the templates.

    Args:
        settings: all settings.
        definitions: segments and features.
        errors: takes what is wrong with policy and templates.
        columns: names of the matrix's columns in order, of journeys checked before; no templates are read
            then. None = every feature there is.

    Raises:
        ConfigError: the policy file is not there.
        RuleErrors: policy or a template is wrong, and `errors` is None.
    """
    whole = definitions.space()
    segments = definitions.segments_over(whole).names
    found: list[RuleError] = [] if errors is None else errors
    policy = policy_of(settings, definitions, found)
    templates = templates_of(settings, found) if columns is None else {}
    if found and errors is None:
        raise RuleErrors(found)
    names = whole.names if columns is None else columns
    ranges = {each.name: known for each in whole.features if (known := range_of(each)) is not None}
    return vocabulary_of(
        whole.kinds, names, segments, TEXTS, settings.channels, templates, ranges=ranges, policy=policy
    )


def rule_set_of(
    settings: Settings,
    definitions: Definitions,
    journeys: Sequence[Journey],
    release: Release | None = None,
) -> RuleSet:
    """Return a rule set over exactly the feature columns its journeys need.

    Args:
        settings: all settings.
        definitions: segments and features.
        journeys: compiled journeys.
        release: which of their versions take entries; None = the highest.

    Raises:
        ConfigError: the policy file is not there.
        RuleErrors: the contact policy is wrong.
    """
    errors: list[RuleError] = []
    policy = policy_of(settings, definitions, errors)
    if errors:
        raise RuleErrors(errors)
    columns = definitions.space(features_of(journeys) | policy.features).names
    return RuleSet(journeys, vocabulary_over(settings, definitions, columns=columns), release)


def policy_of(settings: Settings, definitions: Definitions, errors: list[RuleError]) -> Policy:
    """Read the deployment's contact policy; of the shipped one, the rows of segments there are.

    Args:
        settings: all settings.
        definitions: segments and features.
        errors: takes every problem of the file.

    Raises:
        ConfigError: the file is not there.
    """
    path = Path(settings.policy.path) if settings.policy.path else shipped("policy.yaml")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"policy.path {str(path)!r}: {error.strerror}") from None
    whole = definitions.space()
    segments = definitions.segments_over(whole).names
    vocabulary = vocabulary_of(whole.kinds, whole.names, segments, TEXTS, settings.channels)
    try:
        return load_policy(str(path), data, vocabulary, other_segments=not settings.policy.path)
    except RuleErrors as error:
        errors.extend(error.errors)
        return Policy()


def templates_of(settings: Settings, errors: list[RuleError]) -> dict[str, Template]:
    """Read the deployment's templates; none when journeys of its own come without any.

    Args:
        settings: all settings.
        errors: takes every problem of every file.
    """
    if settings.templates.path:
        path = Path(settings.templates.path)
    elif not settings.rules.paths:
        path = shipped("templates")
    else:
        return {}
    return load_templates([path], settings.channels, errors)


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
