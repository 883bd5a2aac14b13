"""The definition file as a whole: RFM steps, segments and declared features (`deploy/segments.yaml`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.errors import RuleErrors
from engine.features.catalog import BUILT_IN, Feature
from engine.features.churn.activity import NEEDED_COLUMNS
from engine.features.declared import Declared, by_event, parse_declared
from engine.features.fillers import RfmSteps
from engine.features.registry import FeatureSpace
from engine.features.segments import Segment, Segments, features_of, parse_segments
from engine.features.series import Series
from engine.features.yaml_file import Entry, Problems, fields, numbers, read_yaml


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a deployment defines about features and segments.

    Args:
        segments: in order of precedence.
        declared: features of its own.
        rfm: steps of the RFM scores.
    """

    segments: tuple[Segment, ...] = ()
    declared: tuple[Declared, ...] = ()
    rfm: RfmSteps = field(default_factory=RfmSteps)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The declared features' entries in the table."""
        return tuple(one.feature for one in self.declared)

    @property
    def series(self) -> Mapping[int, tuple[Series, ...]]:
        """What `apply.apply_event` records besides the event itself."""
        return by_event(self.declared)

    def space(self, needed: Iterable[str] | None = None) -> FeatureSpace:
        """Return the feature space of these definitions.

        Args:
            needed: features to compute beyond those the segments compare; None = all there are.
        """
        names = None
        if needed is not None:
            names = {*needed, *features_of(self.segments), *NEEDED_COLUMNS, "segment", "churn_risk"}
        return FeatureSpace(self.features, names, self.rfm)

    def segments_over(self, space: FeatureSpace) -> Segments:
        """Return the segments, ready to classify matrices of a space."""
        return Segments(self.segments, space)


def load_definitions(text: str, file: str) -> Definitions:
    """Read a definition file.

    Args:
        text: its text.
        file: its path, for messages.

    Raises:
        RuleErrors: every problem found, in file order.
    """
    problems = Problems(file)
    tree = read_yaml(text, problems)
    definitions = _parse(tree, problems) if tree is not None else Definitions()
    if problems.errors:
        raise RuleErrors(sorted(problems.errors, key=lambda error: (error.line, error.column)))
    return definitions


def _parse(tree: Entry, problems: Problems) -> Definitions:
    keys = fields(tree, ("rfm", "segments", "features"), problems)
    declared = parse_declared(keys["features"], problems) if "features" in keys else ()
    known = {feature.name: feature.kind for feature in (*BUILT_IN, *(one.feature for one in declared))}
    segments = parse_segments(keys["segments"], dict(known), problems) if "segments" in keys else ()
    return Definitions(segments, declared, _parse_rfm(keys["rfm"], problems) if "rfm" in keys else RfmSteps())


def _parse_rfm(entry: Entry, problems: Problems) -> RfmSteps:
    steps = RfmSteps()
    found = fields(entry, ("recency_days", "orders", "spend"), problems)
    read = {key: numbers(value, 4, problems) for key, value in found.items()}
    return RfmSteps(
        recency_days=read.get("recency_days") or steps.recency_days,
        orders=read.get("orders") or steps.orders,
        spend=read.get("spend") or steps.spend,
    )
