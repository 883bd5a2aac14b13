"""`engage rules publish` and what follows it: status, history, stage, rollback, pause, resume, approve."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from engine.commands.base import (
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    command,
    complain,
    kafka_settings,
    print_json,
)
from engine.commands.rules import app, load_rules, print_problems
from engine.errors import ConfigError, RuleError, RuleErrors
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.rules.publishing.publication import Operation, Publication, Publish, Version
    from engine.streams.rules.desk import Draft, RuleDesk, Steps

_AUTO = "auto"
MAX_NAMED = 5  # fixtures that fail

Author = Annotated[
    str | None,
    typer.Option("--author", help="Who you are; default: rules.author, or your user on this machine."),
]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for those who read the history.")]
Migrate = Annotated[
    str | None,
    typer.Option(
        "--migrate",
        metavar="auto|FILE",
        help="Move those inside older versions: `auto` to equal steps, FILE says JOURNEY: {STEP: STEP}.",
    ),
]


def register(_: typer.Typer) -> None:
    """Add the commands to `engage rules`."""
    for function in (publish, status, history, stage, rollback, pause, resume, approve):
        command(app, function.__name__)(function)


def publish(  # noqa: PLR0913, PLR0917 - the options of a command
    settings: Settings,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; default: rules.paths of the settings.")
    ] = None,
    message: Message = "",
    to: Annotated[str, typer.Option("--to", help="For a share of the customers first, as in 5%.")] = "100%",
    migrate: Migrate = None,
    over: Annotated[
        int | None,
        typer.Option("--over", metavar="N", help="You have seen what others changed, up to version N."),
    ] = None,
    author: Author = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; publish nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish all journeys as the next version: checked, tested, live on every worker within a second.

    What is published is the whole set: a journey that is not among the files takes no entries any more.
    Who is inside a journey keeps the version entered.

    Exit code 1 when the rules are wrong, their fixtures fail, or somebody else published first, or has
    changed the same journeys since your last version.
    """
    if paths:
        rules = msgspec.structs.replace(settings.rules, paths=[str(path) for path in paths])
        settings = msgspec.structs.replace(settings, rules=rules)
    _require_sound(settings)
    desk = _desk(settings, author)
    draft = desk.draft(message, _share(to), _steps(migrate), over)
    _require_own(settings, draft)
    if dry_run:
        _show_draft(draft, as_json=as_json)
        return
    _report(settings, desk.send(draft), as_json=as_json)


def rollback(
    settings: Settings,
    version: Annotated[
        int | None, typer.Argument(help="The version to bring back; default: the one before the live one.")
    ] = None,
    message: Message = "",
    migrate: Migrate = None,
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Bring a version back: as a new version with the old contents, for all customers at once.

    It needs no approval: what it brings back was live before.
    """
    desk = _desk(settings, author)
    draft = desk.draft_rollback(version, message, _steps(migrate))
    _report(settings, desk.send(draft), as_json=as_json)


def stage(
    settings: Settings,
    share: Annotated[str, typer.Argument(help="The share of the customers, as in 25% or 100%.")],
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Give the newest version to more customers; who had it already keeps it."""
    from engine.rules.publishing.requests import stage_request  # noqa: PLC0415

    wanted = _share(share)
    _operate(settings, author, lambda found, who, now_ms: stage_request(found, wanted, who, now_ms), as_json)


def approve(
    settings: Settings,
    version: Annotated[int, typer.Argument(help="The version that waits.")],
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Let a version that waits for a second person go live (setting rules.approvals)."""
    from engine.rules.publishing.requests import approve_request  # noqa: PLC0415

    _operate(
        settings, author, lambda found, who, now_ms: approve_request(found, version, who, now_ms), as_json
    )


def pause(
    settings: Settings,
    journey: Annotated[str, typer.Argument(help="The journey.")],
    message: Message = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Stop a journey at once: nobody enters, and what is to be sent waits hour by hour until it expires."""
    from engine.rules.publishing.requests import pause_request  # noqa: PLC0415

    _operate(
        settings,
        author,
        lambda found, who, now_ms: pause_request(found, journey, who, now_ms, message),
        as_json,
    )


def resume(
    settings: Settings,
    journey: Annotated[str, typer.Argument(help="The journey.")],
    message: Message = "",
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused journey go on; what waits is judged anew, and sent, at its next hourly try."""
    from engine.rules.publishing.requests import resume_request  # noqa: PLC0415

    _operate(
        settings,
        author,
        lambda found, who, now_ms: resume_request(found, journey, who, now_ms, message),
        as_json,
    )
    if not as_json:
        typer.echo(
            "messages held back go within the hour, each at its next try, unless another guard holds it"
        )


def status(settings: Settings, as_json: AsJson = False) -> None:
    """Show what is published: the live version, its journeys, what waits for approval, what is paused.

    Which version a worker runs is on its page /status.
    """
    _show_status(_desk(settings, None).read(), as_json=as_json)


def history(
    settings: Settings,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many versions.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the published versions, the newest first: who, when, why, what changed."""
    found = _desk(settings, None).read()
    versions = sorted(found.versions.values(), key=lambda each: -each.publish.version)[:count]
    if as_json:
        print_json([_plain(each) for each in versions])
        return
    for version in versions:
        typer.secho(_headline(version), bold=version.state == "live")
        for line in version.publish.changes:
            typer.echo(f"    {line}")
    if not versions:
        typer.echo("no rules have been published yet")


def _require_own(settings: Settings, draft: Draft) -> None:
    """Let the engine's own journeys, taken where no settings name any, not displace the deployment's."""
    gone = [line[2:] for line in draft.publish.changes if line.startswith("- ")]
    if gone and not settings.rules.paths:
        message = "no rules.paths is set, and the engine's own journeys would take the place of what is live"
        hint = "run it where engage.toml is, or name the folder of your journeys"
        raise complain(f"{message} ({', '.join(gone[:MAX_NAMED])}): {hint}", EXIT_USAGE)


def _require_sound(settings: Settings) -> None:
    """Let only rules that pass the check, with fixtures that pass, be published."""
    from engine.commands.rules_test import run as run_fixtures  # noqa: PLC0415
    from engine.rules.publishing.requests import require_fixtures  # noqa: PLC0415

    warnings: list[RuleError] = []
    try:
        found = load_rules(settings, warnings)
    except RuleErrors as error:
        print_problems([*error.errors, *error.warnings])
        raise typer.Exit(EXIT_FAILED) from None
    print_problems(warnings)
    if not found.journeys:
        raise ConfigError("no journeys found: a wrong path would take every journey out of use")
    report = run_fixtures(settings, [])
    failed = [f"{each.file}: {each.case.name}" for each in report.results if not each.passed]
    for line in [*failed, *map(str, report.errors)][:MAX_NAMED]:
        typer.echo(f"fails: {line}", err=True)
    require_fixtures(len(failed) + len(report.errors))


def _desk(settings: Settings, author: str | None) -> RuleDesk:
    from engine.streams.rules.desk import RuleDesk  # noqa: PLC0415

    return RuleDesk(settings, kafka_settings(settings), author or settings.rules.author or _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigError("this user has no name: say who you are with --author or rules.author") from None


def _share(text: str) -> float:
    from engine.rules.times.units import read_share  # noqa: PLC0415

    share = read_share(text)
    if share is None or not 0 < share <= 1:
        raise ConfigError(f"{text!r} is no share: write it as 5%, above 0% and up to 100%")
    return share


def _steps(migrate: str | None) -> Steps | None:
    from engine.streams.rules.desk import read_steps  # noqa: PLC0415

    if migrate is None:
        return None
    return {} if migrate == _AUTO else read_steps(Path(migrate))


def _operate(
    settings: Settings,
    author: str | None,
    ask: Callable[[Publication, str, int], Operation],
    as_json: bool,
) -> None:
    desk = _desk(settings, author)
    _show_status(desk.operate(partial(_asked, ask, desk)), as_json=as_json)
    _warn_of_files(settings)


def _asked(
    ask: Callable[[Publication, str, int], Operation], desk: RuleDesk, found: Publication
) -> Operation:
    return ask(found, desk.author, desk.now_ms())


def _plain(version: Version) -> dict[str, object]:
    publish = version.publish
    return {
        "version": publish.version,
        "state": version.state,
        "share": version.share,
        "author": publish.author,
        "time": publish.time_ms,
        "message": publish.message,
        "hash": publish.digest,
        "journeys": publish.journeys,
        "restores": publish.restores,
        "approved_by": version.approved_by,
        "changes": list(publish.changes),
    }


def _show_draft(draft: Draft, *, as_json: bool) -> None:
    if as_json:
        print_json({"version": draft.publish.version, "changes": list(draft.publish.changes)})
        return
    typer.echo(f"would be version {draft.publish.version}: {_journeys(draft.publish)}")
    for line in draft.publish.changes:
        typer.echo(f"    {line}")


def _report(settings: Settings, version: Version, *, as_json: bool) -> None:
    if as_json:
        print_json(_plain(version))
        return
    typer.echo(_headline(version))
    for line in version.publish.changes:
        typer.echo(f"    {line}")
    number = version.publish.version
    if version.state == "pending":
        typer.echo(f"it waits for somebody else: `engage rules approve {number}`")
    elif version.share < 1:
        more = f"{(1 + version.share) / 2:.0%}" if version.share > 0.25 else "25%"
        typer.echo(f"more customers: `engage rules stage {more}`; all: `engage rules stage 100%`")
    _warn_of_files(settings)


def _warn_of_files(settings: Settings) -> None:
    if settings.rules.source == "files":
        what = "workers of these settings take rules from files and do not hear of it"
        typer.secho(f'{what}: set rules.source = "topic"', fg="yellow", err=True)


def _journeys(publish: Publish) -> str:
    return f"{publish.journeys} journey{'' if publish.journeys == 1 else 's'}"


def _headline(version: Version) -> str:
    from engine.rules.release import percent  # noqa: PLC0415

    publish = version.publish
    when = datetime.fromtimestamp(publish.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [
        f"version {publish.version}",
        version.state,
        percent(version.share),
        _journeys(publish),
    ]
    parts += [when, f"by {publish.author}"]
    if version.approved_by:
        parts.append(f"approved by {version.approved_by}")
    if publish.restores:
        parts.append(f"brings back {publish.restores}")
    return "  ".join(parts) + (f"  {publish.message}" if publish.message else "")


def _show_status(found: Publication, *, as_json: bool) -> None:
    from engine.rules.publishing.publication import open_contents  # noqa: PLC0415

    live, head = found.live, found.head
    files = open_contents(live.record).journeys if live is not None else ()
    waiting = head if head is not None and head.state == "pending" else None
    if as_json:
        journeys = [
            {"name": each.name, "version": each.version, "entering": each.live, "before": each.before}
            for each in files
        ]
        print_json(
            {
                "live": None if live is None else _plain(live),
                "pending": None if waiting is None else _plain(waiting),
                "paused": sorted(found.paused),
                "journeys": journeys,
            }
        )
        return
    if live is None:
        typer.echo("no rules have been published yet")
    else:
        typer.secho(_headline(live), bold=True)
    for each in files:
        if each.live or (live is not None and live.share < 1 and each.before):
            paused = "  paused" if each.name in found.paused else ""
            lane = "" if live is None or live.share == 1 else _lane(live, new=each.live, old=each.before)
            typer.echo(f"    {each.name} v{each.version}{lane}{paused}")
    if waiting is not None:
        typer.echo(f"waits for approval: {_headline(waiting)}")


def _lane(live: Version, *, new: bool, old: bool) -> str:
    from engine.rules.release import percent  # noqa: PLC0415

    if new and old:
        return ""
    return f"  for {percent(live.share if new else 1 - live.share)}"
