"""`engage model list|show|promote|rollback|freeze`: the churn model that scores, and which one does."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.base import AsJson, command, kafka_settings, print_json
from engine.errors import ConfigError, EngineError
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.features.churn.evaluation import Quality
    from engine.features.churn.snapshot import Snapshot, Trial
    from engine.streams.models.desk import ModelDesk
    from engine.streams.models.topic import Desk, ModelBoard

_HELP = """Look at the churn model, and decide which one scores.

The trainer learns from each customer who came back or did not, and publishes a snapshot for each day.
One goes live by itself if its log-loss on the labels of the last 30 days is at most
churn.max_loss_increase above that of the live one. Labels take 30 days to mature; until then the prior
that ships with the engine (version 0) scores.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)

Message = Annotated[str, typer.Option("--message", "-m", help="Why, for those who read it later.")]
Author = Annotated[
    str | None,
    typer.Option("--author", help="Who you are; default: rules.author, or your user on this machine."),
]


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    root.add_typer(app, name="model")


@command(app, "list")
def list_versions(settings: Settings, as_json: AsJson = False) -> None:
    """List the snapshots that are kept, the newest first: state, labels, log-loss of the trial.

    live: scores now. was live: scored before. refused: its trial was worse than the live one by more than
    churn.max_loss_increase. kept: made while the model was frozen.
    """
    board = _desk(settings, None).read()
    if as_json:
        print_json(
            {
                "live": 0 if board.live is None else board.live.version,
                "frozen": board.frozen,
                "decided": None if board.desk is None else _decided(board.desk),
                "versions": [_row(board, version) for version in sorted(board.kept, reverse=True)],
            }
        )
        return
    for version in sorted(board.kept, reverse=True):
        snapshot, state = board.kept[version].snapshot, _state(board, version)
        line = f"{version:>6}  {state:<9}  {_day(snapshot.cut_off_s)}  {snapshot.labels:>9,} labels"
        typer.secho(f"{line}  {_trial(snapshot.trial)}".rstrip(), bold=state == "live")
    if not board.kept:
        typer.echo("the trainer has published no snapshot yet; the prior that ships (version 0) scores")
    elif board.live is None or not board.live.version:
        typer.echo(f"live: {_name(0)}")
    _tell_desk(board)


@command(app, "show")
def show(
    settings: Settings,
    version: Annotated[
        int | None,
        typer.Argument(help="Which snapshot, as `engage model list` names it; default: the live one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's passport: labels, cut-off, versions, and how good it was on matured labels.

    AUC says how well it sorts customers (0.5 is chance), log-loss how far its probabilities are off (0 is
    perfect); both are of what was said at the time, judged when the horizon had passed.
    """
    from engine.features.churn.snapshot import shipped_prior  # noqa: PLC0415

    board = _desk(settings, None).read()
    prior = shipped_prior(settings.churn.horizon_days)
    if version is None:
        snapshot = board.live or prior
    elif version == 0:
        snapshot = prior
    elif version in board.kept:
        snapshot = board.kept[version].snapshot
    else:
        raise EngineError(f"no version {version}; `engage model list` tells which are kept")
    if as_json:
        print_json(snapshot)
    else:
        _print(snapshot)
        _tell_desk(board)


@command(app, "promote")
def promote(
    settings: Settings,
    version: Annotated[int | None, typer.Argument(help="Which snapshot; default: the newest.")] = None,
    message: Message = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Make a snapshot live on all workers, whatever its trial said.

    Later snapshots must pass their trial against it. A frozen model stays frozen, with this snapshot.
    """
    _report(_desk(settings, author).promote(version, message), as_json=as_json)


@command(app, "rollback")
def rollback(
    settings: Settings,
    version: Annotated[
        int | None,
        typer.Argument(help="What to bring back; default: what was live before. 0 is the prior that ships."),
    ] = None,
    message: Message = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Bring an older snapshot back and hold it, so that the trainer's next one does not replace it at once.

    When the cause is mended: `engage model freeze --off`.
    """
    _report(_desk(settings, author).roll_back(version, message), as_json=as_json)


@command(app, "freeze")
def freeze(
    settings: Settings,
    off: Annotated[bool, typer.Option("--off", help="Let the trainer's snapshots go live again.")] = False,
    message: Message = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Hold the live model still: the trainer goes on learning and keeps snapshots, workers do not switch.

    With --off what is live stays until a snapshot passes its trial against it.
    """
    desk = _desk(settings, author)
    _report(desk.thaw(message) if off else desk.freeze(message), as_json=as_json)


def _desk(settings: Settings, author: str | None) -> ModelDesk:
    from engine.streams.models.desk import ModelDesk  # noqa: PLC0415

    return ModelDesk(settings, kafka_settings(settings), author or settings.rules.author or _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigError("this user has no name: say who you are with --author or rules.author") from None


def _state(board: ModelBoard, version: int) -> str:
    kept = board.kept[version]
    if board.live is not None and board.live.version == version:
        return "live"
    if kept.went_live:
        return "was live"
    passed = kept.snapshot.trial is None or kept.snapshot.trial.passed
    return "kept" if passed else "refused"


def _row(board: ModelBoard, version: int) -> dict[str, object]:
    kept = board.kept[version]
    return {
        "version": version,
        "state": _state(board, version),
        "time": kept.time_ms,
        "cut_off_s": kept.snapshot.cut_off_s,
        "labels": kept.snapshot.labels,
        "trial": kept.snapshot.trial,
    }


def _report(board: ModelBoard, *, as_json: bool) -> None:
    live = 0 if board.live is None else board.live.version
    if as_json:
        print_json({"live": live, "frozen": board.frozen})
        return
    typer.echo(f"live: {_name(live)}")
    _tell_desk(board)


def _tell_desk(board: ModelBoard) -> None:
    """Say what operators decided last, as long as it holds."""
    desk = board.desk
    if desk is None:
        return
    if desk.frozen is not None:
        what = f"frozen on {_name(desk.frozen.version)}"
    elif board.replaced is not None and board.live is not None:
        what = f"{_name(board.live.version)} was promoted over {_name(board.replaced)}"
    else:
        return
    when = datetime.fromtimestamp(desk.time_ms / 1000, UTC)
    why = f": {desk.message}" if desk.message else ""
    typer.echo(f"{what} by {desk.author}, {when:%Y-%m-%d %H:%M} UTC{why}")


def _decided(desk: Desk) -> dict[str, object]:
    return {"author": desk.author, "time": desk.time_ms, "message": desk.message}


def _name(version: int) -> str:
    return "the prior that ships (version 0)" if version == 0 else f"version {version}"


def _print(snapshot: Snapshot) -> None:
    from engine.features.churn.quality import fit_to_act  # noqa: PLC0415

    typer.secho(f"churn model, {_name(snapshot.version)}", bold=True)
    facts = {
        "risk": f"no purchase within {snapshot.horizon_days} days",
        "knows until": _day(snapshot.cut_off_s),
        "labels": f"{snapshot.labels_came_back:,} came back, {snapshot.labels_gone:,} did not",
        "prior": f"{snapshot.prior_share:.0%} of the hazard" if snapshot.version else "it is the prior",
        "trial": _trial(snapshot.trial) or "none",
        "made by": f"engage {snapshot.engine_version}, river {snapshot.river_version}",
        "features": f"{len(snapshot.features)}, hash {snapshot.features_hash}",
    }
    for label, text in facts.items():
        typer.echo(f"  {label:<12} {text}")
    for group, quality in snapshot.validation.items():
        if quality.rows:
            typer.echo(f"  {group:<12} {_quality(quality)}")
    typer.echo(f"  {'to act on?':<12} {fit_to_act(snapshot.recent, snapshot.validation)}")


def _day(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d}"


def _trial(trial: Trial | None) -> str:
    if trial is None or trial.log_loss is None or trial.own_log_loss is None:
        return ""
    worst = max(trial.log_loss, trial.own_log_loss)
    against = "nothing live" if trial.live_log_loss is None else f"{trial.live_log_loss:.4f}"
    verdict = "passed" if trial.passed else "failed"
    if trial.passed and trial.live_log_loss is not None and worst > trial.live_log_loss + trial.bound:
        verdict = "passed, too few labels to decide"
    return f"{verdict}: log-loss {worst:.4f} against {against} on {trial.rows:,} labels"


def _quality(quality: Quality) -> str:
    figures = {"AUC": quality.auc, "log-loss": quality.log_loss, "base rate's": quality.base_log_loss}
    told = [f"{name} {value:.4f}" for name, value in figures.items() if value is not None]
    return ", ".join([f"{quality.rows:,} rows", *told])
