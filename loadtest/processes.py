"""The processes of a load test: broker, store, worker, generator, reader, relay; each ends with the test."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.streams.kafka import KafkaSettings, TopicSpec, create_topics
from loadtest.workload import PARTITIONS, RELAY_OUTPUT, RELAY_TOPICS

_READY_S = 90.0
_STOP_S = 15.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class LoadTestError(Exception):
    """The test cannot go on; the message says why."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int | None) -> float:
    """Return the processor time a process has used, all threads, in seconds; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def machine_cpu_s() -> float:
    """Return the processor time that all processes of the machine have used, in seconds."""
    fields = Path("/proc/stat").read_text("ascii").split(maxsplit=4)
    return sum(map(int, fields[1:4])) / _CLOCK_TICKS


def create_relay_topics(bootstrap: str) -> None:
    """Make the topics that only the relay uses."""
    topics = (*RELAY_TOPICS.values(), RELAY_OUTPUT)
    create_topics(KafkaSettings(bootstrap), [TopicSpec(topic, PARTITIONS, 1) for topic in topics])


class Helper:
    """A Python process of the test's own, spoken to through a pipe.

    Args:
        target: its main function, taking the pipe and `arguments`.
        arguments: what else it takes.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        if not self.pipe.poll(_READY_S):
            self.stop()
            raise LoadTestError(f"{target.__module__} did not start within {_READY_S:.0f} s")
        self.pipe.recv()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def ask(self, message: Any, timeout_s: float = 60.0) -> Any:
        """Send a message and wait for the answer."""
        self.pipe.send(message)
        if not self.pipe.poll(timeout_s):
            raise LoadTestError(f"no answer to {message!r} within {timeout_s:.0f} s")
        return self.pipe.recv()

    def stop(self) -> None:
        """End it."""
        with suppress(OSError):
            self.pipe.send(None)
        self._process.join(_STOP_S / 3)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Engine:
    """A worker process as a user would start it.

    Args:
        environment: its settings.
        log: file for what it writes.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._port = free_port()
        self._log = log
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "worker"],
            env={**os.environ, **environment, "ENGAGE_HTTP_PORT": str(self._port)},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it owns its partitions and says so."""
        deadline_s = time.monotonic() + _READY_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise LoadTestError(f"the worker ended at its start:\n{self._tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise LoadTestError(f"the worker was not ready within {_READY_S:.0f} s:\n{self._tail()}")

    def status(self) -> dict[str, Any]:
        """Return its page /status."""
        return dict(json.loads(self._get("/status")))

    def metrics(self) -> str:
        """Return its page /metrics."""
        return self._get("/metrics").decode()

    def _get(self, path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                return bytes(answer.read())
        except OSError as error:
            raise LoadTestError(f"the worker does not answer: {error}\n{self._tail()}") from None

    def _tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:])

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """End it by a signal; return its exit code and the time it took, s."""
        started_s = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(_STOP_S)
        return code, time.monotonic() - started_s

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()


class Workers:
    """The engine: one worker or several that share the partitions.

    Args:
        count: how many.
        environment: their settings.
        folder: for what they write.
    """

    def __init__(self, count: int, environment: Mapping[str, str], folder: Path) -> None:
        self.engines = [Engine(environment, folder / f"worker-{number}.log") for number in range(count)]

    def wait_ready(self) -> None:
        """Wait until they own their partitions and say so."""
        for engine in self.engines:
            engine.wait_ready()

    def events_total(self) -> int:
        """Return how many events they have worked on since they started."""
        return sum(int(engine.status()["events_total"]) for engine in self.engines)

    def metrics(self) -> list[str]:
        """Return their pages /metrics."""
        return [engine.metrics() for engine in self.engines]

    def pids(self) -> list[int]:
        """Return their process ids."""
        return [engine.pid for engine in self.engines]

    def stop(self) -> None:
        """End them."""
        for engine in self.engines:
            engine.stop()


@contextmanager
def running_engine(count: int, environment: Mapping[str, str], folder: Path) -> Iterator[Workers]:
    """Start workers, wait until they are ready, stop them afterwards."""
    workers = Workers(count, environment, folder)
    try:
        workers.wait_ready()
        yield workers
    finally:
        workers.stop()


def stock_faust_rate(
    count: int, bootstrap: str, folder: Path, seconds: float, timeout_s: float
) -> float | None:
    """Measure stock Faust's empty agent on the backlog in the event topics.

    Args:
        count: how many of its workers share the partitions.
        bootstrap: Kafka.
        folder: for its files.
        seconds: how long each counts from its first event on.
        timeout_s: how long everything may take.

    Returns:
        Events per second of all together, or None when one did not come to an end.
    """
    folder.mkdir(exist_ok=True)
    module = [sys.executable, "-m", "loadtest.stock_faust", bootstrap, "stock-faust"]
    started = [
        subprocess.Popen(
            [*module, str(folder / str(number)), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(count)
    ]
    deadline_s = time.monotonic() + timeout_s
    try:
        printed = [each.communicate(timeout=max(0.0, deadline_s - time.monotonic()))[0] for each in started]
        return sum(float(each.split()[-1]) for each in printed)
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return None
    finally:
        for each in started:
            each.kill()
            each.wait()
