"""What every local server shares: a port of its own, a folder of its own, an end with its owner."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import EngineError

HOST = "127.0.0.1"
_GUARD = Path(__file__).with_name("guard.py")
_POLL_S = 0.02
_STOP_TIMEOUT_S = 20.0
# On a machine that does other things a start takes as long as it takes: a server that works gets more time.
_MORE_S = 10.0
_WORKS_S = 0.1
_MOST_TIMES = 5
_LOG_TAIL_LINES = 15


class LocalServerError(EngineError):
    """A local server could not be started; the message ends with the last lines of its log."""


def reserve_port() -> socket.socket:
    """Reserve a free port of 127.0.0.1 for as long as the returned socket is open.

    The socket is bound and never listens. Another process asking for a free port is not given this one,
    while a server that is told the port can listen on it, again and again (both sides have SO_REUSEADDR).

    Returns:
        The socket; `getsockname()[1]` is the port.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.bind((HOST, 0))
    # Only after the bind: with the flag set, the kernel may hand out a port that is reserved already.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


class LocalServer(ABC):
    """One server process on 127.0.0.1 that ends when its owner does.

    Data and port survive `kill9` and `restart`; `stop` ends everything.

    Args:
        folder: where the server keeps its data, kept after `stop`; by default a temporary folder, removed.
        scratch: where temporary folders are made, for example /dev/shm; by default the system's.
    """

    name = "server"
    start_timeout_s = 30.0
    ports_wanted = 1

    def __init__(self, folder: Path | None = None, scratch: Path | None = None) -> None:
        self._given_folder = folder
        self._scratch = scratch
        self._folder: Path | None = None
        self._holders: list[socket.socket] = []
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line; `self.folder` and `self.ports` are set."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Tell whether the server answers requests."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the server needs before its first start."""

    @property
    def folder(self) -> Path:
        """The server's folder; only while started."""
        assert self._folder is not None, f"{self.name} is not started"
        return self._folder

    @property
    def ports(self) -> list[int]:
        """The ports reserved for the server, in the order it asked for them."""
        return [holder.getsockname()[1] for holder in self._holders]

    @property
    def address(self) -> str:
        """`host:port` of the server; the same after a restart."""
        return f"{HOST}:{self.ports[0]}"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None while it is down."""
        return self._pid

    @property
    def log(self) -> Path:
        """The file that takes the server's output."""
        return self.folder / "server.log"

    def start(self) -> Self:
        """Start the server and wait until it answers; after `kill9`, with its old data and port.

        Returns:
            The server itself.

        Raises:
            LocalServerError: if it ends, or does not answer in time; while it works it has more of it.
        """
        assert self._pid is None, f"{self.name} is running"
        try:
            if self._guard is None:
                self._holders = [reserve_port() for _ in range(self.ports_wanted)]
                self._folder = self._make_folder()
                self._prepare()
                self._guard = self._start_guard()
            self._pid = self._ask("start")["pid"]
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def kill9(self) -> None:
        """Kill the server with SIGKILL; `start` brings it back."""
        self._ask("kill")
        self._pid = None

    def restart(self) -> None:
        """Kill the server and start it again with its data and port."""
        self.kill9()
        self.start()

    def stop(self) -> None:
        """End the server, its keeper and, unless the folder was given, its folder."""
        guard, self._guard, self._pid = self._guard, None, None
        if guard is not None:
            _end_guard(guard)
        if self._folder is not None and self._given_folder is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        for holder in self._holders:
            holder.close()
        self._holders = []
        self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        if self._folder is None or not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _make_folder(self) -> Path:
        if self._given_folder is None:
            return Path(tempfile.mkdtemp(prefix=f"engage-{self.name}-", dir=self._scratch))
        self._given_folder.mkdir(parents=True, exist_ok=True)
        return self._given_folder.resolve()

    def _start_guard(self) -> subprocess.Popen[bytes]:
        spec = {
            "command": self._command(),
            "log": str(self.log),
            "folder": "" if self._given_folder else str(self.folder),
            "owner_pid": os.getpid(),
        }
        return subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(_GUARD), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach the owner only, which ends things in order
        )

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._guard is not None, f"{self.name} is not started"
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        try:
            self._guard.stdin.write(command.encode() + b"\n")
            self._guard.stdin.flush()
        except BrokenPipeError:
            raise LocalServerError(f"{self.name}: its keeper process is gone") from None
        line = self._guard.stdout.readline()
        if not line:
            raise LocalServerError(
                f"{self.name}: its keeper process ended: {self._command()[0]!r} cannot be run"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _wait_ready(self) -> None:
        started_s, worked_s = time.monotonic(), 0.0
        look_s = started_s + self.start_timeout_s
        while not self._is_ready():
            if not self._is_alive():
                raise LocalServerError(f"{self.name} ended at once; its log ends:\n{self.log_tail()}")
            now_s = time.monotonic()
            if now_s > look_s:
                before_s, worked_s = worked_s, self._worked_s()
                waited_s = now_s - started_s
                if worked_s - before_s < _WORKS_S or waited_s > _MOST_TIMES * self.start_timeout_s:
                    message = f"{self.name} does not answer after {waited_s:.0f} s; its log ends:"
                    raise LocalServerError(f"{message}\n{self.log_tail()}")
                look_s = now_s + _MORE_S
            time.sleep(_POLL_S)

    def _worked_s(self) -> float:
        """Return the processor time the server has had, in seconds."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _is_alive(self) -> bool:
        assert self._pid is not None
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    assert guard.stdout is not None
    try:
        guard.stdin.close()
        guard.wait(_STOP_TIMEOUT_S)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        guard.kill()
        guard.wait()
    finally:
        guard.stdout.close()
