"""`engage topics create|check`: the topics the engine reads and writes."""

from __future__ import annotations

import typer

from engine.commands import acls
from engine.commands.base import AsJson, command, kafka_settings, print_json
from engine.settings import Settings

_app = typer.Typer(help="Create or check the engine's topics.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    acls.register(_app)
    app.add_typer(_app, name="topics")


@command(_app, "create")
def create(settings: Settings, as_json: AsJson = False) -> None:
    """Create the topics that are missing; those that exist are left as they are.

    topics.partitions sets how many partitions each gets, and so how many workers can share the work;
    `engage partitions widen` changes it later.
    """
    from engine.streams.kafka import check_topics, create_topics  # noqa: PLC0415
    from engine.streams.topics import topic_specs  # noqa: PLC0415

    kafka, specs = kafka_settings(settings), topic_specs(settings)
    created = create_topics(kafka, specs)
    count = check_topics(kafka, kafka.topics, [spec.name for spec in specs])
    if as_json:
        print_json({"created": created, "existing": len(specs) - len(created), "partitions": count})
        return
    for name in created:
        typer.echo(f"created {name}")
    typer.echo(f"{len(created)} created, {len(specs) - len(created)} already there; {count} partitions each")


@command(_app, "check")
def check(settings: Settings, as_json: AsJson = False) -> None:
    """Check that every topic exists and that the event topics have equal partition counts."""
    from engine.streams.kafka import check_topics  # noqa: PLC0415
    from engine.streams.topics import topic_specs  # noqa: PLC0415

    kafka, specs = kafka_settings(settings), topic_specs(settings)
    count = check_topics(kafka, kafka.topics, [spec.name for spec in specs])
    if as_json:
        print_json({"topics": [spec.name for spec in specs], "partitions": count})
    else:
        typer.echo(f"all {len(specs)} topics are there; the event topics have {count} partitions each")
