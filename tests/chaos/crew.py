"""The workers of a chaos run, one in each place; who ends by itself is noted and started again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos.servers import Servers
from tests.faults.harness import Deployment, end

READY_S = 180.0
_POLL_S = 0.05


class StuckError(Exception):
    """The workers do not come further; the ends of their logs are in the message."""


@dataclass(frozen=True)
class Worker:
    """A worker process and its log."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path

    def owned(self) -> frozenset[int]:
        """Return the partitions it holds, as its log says."""
        held: frozenset[int] = frozenset()
        for line in self.log.read_bytes().splitlines():
            if not line.startswith(b"{") or b'"partitions' not in line:
                continue
            told = msgspec.json.decode(line)
            if told["event"] == "partitions assigned":
                held = frozenset(told["partitions"])
            elif told["event"] == "partitions revoked":
                held -= frozenset(told["partitions"])
        return held


@dataclass
class Crew:
    """Workers of one deployment.

    Args:
        deployment: what they belong to.
        servers: what they talk to, each place by its own links.
        more: settings of theirs alone.

    Attributes:
        at_work: the worker of each place.
        surprises: who ended by itself: exit code and the end of its log.
        started: how many processes there have been.
        left: processes that were told to end.
    """

    deployment: Deployment
    servers: Servers
    more: Mapping[str, str] = field(default_factory=dict)
    at_work: dict[int, Worker] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    started: int = 0
    left: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, place: int) -> Worker:
        """Start a worker at a place; who was there before is nobody's any more."""
        number, self.started = self.started, self.started + 1
        own = {"ENGAGE_LOG_FORMAT": "json", **self.servers.environment(place), **self.more}
        process = self.deployment.start_worker(number, own)
        log = self.deployment.folder / f"{self.deployment.name}-{number}.log"
        worker = self.at_work[place] = Worker(number, process, log)
        return worker

    def kill(self, place: int) -> frozenset[int]:
        """Kill -9 the worker of a place; return what it held."""
        worker = self.at_work[place]
        worker.process.kill()
        worker.process.wait()
        return worker.owned()

    def look_after(self) -> None:
        """Start again who has ended by itself, as a supervisor would."""
        for place, worker in list(self.at_work.items()):
            if worker.process.poll() is not None:
                tail = worker.log.read_text(errors="replace")[-1500:]
                self.surprises.append(f"worker {worker.number} ended with {worker.process.poll()}:\n{tail}")
                self.start(place)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = READY_S) -> float:
        """Wait for something while looking after the workers; return how long it took, s.

        Raises:
            StuckError: it did not happen.
        """
        started_s = time.monotonic()
        while not condition():
            self.look_after()
            if time.monotonic() - started_s > timeout_s:
                raise StuckError(f"{what}: not within {timeout_s:g} s\n{self.tails()}")
            time.sleep(_POLL_S)
        return time.monotonic() - started_s

    def wait_shared(self) -> None:
        """Wait until the worker of every place holds partitions, and each is held by one."""
        everything = list(range(self.deployment.partitions))

        def shared() -> bool:
            held = [worker.owned() for worker in self.at_work.values()]
            return all(held) and sorted(number for each in held for number in each) == everything

        self.wait_until(shared, "every worker has partitions")

    def tails(self) -> str:
        """Return how the logs of the workers end."""
        return "\n".join(
            f"--- worker {worker.number} at {place}:\n{worker.log.read_text(errors='replace')[-3000:]}"
            for place, worker in self.at_work.items()
        )

    def close(self) -> None:
        """End all workers."""
        for worker in self.at_work.values():
            worker.process.terminate()
        for process in (*self.left, *(worker.process for worker in self.at_work.values())):
            end(process)
