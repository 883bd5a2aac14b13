"""The model topic: what is live, what else there is, who holds it still; and how a worker follows it.

Keys of the compacted topic: `churn` is what the trainer (or `promote`) made live; `churn/VERSION` keeps the
trainer's last snapshots, live or not; `churn/desk` is what operators decided. While they have frozen the
model, the snapshot inside that record is live, whatever stands under `churn`. Keys are independent of each
other, so the order of partitions does not matter.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, Message

from engine.errors import EngineError, TransientError
from engine.features.churn.snapshot import Snapshot, check_snapshot, decode_snapshot
from engine.streams.kafka import KafkaSettings, assign_from_start, common_config
from engine.streams.producer import ActionProducer
from engine.streams.reader import TopicReader

log = structlog.get_logger(__name__)

MODEL_KEY: Final = b"churn"
DESK_KEY: Final = b"churn/desk"
_KEPT: Final = b"churn/"
_ABSENT_RETRY_S = 1.0


class Kept(msgspec.Struct, frozen=True):
    """A snapshot the trainer made.

    Args:
        snapshot: itself; its trial says whether it passed.
        time_ms: when it was published, wall clock.
        went_live: whether workers were told to score with it.
    """

    snapshot: Snapshot
    time_ms: int
    went_live: bool


class Desk(msgspec.Struct, frozen=True):
    """What operators decided last.

    Args:
        frozen: the snapshot that scores until this is taken back; None = the trainer decides.
        author: who.
        time_ms: when, wall clock.
        message: why.
        promoted: the version they made live instead of another one, and that other one; None = they did not.
    """

    frozen: Snapshot | None
    author: str = ""
    time_ms: int = 0
    message: str = ""
    promoted: tuple[int, int] | None = None


def kept_key(version: int) -> bytes:
    """Return the key a version is kept under."""
    return _KEPT + str(version).encode()


class ModelBoard:
    """What the records of the model topic say, taken together.

    Attributes:
        kept: the trainer's last snapshots by version.
        desk: what operators decided, or None when they never did.
    """

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.desk: Desk | None = None
        self._published: Snapshot | None = None

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take in a record as it comes from the topic; those of other keys are not ours.

        Raises:
            EngineError: it can't be read, or was made for other features; what was known stays.
        """
        if key == MODEL_KEY:
            if value:
                self._published = decode_snapshot(value)
        elif key == DESK_KEY:
            self.desk = _decode(value, Desk) if value else None
        elif key is not None and key.startswith(_KEPT) and key[len(_KEPT) :].isdigit():
            version = int(key[len(_KEPT) :])
            if value:
                self.kept[version] = _decode(value, Kept)
            else:
                self.kept.pop(version, None)

    @property
    def frozen(self) -> bool:
        """Whether operators hold the model still."""
        return self.desk is not None and self.desk.frozen is not None

    @property
    def live(self) -> Snapshot | None:
        """What workers are to score with; None = nothing has been published, the shipped prior counts."""
        if self.desk is not None and self.desk.frozen is not None:
            return self.desk.frozen
        return self._published

    @property
    def newest(self) -> Snapshot | None:
        """The trainer's last snapshot, live or not; None = it has made none."""
        versions = list(self.kept)
        return self.kept[max(versions)].snapshot if versions else None

    @property
    def highest_version(self) -> int:
        """The highest version there is; 0 = none."""
        live = self.live
        return max([0 if live is None else live.version, *list(self.kept)])

    def surplus(self, keep: int) -> list[int]:
        """Return the oldest versions beyond so many; what is live and what was before stay."""
        live = self.live
        before = None if live is None else self.before(live.version)
        needed = {each.version for each in (live, before) if each is not None} | {self.replaced}
        return [version for version in sorted(self.kept)[:-keep] if version not in needed]

    @property
    def replaced(self) -> int | None:
        """The version that operators promoted another one over, while that one is live."""
        promoted = None if self.desk is None else self.desk.promoted
        live = 0 if self.live is None else self.live.version
        return promoted[1] if promoted is not None and promoted[0] == live else None

    def before(self, version: int) -> Snapshot | None:
        """Return the snapshot that went live before a version, as far as it is kept."""
        earlier = [each for each in list(self.kept) if each < version and self.kept[each].went_live]
        return self.kept[max(earlier)].snapshot if earlier else None


def _decode(value: bytes, kind: type[Desk | Kept]) -> Any:
    try:
        found = msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise EngineError(f"model topic: {error}") from error
    snapshot = found.frozen if isinstance(found, Desk) else found.snapshot
    if snapshot is not None:
        check_snapshot(snapshot)
    return found


def read_models(kafka: KafkaSettings, topic: str, timeout_s: float = 10.0) -> ModelBoard:
    """Read the model topic to its present end.

    Args:
        kafka: how to reach Kafka.
        topic: the model topic.
        timeout_s: how long the broker may take.

    Raises:
        ConfigError: there is no such topic.
        TransientError: Kafka does not answer.
    """
    board = ModelBoard()
    with TopicReader(kafka, [topic], last=None, timeout_s=timeout_s) as reader:
        for message in reader.until_end():
            _take(board, message)
    return board


def write_models(kafka: KafkaSettings, topic: str, records: Mapping[bytes, bytes | None]) -> None:
    """Append records to the model topic and wait until Kafka has them.

    Raises:
        TransientError: Kafka did not take them.
    """

    async def send() -> None:
        producer = ActionProducer(kafka)
        try:
            await producer.send([(topic, key, value, None) for key, value in records.items()])
        finally:
            await producer.aclose()

    asyncio.run(send())


def _take(board: ModelBoard, message: Message) -> bool:
    """Take in a record; tell whether it could be read."""
    try:
        board.take(message.key(), message.value())
    except EngineError as error:
        log.warning("model snapshot refused, the live one stays", error=str(error))
        return False
    return True


class ModelFollower:
    """Reads the model topic from its beginning in a thread of its own; the worker picks up what is newest.

    Nothing is handed out before the topic has been read to the end it had, so that no worker scores with what
    operators have frozen out.

    Args:
        kafka: how to reach Kafka.
        topic: the compacted model topic.

    Attributes:
        board: what the topic says.
        refused_total: records that could not be read or did not fit.
        records_total: records read.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._stopped = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engage-models", daemon=True)
        self._taken: Snapshot | None = None
        self.board = ModelBoard()
        self.refused_total = self.records_total = 0

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def take(self) -> Snapshot | None:
        """Return what is live if it is another one than at the last call, or None."""
        if not self._caught_up.is_set():
            return None
        live = self.board.live
        if live is self._taken:
            return None
        self._taken = live
        return live

    def wait(self, timeout_s: float) -> None:
        """Wait until the topic has been read to the end it had.

        Raises:
            TransientError: that took too long.
        """
        if not self._caught_up.wait(timeout_s):
            raise TransientError(f"the model topic {self._topic!r} could not be read in {timeout_s:.0f} s")

    def _run(self) -> None:
        consumer = Consumer(
            common_config(self._kafka)
            | {
                "group.id": f"{self._kafka.group_id}-models",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            while not self._stopped.is_set() and not assign_from_start(consumer, self._topic):
                self._stopped.wait(_ABSENT_RETRY_S)
            unread = {place.partition for place in consumer.assignment()}
            while not self._stopped.is_set():
                message = consumer.poll(0.5)
                if message is not None:
                    self._read(message, unread)
        finally:
            consumer.close()

    def _read(self, message: Message, unread: set[int]) -> None:
        error = message.error()
        if error is None:
            self.refused_total += not _take(self.board, message)
            self.records_total += 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name for it
            unread.discard(message.partition())
            if not unread:
                self._caught_up.set()


def now_ms() -> int:
    """Return the wall clock, ms."""
    return time.time_ns() // 1_000_000
