"""The keeper of one local server: ends it and removes its folder when the process that wanted it is gone.

It runs as a process of its own, started from its path with nothing but the standard library, and speaks
lines: `start`, `kill`, `quit` on stdin, one JSON object per command on stdout. The end of stdin, or another
parent than at the start, means the owner died, by whatever signal: the server then ends too.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5
_GRACE_S = 5.0


@dataclass(slots=True)
class Keeper:
    """One server process and the folder that goes with it.

    Args:
        command: the server's command line.
        log: file that takes its output.
        folder: removed at the end; empty when the data is to be kept.
    """

    command: list[str]
    log: str
    folder: str
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, int | None]:
        """Start the server.

        Returns:
            `{"pid": …}` of the server.
        """
        with open(self.log, "ab") as log:  # noqa: PTH123 - pathlib would double this process's start time
            self.child = subprocess.Popen(  # noqa: S603 - the command comes from our own code
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        return {"pid": self.child.pid}

    def end(self, number: signal.Signals) -> dict[str, int | None]:
        """End the server, at the latest after the grace time.

        Args:
            number: the signal it gets first.

        Returns:
            `{"exit": …}`, its exit code.
        """
        child, self.child = self.child, None
        if child is None:
            return {"exit": None}
        if child.poll() is None:
            child.send_signal(number)
        try:
            return {"exit": child.wait(_GRACE_S)}
        except subprocess.TimeoutExpired:
            child.kill()
            return {"exit": child.wait()}

    def close(self) -> None:
        """End the server and remove its folder, if that is ours to remove."""
        # Data that nobody will read needs no orderly end.
        self.end(signal.SIGKILL if self.folder else signal.SIGTERM)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def answer(self, command: str) -> dict[str, int | None]:
        """Carry out one command.

        Args:
            command: `start` or `kill`.

        Returns:
            What to tell the owner.
        """
        return self.start() if command == "start" else self.end(signal.SIGKILL)


def _die_with_parent() -> None:
    # Covers the one case stdin cannot: somebody kills this keeper itself.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(keeper: Keeper, owner_pid: int) -> None:
    """Answer commands until the owner quits or dies.

    Args:
        keeper: the server to look after.
        owner_pid: the process it belongs to.
    """
    pending = b""
    while os.getppid() == owner_pid:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if keeper.child is not None:
            keeper.child.poll()
        if not readable:
            continue
        data = os.read(0, 4096)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line == b"quit":
                return
            os.write(1, json.dumps(keeper.answer(line.decode())).encode() + b"\n")


def main(spec: Mapping[str, Any]) -> None:
    """Run the keeper.

    Args:
        spec: `command`, `log`, `folder` as in `Keeper`, and `owner_pid`.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the owner decides; it has the terminal
    keeper = Keeper(list(spec["command"]), spec["log"], spec["folder"])
    try:
        serve(keeper, spec["owner_pid"])
    except BrokenPipeError:
        pass  # the owner died between its command and our answer
    finally:
        keeper.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
