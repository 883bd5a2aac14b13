"""`engage rules explain-error`: what helps while a journey is written."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands import rules
from engine.commands.base import EXIT_FAILED, AsJson, command, complain, print_json


def register(_: typer.Typer) -> None:
    """Add the commands to `engage rules`."""
    command(rules.app, "explain-error")(explain_error)


def explain_error(
    code: Annotated[str, typer.Argument(help="The code, such as E0211.")], as_json: AsJson = False
) -> None:
    """Explain a code of `engage rules check`: what it means, what to do, an example and its mended form.

    Exit code 1 when there is no such code.
    """
    from engine.rules.codes import CODES  # noqa: PLC0415 - help must be fast
    from engine.rules.codes.page import explain  # noqa: PLC0415
    from engine.rules.source import nearest  # noqa: PLC0415

    found = CODES.get(code.upper())
    if found is None:
        hint = nearest(code.upper(), CODES) or "docs/rule-errors.md lists all"
        raise complain(f"no code {code[:40]!r}; {hint}", EXIT_FAILED)
    if as_json:
        keys = ("code", "severity", "title", "meaning", "remedy", "wrong", "right")
        print_json({key: getattr(found, key) for key in keys})
    else:
        typer.echo(explain(found), nl=False)
