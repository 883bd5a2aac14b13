"""Apache Kafka and Valkey as the chaos run needs them: each worker has a link of its own to each."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import redis

from engine.streams.local.server import HOST
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.chaos.proxy import Proxy

# Python ignores SIGXFSZ, and so does what it runs: a full disk is then an error of `write`, not the end.
# Only the server gets another clock: the time is asked for anew each second, waiting is left alone.
_START = """
import os, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clock = {"LD_PRELOAD": sys.argv[1], "FAKETIME_TIMESTAMP_FILE": sys.argv[2]}
clock |= {"FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
os.execve(sys.argv[3], sys.argv[3:], os.environ | (clock if sys.argv[1] else {}))
"""


_SHARED_MEMORY = Path("/dev/shm")


class LinkedKafka(ApacheKafka):
    """Apache Kafka with one more listener for each link; it stamps records with its own clock.

    Args:
        folder: see `LocalServer`.
        links: proxies that workers go through.
    """

    start_timeout_s = 300.0  # a fault of the machine's, should it take so long, is none of the engine's

    def __init__(self, folder: Path, links: Sequence[Proxy]) -> None:
        super().__init__(folder)
        self._links = links
        self.ports_wanted = 2 + len(links)

    def _prepare(self) -> None:
        client, controller, *behind = self.ports
        for link, port in zip(self._links, behind, strict=True):
            link.target = port
        names = [f"LINK{number}" for number in range(len(self._links))]
        listeners = [f"PLAINTEXT://{HOST}:{client}", f"CONTROLLER://{HOST}:{controller}"]
        self._settings = {
            "listeners": ",".join(
                listeners + [f"{name}://{HOST}:{port}" for name, port in zip(names, behind, strict=True)]
            ),
            "advertised.listeners": ",".join(
                listeners + [f"{n}://{HOST}:{link.port}" for n, link in zip(names, self._links, strict=True)]
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names)
            ),
            "log.message.timestamp.type": "LogAppendTime",
        }
        super()._prepare()


class FaultyValkey(ValkeyServer):
    """Valkey whose disk and memory can be full, and that can go back in time.

    Args:
        folder: see `LocalServer`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, rewrite_aof=False)  # a copy of the file is then a moment of the past
        self._pids: list[int] = []

    def _command(self) -> list[str]:
        library = os.fspath(libfaketime() or "")
        return [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _START,
            library,
            os.fspath(self._clock),
            *super()._command(),
        ]

    def _prepare(self) -> None:
        self.set_clock(0)
        super()._prepare()

    def start(self) -> Self:
        """See `LocalServer`."""
        super().start()
        assert self.pid is not None
        self._pids.append(self.pid)
        return self

    def stop(self) -> None:
        """End it, and remove what libfaketime leaves of a process that was killed."""
        super().stop()
        for pid in self._pids:
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                (_SHARED_MEMORY / name).unlink(missing_ok=True)

    def set_clock(self, offset_s: int) -> None:
        """Set its wall clock off; without libfaketime nothing happens."""
        self._clock.write_text(f"{offset_s:+d}\n", "utf-8")

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let the append-only file grow no more."""
        assert self.pid is not None
        size = max(path.stat().st_size for path in self._aof.iterdir())
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))

    @contextmanager
    def full_memory(self) -> Iterator[None]:
        """Let the data grow no more: `maxmemory` is reached, `noeviction`."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)

    def go_back(self, seconds: float) -> None:
        """Kill it and start it with what it held some seconds ago.

        Args:
            seconds: how long it still runs, and takes what will be lost.
        """
        past = self.folder / "past"
        shutil.copytree(self._aof, past)
        time.sleep(seconds)
        self.kill9()
        shutil.rmtree(self._aof)
        past.rename(self._aof)
        self.start()

    @property
    def _clock(self) -> Path:
        return self.folder / "clock"

    @property
    def _aof(self) -> Path:
        return self.folder / "appendonlydir"


@dataclass(frozen=True)
class Servers:
    """Both servers and the links to them, one of each for each place of a worker."""

    kafka: LinkedKafka
    valkey: FaultyValkey
    kafka_links: list[Proxy]
    redis_links: list[Proxy]

    def environment(self, place: int) -> dict[str, str]:
        """Return the settings by which the worker at a place reaches the servers."""
        return {
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{self.kafka_links[place].port}",
            "ENGAGE_REDIS_URL": f"redis://{HOST}:{self.redis_links[place].port}/0",
        }


@contextmanager
def servers(folder: Path, places: int) -> Iterator[Servers]:
    """Start everything; end it afterwards.

    Args:
        folder: for data and logs.
        places: how many workers have links of their own.
    """
    with ExitStack() as stack:
        kafka_links = [stack.enter_context(Proxy()) for _ in range(places)]
        redis_links = [stack.enter_context(Proxy()) for _ in range(places)]
        kafka = stack.enter_context(LinkedKafka(folder / "kafka", kafka_links))
        valkey = stack.enter_context(FaultyValkey(folder / "valkey"))
        for link in redis_links:
            link.target = valkey.ports[0]
        yield Servers(kafka, valkey, kafka_links, redis_links)


def python_clock(file: Path) -> dict[str, str]:
    """Return the environment of a worker whose wall clock is off by the seconds that a file holds."""
    return {"PYTHONPATH": os.fspath(Path(__file__).with_name("clock")), "CHAOS_CLOCK": os.fspath(file)}


def libfaketime() -> Path | None:
    """Return the library that sets a server's wall clock off, if it is installed."""
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
