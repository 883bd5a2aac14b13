"""`engage worker|trainer|demo|stack`: the processes."""

from __future__ import annotations

import signal
from typing import Annotated, Literal

import typer

from engine.commands.base import command, one_of
from engine.settings import Settings, TopicSettings

Kafka = Literal["embedded", "apache"]
Redis = Literal["valkey", "redis"]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    command(app, "demo")(demo)
    command(app, "worker")(worker)
    command(app, "trainer")(trainer)
    command(app, "stack")(stack)


def worker(settings: Settings) -> None:
    """Run the engine: read events, keep state, fire actions.

    Start as many as there are cores or machines; Kafka shares the partitions among them. Stop with Ctrl-C
    or SIGTERM: the batch in flight is finished first. Metrics and health are on http.port.
    """
    from engine.streams.worker import run_worker  # noqa: PLC0415

    run_worker(settings)


def trainer(settings: Settings) -> None:
    """Run the churn model's trainer: learn from matured labels, publish snapshots. One is enough."""
    from engine.streams.trainer import run_trainer  # noqa: PLC0415

    run_trainer(settings)


def demo(
    customers: Annotated[
        int | None, typer.Option(min=1, max=26_170, help="About how many customers; default: all.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of what is generated around the purchases.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="1 is about a minute, 2 half of that, 0 as fast as the machine can.")
    ] = 1.0,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live screen.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stack running at the end, to look around.")
    ] = False,
) -> None:
    """Replay 18 months of real purchases through the engine in about two minutes, live in the terminal.

    Starts a Kafka broker and a Redis server of its own on free local ports; nothing else is needed, and
    nothing is left behind.
    """
    from engine.demo.run import run_demo  # noqa: PLC0415

    # shells start `engage demo &` with SIGINT ignored; `kill -INT` is to end it all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_demo(customers=customers, seed=seed, speed=speed, plain=plain, keep=keep)


def stack(
    kafka: Annotated[
        Kafka,
        typer.Option(
            parser=one_of(Kafka), help="embedded: in memory, at once; apache: the real one, needs a JRE."
        ),
    ] = "embedded",
    redis: Annotated[
        Redis,
        typer.Option(parser=one_of(Redis), help="valkey: from its wheel; redis: the system's redis-server."),
    ] = "valkey",
) -> None:
    """Run Kafka and Redis on free local ports until Ctrl-C; print their addresses as settings.

    In another terminal: paste the lines it prints, then `engage topics create`, `engage worker`.
    """
    from engine.streams.kafka import EMBEDDED_PARTITIONS  # noqa: PLC0415
    from engine.streams.local.stack import LocalStack, run_stack  # noqa: PLC0415

    def announce(started: LocalStack) -> None:
        typer.echo(f"export ENGAGE_KAFKA_BOOTSTRAP_SERVERS={started.bootstrap}")
        typer.echo(f"export ENGAGE_REDIS_URL={started.redis_url}")
        typer.echo(f"export ENGAGE_KAFKA_GROUP_PROTOCOL={'consumer' if kafka == 'apache' else 'classic'}")
        if kafka == "embedded":
            typer.echo(f"export ENGAGE_TOPICS_PARTITIONS={EMBEDDED_PARTITIONS}")
        typer.echo("# running until Ctrl-C; nothing is kept afterwards")

    # the embedded broker would give it as many partitions as the others; workers read the first only
    run_stack(LocalStack(kafka, redis, topics={TopicSettings().rules: 1}), announce)
