"""Model snapshots on their way to the workers: newest first come, refused when they do not fit."""

from __future__ import annotations

import threading

import structlog
from confluent_kafka import Consumer

from engine.errors import EngineError
from engine.features.churn.snapshot import Snapshot, decode_snapshot
from engine.streams.kafka import KafkaSettings, assign_from_start, common_config

log = structlog.get_logger(__name__)

MODEL_KEY = b"churn"
_ABSENT_RETRY_S = 1.0


class ModelFollower:
    """Reads the model topic from its beginning in a thread of its own; the worker picks up what is newest.

    Args:
        kafka: how to reach Kafka.
        topic: the compacted model topic.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engage-models", daemon=True)
        self._newest: Snapshot | None = None
        self.refused_total = 0

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopped.set()
        self._thread.join(5)

    def take(self) -> Snapshot | None:
        """Return a snapshot that came since the last call, or None."""
        newest, self._newest = self._newest, None
        return newest

    def _run(self) -> None:
        consumer = Consumer(
            common_config(self._kafka)
            | {"group.id": f"{self._kafka.group_id}-models", "enable.auto.commit": False}
        )
        try:
            while not self._stopped.is_set() and not assign_from_start(consumer, self._topic):
                self._stopped.wait(_ABSENT_RETRY_S)
            while not self._stopped.is_set():
                message = consumer.poll(0.5)
                if message is not None and message.error() is None and message.value():
                    self._read(message.value())
        finally:
            consumer.close()

    def _read(self, payload: bytes) -> None:
        try:
            snapshot = decode_snapshot(payload)
        except EngineError as error:
            self.refused_total += 1
            log.warning("model snapshot refused, the live one stays", error=str(error))
            return
        self._newest = snapshot
