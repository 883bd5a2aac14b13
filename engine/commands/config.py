"""`engage config show`: every setting, its value, where that came from and what is allowed."""

from __future__ import annotations

from typing import Any

import typer

from engine.commands.base import AsJson, command, print_json
from engine.config import masked
from engine.settings import Settings

MAX_WIDTH = 48

_app = typer.Typer(help="Look at the settings.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_app, name="config")


@command(_app, "show")
def show(settings: Settings, as_json: AsJson = False) -> None:
    """Print every setting with value, origin and allowed range; secrets are masked."""
    rows = [
        {
            "name": setting.name,
            "value": masked(setting, value),
            "unit": setting.unit,
            "origin": origin,
            "allowed": setting.allowed,
            "environment": setting.environment,
            "meaning": setting.meaning,
        }
        for setting, value, origin in settings.with_origin()
    ]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    cells = [
        (row["name"], _as_text(row["value"], row["unit"]), row["origin"], row["allowed"]) for row in rows
    ]
    cells.insert(0, ("SETTING", "VALUE", "FROM", "ALLOWED"))
    widths = [min(MAX_WIDTH, max(len(line[column]) for line in cells)) for column in range(3)]
    for name, value, origin, allowed in cells:
        start = f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin:<{widths[2]}}  "
        typer.secho(start, bold=origin != "default", nl=False)
        typer.secho(allowed, dim=True)


def _as_text(value: Any, unit: str) -> str:
    if isinstance(value, dict):
        value = [f"{key}={item}" for key, item in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text or '-'} {unit}".strip()
