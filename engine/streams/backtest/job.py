"""A backtest from the request to its result: which rules, which log, which period."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.authoring.backtest.diff import in_order
from engine.authoring.backtest.notes import notes_on
from engine.authoring.backtest.result import (
    BacktestResult,
    RunFigures,
    collisions_of,
    journey_figures,
    rows_by_day,
    rows_by_segment,
)
from engine.events import Family
from engine.features.churn.snapshot import Snapshot, shipped_prior
from engine.rules.publishing.publication import open_contents
from engine.rules.times.period import iso, read_period
from engine.settings import Settings
from engine.streams.backtest.log import LogIndex
from engine.streams.backtest.read import LogReader
from engine.streams.backtest.run import (
    Found,
    Plan,
    RuleFiles,
    compile_rules,
    overlay,
    pipeline_of,
    read_rules,
    run_backtest,
)
from engine.streams.customer import newest_model
from engine.streams.files import rule_paths
from engine.streams.kafka import KafkaSettings
from engine.streams.rules.topic import read_rules as read_published
from engine.streams.wire.registry import open_registry

LIVE = "live"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to know.

    Args:
        paths: journeys that take the place of the live ones of the same name; none = the live ones.
        alone: leave the other live journeys out.
        logs: files to replay; none = the event topics.
        since: start of the period: a duration before the log's end, or a date.
        until: its end: a date, or empty for the log's end.
        diff: what to compare with: `live`, a path, or empty.
        workers: processes.
    """

    paths: Sequence[Path]
    alone: bool
    logs: Sequence[Path]
    since: str
    until: str
    diff: str
    workers: int


class Screen(Protocol):
    """Shows how far it is."""

    def read(self, records: int) -> None:
        """So many records have been read so far."""

    def begin(self, events: int) -> None:
        """The replay of so many events begins."""

    def advance(self, events: int) -> None:
        """So many more have been worked on."""


def live_rules(settings: Settings, kafka: KafkaSettings) -> RuleFiles:
    """Return the journeys that are live: what workers run, by `rules.source`.

    Args:
        settings: all settings.
        kafka: how to reach Kafka; asked only if workers take the journeys from the topic.

    Raises:
        ConfigError: there are none, or one cannot be read.
        TransientError: Kafka does not answer.
    """
    if settings.rules.source == "topic":
        found = read_published(kafka, settings.topics.rules, settings.kafka.timeout_ms / 1000)
        if found.live is not None:
            journeys = open_contents(found.live.record).journeys
            label = f"the live journeys (version {found.live.publish.version})"
            return RuleFiles(label, tuple((each.file, each.text.encode()) for each in journeys if each.live))
    return read_rules(rule_paths(settings), "the live journeys")


def backtest(settings: Settings, kafka: KafkaSettings, request: Request, screen: Screen) -> BacktestResult:
    """Replay a log and say what would have been sent. Nothing is sent, and no server is written to.

    Args:
        settings: all settings.
        kafka: how to reach Kafka; not used when the log is files.
        request: what to do.
        screen: shows how far it is.

    Raises:
        ConfigError: the request cannot be carried out.
        RuleErrors: a rule set is wrong.
        TransientError: Kafka does not answer.
    """
    rules = _rules(settings, kafka, request.paths, alone=request.alone)
    other = _other(settings, kafka, request)
    for each in (rules, other):
        if each is not None:
            compile_rules(each, settings)  # wrong rules are told before a long log is read
    with tempfile.TemporaryDirectory(prefix="engage-backtest-") as folder:
        started_s = time.monotonic()
        reader = LogReader(settings.topics.partitions, screen.read)
        index, log = _read(settings, kafka, request, reader, Path(folder) / "spool")
        read_s = time.monotonic() - started_s
        begins_ms, ends_ms = index.span_ms()
        from_ms, to_ms = read_period(request.since, request.until, begins_ms, ends_ms)
        from_ms = max(from_ms, begins_ms)
        snapshot = (
            shipped_prior(settings.churn.horizon_days) if request.logs else newest_model(settings, kafka)
        )
        plan = Plan(settings, rules, other, snapshot, from_ms, to_ms)
        screen.begin(index.events)
        started_s = time.monotonic()
        found = run_backtest(plan, index, request.workers, screen.advance)
        took_s = time.monotonic() - started_s
    run = RunFigures(
        events=found.tally.events,
        counted=found.tally.counted,
        rows=found.tally.rows,
        customers=found.tally.customers,
        invalid=found.tally.invalid,
        duplicates=found.tally.duplicates,
        late=found.tally.late,
        seconds=round(took_s, 3),
        reading_s=round(read_s, 3),
        workers=request.workers,
    )
    return _result(plan, found, run, log, begins_ms, reader.wrong)


def _rules(settings: Settings, kafka: KafkaSettings, paths: Sequence[Path], *, alone: bool) -> RuleFiles:
    if not paths:
        return live_rules(settings, kafka)
    changed = read_rules(paths, ", ".join(map(str, paths)))
    return changed if alone else overlay(live_rules(settings, kafka), changed, settings)


def _other(settings: Settings, kafka: KafkaSettings, request: Request) -> RuleFiles | None:
    if not request.diff:
        return None
    if request.diff == LIVE:
        return live_rules(settings, kafka)
    return _rules(settings, kafka, [Path(request.diff)], alone=request.alone)


def _read(
    settings: Settings, kafka: KafkaSettings, request: Request, reader: LogReader, spool: Path
) -> tuple[LogIndex, str]:
    if request.logs:
        return reader.files(request.logs, spool), ", ".join(path.name for path in request.logs)
    topics = {topic: Family(family) for family, topic in settings.event_topics().items()}
    index = reader.topics(kafka, topics, spool, open_registry(settings))
    return index, f"topics {', '.join(topics)}"


def _result(
    plan: Plan, found: Found, run: RunFigures, log: str, begins_ms: int, wrong: Sequence[str]
) -> BacktestResult:
    pipeline = pipeline_of(plan.rules, plan.settings, plan.snapshot)
    tally = found.tally
    names = [each.name for each in pipeline.rules.journeys]
    before = compile_rules(plan.other, plan.settings).journeys if plan.other is not None else ()
    notes = [
        *notes_on(pipeline.rules, pipeline.space, begins_ms, plan.from_ms, run.invalid, wrong),
        _about_model(plan.snapshot),
    ]
    return BacktestResult(
        rules=plan.rules.label,
        log=log,
        begins=iso(begins_ms),
        since=iso(plan.from_ms),
        until=iso(plan.to_ms),
        model=plan.snapshot.version,
        run=run,
        journeys=journey_figures(tally, names),
        collisions=collisions_of(tally),
        days=rows_by_day(tally),
        segments=rows_by_segment(tally),
        population={name or "(none)": count for name, count in sorted(tally.segments.items())},
        compared_with=plan.other.label if plan.other is not None else "",
        before=journey_figures(found.other, [each.name for each in before]) if plan.other else [],
        differences=in_order(found.differences),
        notes=[each[:1].upper() + each[1:] for each in notes],
    )


def _about_model(snapshot: Snapshot) -> str:
    which = f"version {snapshot.version}" if snapshot.version else "the one that ships (version 0)"
    return f"churn risk is that of one model for the whole time, {which}, which may know what came later."
