"""The guide for a first journey: each of its commands is run, and each output is compared."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from engine.cli import app

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "first-journey.md"
_SERVERS: Final = ("engage stack", "engage worker")  # they run until the guide is over
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Block:
    """A fenced block: a file to write, or commands with their outputs.

    Args:
        path: the file's path; empty for commands.
        text: what stands in it.
    """

    path: str
    text: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command and what it must print."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def blocks(text: str) -> list[Block]:
    """Return the page's blocks that are to be carried out, in order."""
    found = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(path, inside) for kind, path, inside in found if path or kind == "sh"]


def fits(expected: str, got: str) -> bool:
    """Whether an output is the one in the guide; `…` there stands for anything."""
    said = [line.rstrip() for line in expected.rstrip().splitlines()]
    came = "\n".join(line.rstrip() for line in got.rstrip().splitlines())
    pattern = ".*?".join(re.escape(part) for part in "\n".join(said).split("…"))
    return re.fullmatch(pattern, came, re.DOTALL) is not None


class Terminal:
    """Types commands; servers run beside until the end.

    Args:
        folder: where one is.
        monkeypatch: takes the settings a server prints.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._servers: list[subprocess.Popen[bytes]] = []

    def type(self, command: str, expected: str) -> str:
        """Carry out a command; return what it printed.

        What a worker has to do first may take a moment: while that differs from what is expected, look again.
        """
        if command in _SERVERS:
            return self._serve(command, expected)
        end = time.monotonic() + (_PATIENCE_S if len(self._servers) == len(_SERVERS) else 0)
        while True:
            result = CliRunner().invoke(app, shlex.split(command)[1:])
            reading = command.startswith(("engage tail", "engage explain"))
            if fits(expected, result.output) or not reading or time.monotonic() > end:
                return result.output
            time.sleep(0.5)

    def close(self) -> None:
        """End the servers, the last one first."""
        for server in reversed(self._servers):
            server.terminate()
            server.wait(20)

    def _serve(self, command: str, expected: str) -> str:
        arguments = [*shlex.split(command)[1:], *(["--set", "http.port=0"] if "worker" in command else [])]
        log = self._folder / f"server-{len(self._servers)}.out"
        with log.open("w", encoding="utf-8") as file:
            words = [sys.executable, "-m", "engine.cli", *arguments]
            self._servers.append(subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT))
        end, output = time.monotonic() + _PATIENCE_S, ""
        while not fits(expected, output) and time.monotonic() < end:
            time.sleep(0.1)
            output = log.read_text("utf-8")
        for name, value in re.findall(r"^export (\w+)=(\S+)$", output, re.MULTILINE):
            self._monkeypatch.setenv(name, value)
        return output


@contextmanager
def terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Provide a terminal in an empty folder that has the sample and no settings of the person who tests."""
    shutil.copy(DOCS / "sample-events.jsonl", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("ENGAGE_CONFIG", raising=False)
    found = Terminal(folder, monkeypatch)
    try:
        yield found
    finally:
        found.close()


def carry_out(text: str, folder: Path, one: Terminal) -> Iterator[tuple[str, str, str]]:
    """Do what the guide says; yield each command, what it says it prints, and what it printed."""
    for block in blocks(text):
        if block.path:
            path = folder / block.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, "utf-8")
            continue
        for command, expected in block.commands():
            yield command, expected, one.type(command, expected)


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever types what the guide says sees what it shows, from the first file to the explanation."""
    done = 0
    with terminal(tmp_path, monkeypatch) as one:
        for command, expected, got in carry_out(PAGE.read_text("utf-8"), tmp_path, one):
            assert fits(expected, got), f"$ {command}\n--- expected\n{expected}--- got\n{got}"
            done += 1
    assert done >= 18


def test_a_wildcard_is_no_blank_cheque() -> None:
    """`…` stands for anything at its own place; whatever else is said must be there."""
    assert fits("at … UTC: 3 sent\n…\nend\n", "at 21:00 UTC: 3 sent\na\nb\nend")
    assert not fits("at … UTC: 3 sent\n", "at 21:00 UTC: 4 sent\n")
    assert not fits("", "something")
