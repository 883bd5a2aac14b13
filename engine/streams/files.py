"""From settings to what the deployment's files say: segments, features, policy, templates, journeys.

Apart from `wiring`, so that a command of authors' brings in neither clients nor the churn model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xxhash

from engine.errors import ConfigError, RuleError, RuleErrors
from engine.features.catalog import TEXTS, range_of
from engine.features.definitions import Definitions, load_definitions
from engine.resources import shipped
from engine.rules.journey import Journey
from engine.rules.load import journey_files, load_journeys, load_templates, vocabulary_of
from engine.rules.policy import Policy
from engine.rules.policy_file import load_policy
from engine.rules.release import Release
from engine.rules.ruleset import RuleSet, features_of
from engine.rules.scope import Vocabulary
from engine.rules.templates import Template
from engine.settings import Settings


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


def fingerprint_of(settings: Settings) -> int:
    """Return a number for what the files say now that a worker decides by, and the settings it decides by.

    Published journeys are not in it, they have a version; where a file lies is not either. 48 bits: a metric
    is a float.

    Args:
        settings: all settings.
    """
    kinds = {
        "journeys": rule_paths(settings) if settings.rules.source == "files" else [],
        "segments": [Path(settings.segments.path) if settings.segments.path else shipped("segments.yaml")],
        "policy": [Path(settings.policy.path) if settings.policy.path else shipped("policy.yaml")],
    }
    told = [settings.clock, settings.default_time_zone, settings.control_group, settings.churn.horizon_days]
    limits = settings.channels, settings.global_cap, sorted(settings.rate_limits.items())
    hashed = xxhash.xxh3_64(repr((told, limits)).encode())
    for kind, paths in kinds.items():
        for content in sorted(file.read_bytes() for file in journey_files(paths)):
            hashed.update(f"{kind} {len(content)} ".encode() + content)
    return int(hashed.intdigest() >> 16)


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
