"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

MAX_SHOWN = 30  # rows of a table


def print_table(out: Console, title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; of many rows the first ones.

    Args:
        out: where.
        title: above it, or empty.
        head: of the columns; one that starts with `>` holds numbers.
        rows: cells.
    """
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in head:
        table.add_column(
            name.lstrip(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
            no_wrap=name.startswith(">"),
        )
    for row in rows[:MAX_SHOWN]:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table, soft_wrap=False)
    if len(rows) > MAX_SHOWN:
        out.print(f"and {len(rows) - MAX_SHOWN} more, see --json or --html", style="dim")
    out.print()
