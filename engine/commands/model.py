"""`engage model …`: the churn model that scores, and where it comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from engine.commands.base import AsJson, command, kafka_settings, print_json
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.features.churn.evaluation import Quality
    from engine.features.churn.snapshot import Snapshot

app = typer.Typer(
    help="Look at the churn model: what scores, how good it is.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    root.add_typer(app, name="model")


@command(app, "show")
def show(settings: Settings, as_json: AsJson = False) -> None:
    """Show the passport of the live model: versions, labels, cut-off, how good it was on matured labels."""
    from engine.streams.customer import newest_model  # noqa: PLC0415

    snapshot = newest_model(settings, kafka_settings(settings))
    if as_json:
        print_json(snapshot)
    else:
        _print(snapshot)


def _print(snapshot: Snapshot) -> None:
    name = "the prior that ships" if snapshot.version == 0 else f"version {snapshot.version}"
    typer.secho(f"churn model, {name}", bold=True)
    facts = {
        "risk": f"no purchase within {snapshot.horizon_days} days",
        "knows until": f"{datetime.fromtimestamp(snapshot.cut_off_s, UTC):%Y-%m-%d %H:%M}",
        "labels": f"{snapshot.labels_came_back:,} came back, {snapshot.labels_gone:,} did not",
        "prior": f"{snapshot.prior_share:.0%} of the hazard",
        "made by": f"engage {snapshot.engine_version}, river {snapshot.river_version}",
        "features": f"{len(snapshot.features)}, hash {snapshot.features_hash}",
    }
    for label, text in facts.items():
        typer.echo(f"  {label:<12} {text}")
    for group, quality in snapshot.validation.items():
        if quality.rows:
            typer.echo(f"  {group:<12} {_quality(quality)}")


def _quality(quality: Quality) -> str:
    figures = {"AUC": quality.auc, "log-loss": quality.log_loss, "base rate": quality.base_log_loss}
    told = [f"{name} {value:.4f}" for name, value in figures.items() if value is not None]
    return ", ".join([f"{quality.rows:,} rows", *told])
