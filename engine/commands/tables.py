"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

MAX_SHOWN = 30  # rows of a table
_GAP = 2  # between columns
_FOLDED = 12  # what a column of texts can be folded to


def print_table(out: Console, title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; of many rows the first ones. Where it does not fit, each row is told line by line.

    Args:
        out: where.
        title: above it, or empty.
        head: of the columns; one that starts with `>` holds numbers.
        rows: cells.
    """
    if _least_width(head, rows[:MAX_SHOWN]) > out.width:
        _print_lines(out, title, head, rows[:MAX_SHOWN])
    else:
        _print_columns(out, title, head, rows[:MAX_SHOWN])
    if len(rows) > MAX_SHOWN:
        out.print(f"and {len(rows) - MAX_SHOWN} more, see --json or --html", style="dim")
    out.print()


def _least_width(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> int:
    """Return how many characters the columns need: numbers as they are, texts may be folded."""
    width = _GAP * (len(head) - 1)
    for at, name in enumerate(head):
        longest = max(map(cell_len, (name.lstrip(">"), *(row[at] for row in rows))))
        width += longest if name.startswith(">") else min(longest, _FOLDED)
    return width


def _print_lines(out: Console, title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a row as its first cell with the others below it."""
    if title:
        out.print(title, style="bold", markup=False)
    for first, *others in rows:
        out.print(first, markup=False)
        for name, cell in zip(head[1:], others, strict=True):
            out.print(f"  {name.lstrip('>')}: {cell}", markup=False)


def _print_columns(out: Console, title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in head:
        table.add_column(
            name.lstrip(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
            no_wrap=name.startswith(">"),
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table, soft_wrap=False)
