"""The demo as a person runs it: it ends by itself with a summary, and however it ends it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from engine.demo.run import _next_commands
from engine.demo.stack import forget_settings
from engine.resources import shipped
from engine.rules.load import journey_files

START_TIMEOUT_S = 120.0  # the whole suite may be running beside it, and no byte code may be cached
END_TIMEOUT_S = 15.0
# what `&` does in a shell without job control
_WITHOUT_SIGINT = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")


def start_demo(scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `engage demo --plain` as a script does with `&`, with its temporary files under `scratch`."""
    return subprocess.Popen(
        [*_WITHOUT_SIGINT, sys.executable, "-m", "engine.cli", "demo", "--plain", *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> set[int]:
    """Return the processes started by a process, directly or not, as Linux's /proc shows them."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: str, process: subprocess.Popen[str]) -> str:
    """Read lines until one holds the text; return all of them."""
    assert process.stdout is not None
    read = ""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while condition not in read and time.monotonic() < deadline_s:
        line = process.stdout.readline()
        if not line:
            break
        read += line
    assert condition in read
    return read


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda item: item.name
)
def test_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM or even kill -9 in the middle: every process and every file of the demo is gone."""
    process = start_demo(tmp_path, "--customers", "2000")
    try:
        wait_for("first action", process)
        children = descendants(process.pid)
        assert len(children) >= 5
        process.send_signal(number)
        process.wait(END_TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline_s and (any(map(is_running, children)) or any(tmp_path.iterdir())):
        time.sleep(0.1)
    assert not [pid for pid in children if is_running(pid)]
    assert not list(tmp_path.iterdir())
    assert number is signal.SIGKILL or process.returncode == 130


def test_demo_ends_by_itself_with_a_summary(tmp_path: Path) -> None:
    """A small demo works every event off, fires every shipped journey and says what to try next."""
    process = start_demo(tmp_path, "--customers", "600", "--speed", "4")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "dead letters" not in output
    actions = output.partition(" actions:")[2].partition("held back:")[0]
    journeys = journey_files([shipped("journeys")])
    assert len(journeys) == 12
    assert not [path.stem for path in journeys if f" {path.stem} -> " not in actions]
    assert "goals reached" in output
    assert "engage demo --keep" in output
    assert not list(tmp_path.iterdir())


def test_settings_of_the_shell_do_not_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ENGAGE_* variable that points to a real Kafka is out of the environment before anything starts."""
    monkeypatch.setenv("ENGAGE_KAFKA_BOOTSTRAP_SERVERS", "production.example:9092")
    forget_settings()
    assert not [name for name in os.environ if name.startswith("ENGAGE_") and name != "ENGAGE_CACHE"]


def test_another_terminal_is_told_all_it_needs() -> None:
    """What `--keep` suggests works as pasted: the environment of `engage` first, then the settings."""
    view = Mock(shown=[])
    said = _next_commands(view, Path("engage.toml"), keep=True).splitlines()
    activation = Path(sys.prefix, "bin", "activate")
    assert said[1:3] == [f"  . {activation}", "  export ENGAGE_CONFIG=engage.toml"]
    assert activation.is_file()
