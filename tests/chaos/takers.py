"""The downstream services of a chaos run: one with SQLite, one with a Valkey of its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis

from engine.settings import Settings
from engine.streams.local.stack import ValkeyServer
from tests.chaos.taker import EFFECTS
from tests.faults.harness import Deployment, end

STANDSTILL_S = 60.0
_POLL_S = 0.2


class Takers:
    """Two services that take a deployment's actions, each with effects of its own.

    Args:
        deployment: whose actions.
        folder: for the SQLite file and logs.
        redis_url: where the other one's effects go.
    """

    def __init__(self, deployment: Deployment, folder: Path, redis_url: str) -> None:
        self._bootstrap = deployment.bootstrap
        self._topics = ",".join(f"{deployment.name}.actions.{channel}" for channel in Settings().channels)
        self._folder = folder
        self._file = folder / "effects.sqlite"
        self._redis_url = redis_url
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both."""
        for group, effects in (("in-sqlite", str(self._file)), ("in-redis", self._redis_url)):
            words = [sys.executable, "-m", "tests.chaos.taker", self._bootstrap, group, self._topics, effects]
            with (self._folder / f"taker-{group}.log").open("ab") as output:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            self._processes.append(process)

    def kill(self) -> None:
        """Kill -9 both."""
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def check(self, ids: Collection[str]) -> list[str]:
        """Wait until all actions are taken, or nothing moves any more; check that each was taken once.

        Args:
            ids: of the actions.

        Returns:
            What is broken.
        """
        deadline_s, most = time.monotonic() + STANDSTILL_S, 0
        found: dict[str, Counter[str]] = {}
        while time.monotonic() < deadline_s:
            found = {"in SQLite": self._in_sqlite(), "in Redis": self._in_redis()}
            if all(counts.keys() >= set(ids) for counts in found.values()):
                break
            if (taken := sum(map(len, found.values()))) > most:  # slow is not lost
                deadline_s, most = time.monotonic() + STANDSTILL_S, taken
            time.sleep(_POLL_S)
        broken: list[str] = []
        for where, counts in found.items():
            broken += [f"action {name} was not taken {where}" for name in ids if name not in counts]
            broken += [f"action {name} was taken {n} times {where}" for name, n in counts.items() if n > 1]
        return broken

    def close(self) -> None:
        """End both."""
        for process in self._processes:
            end(process)

    def _in_sqlite(self) -> Counter[str]:
        with closing(sqlite3.connect(self._file)) as connection:
            return Counter(row[0] for row in connection.execute(f"SELECT id FROM {EFFECTS}"))

    def _in_redis(self) -> Counter[str]:
        with redis.Redis.from_url(self._redis_url) as client:
            return Counter(each.decode() for each in client.lrange(EFFECTS, 0, -1))


@contextmanager
def takers(deployment: Deployment, folder: Path) -> Iterator[Takers]:
    """Run both services; end them afterwards."""
    with ValkeyServer(folder / "effects") as valkey, closing(Takers(deployment, folder, valkey.url)) as both:
        both.start()
        yield both
