"""What every command shares: the settings options, exit codes, and errors as one clear line."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer

from engine.config import load_settings
from engine.errors import ConfigError, EngineError, TransientError
from engine.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from engine.streams.kafka import KafkaSettings

#: Where a file or the output cannot be written: not a defect, and told in a line.
_DISK = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EROFS,
}

#: Control characters, line separators, and what turns the direction of the text around it.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130
MAX_REPORTED = 20

_PANEL = "Settings"
_SHARED: dict[str, tuple[Any, Any]] = {
    "config": (
        Annotated[
            str | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help="Settings file; default: $ENGAGE_CONFIG, ./engage.toml.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "kafka": (
        Annotated[
            str | None,
            typer.Option("--kafka", metavar="HOST:PORT", help="Kafka brokers.", rich_help_panel=_PANEL),
        ],
        None,
    ),
    "redis": (
        Annotated[
            str | None,
            typer.Option("--redis", metavar="URL", help="Redis or Valkey.", rich_help_panel=_PANEL),
        ],
        None,
    ),
    "assignments": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=VALUE",
                help="Any setting, as in --set http.port=0. `engage config show` lists them.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def command(
    app: typer.Typer, name: str, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command with the shared options, errors turned into exit codes.

    Args:
        app: the group it belongs to.
        name: its name on the command line.
        options: passed to typer.

    Returns:
        A decorator. A parameter called `settings` receives the loaded settings and gives the command the
        shared options.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        wants_settings = "settings" in signature.parameters
        parameters = [item for item in signature.parameters.values() if item.name != "settings"]
        if wants_settings:
            parameters += [
                inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
                for key, (kind, default) in _SHARED.items()
            ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            with_exit_code(functools.partial(_call, function, given, wants_settings=wants_settings))

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        del run.__wrapped__
        app.command(name, **options)(run)
        return function

    return register


def _call(function: Callable[..., None], given: dict[str, Any], *, wants_settings: bool) -> None:
    if wants_settings:
        config, kafka, redis, assignments = (given.pop(key) for key in _SHARED)
        if config is not None and not config.strip():
            raise ConfigError("--config is empty: name a settings file, or leave the option out")
        given["settings"] = load_settings(_flags(kafka, redis, assignments or []), path=config)
    function(**given)


def _flags(kafka: str | None, redis: str | None, assignments: Iterable[str]) -> dict[str, str]:
    flags = {"kafka.bootstrap_servers": kafka, "redis.url": redis}
    found = {name: value for name, value in flags.items() if value is not None}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment!r}: write it as NAME=VALUE, as in --set http.port=0")
        found[name.strip()] = value
    return found


def check_page(html: Path | None) -> None:
    """Check before the work is done that a page can be written where `--html` says.

    Raises:
        ConfigError: its folder is missing, or it is a folder itself.
    """
    if html is None:
        return
    if not html.parent.is_dir():
        raise ConfigError(f"--html {html}: there is no folder {html.parent}")
    if html.is_dir():
        raise ConfigError(f"--html {html}: this is a folder; name a file in it")


def with_exit_code(work: Callable[[], None]) -> None:
    """Run a command; what goes wrong becomes one clear message and the documented exit code.

    Args:
        work: the command.

    Raises:
        typer.Exit: when it failed or was interrupted.
    """
    try:
        work()
    except ConfigError as error:
        raise complain(str(error), EXIT_USAGE) from None
    except TransientError as error:
        # a delivery that lacked a right: a worker tries again, a command does not
        refused = getattr(error, "no_access", False)
        raise complain(str(error), EXIT_USAGE if refused else EXIT_UNREACHABLE) from None
    except EngineError as error:
        raise complain(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader, as in `engage tail actions | head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = error.filename or "the output"
        raise complain(f"{where}: {error.strerror}", EXIT_FAILED) from None
    except Exception as error:
        message = unreachable(error)
        if message is None:
            raise
        raise complain(message, EXIT_UNREACHABLE) from None


def unreachable(error: Exception) -> str | None:
    """Return what to say when the error means that Kafka or Redis is not there; else None."""
    library = type(error).__module__.partition(".")[0]
    if library in {"redis", "valkey"} and type(error).__name__ in {"ConnectionError", "TimeoutError"}:
        return f"redis does not answer: {error}"
    if type(error).__name__ == "KafkaException" or library == "cimpl":
        return f"kafka does not answer: {error.args[0].str() if error.args else error}"
    return None


def visible(text: str, keep: str = "") -> str:
    """Return a text of customers or senders so that it moves no cursor, colours nothing and hides nothing.

    Args:
        text: as it came.
        keep: control characters that are wanted, such as line ends.
    """
    return _CONTROLS.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text
    )


def complain(message: str, code: int) -> typer.Exit:
    """Write an error to standard error, one `error:` per line of it, and return the exit to raise."""
    for line in message.splitlines():
        typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(line, err=True)
    return typer.Exit(code)


def complain_of_lines(wrong: list[str]) -> None:
    """Write what is wrong with the lines of a file to standard error, the first of them one by one."""
    for line in wrong[:MAX_REPORTED]:
        complain(line, EXIT_FAILED)
    if len(wrong) > MAX_REPORTED:
        complain(f"and {len(wrong) - MAX_REPORTED} more lines", EXIT_FAILED)


def one_of(choice: Any) -> Callable[[str], str]:
    """Return a parser that takes the words of a `Literal`; typer's own complains in pydantic's words."""
    words = get_args(choice)

    def parse(text: str) -> str:
        if text not in words:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(words)}")
        return text

    return parse


def print_json(value: Any) -> None:
    """Write a value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def console() -> Console:
    """Return a console for people; imported late, since rich takes its time."""
    from rich.console import Console  # noqa: PLC0415 - help must be fast

    return Console(highlight=False, soft_wrap=True)


def kafka_settings(settings: Settings, client_id: str = "engage-cli") -> KafkaSettings:
    """Return what the transport needs of the settings.

    Raises:
        ConfigError: over TLS or with a login: the brokers refuse us, or we them. Most clients of librdkafka
            would try for ever, and say no more than that nobody answers.
    """
    from engine.streams.kafka import cluster_metadata, is_secured  # noqa: PLC0415

    kafka = quiet_settings(settings, client_id)
    if is_secured(kafka):
        with contextlib.suppress(TransientError):  # some commands do without Kafka
            cluster_metadata(kafka, settings.kafka.timeout_ms / 1000)
    return kafka


def quiet_settings(settings: Settings, client_id: str = "engage-cli") -> KafkaSettings:
    """Return what the transport needs of the settings; nobody is asked yet."""
    from engine.streams.wiring import kafka_settings as wire  # noqa: PLC0415

    wired = wire(settings, client_id)
    # librdkafka would write its own view of every failed connection to the terminal
    return dataclasses.replace(wired, extra={"log_level": 0, **wired.extra})
