"""The demo's eyes: actions, decisions and models from Kafka, the worker's status over HTTP."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from engine.actions import Action, Decision, Outcome
from engine.demo.view import Status
from engine.errors import EngineError, TransientError
from engine.features.churn.snapshot import Snapshot
from engine.streams.models.topic import ModelBoard
from engine.streams.wire.codec import decode_action, decode_decision

SHOWN = 20  # actions kept for the screen
KEPT_BACK = 5  # decisions kept for the screen
SHOW_EVERY_S = 0.8  # so that a person can read along
_MAX_BATCH = 2_000
_METADATA_TIMEOUT_S = 10.0
_STATUS_EVERY_S = 0.4
_STATUS_TIMEOUT_S = 2.0

T = TypeVar("T", Action, Decision)


class Showcase(Generic[T]):
    """Picks what a person reads out of a stream that is too fast to read.

    At most one item every `SHOW_EVERY_S` is taken, of the journey that was shown least recently.

    Args:
        size: most items kept.
        every_s: least time between two.
    """

    def __init__(self, size: int, every_s: float = SHOW_EVERY_S) -> None:
        self._shown: deque[T] = deque(maxlen=size)
        self._waiting: dict[str, T] = {}
        self._turn: dict[str, int] = {}
        self._every_s = every_s
        self._next_s = 0.0
        self._turns = 0

    def offer(self, item: T) -> None:
        """Let an item wait for its turn, in place of an older one of its journey."""
        self._waiting[item.journey] = item

    def items(self, now_s: float) -> tuple[T, ...]:
        """Return what is shown at a moment, newest first.

        Args:
            now_s: a monotonic clock, s.
        """
        if self._waiting and now_s >= self._next_s:
            journey = min(self._waiting, key=lambda name: (self._turn.get(name, 0), name))
            self._shown.appendleft(self._waiting.pop(journey))
            self._turns += 1
            self._turn[journey] = self._turns
            self._next_s = now_s + self._every_s
        return tuple(self._shown)


@dataclass(frozen=True, slots=True)
class WatchedTopics:
    """The topics the viewer reads.

    Args:
        actions: action topics.
        decisions: topic of the decisions.
        models: topic of the model snapshots.
    """

    actions: tuple[str, ...]
    decisions: str
    models: str


class TopicWatcher:
    """Reads what leaves the engine; it joins no group and commits nothing.

    Args:
        bootstrap: Kafka's address.
        topics: what to read.
        clock_s: a monotonic clock, s.

    Attributes:
        actions: number of actions by journey and channel.
        decisions: number of decisions, as `View` counts them.
    """

    def __init__(
        self, bootstrap: str, topics: WatchedTopics, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.actions: dict[tuple[str, str], int] = {}
        self.decisions: dict[tuple[str, str, str], int] = {}
        self.shown: Showcase[Action] = Showcase(SHOWN)
        self.kept_back: Showcase[Decision] = Showcase(KEPT_BACK, 2 * SHOW_EVERY_S)
        self.first_action_at_s: float | None = None
        self.last_read_at_s = 0.0
        self.model: Snapshot | None = None
        self._board = ModelBoard()
        self._topics = topics
        self._clock_s = clock_s
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "engage-demo-viewer",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self._readers: dict[str, Callable[[bytes], None]] = dict.fromkeys(topics.actions, self._read_action)
        self._readers[topics.decisions] = self._read_decision

    def open(self) -> None:
        """Start to read every partition from its beginning.

        Raises:
            TransientError: the broker does not answer.
        """
        places: list[TopicPartition] = []
        try:
            for topic in (*self._readers, self._topics.models):
                partitions = (
                    self._consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic].partitions
                )
                places.extend(TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions)
        except KafkaException as error:
            raise TransientError(f"kafka does not answer: {error.args[0].str()}") from error
        self._consumer.assign(places)

    def poll(self, timeout_s: float) -> None:
        """Take in what has come, waiting at most this long for a first record."""
        deadline_s = self._clock_s() + timeout_s
        while (left_s := deadline_s - self._clock_s()) > 0:
            first = self._consumer.poll(left_s)
            if first is None:
                return
            self._take(first)
            for message in self._consumer.consume(_MAX_BATCH, 0):
                self._take(message)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _take(self, message: Message) -> None:
        value, topic = message.value(), message.topic()
        if message.error() is not None or not value or topic is None:
            return
        if topic == self._topics.models:
            self._read_model(message.key(), value)
        else:
            self._readers[topic](value)

    def _read_action(self, value: bytes) -> None:
        action: Action = decode_action(value)
        self.last_read_at_s = self._clock_s()
        if self.first_action_at_s is None:
            self.first_action_at_s = self.last_read_at_s
        key = (action.journey, action.channel)
        self.actions[key] = self.actions.get(key, 0) + 1
        self.shown.offer(action)

    def _read_decision(self, value: bytes) -> None:
        decision: Decision = decode_decision(value)
        self.last_read_at_s = self._clock_s()
        if decision.outcome is Outcome.ENTERED and decision.step != "entry":
            return  # the variant of a split, inside the journey
        what = decision.reason.guard or str(decision.reason.values.get("arm", ""))
        key = (decision.journey, decision.outcome.value, what)
        self.decisions[key] = self.decisions.get(key, 0) + 1
        if decision.outcome in (Outcome.SUPPRESSED, Outcome.DEFERRED, Outcome.HELD_OUT):
            self.kept_back.offer(decision)

    def _read_model(self, key: bytes | None, value: bytes) -> None:
        try:
            self._board.take(key, value)
        except EngineError:
            return  # a snapshot the workers refuse as well
        self.model = self._board.live


class StatusPoller:
    """Asks a worker for its `/status` in a thread of its own, so that a slow answer never stops the screen.

    Args:
        host: the worker's address.
        port: its HTTP port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._status = Status()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engage-demo-status", daemon=True)

    @property
    def latest(self) -> Status:
        """The last answer; empty before the first."""
        return self._status

    def start(self) -> None:
        """Start to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STATUS_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.wait(_STATUS_EVERY_S):
            answer = fetch_status(self._host, self._port)
            if answer is not None:
                self._status = answer


def fetch_status(host: str, port: int) -> Status | None:
    """Ask a worker for its status.

    Args:
        host: the worker's address.
        port: its HTTP port.

    Returns:
        Its answer, or None when it does not answer.
    """
    connection = http.client.HTTPConnection(host, port, timeout=_STATUS_TIMEOUT_S)
    try:
        connection.request("GET", "/status")
        body: Any = connection.getresponse().read()
        return msgspec.json.decode(body, type=Status)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None
    finally:
        connection.close()
