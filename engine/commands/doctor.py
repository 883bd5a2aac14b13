"""`engage doctor`: what is wrong with the surroundings, each finding with its remedy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import typer

from engine.commands.base import (
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    AsJson,
    command,
    print_json,
    quiet_settings,
)
from engine.commands.findings import Finding, kafka_findings, shape_findings, worker_findings
from engine.commands.redis_server import FEWEST_KEYS
from engine.errors import AccessError, ConfigError, EngineError, RuleErrors, TransientError
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.store.contract import StoreHealth

MAX_SKEW_MS = 1_000
MEMORY_WARNING_SHARE = 0.8
OLDEST = {"redis": 7, "valkey": 8}


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "doctor")(doctor)


def doctor(settings: Settings, as_json: AsJson = False) -> None:
    """Check Kafka, topics, Redis, clocks, workers and rules; say what to do about each finding.

    Exit code 0: fit to run, warnings aside. 1: a check failed. 2: Kafka or Redis refuses us. 3: one of them
    does not answer, or topics are missing.
    """
    findings = list(examine(settings))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            finding.show()
    verdicts = {finding.verdict for finding in findings}
    if "refused" in verdicts:
        raise typer.Exit(EXIT_USAGE)
    if verdicts & {"unreachable", "missing"}:
        raise typer.Exit(EXIT_UNREACHABLE)
    if "failed" in verdicts:
        raise typer.Exit(EXIT_FAILED)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything; a part that cannot be looked at does not stop the rest."""
    told = []
    for look in (_kafka, _redis):
        told += (found := list(look(settings)))
        yield from found
    if not {finding.verdict for finding in told} & {"unreachable", "missing", "refused"}:
        yield from worker_findings(settings, quiet_settings(settings))
    yield from _rules(settings)


def _kafka(settings: Settings) -> Iterator[Finding]:
    from engine.streams.kafka import check_topics, partition_counts  # noqa: PLC0415
    from engine.streams.topics import topic_specs  # noqa: PLC0415

    kafka, specs = quiet_settings(settings), topic_specs(settings)
    started_s = time.perf_counter()
    try:
        counts = partition_counts(kafka, settings.kafka.timeout_ms / 1000)
    except TransientError as error:
        yield Finding(
            subject="kafka",
            verdict="unreachable",
            text=str(error),
            remedy="check kafka.bootstrap_servers and kafka.security_protocol"
            + _or_local(settings, "kafka.bootstrap_servers"),
        )
        return
    except ConfigError as error:
        yield _refusal("kafka", error)
        return
    took_ms = (time.perf_counter() - started_s) * 1000
    yield Finding(
        subject="kafka",
        verdict="ok",
        text=f"{kafka.bootstrap} answers in {took_ms:.0f} ms and has {len(counts)} topics",
    )
    try:
        partitions = check_topics(kafka, kafka.topics, [spec.name for spec in specs])
    except AccessError as error:
        yield _refusal("topics", error)
        return
    except (ConfigError, TransientError) as error:
        text, _, remedy = str(error).partition("; ")
        verdict: Literal["missing", "failed"] = "missing" if isinstance(error, TransientError) else "failed"
        yield Finding(subject="topics", verdict=verdict, text=text, remedy=remedy or "engage topics create")
        return
    yield Finding(
        subject="topics",
        verdict="ok",
        text=f"all {len(specs)} are there; the event topics have {partitions} partitions each",
    )
    yield from shape_findings(settings, partitions)
    yield from kafka_findings(settings, kafka)
    if kafka.extra.get("security.protocol") == "sasl_plaintext":
        yield Finding(
            subject="kafka",
            verdict="warning",
            text="kafka.security_protocol is sasl_plaintext: everything can be read on the way",
            remedy='set kafka.security_protocol = "sasl_ssl", see docs/security.md',
        )


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        health, fsync, reads_back, skew_ms = asyncio.run(_ask_redis(settings))
    except TransientError as error:
        yield Finding(
            subject="redis",
            verdict="unreachable",
            text=str(error),
            remedy="is it up, and is redis.url its address?" + _or_local(settings, "redis.url"),
        )
        return
    except ConfigError as error:
        yield _refusal("redis", error)
        return
    yield Finding(subject="redis", verdict="ok", text=f"{health.server} {health.version} answers")
    yield from _redis_findings(health, fsync)
    if reads_back is False:
        yield _bad(
            "failed",
            "its user default may not write: after a restart it would not read its append-only file back",
            "`engage redis acl` writes the users anew, with default off but entitled; then ACL LOAD",
        )
    verdict: Literal["ok", "warning"] = "ok" if abs(skew_ms) <= MAX_SKEW_MS else "warning"
    yield Finding(
        subject="clock",
        verdict=verdict,
        text=f"redis' clock is {abs(skew_ms)} ms {'ahead' if skew_ms > 0 else 'behind'}",
        remedy=""
        if verdict == "ok"
        else "synchronise both machines with NTP: waits and quiet hours go by the clock",
    )


def _or_local(settings: Settings, name: str) -> str:
    """Return how to do without a server of one's own, unless somebody has named one."""
    return "" if name in settings.origins else "; to try the engine out: `engage stack` starts one"


def _refusal(subject: str, error: ConfigError) -> Finding:
    text, _, remedy = str(error).rpartition("; ")
    return Finding(subject=subject, verdict="refused", text=text, remedy=remedy)


async def _ask_redis(settings: Settings) -> tuple[StoreHealth, str | None, bool | None, int]:
    """Return what it says of itself, how often it syncs, whether it reads its file back, its clock's skew.

    The second and third are None where we may not ask.
    """
    from engine.streams.store.redis import RedisStore  # noqa: PLC0415

    store = RedisStore.of(settings.redis)
    try:
        before_ms = time.time() * 1000
        health = await store.health()
        middle_ms = (before_ms + time.time() * 1000) / 2
        fsync = (await store.configuration()).get("appendfsync")
        return health, fsync, await store.reads_back(), round(health.clock_ms - middle_ms)
    finally:
        await store.close()


def _redis_findings(health: StoreHealth, fsync: str | None) -> Iterable[Finding]:
    """Judge how the server keeps what it is given."""
    if health.role != "master":
        yield _bad("failed", f"it is a {health.role}", "give redis.url the address of the primary")
    yield from _version_findings(health)
    if not health.aof_enabled:
        yield _bad(
            "warning",
            "it keeps no append-only file: a restart loses every customer's state",
            "CONFIG SET appendonly yes, CONFIG SET appendfsync everysec, and so in its configuration file",
        )
    elif not health.aof_write_ok:
        yield _bad(
            "failed", "its last write to the append-only file failed", "look at its disk: full or read-only?"
        )
    elif fsync == "no":
        yield _bad(
            "warning",
            "appendfsync is no: a machine that fails loses up to half a minute",
            "CONFIG SET appendfsync everysec",
        )
    elif fsync is None:
        yield _bad(
            "warning",
            "appendfsync, and whether it reads its file back, cannot be seen by this user",
            "look as the role operator, or by redis-cli: CONFIG GET appendfsync; ACL DRYRUN default SET x y",
        )
    if health.eviction_policy not in {"noeviction", None}:
        yield _bad(
            "failed",
            f"maxmemory-policy is {health.eviction_policy}: it would throw customers away when full",
            "CONFIG SET maxmemory-policy noeviction",
        )
    if health.evicted_keys:
        yield _bad(
            "failed", f"it has evicted {health.evicted_keys} keys", "give it more memory, set noeviction"
        )
    yield from _memory_findings(health)


def _version_findings(health: StoreHealth) -> Iterator[Finding]:
    major, oldest = int(health.version.partition(".")[0] or 0), OLDEST.get(health.server, 0)
    if major < oldest:
        yield _bad(
            "failed",
            f"{health.server} {health.version} is too old",
            f"take {health.server} {oldest} or later",
        )


def _memory_findings(health: StoreHealth) -> Iterator[Finding]:
    """Judge the room there is for customers, by what they take here."""
    if not health.max_memory_bytes:
        yield _bad(
            "warning",
            "maxmemory is not set: when memory ends, the machine ends it",
            "CONFIG SET maxmemory to what `engage redis size --customers N` says",
        )
        return
    share = health.used_memory_bytes / health.max_memory_bytes
    if share > MEMORY_WARNING_SHARE:
        yield _bad("warning", f"{share:.0%} of its memory is in use", "raise maxmemory or add nodes")
    elif health.keys >= FEWEST_KEYS:
        each = health.dataset_bytes / health.keys
        room = (health.max_memory_bytes * MEMORY_WARNING_SHARE - health.used_memory_bytes) / each
        text = f"{share:.0%} of maxmemory is in use; at {each:.0f} bytes a key there is room for {room:,.0f}"
        yield Finding(subject="redis", verdict="ok", text=text)


def _bad(verdict: Literal["warning", "failed"], text: str, remedy: str) -> Finding:
    return Finding(subject="redis", verdict=verdict, text=text, remedy=remedy)


def _rules(settings: Settings) -> Iterator[Finding]:
    from engine.commands.rules import load_rules  # noqa: PLC0415

    try:
        rules = load_rules(settings)
    except RuleErrors as error:
        text = f"{len(error.errors)} errors, first: {error.errors[0]}"
        yield Finding(subject="rules", verdict="failed", text=text, remedy="engage rules check")
    except EngineError as error:
        yield Finding(subject="rules", verdict="failed", text=str(error), remedy="engage rules check")
    else:
        if rules.journeys:
            yield Finding(subject="rules", verdict="ok", text=f"{len(rules.journeys)} journeys are valid")
        else:
            yield Finding(
                subject="rules",
                verdict="warning",
                text=f"there is no journey in {', '.join(settings.rules.paths)}: nothing would be sent",
                remedy="engage rules new, or mend rules.paths",
            )
