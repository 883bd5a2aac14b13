"""The demo's processes: broker, store, worker, trainer and feeder; all end with the demo."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from engine.demo.feed import MAX_AHEAD, FeedSettings, Progress, read_progress
from engine.demo.watch import WatchedTopics
from engine.events import Family
from engine.settings import Settings, TopicSettings
from engine.streams.local.server import HOST, LocalServer
from engine.streams.local.stack import LocalStack
from engine.streams.topics import topic_specs

_SEGMENTS = Path(__file__).with_name("segments.yaml")
GROUP = "engage-demo"
PARTITIONS = 4
_PACED_AHEAD = 1_500  # records of a partition: what lies in the queue is seen as latency
_SETTINGS = """\
# Settings of one run of `engage demo`; gone when it ends.
clock = "replay"

[kafka]
bootstrap_servers = "{bootstrap}"
group = "{group}"
group_protocol = "classic"

[topics]
partitions = {partitions}

[redis]
url = "{redis_url}"

[http]
host = "{host}"
port = {port}

[segments]
path = {segments}

[churn]
follow = "yes"  # score with what has been learned so far, as on the live clock
publish_every_s = 3
score_every_days = 21  # a third of the usual work: a year and a half is to pass in a minute or two
"""


def forget_settings() -> None:
    """Take this shell's `ENGAGE_*` settings out of the environment.

    They would win over the demo's own file: a demo must never replay its log into somebody's real Kafka.
    """
    for name in [name for name in os.environ if name.startswith("ENGAGE_") and name != "ENGAGE_CACHE"]:
        del os.environ[name]


class DemoProcess(LocalServer):
    """One process of the demo with its log, ended with the demo."""

    name = "demo"

    def __init__(self, arguments: list[str]) -> None:
        super().__init__()
        self._arguments = arguments

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._pid is not None and self._is_alive()

    def _command(self) -> list[str]:
        return [sys.executable, *self._arguments]

    def _is_ready(self) -> bool:
        return True  # the screen tells how far the process is; nothing waits for it

    def _prepare(self) -> None:
        """Need nothing."""


class Worker(DemoProcess):
    """The worker; its folder holds the settings file of the whole demo.

    Args:
        bootstrap: Kafka's address.
        redis_url: the store's address.
    """

    name = "worker"

    def __init__(self, bootstrap: str, redis_url: str) -> None:
        super().__init__([])
        self._bootstrap, self._redis_url = bootstrap, redis_url

    @property
    def settings_path(self) -> Path:
        """The settings file."""
        return self.folder / "engage.toml"

    @property
    def port(self) -> int:
        """Port of the worker's HTTP server."""
        return self.ports[0]

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "engine.cli", "worker", "--config", str(self.settings_path)]

    def _prepare(self) -> None:
        text = _SETTINGS.format(
            bootstrap=self._bootstrap,
            group=GROUP,
            partitions=PARTITIONS,
            redis_url=self._redis_url,
            host=HOST,
            port=self.port,
            segments=json.dumps(str(_SEGMENTS)),  # a JSON string is a TOML string
        )
        self.settings_path.write_text(text, encoding="utf-8")


class Trainer(DemoProcess):
    """The churn model's trainer.

    Args:
        settings_path: the demo's settings file.
    """

    name = "trainer"

    def __init__(self, settings_path: Path) -> None:
        super().__init__(["-m", "engine.cli", "trainer", "--config", str(settings_path)])


class FeederProcess(DemoProcess):
    """The feeder; its progress report lies in its folder.

    Args:
        settings: what to feed.
    """

    name = "feeder"

    def __init__(self, settings: FeedSettings) -> None:
        super().__init__([])
        self._settings = settings

    @property
    def progress(self) -> Progress | None:
        """The feeder's last report, or None before the first."""
        return read_progress(self._progress_path)

    @property
    def _progress_path(self) -> Path:
        return self.folder / "progress.json"

    def _command(self) -> list[str]:
        told = msgspec.structs.replace(self._settings, progress=str(self._progress_path))
        return [sys.executable, "-m", "engine.demo.feed", msgspec.json.encode(told).decode()]


class DemoStack:
    """Everything the demo runs, started together and ended together.

    Args:
        seed: seed of the log.
        customers: about how many customers; None takes all.
        duration_s: shortest time the log may take; 0 as fast as the worker reads.
    """

    def __init__(self, seed: int, customers: int | None, duration_s: float) -> None:
        self._seed, self._customers, self._duration_s = seed, customers, duration_s
        self._settings = Settings(topics=TopicSettings(partitions=PARTITIONS))
        self._local = LocalStack(topics={spec.name: spec.partitions for spec in topic_specs(self._settings)})
        self._started = ExitStack()
        self.worker: Worker
        self.trainer: Trainer
        self.feeder: FeederProcess

    @property
    def bootstrap(self) -> str:
        """Kafka's address."""
        return self._local.bootstrap

    @property
    def watched(self) -> WatchedTopics:
        """The topics the viewer reads."""
        settings = self._settings
        return WatchedTopics(
            actions=tuple(settings.action_topics().values()),
            decisions=settings.topics.decisions,
            models=settings.topics.models,
        )

    def start(self) -> Self:
        """Start every process; nothing waits until they are ready.

        Raises:
            LocalServerError: one cannot be started; the others are ended.
        """
        forget_settings()
        with ExitStack() as starting:
            starting.enter_context(self._local)
            self.worker = Worker(self._local.bootstrap, self._local.redis_url)
            starting.enter_context(self.worker)
            self.feeder = FeederProcess(self._feed_settings())
            starting.enter_context(self.feeder)
            self.trainer = Trainer(self.worker.settings_path)
            starting.enter_context(self.trainer)
            self._started = starting.pop_all()
        return self

    def stop(self) -> None:
        """End every process and remove every file."""
        self._started.close()

    def casualty(self) -> DemoProcess | None:
        """Return a process that ended though it is still needed, or None."""
        needed: list[DemoProcess] = [self.worker, self.trainer]
        progress = self.feeder.progress
        if progress is None or not progress.is_done:
            needed.append(self.feeder)
        return next((process for process in needed if not process.is_alive), None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _feed_settings(self) -> FeedSettings:
        topics = {Family(family): topic for family, topic in self._settings.event_topics().items()}
        return FeedSettings(
            bootstrap=self._local.bootstrap,
            topics=topics,
            group=GROUP,
            seed=self._seed,
            customers=self._customers,
            duration_s=self._duration_s,
            max_ahead=_PACED_AHEAD if self._duration_s else MAX_AHEAD,
        )
