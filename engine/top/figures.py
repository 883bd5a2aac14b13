"""What is to be seen of some workers, from two looks at each: rates, latency, lag, and what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine import metrics as table
from engine.metrics import Metric
from engine.top.scrape import Samples, add_up, by_label, difference, percentiles_ms, total

HISTORY = 60  # looks
NOTICES = 100
_RECENT = 6  # of them; a count that grows among these goes on in its line

_COUNTED = (
    (table.REBALANCES, "rebalances"),
    (table.FENCED, "writes refused: another worker owns the partition"),
    (table.ROLLED_BACK, "times redis was found restored from an older moment"),
    (table.HANDLER_ERRORS, "batches failed and went on record by record"),
    (table.PRODUCE_ERRORS, "records kafka did not acknowledge at first"),
    (table.MODEL_REFUSED, "model snapshots refused"),
)
_COUNTED_BY = (
    (table.RETRIES, "step", "tries of {} failed: a server does not answer"),
    (table.DEAD_LETTERS, "reason", "dead letters: {}"),
)

SILENT = "does not answer"  # state of a worker of whom nothing is known


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a worker.

    Args:
        at_s: when, a monotonic clock.
        samples: its metrics; None when it did not answer.
        obstacles: why it is not ready; empty when it is.
    """

    at_s: float
    samples: Samples | None
    obstacles: tuple[str, ...] = ()


class Count(NamedTuple):
    """Something counted.

    Args:
        name: what.
        per_s: how many a second since the look before.
        total: how many since the worker started.
    """

    name: str
    per_s: float
    total: float


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker; latency and rates are since the look before, None where nothing was measured.

    Args:
        name: its address.
        state: `ready`, why not, or that it does not answer.
        partitions: how many it owns.
        events_per_s: events worked on.
        p50_ms: of record received to batch committed.
        p99_ms: of the same.
        lag: records behind.
    """

    name: str
    state: str
    partitions: int = 0
    events_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    lag: int = 0


@dataclass(frozen=True, slots=True)
class TopView:
    """Everything on the screen; of all workers together where no worker is named.

    Args:
        workers: a line each.
        events_per_s: events worked on.
        actions_per_s: actions acknowledged.
        p50_ms: of record received to batch committed.
        p99_ms: of the same.
        lag: records behind.
        partitions: how many these workers own.
        all_partitions: how many there are.
        held_s: for how long deadlines have waited for what came before them to be read, at most.
        dead_letters: records set aside since the workers started.
        events_history: events a second at the last looks, oldest first.
        p99_history: ms, at the same looks; 0 where nothing was measured.
        stages: stage, p50 and p99 in ms.
        journeys: actions by journey, most first.
        held_back: suppressed and deferred by guard, most first.
        worst: partition, records behind, and their age in seconds, worst first; only those with any.
        notices: when (a monotonic clock), and what, newest first.
    """

    workers: tuple[WorkerLine, ...]
    events_per_s: float
    actions_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    lag: int
    partitions: int
    all_partitions: int
    held_s: float
    dead_letters: int
    events_history: tuple[float, ...]
    p99_history: tuple[float, ...]
    stages: tuple[tuple[str, float | None, float | None], ...]
    journeys: tuple[Count, ...]
    held_back: tuple[Count, ...]
    worst: tuple[tuple[str, int, float], ...]
    notices: tuple[tuple[float, str], ...]


@dataclass(slots=True)
class Watch:
    """Keeps the last look at each worker, and what happened.

    Args:
        names: the workers' addresses.
    """

    names: Sequence[str]
    _last: dict[str, Look] = field(default_factory=dict)
    _history: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _notices: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=NOTICES))
    _counted: dict[tuple[str, str], int] = field(default_factory=dict)  # newest, by worker and text

    def take(self, looks: Sequence[Look]) -> TopView:
        """Take a look at every worker in, and return what is to be seen.

        Args:
            looks: one for each of `names`, in their order.
        """
        grown: list[Samples] = []
        lines = []
        span_s = 0.0
        for name, look in zip(self.names, looks, strict=True):
            before = self._last.get(name)
            more, passed_s = _growth(before, look)
            span_s = max(span_s, passed_s)
            grown.append(more)
            lines.append(_line(name, look, more, passed_s))
            if before is not None:
                for count, text in _notices(before, look):
                    self._tell(look.at_s, name, count, text)
            self._last[name] = look
        now = add_up(look.samples for look in looks if look.samples is not None)
        together = add_up(grown)
        events_per_s = sum(line.events_per_s for line in lines)
        latency = percentiles_ms(together, table.ENGINE_LATENCY)
        if span_s:
            self._history.append((events_per_s, latency["99"] or 0.0))
        return TopView(
            workers=tuple(lines),
            events_per_s=events_per_s,
            actions_per_s=_per_s(total(together, table.ACTIONS), span_s),
            p50_ms=latency["50"],
            p99_ms=latency["99"],
            lag=sum(line.lag for line in lines),
            partitions=sum(line.partitions for line in lines),
            all_partitions=max((_all_partitions(look) for look in looks), default=0),
            held_s=max((total(look.samples or {}, table.DEADLINES_HELD) for look in looks), default=0.0),
            dead_letters=int(total(now, table.DEAD_LETTERS)),
            events_history=tuple(events for events, _ in self._history),
            p99_history=tuple(p99_ms for _, p99_ms in self._history),
            stages=tuple(_stages(together)),
            journeys=_counts(now, together, span_s, (table.ACTIONS, "journey")),
            held_back=_counts(now, together, span_s, (table.SUPPRESSED, "guard"), (table.DEFERRED, "guard")),
            worst=_worst(now),
            notices=tuple(self._notices),
        )

    def _tell(self, at_s: float, worker: str, count: int, text: str) -> None:
        """Add a notice; one like another that is still among the newest takes its place, with both counts."""
        what = worker, text
        newest = [notice for _, notice in list(self._notices)[:_RECENT]]
        old = _said(worker, self._counted.get(what, 0), text)
        if count and old in newest:
            del self._notices[newest.index(old)]
            count += self._counted.get(what, 0)
        self._counted[what] = count
        self._notices.appendleft((at_s, _said(worker, count, text)))


def _said(worker: str, count: int, text: str) -> str:
    return f"{worker}: {count} {text}" if count else f"{worker}: {text}"


def _growth(before: Look | None, look: Look) -> tuple[Samples, float]:
    """Return what was counted since the look before, and the seconds since; nothing at the first look."""
    if before is None or before.samples is None or look.samples is None:
        return {}, 0.0
    return difference(before.samples, look.samples), look.at_s - before.at_s


def _line(name: str, look: Look, grown: Samples, passed_s: float) -> WorkerLine:
    samples = look.samples
    if samples is None:
        return WorkerLine(name, SILENT)
    latency = percentiles_ms(grown, table.ENGINE_LATENCY)
    return WorkerLine(
        name=name,
        state="; ".join(look.obstacles) or "ready",
        partitions=int(total(samples, table.PARTITIONS)),
        events_per_s=_per_s(total(grown, table.EVENTS), passed_s),
        p50_ms=latency["50"],
        p99_ms=latency["99"],
        lag=int(total(samples, table.LAG)),
    )


def _all_partitions(look: Look) -> int:
    return 0 if look.samples is None else int(total(look.samples, table.EVENT_PARTITIONS))


def _stages(grown: Samples) -> Iterator[tuple[str, float | None, float | None]]:
    for stage in table.STAGES:
        latency = percentiles_ms(grown, table.STAGE_LATENCY, stage=stage)
        yield stage, latency["50"], latency["99"]


def _counts(now: Samples, grown: Samples, span_s: float, *of: tuple[Metric, str]) -> tuple[Count, ...]:
    totals: dict[str, float] = {}
    more: dict[str, float] = {}
    for metric, label in of:
        for found, samples in ((totals, now), (more, grown)):
            for name, value in by_label(samples, metric, label).items():
                found[name] = found.get(name, 0.0) + value
    counts = (Count(name, _per_s(more.get(name, 0.0), span_s), value) for name, value in totals.items())
    return tuple(sorted(counts, key=lambda count: (-count.per_s, -count.total, count.name)))


def _worst(now: Samples) -> tuple[tuple[str, int, float], ...]:
    ages_s = by_label(now, table.LAG_AGE, "partition")
    found = (
        (name, int(lag), ages_s.get(name, 0.0)) for name, lag in by_label(now, table.LAG, "partition").items()
    )
    return tuple(sorted((each for each in found if each[1]), key=lambda each: (-each[2], -each[1], each[0])))


def _notices(before: Look, look: Look) -> Iterator[tuple[int, str]]:
    """Yield what happened to a worker between two looks: how often, 0 where it is no count, and what."""
    if before.samples is None or look.samples is None:
        if (before.samples is None) != (look.samples is None):
            yield 0, SILENT if look.samples is None else "answers again"
        return
    if before.obstacles != look.obstacles:
        yield 0, f"not ready: {'; '.join(look.obstacles)}" if look.obstacles else "ready"
    yield from _counted(difference(before.samples, look.samples), look.samples)
    versions = [int(total(each, table.RULES_VERSION)) for each in (before.samples, look.samples)]
    models = [by_label(each, table.MODEL_VERSION, "which") for each in (before.samples, look.samples)]
    yield from ((0, text) for text in _switched("rules", *versions))
    yield from (
        (0, text) for text in _switched("churn model", *(int(each.get("live", 0)) for each in models))
    )


def _counted(grown: Samples, now: Samples) -> Iterator[tuple[int, str]]:
    """Yield what has been counted that should not happen all the time."""
    for metric, text in _COUNTED:
        if count := int(total(grown, metric)):
            owned = f", now {int(total(now, table.PARTITIONS))} partitions"
            yield count, f"{text}{owned if metric is table.REBALANCES else ''}"
    for metric, label, text in _COUNTED_BY:
        for name, count_by in by_label(grown, metric, label).items():
            if count_by:
                yield int(count_by), text.format(name)


def _switched(what: str, before: int, now: int) -> Iterator[str]:
    if before != now:
        yield f"{what} version {now} (was {before})"


def _per_s(count: float, passed_s: float) -> float:
    return count / passed_s if passed_s > 0 else 0.0
