"""The bench fixtures are run on: a deployment's features, segments, caps and model, none of its servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.authoring.fixtures.parse import Known
from engine.authoring.fixtures.run import Bench
from engine.pipeline.core import Pipeline
from engine.resources import shipped
from engine.rules.journey import Journey
from engine.settings import Settings
from engine.streams.files import definitions_of, rule_set_of, vocabulary_over
from engine.streams.wiring import pipeline_of


def bench_of(settings: Settings) -> Bench:
    """Return what the fixtures of a deployment are run with.

    Args:
        settings: all settings; the churn model is the one that ships.

    Raises:
        ConfigError: a file is not there.
        RuleErrors: segments or features are wrong.
    """
    # a timeline says of every event why nobody entered by it
    decisions = msgspec.structs.replace(settings.decisions, not_matched_sample=1.0)
    settings = msgspec.structs.replace(settings, decisions=decisions)
    definitions = definitions_of(settings)
    vocabulary = vocabulary_over(settings, definitions)

    def pipeline(journeys: Sequence[Journey]) -> Pipeline:
        return pipeline_of(settings, definitions, rule_set_of(settings, definitions, journeys))

    return Bench(
        vocabulary=vocabulary,
        known=Known(vocabulary.features, tuple(vocabulary.segments), settings.default_time_zone),
        pipeline=pipeline,
        shared=tuple(Path(path) for path in settings.rules.paths) or (shipped("journeys"),),
    )
