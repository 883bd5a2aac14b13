"""One thing that a command has looked at, with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec
import typer

from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.kafka import KafkaSettings

#: How long events must be kept unless told: the horizon of the churn model, and a backtest of a quarter.
RETENTION_DAYS = 90


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Args:
        subject: `kafka`, `topics`, `redis`, `clock` or `rules`.
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
