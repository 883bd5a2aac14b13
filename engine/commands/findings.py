"""One thing that a command has looked at, with its remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import typer

from engine.errors import AccessError, StateError, TransientError
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.kafka import KafkaSettings

_T = TypeVar("_T")

#: How long events must be kept unless told: the horizon of the churn model, and a backtest of a quarter.
RETENTION_DAYS = 90


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Args:
        subject: `kafka`, `topics`, `redis`, `clock`, `workers` or `rules`.
        verdict: `warning` works but is unsafe or slow; `missing` is not there yet; `unreachable` could not be
            looked at; `refused` neither, and waiting does not help.
        text: what was found.
        remedy: what to do; empty when all is well.
    """

    subject: str
    verdict: Literal["ok", "warning", "failed", "missing", "unreachable", "refused"]
    text: str
    remedy: str = ""

    def show(self) -> None:
        """Write it for people."""
        color = {"ok": "green", "warning": "yellow"}.get(self.verdict, "red")
        typer.secho(f"{self.verdict:<12}", fg=color, bold=True, nl=False)
        typer.echo(f"{self.subject}: {self.text}")
        if self.remedy:
            typer.echo(f"{'':<12}remedy: {self.remedy}")


def kafka_findings(
    settings: Settings, kafka: KafkaSettings, retention_days: int = RETENTION_DAYS
) -> Iterator[Finding]:
    """Hold topics and brokers to what production needs.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        retention_days: how long events must be kept.
    """
    from engine.streams.production import flaws  # noqa: PLC0415 - help must be fast

    found = flaws(settings, kafka, retention_days, settings.kafka.timeout_ms / 1000)
    for flaw in found or ():
        verdict: Literal["failed", "warning"] = "failed" if flaw.severe else "warning"
        yield Finding(subject="kafka", verdict=verdict, text=flaw.text, remedy=flaw.remedy)
    if found == []:
        yield Finding(
            subject="kafka", verdict="ok", text="settings of topics and brokers are fit for production"
        )


def shape_findings(settings: Settings, partitions: int) -> Iterator[Finding]:
    """Hold the number of partitions to what the settings say.

    Args:
        settings: all settings.
        partitions: of the event topics, as they are.
    """
    wanted = settings.topics.partitions
    if partitions != wanted:
        yield Finding(
            subject="topics",
            verdict="warning",
            text=f"{partitions} partitions, but topics.partitions says {wanted}",
            remedy=f"set topics.partitions = {partitions}{_or_widen(partitions, wanted)}",
        )


def _or_widen(partitions: int, wanted: int) -> str:
    if wanted > partitions and wanted % partitions == 0:
        return f", or give them more: docs/tasks.md, `engage partitions widen --to {wanted}`"
    return ", or start anew with other topics"


def worker_findings(settings: Settings, kafka: KafkaSettings) -> Iterator[Finding]:
    """Say who works and what waits; nothing where Kafka or Redis does not tell this user.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
    """
    from engine.streams.widening.event_topics import EventTopics  # noqa: PLC0415
    from engine.streams.widening.widen import backlog  # noqa: PLC0415

    topics = EventTopics(kafka)
    try:
        found = asyncio.run(backlog(settings, kafka))
    except StateError as error:
        yield Finding(subject="workers", verdict="failed", text=str(error), remedy="see docs/tasks.md")
        return
    except (AccessError, TransientError):
        return
    members = _told(lambda: len(topics.members()))
    group, waiting = f"group {kafka.group_id!r}", found.words or "nothing waits"
    live = settings.clock == "live"
    if live and (forgotten := (_told(topics.read_before) or frozenset()) - found.begun):
        yield Finding(
            subject="workers",
            verdict="failed",
            text=f"redis knows nothing of {len(forgotten)} partitions {group} has worked on: it is empty, "
            "not the one it was, or an old backup; no worker goes on",
            remedy='docs/tasks.md, "Lost Redis"; or look at redis.url and redis.prefix',
        )
    elif found.waiting and live and not found.begun:
        yield Finding(
            subject="workers",
            verdict="warning",
            text=f"none has been there yet; {waiting}: the first takes that as happening now, and sends",
            remedy='`engage worker`; if it is history: docs/tasks.md, "Begin with topics that hold history"',
        )
    elif members == 0 and (found.waiting or found.begun):
        yield Finding(
            subject="workers",
            verdict="warning",
            text=f"none is in {group}: what is due does not go out; {waiting}",
            remedy="`engage worker`; if there was one, the last line of its log says why it ended",
        )
    else:
        there = "" if members is None else f"{members or 'none'} in {group}; "
        yield Finding(subject="workers", verdict="ok", text=f"{there}{waiting}")


def _told(ask: Callable[[], _T]) -> _T | None:
    """Return what Kafka says; None where it does not tell this user, or cannot."""
    try:
        return ask()
    except (AccessError, TransientError):
        return None
