"""One side of the comparison: a peer's process on one job, bounded in time, and what it wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers import outputs
from loadtest.peers.environments import ROOT, interpreter
from loadtest.peers.jobs import COMMIT_S, Seen, Task, counts, triggers
from loadtest.processes import LoadTestError, cpu_s, machine_cpu_s

PEERS = ("quixstreams", "bytewax", "faust")
_START_S = 180.0
_STOP_S = 10.0
_SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A peer's or the engine's work on the backlog.

    Args:
        subject: who.
        job: what.
        records: how many were worked on.
        seconds: from the first to the last of them.
        cpu_us_per_event: processor time of its own process, all threads; the engine's without Valkey's.
        others_cores: cores used by processes that have nothing to do with the test.
        fault: why it must not be reported; empty when it may.
    """

    subject: str
    job: str
    records: int
    seconds: float
    cpu_us_per_event: float
    others_cores: float
    fault: str = ""

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.records / self.seconds if self.seconds else 0.0


class Expected:
    """What must come out of a backlog, counted the plain way.

    Args:
        events: all of it, without what closes the windows.
    """

    def __init__(self, events: Iterable[Seen]) -> None:
        seen = list(events)
        self.counts = counts(seen)
        self.actions = set(triggers(seen))
        self.last_ms = max(event.time_ms for event in seen)

    def fault(self, task: Task, peer: str, *, whole: bool) -> str:
        """Read what a peer wrote and say what is wrong with it; empty when nothing is.

        Args:
            task: what it was asked.
            peer: who.
            whole: whether everything must be there, or only what is there must be right.
        """
        if task.job == "trigger":
            return outputs.fault_of_actions(*outputs.actions(task), self.actions, whole=whole)
        found, repeats = outputs.counts(task, peer)
        found = {window: count for window, count in found.items() if window[1] <= self.last_ms}
        if peer == "faust" and not whole:
            # Its windows are still open: they may hold less than in the end.
            found = {window: max(count, self.counts.get(window, 0)) for window, count in found.items()}
        return outputs.fault_of_counts(found, repeats, self.counts, whole=whole)


def command(peer: str, task: Task) -> list[str]:
    """Return how a peer's process is started, as its documentation says; make what it wants to find."""
    python = str(interpreter(peer))
    if peer == "bytewax":
        subprocess.run([python, "-m", "bytewax.recovery", task.folder, "1"], check=True, timeout=_START_S)
        durable = ["-r", task.folder, "-s", str(COMMIT_S), "-b", "0"]
        return [python, "-m", "bytewax.run", "loadtest.peers.bytewax_app", *durable]
    if peer == "quixstreams":
        return [python, "-m", "loadtest.peers.quix_app"]
    worker = ["worker", "--loglevel=error", "--without-web"]
    return [python, "-m", "loadtest.peers.faust_app", "--loop", "uvloop", *worker]


class Side:
    """A peer's process.

    Args:
        peer: who.
        task: what to do.
    """

    def __init__(self, peer: str, task: Task) -> None:
        folder = Path(task.folder)
        folder.mkdir(parents=True)
        self._log = folder.with_suffix(".log")
        environment = {**os.environ, **task.environment(), "PYTHONPATH": str(ROOT)}
        environment.pop("VIRTUAL_ENV", None)
        self._machine_s = machine_cpu_s()
        self._began_s = time.monotonic()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command(peer, task),
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._peer = peer
        self._task = task

    def measured(self, ours: Callable[[], float]) -> Measured:
        """Wait until it says how far it came.

        Args:
            ours: processor time that the rest of the test has used, seconds.
        """
        before_s = ours()
        limit_s = time.monotonic() + _START_S + 2 * self._task.seconds
        while time.monotonic() < limit_s:
            said = [line for line in self._text().splitlines() if line.startswith("peer ")]
            if said:
                break
            if self._process.poll() is not None:
                raise LoadTestError(f"{self._peer} ended:\n{self._text()[-1500:]}")
            time.sleep(0.1)
        else:
            raise LoadTestError(f"{self._peer} did not come to an end:\n{self._text()[-1500:]}")
        found = json.loads(said[-1].removeprefix("peer "))
        spent_s = machine_cpu_s() - self._machine_s - (ours() - before_s) - cpu_s(self._process.pid)
        return Measured(
            self._peer,
            self._task.job,
            found["records"],
            round(found["seconds"], 3),
            round(found["cpu_s"] * 1e6 / found["records"], 2),
            round(max(0.0, spent_s) / (time.monotonic() - self._began_s), 2),
        )

    def settle(self, fault: Callable[[], str]) -> str:
        """Wait until what it wrote is right; return what is wrong with it when the time is over."""
        limit_s = time.monotonic() + _SETTLE_S
        while (said := fault()) and time.monotonic() < limit_s:
            time.sleep(0.5)
        return said

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _text(self) -> str:
        return self._log.read_text("utf-8", "replace")
