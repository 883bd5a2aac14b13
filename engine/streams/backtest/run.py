"""Runs a backtest: lays partitions out on processes, replays each, adds up what was found."""

from __future__ import annotations

import gc
import multiprocessing as mp
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from engine.authoring.backtest.diff import Differences, compare, merge
from engine.authoring.backtest.replay import Replay
from engine.authoring.backtest.tally import Tally, Watcher
from engine.errors import ConfigError
from engine.features.churn.snapshot import Snapshot
from engine.pipeline.core import Pipeline
from engine.rules.load import compile_sources, journey_files
from engine.rules.ruleset import RuleSet
from engine.settings import Settings
from engine.streams import wiring
from engine.streams.backtest.log import LogIndex, OrderedLog
from engine.streams.files import definitions_of, rule_set_of, vocabulary_over

SLICE_EVENTS = 8_192
GC_THRESHOLDS = (50_000, 50, 1_000)  # as a worker's
MAX_CUSTOMERS = 250_000  # in one process's memory at a time, if their partitions allow; some 2 KB each
_POLL_S = 0.2
_NOW_MS = attrgetter("now_ms")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """A rule set as text.

    Args:
        label: what it is, in words.
        sources: file name and content of each journey.
    """

    label: str
    sources: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay.

    Args:
        settings: all settings.
        rules: the rule set.
        other: another one to compare with, or None.
        snapshot: the churn model.
        from_ms: start of the period; what lies before builds state.
        to_ms: its end.
    """

    settings: Settings
    rules: RuleFiles
    other: RuleFiles | None
    snapshot: Snapshot
    from_ms: int
    to_ms: int


@dataclass(slots=True)
class Found:
    """What was found on some partitions.

    Args:
        tally: under the rules.
        other: under the other rules; empty without.
        differences: between them.
    """

    tally: Tally
    other: Tally
    differences: Differences

    def add(self, more: Found) -> None:
        """Add what was found on other partitions."""
        self.tally.add(more.tally)
        self.other.add(more.other)
        merge(self.differences, more.differences)


def read_rules(paths: Sequence[Path], label: str) -> RuleFiles:
    """Read journey files.

    Args:
        paths: files and folders.
        label: what they are, in words.

    Raises:
        ConfigError: a file cannot be read, or there is none.
    """
    sources = []
    for file in journey_files(paths):
        try:
            sources.append((str(file), file.read_bytes()))
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    if not sources:
        raise ConfigError(f"no journeys in {', '.join(map(str, paths))}")
    return RuleFiles(label, tuple(sources))


def overlay(base: RuleFiles, changed: RuleFiles, settings: Settings) -> RuleFiles:
    """Put changed journeys in the place of those of the same name, beside all others.

    Args:
        base: the rule set.
        changed: the journeys that change.
        settings: all settings.

    Raises:
        RuleErrors: one of them is wrong.
    """
    names = {journey.name for journey in compile_rules(changed, settings).journeys}
    replaced = {each.file for each in compile_rules(base, settings).journeys if each.name in names}
    kept = tuple(source for source in base.sources if source[0] not in replaced)
    label = f"{changed.label} among {base.label}" if kept else changed.label
    return RuleFiles(label, (*kept, *changed.sources))


def compile_rules(rules: RuleFiles, settings: Settings) -> RuleSet:
    """Check and compile a rule set over the deployment's features and segments.

    Raises:
        RuleErrors: every problem of every file.
    """
    # as with `rules check PATH`: messages are held to templates only if `templates.path` says where those are
    own = msgspec.structs.replace(settings.rules, paths=[name for name, _ in rules.sources])
    settings = msgspec.structs.replace(settings, rules=own)
    definitions = definitions_of(settings)
    found = compile_sources(rules.sources, vocabulary_over(settings, definitions))
    return rule_set_of(settings, definitions, found.journeys)


def pipeline_of(rules: RuleFiles, settings: Settings, snapshot: Snapshot) -> Pipeline:
    """Put the pure core together for a backtest: the one that runs live, without sampling non-matches."""
    quiet = msgspec.structs.replace(
        settings,
        clock="replay",
        decisions=msgspec.structs.replace(settings.decisions, not_matched_sample=0.0),
    )
    return wiring.pipeline_of(quiet, definitions_of(quiet), compile_rules(rules, quiet), snapshot)


def replay(plan: Plan, log: OrderedLog, partitions: Sequence[int], progress: Progress) -> Found:
    """Replay some partitions under the plan's rule sets, the log decoded once.

    Args:
        plan: what to replay.
        log: the records of these partitions in order.
        partitions: their numbers.
        progress: told how many more events have been worked on.
    """
    with _rare_collections():
        return _replay(plan, log, partitions, progress)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cycles as seldom as a worker does: there are none, and states are many objects."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _replay(plan: Plan, log: OrderedLog, partitions: Sequence[int], progress: Progress) -> Found:
    runs = []
    for rules in (plan.rules, plan.other):
        if rules is not None:
            pipeline = pipeline_of(rules, plan.settings, plan.snapshot)
            names = pipeline.segments.names
            watcher = Watcher(pipeline.rules, pipeline.machine.settings, plan.from_ms, names)
            run = Replay(pipeline, partitions, watcher, plan.settings.topics.partitions)
            runs.append((run, watcher))
    first = runs[0][1].tally
    remembered = max(1, plan.settings.ids.remembered)
    for piece in log.slices(SLICE_EVENTS, plan.to_ms, remembered, first):
        for run, _ in runs:
            run.step(piece)
        first.counted += len(piece.events) - bisect_left(piece.events, plan.from_ms, key=_NOW_MS)
        progress(len(piece.events))
    for run, watcher in runs:
        watcher.finish(run.states())
        tally = watcher.tally
        tally.events, tally.rows = run.events, run.rows
    first.customers = sum(1 for _ in runs[0][0].states())
    if len(runs) == 1:
        return Found(first, Tally(), {})
    return Found(first, runs[1][1].tally, compare(runs[0][1].got, runs[1][1].got))


def run_backtest(plan: Plan, index: LogIndex, workers: int, progress: Progress) -> Found:
    """Replay a log.

    Args:
        plan: what to replay.
        index: the log.
        workers: processes; partitions are independent, so their number changes nothing but the time taken.
        progress: told how many more events have been worked on.

    Raises:
        EngineError: a worker ended.
    """
    groups = plan_groups(index.customers, workers)
    found = Found(Tally(), Tally(), {})
    if workers == 1 or len(groups) == 1:
        for group in groups:
            found.add(replay(plan, index.of(group, plan.to_ms), group, progress))
    else:
        for part in _in_processes(plan, index, groups, workers, progress):
            found.add(part)
    found.tally.invalid = index.invalid
    return found


def plan_groups(customers: dict[int, int], workers: int) -> list[list[int]]:
    """Put partitions together so that no group has many more than `MAX_CUSTOMERS`, and all workers have work.

    Args:
        customers: by partition.
        workers: processes.
    """
    wanted = max(workers, -(-sum(customers.values()) // MAX_CUSTOMERS))
    groups: list[list[int]] = [[] for _ in range(min(wanted, len(customers)))]
    sizes = [0] * len(groups)
    for number, size in sorted(customers.items(), key=lambda item: (-item[1], item[0])):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(number)
        sizes[smallest] += size
    return [sorted(group) for group in groups]


_done: Any = None  # in a worker process: how many events all of them have worked on


def _start(done: Any) -> None:
    global _done  # noqa: PLW0603 - how a pool gives its processes something shared
    _done = done


def _tell(events: int) -> None:
    with _done.get_lock():
        _done.value += events


def _replay_there(plan: Plan, log: OrderedLog, partitions: Sequence[int]) -> Found:
    return replay(plan, log, partitions, _tell)


def _in_processes(
    plan: Plan, index: LogIndex, groups: Sequence[Sequence[int]], workers: int, progress: Progress
) -> Iterable[Found]:
    context = mp.get_context("spawn")
    done, told = context.Value("q", 0), 0
    with ProcessPoolExecutor(workers, context, _start, (done,)) as pool:
        pending = [pool.submit(_replay_there, plan, index.of(group, plan.to_ms), group) for group in groups]
        left = set(pending)
        while left:
            _, left = wait(left, timeout=_POLL_S)
            progress(done.value - told)
            told = done.value
        return [future.result() for future in pending]
