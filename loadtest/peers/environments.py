"""A virtual environment for each peer, so that none of them touches the project's lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from loadtest.processes import LoadTestError

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "peers"
_REQUIREMENTS = Path(__file__).with_name("requirements")
_INSTALL_S = 300


def uv() -> str:
    """Return the path of uv: the one that runs us, on PATH, or where `make` puts it.

    Raises:
        LoadTestError: when there is none.
    """
    for found in (os.environ.get("UV"), shutil.which("uv"), str(ROOT / ".tools" / "bin" / "uv")):
        if found and Path(found).is_file():
            return found
    raise LoadTestError("uv was not found; `make setup` installs it")


def interpreter(peer: str) -> Path:
    """Return the Python of a peer's environment; made on the first use and after its requirements changed.

    Args:
        peer: name of a file in `requirements/`.

    Raises:
        LoadTestError: when a wheel is missing for this version of Python.
    """
    wanted = (_REQUIREMENTS / f"{peer}.txt").read_text("utf-8") + sys.version
    folder = CACHE / peer
    made_for = folder / "made-for.txt"
    python = folder / "bin" / "python"
    if made_for.is_file() and made_for.read_text("utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([uv(), "venv", "--quiet", "--python", sys.executable, str(folder)], peer)
    packages = ["--no-build", "--compile-bytecode", "--requirements", str(_REQUIREMENTS / f"{peer}.txt")]
    _run([uv(), "pip", "install", "--quiet", "--python", str(python), *packages], peer)
    made_for.write_text(wanted, "utf-8")
    return python


def versions(peer: str) -> dict[str, str]:
    """Return what is pinned for a peer: version by package."""
    lines = (_REQUIREMENTS / f"{peer}.txt").read_text("utf-8").splitlines()
    pinned = (line.partition(";")[0].strip().partition("==") for line in lines if "==" in line)
    return {name: version for name, _, version in pinned}


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode:
        raise LoadTestError(f"no environment for {peer}:\n{done.stderr.strip()[-800:]}")
