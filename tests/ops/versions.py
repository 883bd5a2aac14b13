"""Another version of the engine: the same tree, with a state layout of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LAYOUT = 2
# What a release with a new layout does: it writes the new one and reads both. Here they look alike.
_CHANGES = {
    "LAYOUT_VERSION = 1\n": f"LAYOUT_VERSION = {LAYOUT}\n",
    "{1: _read_layout_1}": f"{{1: _read_layout_1, {LAYOUT}: _read_layout_1}}",
}


def install_newer(folder: Path) -> Path:
    """Install a version whose state layout is one newer.

    Args:
        folder: where to; made if need be.

    Returns:
        The folder of its command `engage`.
    """
    for name in ("engine", "deploy", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    state = folder / "engine" / "features" / "state.py"
    text = state.read_text("utf-8")
    for before, after in _CHANGES.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    state.write_text(text, "utf-8")
    command = folder / "bin" / "engage"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} -m engine.cli "$@"\n', "utf-8")
    command.chmod(0o755)
    return command.parent
