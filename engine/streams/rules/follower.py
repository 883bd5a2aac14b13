"""Published rules on their way to a worker: followed in a thread, compiled there, taken between batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import Consumer, KafkaError, Message

from engine.errors import EngineError, TransientError
from engine.rules.publishing.publication import Publication
from engine.streams.kafka import KafkaSettings, assign_from_start, common_config
from engine.streams.rules.loader import LoadedRules, RuleLoader, explain
from engine.streams.rules.topic import RuleLog

log = structlog.get_logger(__name__)

_ABSENT_RETRY_S = 1.0
_POLL_S = 0.5


class RuleFollower:
    """Reads the rules topic from its beginning; the worker picks up what is ready.

    Args:
        kafka: how to reach Kafka.
        topic: the rules topic.
        loader: makes pipelines; used by the thread alone.

    Attributes:
        problem: why what should be live is not; empty when it is.
        wanted: number of the version that should be live; 0 = none is published.
        on_news: called by the thread when there is something to take, or a problem has come or gone.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, loader: RuleLoader) -> None:
        self._kafka = kafka
        self._topic = topic
        self._loader = loader
        self._stopped = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engage-rules", daemon=True)
        self._log = RuleLog()
        self._changed = False
        self._loaded: tuple[object, ...] = ()
        self._newest: LoadedRules | None = None
        self._failure: EngineError | None = None
        self.problem = ""
        self.wanted = 0
        self.on_news: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def first(self, timeout_s: float) -> LoadedRules | None:
        """Wait until the topic has been read to the end it had, and return what is live.

        Args:
            timeout_s: how long that may take.

        Returns:
            None when nothing has been published.

        Raises:
            TransientError: Kafka does not let the topic be read.
            EngineError: nothing of what has been published can be loaded.
        """
        if not self._caught_up.wait(timeout_s):
            raise TransientError(f"the rules topic {self._topic!r} could not be read in {timeout_s:.0f} s")
        if self._failure is not None:
            raise self._failure
        return self.take()

    def take(self) -> LoadedRules | None:
        """Return what has become ready since the last call, or None."""
        newest, self._newest = self._newest, None
        return newest

    def _run(self) -> None:
        consumer = Consumer(
            {
                **common_config(self._kafka),
                "group.id": f"{self._kafka.group_id}-rules",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
            }
        )
        try:
            while not self._stopped.is_set() and not assign_from_start(consumer, self._topic, 1):
                self._stopped.wait(_ABSENT_RETRY_S)
            while not self._stopped.is_set():
                self._take_in(consumer.poll(_POLL_S))
        finally:
            consumer.close()

    def _take_in(self, message: Message | None) -> None:
        """Note a record; at the end of what there is, see what it all means."""
        if message is None:
            return
        error = message.error()
        if error is None:
            self._log.take(message)
            self._changed = True
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name
            log.warning("rules topic", error=error.str())
        elif self._changed or not self._caught_up.is_set():
            self._changed = False
            self._load()

    def _load(self) -> None:
        found = self._log.fold()
        live = found.live
        self.wanted = live.publish.version if live is not None else 0
        problem = next(iter(self._log.unreadable.values()), "")
        state: tuple[object, ...] = ()
        if live is not None:
            state = (live.publish.version, live.record.key, live.share, frozenset(found.paused))
        if not self._caught_up.is_set():
            problem = self._load_first(found) or problem
        elif live is not None and (state != self._loaded or self.problem):
            try:
                self._newest = self._loader.load(found, live)
            except Exception as error:  # noqa: BLE001 - whatever is published, the worker goes on
                known = error if isinstance(error, EngineError) else EngineError(type(error).__name__)
                problem = explain(live.publish.version, known)
                log.error("published rules refused, the live ones stay", error=problem)  # noqa: TRY400 - ours
        self._loaded, self.problem = state, problem
        self._caught_up.set()
        self.on_news()

    def _load_first(self, found: Publication) -> str:
        began_s = time.perf_counter()
        try:
            self._newest = self._loader.load_newest(found)
        except EngineError as error:
            self._failure = error
            return str(error)
        log.info("rules read", version=self.wanted, took_s=round(time.perf_counter() - began_s, 2))
        return self._newest.error if self._newest is not None else ""
