"""`engage dlq list|show|replay`: records that could not be worked on, and a second chance for them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.base import (
    EXIT_FAILED,
    AsJson,
    command,
    complain,
    complain_of_lines,
    kafka_settings,
    print_json,
    visible,
)
from engine.errors import ConfigError
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.wire.letters import DeadLetter, Selection

_LAYOUT = "\n\t"  # of a value

_app = typer.Typer(
    help="Look at records that could not be worked on; send them again after a fix.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Positions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PARTITION/OFFSET]...", help="As `engage dlq list` prints them."),
]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only with this reason code; repeatable.")
]
FromTopics = Annotated[
    list[str] | None, typer.Option("--topic", help="Only from this event topic; repeatable.")
]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_app, name="dlq")


@command(_app, "list")
def list_letters(
    settings: Settings,
    reason: Reasons = None,
    topic: FromTopics = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="The newest N.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first: position, when, reason, where from, what is wrong."""
    from engine.streams.deadletter import read  # noqa: PLC0415

    letters = read(
        kafka_settings(settings), _selection(None, reason, topic), topic=settings.topics.dlq, limit=limit
    )
    if as_json:
        for letter in letters:
            _print_line(letter)
        return
    for letter in letters:
        moment = datetime.fromtimestamp(max(letter.set_aside_ms, 0) / 1000, UTC)
        origin = f"{letter.origin.topic} {letter.origin.partition}/{letter.origin.offset}"
        if letter.replayed_from:
            origin += f", sent again from {letter.replayed_from}"
        typer.secho(f"{letter.position:<10}", bold=True, nl=False)
        typer.echo(
            f" {moment:%Y-%m-%d %H:%M:%S}  {visible(f'{letter.reason:<20} {origin}: {letter.detail}')}"
        )
    counts = ", ".join(
        f"{count} {reason}" for reason, count in Counter(letter.reason for letter in letters).most_common()
    )
    typer.echo(f"{len(letters)} dead letters" + (f": {counts}" if counts else ""))


@command(_app, "show")
def show(
    settings: Settings,
    position: Annotated[
        str, typer.Argument(metavar="PARTITION/OFFSET", help="As `engage dlq list` prints it.")
    ],
    raw: Annotated[
        bool, typer.Option("--raw", help="One line of JSON to edit and give to `dlq replay --from-file`.")
    ] = False,
) -> None:
    """Show one dead letter with its original content. The content may be personal data."""
    from engine.streams.deadletter import find  # noqa: PLC0415

    letter = find(kafka_settings(settings), *_position(position), topic=settings.topics.dlq)
    if raw:
        _print_line(letter)
        return
    origin = letter.origin
    typer.echo(visible(f"reason   {letter.reason}"))
    typer.echo(visible(f"detail   {letter.detail}"))
    typer.echo(f"origin   {origin.topic}, partition {origin.partition}, offset {origin.offset}")
    if letter.replayed_from:
        typer.echo(visible(f"sent again from {letter.replayed_from}"))
    if letter.exception:
        typer.echo(f"raised   {letter.exception}")
    typer.echo(f"key      {visible(_text(letter.key))}")
    typer.echo(f"value    {visible(_text(letter.value), keep=_LAYOUT)}")


@command(_app, "replay")
def replay(
    settings: Settings,
    positions: Positions = None,
    reason: Reasons = None,
    topic: FromTopics = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter there is.")] = False,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="Lines that `dlq show --raw` wrote, edited.")
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Send the rest of a file some lines of which are wrong.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send records again to their original topics, after the cause was mended.

    A file is checked whole first: if a record is still wrong, nothing is sent. Without a file, such a record
    comes back as a new dead letter. One that got through twice counts once.
    """
    from engine.streams.deadletter import replay as send_again  # noqa: PLC0415
    from engine.streams.deadletter import scan  # noqa: PLC0415

    if skip_invalid and from_file is None:
        raise ConfigError("--skip-invalid needs --from-file")
    kafka = kafka_settings(settings)
    wrong: list[str] = []
    letters: Iterable[DeadLetter]
    if from_file is not None:
        letters, wrong = _from_file(settings, from_file)
        complain_of_lines(wrong)
        if wrong and not skip_invalid:
            raise complain(
                f"{from_file}: {len(wrong)} of {len(wrong) + len(letters)} lines are wrong; nothing sent,"
                " --skip-invalid sends the others",
                EXIT_FAILED,
            )
    elif positions or reason or topic or everything:
        letters = scan(kafka, _selection(positions, reason, topic), topic=settings.topics.dlq)
    else:
        raise ConfigError("say which: positions, --reason, --topic, --from-file or --all")
    outcome = send_again(kafka, letters)
    if as_json:
        failed = dict(outcome.failed)
        print_json(
            {"sent": outcome.sent, "failed": failed, "skipped": outcome.skipped, "invalid": len(wrong)}
        )
    else:
        typer.echo(f"{outcome.sent} sent again")
    for place, why in outcome.failed:
        complain(f"{place}: {why}", EXIT_FAILED)
    for place in outcome.skipped:
        complain(f"{place}: no original topic, not ours", EXIT_FAILED)
    asked = len(set(positions or ())) if from_file is None else 0
    missing = asked > outcome.sent + len(outcome.failed) + len(outcome.skipped)
    if missing:
        complain(
            "not every position given has a dead letter of that kind; `engage dlq list` shows them",
            EXIT_FAILED,
        )
    if outcome.failed or outcome.skipped or wrong or missing:
        raise typer.Exit(EXIT_FAILED)


def _from_file(settings: Settings, path: Path) -> tuple[list[DeadLetter], list[str]]:
    """Return the dead letters of a file that can be sent, and what is wrong with its other lines."""
    from engine.events import Family  # noqa: PLC0415
    from engine.streams.deadletter import mended  # noqa: PLC0415
    from engine.streams.wire.codec import Decoder  # noqa: PLC0415
    from engine.streams.wire.registry import open_registry  # noqa: PLC0415

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    topics = {topic: Family(family) for family, topic in settings.event_topics().items()}
    decoder = Decoder(settings.clock, open_registry(settings))
    return mended(text.splitlines(), topics, decoder.decode, time.time_ns() // 1_000_000)


def _selection(positions: list[str] | None, reasons: list[str] | None, topics: list[str] | None) -> Selection:
    from engine.events import DeadLetterReason  # noqa: PLC0415
    from engine.streams.wire.letters import Selection  # noqa: PLC0415

    known = {str(reason) for reason in DeadLetterReason}
    if unknown := set(reasons or ()) - known:
        raise ConfigError(f"--reason {min(unknown)}: not one of {', '.join(sorted(known))}")
    return Selection(
        frozenset(_position(position) for position in positions or ()),
        frozenset(reasons or ()),
        frozenset(topics or ()),
    )


def _position(text: str) -> tuple[int, int]:
    partition, separator, offset = text.partition("/")
    if not (separator and partition.isdecimal() and offset.isdecimal()):
        raise ConfigError(f"{text!r} is not a position: write PARTITION/OFFSET, as in 0/17")
    return int(partition), int(offset)


def _print_line(letter: DeadLetter) -> None:
    from engine.streams.wire.letters import as_line  # noqa: PLC0415

    typer.echo(as_line(letter))


def _text(content: bytes | None) -> str:
    if content is None:
        return "none"
    try:
        return json.dumps(json.loads(content), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "backslashreplace")
