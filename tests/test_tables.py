"""Tables on terminals wide and narrow."""

from __future__ import annotations

import io

from rich.console import Console

from engine.commands.tables import print_table

HEAD = ("journey", ">treated", ">goal reached", ">held out", ">points more", "so")
ROW = ("win-back", "1,548", "6.7% (5.5% to 8.0%)", "174", "+0.9 (-3.7 to +3.8)", "no difference to be seen")


def shown(width: int) -> str:
    """Return what is printed on a terminal so wide."""
    out = Console(file=io.StringIO(), width=width)
    print_table(out, "Did it help?", HEAD, [ROW])
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_a_wide_terminal_shows_columns() -> None:
    """One line for the heads, one for the row."""
    lines = shown(120).splitlines()
    assert all(cell in lines[2] for cell in ROW)


def test_a_narrow_terminal_loses_nothing() -> None:
    """Where the columns do not fit, the cells stand below each other, each with its name."""
    assert shown(60).splitlines()[:3] == ["Did it help?", "win-back", "  treated: 1,548"]
    assert all(cell in shown(60) for cell in ROW)
