"""From published rules to a pipeline, off the batch path: a little at a time, and only what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from engine.errors import EngineError, RuleErrors, StateError
from engine.features.churn.snapshot import Snapshot, shipped_prior
from engine.features.definitions import Definitions
from engine.pipeline.core import Pipeline
from engine.rules.journey import Journey
from engine.rules.publishing.bundle import BundleCompiler
from engine.rules.publishing.compiled import make_of, unpack
from engine.rules.publishing.publication import Publication, Version, open_contents
from engine.rules.publishing.requests import release_of
from engine.settings import Settings
from engine.streams.files import definitions_of, rule_set_of, vocabulary_over
from engine.streams.rules.compiler import compile_aside
from engine.streams.wiring import pipeline_of

log = structlog.get_logger(__name__)

#: After each piece of work the thread rests for so many times as long: batches go first.
RESTS = 3.0
# No piece is shorter: who comes back from a rest waits for the interpreter, up to 5 ms, however short it was.
_PIECE_S = 0.003


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """A version of the rules, ready to run.

    Args:
        version: its number.
        wanted: the number of the version that should run.
        pipeline: made for it.
        new: how many of its journeys were not in the version before.
        compiled: how many of them had to be compiled: they had not come compiled.
        dropped: older journey versions this engine can't run any more.
        time_ms: when what made it live was asked for.
        error: why the wanted version could not be loaded; empty when it is this one.
    """

    version: int
    wanted: int
    pipeline: Pipeline
    new: int
    compiled: int
    dropped: int
    time_ms: int
    error: str = ""


class RuleLoader:
    """Makes pipelines of published rules.

    Args:
        settings: all settings.
        rest: called with the processor time a piece of work took, s; sleeps between pieces.
    """

    def __init__(self, settings: Settings, rest: Callable[[float], None] | None = None) -> None:
        self._settings = settings
        self._rest = rest or (lambda took_s: time.sleep(took_s * RESTS))
        self._definitions: Definitions = definitions_of(settings)
        # messages have been held to their templates by the publisher; a worker needs none
        columns = self._definitions.space().names
        vocabulary = vocabulary_over(settings, self._definitions, columns=columns)
        self._compiler = BundleCompiler(vocabulary, compile_aside)
        self._make = make_of(vocabulary)
        self._snapshot: Snapshot = shipped_prior(settings.churn.horizon_days)

    def load(self, found: Publication, version: Version, *, rest: bool = True) -> LoadedRules:
        """Compile a version and put it together.

        Args:
            found: the topic's records, taken together.
            version: which one.
            rest: whether to rest between pieces of work.

        Raises:
            RuleErrors: a journey can't be compiled by this engine.
            StateError: the publication can't be read.
        """
        new, compiled = self._compiler.new_total, self._compiler.compiled_total
        contents = open_contents(version.record)
        ready = unpack(version.record.compiled, contents.journeys, self._make)
        journeys: dict[tuple[str, int], Journey] = {}
        for _ in self._timed(self._compiler.run(contents, journeys, version.share, ready), rest=rest):
            pass
        dropped = self._compiler.dropped
        for file in dropped:
            log.warning("an older journey version cannot run", journey=file.name, version=file.version)
        release = release_of(
            contents,
            journeys,
            version=version.publish.version,
            share=version.share,
            paused=found.paused,
        )
        rules = rule_set_of(self._settings, self._definitions, list(journeys.values()), release)
        return LoadedRules(
            version=version.publish.version,
            wanted=version.publish.version,
            pipeline=pipeline_of(self._settings, self._definitions, rules, self._snapshot),
            new=self._compiler.new_total - new,
            compiled=self._compiler.compiled_total - compiled,
            dropped=len(dropped),
            time_ms=found.operations[-1].operation.time_ms if found.operations else 0,
        )

    def load_newest(self, found: Publication) -> LoadedRules | None:
        """Load what is live, at a worker's start; when that can't be, what was live before it.

        Returns:
            None when nothing has been published.

        Raises:
            EngineError: no version of them can be loaded.
        """
        if found.live is None:
            return None
        lived = [each for each in found.versions.values() if each.state in ("live", "past")]
        first_error: EngineError | None = None
        for version in sorted(lived, key=lambda each: each.publish.version, reverse=True):
            try:
                loaded = self.load(found, version, rest=False)
            except (RuleErrors, StateError) as error:
                first_error = first_error or error
                log.warning("published rules cannot be loaded", version=version.publish.version)
                continue
            if first_error is None:
                return loaded
            why = explain(found.live.publish.version, first_error)
            return replace(loaded, wanted=found.live.publish.version, error=why)
        assert first_error is not None
        raise first_error

    def _timed(self, pieces: Iterator[None], *, rest: bool) -> Iterator[None]:
        """Rest now and then, for longer than this thread has worked since."""
        began_s = time.thread_time()
        for _ in pieces:
            yield
            took_s = time.thread_time() - began_s
            if rest and took_s >= _PIECE_S:
                self._rest(took_s)
                began_s = time.thread_time()


def explain(version: int, error: EngineError) -> str:
    """Say in a line why a version could not be loaded; without what customers or authors wrote."""
    if isinstance(error, RuleErrors):
        first = error.errors[0]
        where = f"{first.file}:{first.line}:{first.column}"
        return f"version {version} cannot be loaded: {first.code} at {where}, {len(error.errors)} in all"
    return f"version {version} cannot be loaded: {error}"
