"""A shell in which a page's commands are typed as they stand."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

SECTION_S = 1_200.0


class Shell:
    """A bash in which the page is typed; a command that fails ends it.

    Args:
        folder: where one is.
        environment: of the shell; `engage` is on its PATH.
        ports: what to put in place of the page's ports.
    """

    def __init__(self, folder: Path, environment: dict[str, str], ports: dict[str, str]) -> None:
        self._ports = ports
        self._folder = folder
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.type("set -eu -o pipefail\nWORKERS=''")

    def type(self, block: str) -> str:
        """Type commands; return what they print."""
        assert self._process.stdin is not None
        for port, free in self._ports.items():
            block = block.replace(port, free)
        step = self._folder / "step.sh"  # sourced, so that no command reads on in what is to be typed next
        step.write_text(block, "utf-8")
        self._process.stdin.write(f"source {step} < /dev/null\nprintf '\\n@@ done\\n'\n")
        self._process.stdin.flush()
        said: list[str] = []
        end = time.monotonic() + SECTION_S
        with suppress(queue.Empty):
            while (line := self._lines.get(timeout=max(0.0, end - time.monotonic()))) != "@@ done\n":
                said.append(line)
                if not line:
                    break
            else:
                return "".join(said)
        raise AssertionError(f"{block}\n--- printed\n{''.join(said)[-4000:]}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def close(self) -> None:
        """End the shell and the workers it has started; they are a process group of their own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def free_ports(*names: str) -> Iterator[dict[str, str]]:
    """Provide a free port for each of the page's."""
    with ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: str(server.getsockname()[1]) for name, server in zip(names, found, strict=True)}
    yield ports
