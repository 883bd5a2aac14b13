"""`engage send`: one event from flags, or many from JSON lines."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from engine.commands.base import (
    EXIT_FAILED,
    AsJson,
    command,
    complain,
    complain_of_lines,
    kafka_settings,
    print_json,
)
from engine.errors import ConfigError, InvalidEvent
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.events import Event
    from engine.streams.sender import EventSender

_HELP = """Send events to their topics, validated first.

\b
One:   engage send order.placed -c c1 -f order_id=o1 -f amount=19.9
Many:  engage send --file events.jsonl     (a file is checked whole before anything is sent)
Pipe:  producer | engage send --file -     (wrong lines are reported and left out)
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "send", help=_HELP)(send)


def send(
    settings: Settings,
    event_type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="Event type of one event, as in order.placed.")
    ] = None,
    customer: Annotated[str | None, typer.Option("--customer", "-c", help="Its customer id.")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field", "-f", metavar="NAME=VALUE", help="A field; `props.x=1` for a field of your own."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="JSON lines, one event each; - reads standard input.", allow_dash=True),
    ] = None,
    check_only: Annotated[bool, typer.Option("--check", help="Validate only, send nothing.")] = False,
    replay_watermarks: Annotated[
        bool,
        typer.Option(
            "--replay-watermarks", help="Afterwards tell workers on the replay clock that the log ends."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send events to their topics, validated first."""
    wrong: list[str] = []
    now_ms = None if settings.clock == "replay" else int(time.time() * 1000)
    if file is None:
        if event_type is None or customer is None:
            raise ConfigError("say TYPE and --customer for one event, or --file for many")
        events: Iterable[Event] = [_one(event_type, customer, fields or [], now_ms)]
        total = 1
    elif event_type or customer or fields:
        raise ConfigError("either one event from flags, or --file")
    elif str(file) == "-":
        total = 0
        events = _valid(typer.get_binary_stream("stdin"), now_ms, wrong)
    else:
        total = _count_valid(file, now_ms, wrong)
        if wrong:
            complain_of_lines(wrong)
            raise complain(
                f"{file}: {len(wrong)} of {len(wrong) + total} lines are wrong; nothing sent", EXIT_FAILED
            )
        events = _valid_in(file, now_ms)
    sent = sum(1 for _ in events) if check_only else _send(settings, events, total, end=replay_watermarks)
    complain_of_lines(wrong)
    if as_json:
        print_json({"sent": 0 if check_only else sent, "valid": sent, "invalid": len(wrong)})
    else:
        typer.echo(f"{sent} valid" if check_only else f"{sent} sent")
    if wrong:
        raise typer.Exit(EXIT_FAILED)


def _one(event_type: str, customer: str, assignments: list[str], now_ms: int | None) -> Event:
    from engine.streams.sender import build_event  # noqa: PLC0415

    fields: dict[str, Any] = {
        "type": event_type,
        "customer_id": customer,
        "id": uuid.uuid4().hex,
        "time": int(time.time() * 1000),
        "source": "engage-send",
    }
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--field {assignment!r}: write it as NAME=VALUE")
        target = fields
        *path, last = name.split(".")
        for part in path:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ConfigError(f"--field {assignment!r}: {part} has a value of its own already")
        target[last] = _typed(text)
    _refuse_unknown(fields)
    return build_event(_as_declared(fields), now_ms)


def _refuse_unknown(fields: dict[str, Any]) -> None:
    """Refuse fields that the event's type does not have: a reader ignores them, so a slip would go unseen."""
    from engine.events import EVENT_CLASSES, EVENT_TYPES  # noqa: PLC0415
    from engine.rules.text.source import nearest  # noqa: PLC0415

    kind = EVENT_TYPES.get(fields["type"])
    if kind is None:
        hint = nearest(fields["type"], EVENT_TYPES) or "docs/events.md lists them"
        raise ConfigError(f"there is no event type {fields['type']!r}; {hint}")
    known = EVENT_CLASSES[kind.family].__struct_fields__
    wrong = [
        f"--field {name}: {kind.name} has no such field; "
        + (nearest(name, known) or f"write props.{name} for a field of your own")
        for name in fields
        if name not in known
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _typed(text: str) -> Any:
    """Read a value as JSON where it is a number or boolean, else as the text it is."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _as_declared(fields: dict[str, Any]) -> dict[str, Any]:
    """Give back as text what looks like a number but belongs into a text field: an order id 17."""
    from engine.events import EVENT_CLASSES, EVENT_TYPES  # noqa: PLC0415

    known = EVENT_TYPES.get(fields["type"])
    if known is None:
        return fields
    texts = {
        info.name
        for info in msgspec.structs.fields(EVENT_CLASSES[known.family])
        if info.type is str or getattr(info.type, "__origin__", None) is str
    }
    return {
        name: str(value) if name in texts and isinstance(value, int | float) else value
        for name, value in fields.items()
    }


def _valid(lines: Iterable[bytes], now_ms: int | None, wrong: list[str]) -> Iterator[Event]:
    from engine.streams.sender import parse_line  # noqa: PLC0415

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse_line(line, now_ms)
        except InvalidEvent as error:
            wrong.append(f"line {number}: {error}")


def _open(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _count_valid(file: Path, now_ms: int | None, wrong: list[str]) -> int:
    from engine.streams.wire.file_kind import beginning_of  # noqa: PLC0415

    if file.is_file():
        beginning_of(file)  # one that is packed would be wrong line by line
    with _open(file) as lines:
        return sum(1 for _ in _valid(lines, now_ms, wrong))


def _valid_in(file: Path, now_ms: int | None) -> Iterator[Event]:
    with _open(file) as lines:
        yield from _valid(lines, now_ms, [])


def _send(settings: Settings, events: Iterable[Event], total: int, *, end: bool) -> int:
    from engine.streams.kafka import check_topics  # noqa: PLC0415
    from engine.streams.sender import EventSender  # noqa: PLC0415

    kafka = kafka_settings(settings)
    check_topics(kafka, kafka.topics, timeout_s=settings.kafka.timeout_ms / 1000)
    sender: EventSender = EventSender(kafka, settings.event_topics())
    count = 0
    with _progress(total) as advance:
        for event in events:
            sender.send(event)
            count += 1
            advance()
        if end:
            sender.end_of_stream()
        sender.flush()
    return count


def _progress(total: int) -> AbstractContextManager[Any]:
    """Show a bar for many events on a terminal; nothing for one, or into a pipe."""
    import sys  # noqa: PLC0415

    if total == 1 or not sys.stderr.isatty():
        return nullcontext(lambda: None)
    return _bar(total)


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("sending", total=total or None)
        yield lambda: bar.advance(task)
