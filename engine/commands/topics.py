"""`engage topics create|check`: the topics the engine reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands import acls
from engine.commands.base import EXIT_FAILED, AsJson, command, kafka_settings, print_json
from engine.commands.findings import RETENTION_DAYS, kafka_findings, shape_findings
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.production import Plan, Wanted

_app = typer.Typer(help="Create or check the engine's topics.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    acls.register(_app)
    app.add_typer(_app, name="topics")


@command(_app, "create")
def create(
    settings: Settings,
    production: Annotated[
        bool, typer.Option("--production", help="Three copies, and settings that lose nothing; each told.")
    ] = False,
    retention_days: Annotated[
        int, typer.Option(min=1, max=3650, help="With --production: how long events are kept.")
    ] = RETENTION_DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing; those that exist are left as they are.

    topics.partitions sets how many partitions each gets, and so how many workers can share the work;
    `engage partitions widen` changes it later. --production asks for what survives machines that fail, and
    says why; on fewer brokers than copies it refuses, unless topics.replication says how many.
    """
    from engine.streams.kafka import check_topics, create_topics, partition_counts  # noqa: PLC0415
    from engine.streams.production import enough_brokers, plan_of  # noqa: PLC0415
    from engine.streams.topics import topic_specs  # noqa: PLC0415

    kafka, specs = kafka_settings(settings), topic_specs(settings)
    timeout_s = settings.kafka.timeout_ms / 1000
    if production:
        plans = plan_of(settings, retention_days)
        specs = [plan.spec for plan in plans]
        if not as_json:
            _show_plan(plans)
        if not dry_run:
            enough_brokers(kafka, plans, timeout_s)
    if dry_run:
        there = partition_counts(kafka).keys()
        created = [spec.name for spec in specs if spec.name not in there]
        count = settings.topics.partitions
    else:
        created = create_topics(kafka, specs)
        count = check_topics(kafka, kafka.topics, [spec.name for spec in specs])
    if as_json:
        print_json({"created": created, "existing": len(specs) - len(created), "partitions": count})
        return
    done = "to be created" if dry_run else "created"
    for name in created:
        typer.echo(f"{name} {done}" if dry_run else f"created {name}")
    typer.echo(f"{len(created)} {done}, {len(specs) - len(created)} already there; {count} partitions each")
    if production and dry_run:
        enough_brokers(kafka, plans, timeout_s)  # last, so that the plan is seen all the same


def _show_plan(plans: list[Plan]) -> None:
    """Write what production needs: settings that several topics share, once."""
    copies = plans[0].spec.replication
    typer.echo(f"copies of each partition: {copies}")
    shared: dict[Wanted, list[str]] = {}
    for plan in plans:
        for wanted in plan.wanted:
            shared.setdefault(wanted, []).append(plan.spec.name)
    for wanted, names in shared.items():
        where = "all topics" if len(names) == len(plans) else ", ".join(names)
        typer.echo(f"{wanted.name}={wanted.value}\n    why: {wanted.why}\n    on: {where}")


@command(_app, "check")
def check(
    settings: Settings,
    retention_days: Annotated[
        int, typer.Option(min=1, max=3650, help="How long events must be kept.")
    ] = RETENTION_DAYS,
    as_json: AsJson = False,
) -> None:
    """Check that every topic exists, that event topics are partitioned alike, and what would lose records.

    Warnings say what a broker that fails would cost, with the remedy; they leave the exit code at 0.
    """
    from engine.streams.kafka import check_topics  # noqa: PLC0415
    from engine.streams.topics import topic_specs  # noqa: PLC0415

    kafka, specs = kafka_settings(settings), topic_specs(settings)
    timeout_s = settings.kafka.timeout_ms / 1000
    count = check_topics(kafka, kafka.topics, [spec.name for spec in specs], timeout_s)
    findings = [*shape_findings(settings, count), *kafka_findings(settings, kafka, retention_days)]
    if as_json:
        print_json({"topics": [spec.name for spec in specs], "partitions": count, "findings": findings})
    else:
        typer.echo(f"all {len(specs)} topics are there; the event topics have {count} partitions each")
        for finding in findings:
            finding.show()
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
