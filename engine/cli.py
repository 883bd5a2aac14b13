"""`engage`: the command line."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from engine.commands import (
    config,
    customer,
    deadletters,
    doctor,
    explain,
    model,
    model_evaluate,
    model_report,
    partitions,
    process,
    redis_server,
    results,
    rules,
    rules_author,
    rules_backtest,
    rules_publish,
    rules_show,
    rules_test,
    send,
    tail,
    top,
    topics,
)

_HELP = """Real-time customer engagement: Kafka events in, reasoned actions out.

\b
Try it on this machine, nothing else needed:
    engage demo

\b
Against your own Kafka and Redis:
    engage doctor          what is missing, and the remedy
    engage topics create   make the topics
    engage worker          run the engine
    engage send order.placed -c c1 -f order_id=o1 -f amount=20
    engage tail actions    what it decided, and why
    engage customer show c1
    engage explain c1      why did, or didn't, they get it
    engage results         what the journeys brought about

\b
Exit codes: 0 done, 1 a check failed, 2 wrong usage, setting or credentials, 3 Kafka or Redis is not ready,
70 the watchdog ended a stuck worker, 130 interrupted.
"""

app = typer.Typer(
    name="engage",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"engage {version('engage')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that come before any command."""


for group in (
    process,
    topics,
    partitions,
    redis_server,
    send,
    tail,
    customer,
    explain,
    results,
    deadletters,
    rules,
    rules_author,
    rules_backtest,
    rules_show,
    rules_test,
    rules_publish,
    model,
    model_evaluate,
    model_report,
    top,
    config,
    doctor,
):
    group.register(app)


def main() -> None:
    """Run the command line; the entry point `engage`."""
    app()


if __name__ == "__main__":
    main()
