"""`engage tail actions|decisions|dlq`: what the engine writes, as it comes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from engine.commands.base import AsJson, command, kafka_settings, one_of, print_json, visible
from engine.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Message

Output = Literal["actions", "decisions", "dlq"]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "tail")(tail)


def tail(  # noqa: PLR0913, PLR0917 - the options of a command
    settings: Settings,
    what: Annotated[Output, typer.Argument(parser=one_of(Output), help="Which output.")],
    last: Annotated[
        int,
        typer.Option(
            "--last",
            "-n",
            min=0,
            max=1_000_000,
            help="Start with the newest N; 0 = none. Not with --from-start.",
        ),
    ] = 10,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Start with the oldest records, in order within a partition.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow/--no-follow", help="Wait for more, until Ctrl-C; or end with what is there."),
    ] = True,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", "-c", help="Only of this customer, found however old.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only actions for this channel.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show actions, decisions or dead letters, each with its reason in a sentence.

    With --json every record is a line of JSON, fit for jq.
    """
    from engine.streams.reader import TopicReader  # noqa: PLC0415

    if channel is not None and what != "actions":
        raise typer.BadParameter("only actions have a channel", param_hint="--channel")
    topics = _topics(settings, what, channel)
    key = None if customer is None else customer.encode()
    start = None if from_start or (key and last) else last
    show = _as_json if as_json else _SHOWN[what]

    def wanted(message: Message) -> bool:
        return key is None or message.key() == key

    with TopicReader(
        kafka_settings(settings), topics, last=start, timeout_s=settings.kafka.timeout_ms / 1000, key=key
    ) as reader:
        before = filter(wanted, reader.until_end()) if from_start else reader.newest(last, wanted)
        after = filter(wanted, reader.follow()) if follow else ()
        for message in itertools.islice(itertools.chain(before, after), count):
            show(message)
            sys.stdout.flush()


def _topics(settings: Settings, what: str, channel: str | None) -> list[str]:
    if what == "decisions":
        return [settings.topics.decisions]
    if what == "dlq":
        return [settings.topics.dlq]
    by_channel = settings.action_topics()
    if channel is None:
        return list(by_channel.values())
    if channel not in by_channel:
        raise typer.BadParameter(f"{channel!r} is not one of {', '.join(by_channel)}", param_hint="--channel")
    return [by_channel[channel]]


def _headers(message: Message) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}


def _as_json(message: Message) -> None:
    value = message.value() or b""
    body: Any
    try:
        body = msgspec.json.decode(value)
    except msgspec.DecodeError:
        body = value.decode("utf-8", "replace")
    if _headers(message).get("ce_id"):
        print_json(body)
    else:
        place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
        print_json({**place, "headers": _headers(message), "value": body})


def _instant(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _show_action(message: Message) -> None:
    from engine.streams.wire.codec import decode_action  # noqa: PLC0415

    action = decode_action(message.value())
    typer.secho(f"{_instant(action.time)}  ", dim=True, nl=False)
    typer.secho(f"{action.channel:<8}", fg="green", nl=False)
    what = f" {action.customer_id}  {action.journey} / {action.template}: {action.reason.text}"
    typer.echo(visible(what))


def _show_decision(message: Message) -> None:
    from engine.streams.wire.codec import decode_decision  # noqa: PLC0415

    decision = decode_decision(message.value())
    guard = f" ({decision.reason.guard})" if decision.reason.guard else ""
    typer.secho(f"{_instant(decision.time)}  ", dim=True, nl=False)
    typer.secho(f"{decision.outcome:<12}", fg="yellow", nl=False)
    what = f" {decision.customer_id}  {decision.journey} {decision.step}{guard}: {decision.reason.text}"
    typer.echo(visible(what))


def _show_dead_letter(message: Message) -> None:
    headers = _headers(message)
    place = f"{message.partition()}:{message.offset()}"
    origin = ":".join(headers.get(f"engage-{part}", "?") for part in ("topic", "partition", "offset"))
    typer.secho(f"{place}  ", dim=True, nl=False)
    typer.secho(visible(headers.get("engage-reason", "?")), fg="red", nl=False)
    typer.echo(visible(f"  from {origin}: {headers.get('engage-detail', '')}"))


_SHOWN: dict[str, Callable[[Message], None]] = {
    "actions": _show_action,
    "decisions": _show_decision,
    "dlq": _show_dead_letter,
}
