"""The systemd units by systemd's own judges, and what they forbid against what the processes do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from engine.streams.local.server import reserve_port
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.faults.harness import Deployment

UNITS = Path(__file__).parent.parent.parent / "deploy" / "systemd"
NAMES = {
    "engage-worker@.service": "engage-worker@6066.service",
    "engage-trainer.service": "engage-trainer.service",
}
PATIENCE_S = 120.0
EXPOSURE = 15  # of 100; network and a host's root directory are what is left


@pytest.fixture(params=NAMES)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Copy a unit, with this environment's `engage` for the one under /opt."""
    text = (UNITS / request.param).read_text("utf-8")
    path = tmp_path / NAMES[request.param]
    program = str(Path(sys.executable).with_name("engage"))
    path.write_text(text.replace("/opt/engage/bin/engage", program), "utf-8")
    return path


def test_systemd_reads_it(unit: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_is_hardened(unit: Path) -> None:
    """`systemd-analyze security` finds little that a process in it could do."""
    words = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE}",
        "--no-pager",
        str(unit),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level .*: 1\.\d OK", done.stdout)


@pytest.mark.parametrize("process", ["worker", "trainer"])
def test_no_forbidden_call_is_made(process: str, tmp_path: Path) -> None:
    """From start over readiness to stop, strace sees no system call that the unit's filter refuses."""
    name = next(name for name in NAMES if process in name)
    allowed, trace = _allowed((UNITS / name).read_text("utf-8")), tmp_path / "trace"
    with (
        EmbeddedBroker() as broker,
        ValkeyServer(tmp_path / "valkey") as valkey,
        reserve_port() as holder,
    ):
        port = holder.getsockname()[1]
        more = {"ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_HTTP_PORT": str(port)}
        deployment = Deployment("units", broker.bootstrap, valkey.url, tmp_path, more)
        deployment.engage("topics", "create")
        words = ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "engine.cli", process]
        with subprocess.Popen(words, env=deployment.environment) as tracer:
            _wait(lambda: _ready(port) if process == "worker" else b"trainer" in _keys(valkey.url))
            (child,) = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGTERM)
            assert tracer.wait(PATIENCE_S) == 0
    text = trace.read_text("utf-8", errors="replace")
    used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", text, re.MULTILINE))
    assert {"execve", "mmap"} <= used
    assert used - allowed == set()
    assert "PROT_WRITE|PROT_EXEC" not in text  # MemoryDenyWriteExecute
    assert not re.search(r"mprotect\([^)]*PROT_EXEC", text)


def _allowed(unit: str) -> set[str]:
    """Return the calls a unit's filter lets through."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        calls = set().union(*(_calls(word) for word in line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def _calls(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    words = ["systemd-analyze", "syscall-filter", name]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    members = [line.strip() for line in shown[1:]]
    return set().union(*(_calls(member) for member in members if member and not member.startswith("#")))


def _ready(port: int) -> bool:
    with (
        suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer,
    ):
        return bool(answer.status == 200)
    return False


def _keys(url: str) -> bytes:
    with redis.Redis.from_url(url) as client:
        return b" ".join(client.scan_iter(count=1000))


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
