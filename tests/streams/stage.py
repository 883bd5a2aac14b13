"""A worker's handler on in-memory servers that fail on demand: what the tests of the handler play on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import TransientError
from engine.events import EVENT_CLASSES, EVENT_TYPES, Event, Family
from engine.features.state import CustomerState, unpack
from engine.settings import RuleSettings, Settings
from engine.streams.partition import partition_of
from engine.streams.producer import OutRecord
from engine.streams.store.memory import MemoryServer, MemoryStore
from engine.streams.wire.codec import encode_json
from tests.streams.replay import MemoryRecord, Tap, handle, make_handler

NOW_MS = 1_768_219_200_000  # noon UTC of a Monday
PARTITIONS = 2

JOURNEYS = """
journey: order-thanks
transactional: true
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: thanks, data: {orders: int(customer.orders_lifetime)}}
---
journey: follow-up
transactional: true
entry: {on: order.delivered, reentry: always}
steps:
  - wait: 10m
  - {send: email, template: how-was-it}
---
journey: rescue
transactional: true
entry:
  on: {unanswered: inquiry, for: 5m}
steps:
  - {send: agent, template: call}
---
journey: hello-new
transactional: true
entry: {on: {segment_entered: new}, reentry: always}
steps:
  - {send: push, template: hello}
---
journey: bye-new
transactional: true
entry: {on: {segment_exited: new}, reentry: always}
steps:
  - {send: push, template: bye}
"""


class FaultyTap(Tap):
    """A producer that fails when told to.

    Args:
        failures: errors raised by the next calls, in order.
    """

    def __init__(self, failures: Iterable[Exception] = ()) -> None:
        super().__init__()
        self.failures = list(failures)
        self.calls = 0

    async def send(self, records: Iterable[OutRecord]) -> list[Any]:
        """Keep the records, or fail."""
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return await super().send(records)

    def sent(self, topic: str) -> list[dict[str, Any]]:
        """Return what was sent to a topic, decoded."""
        return [msgspec.json.decode(value) for name, _, value, _ in self.records if name == topic and value]

    def actions(self) -> list[dict[str, Any]]:
        """Return the actions in order."""
        return [
            msgspec.json.decode(value)
            for name, _, value, _ in self.records
            if name.startswith("engage.actions.") and value
        ]

    def letters(self) -> list[tuple[bytes | None, dict[str, str]]]:
        """Return the dead letters: original value, and the engine's headers as text."""
        return [
            (value, {key: text.decode() for key, text in dict(headers or ()).items() if key[:7] == "engage-"})
            for name, _, value, headers in self.records
            if name == "engage.dlq"
        ]


class FakeConsumer:
    """Notes what the worker asks of the transport's consumer."""

    def __init__(self) -> None:
        self.sought: list[dict[tuple[str, int], int]] = []
        self.paused: set[tuple[str, int]] = set()
        self.reported: dict[tuple[str, int], int] = {}

    async def pause(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Note it."""
        self.paused |= set(partitions)

    async def resume(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Note it."""
        self.paused -= set(partitions)

    async def seek(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Note it."""
        self.sought.append(dict(offsets))

    def report(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Note it."""
        self.reported.update(offsets)


class Stage:
    """A handler, its servers, a log and a clock.

    Args:
        folder: for the journey files.
        server: the store's server; a new one when None.
        journeys: files or folders; the journeys above when None.
        settings: further settings.
    """

    def __init__(
        self,
        folder: Path,
        server: MemoryServer | None = None,
        journeys: list[str] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(rules=RuleSettings(paths=journeys or write_journeys(folder)), **settings)
        self.now_ms = NOW_MS
        self.server = server or MemoryServer()
        self.tap = FaultyTap()
        self.consumer = FakeConsumer()
        self.topics = {Family(name): topic for name, topic in self.settings.event_topics().items()}
        self.log: dict[tuple[str, int], list[MemoryRecord]] = {
            (topic, number): [] for topic in self.topics.values() for number in range(PARTITIONS)
        }
        self.renew()

    def renew(self) -> None:
        """Lose the worker's memory: a new handler and store over the same server."""
        self.store = MemoryStore(self.server)
        self.handler = make_handler(self.settings, self.store, self.tap, now_ms=lambda: self.now_ms)
        self.handler.attach(lambda: self.consumer)

    @property
    def health(self) -> Any:
        """What the worker says of itself."""
        return self.handler._health

    async def own(self) -> Mapping[tuple[str, int], int]:
        """Be assigned every partition."""
        return await self.handler.on_assigned(frozenset(self.log))

    def record(self, event: Event, at: int | None = None) -> MemoryRecord:
        """Append an event to the log, as a producer would."""
        topic = self.topics[EVENT_TYPES[event.type].family]
        return self.raw(topic, event.customer_id.encode(), encode_json(event), at)

    def raw(self, topic: str, key: bytes | None, value: bytes | None, at: int | None = None) -> MemoryRecord:
        """Append any bytes to the log."""
        number = partition_of(key or b"", PARTITIONS) if at is None else at
        records = self.log[topic, number]
        record = MemoryRecord((topic, number, len(records)), (key, value or b""))
        records.append(record)
        return record

    async def work(
        self, *records: MemoryRecord, behind_ms: Mapping[int, int] | None = None
    ) -> dict[tuple[str, int], int]:
        """Hand one batch over; return the offsets it reports."""
        return await handle(self.handler, records, behind_ms)

    def let_pass(self, span_ms: int) -> None:
        """Let time pass in which nothing comes, as the worker knows; its timers have not been looked at."""
        self.now_ms += span_ms
        for owned in self.handler.holdings.owned.values():
            owned.reach(self.now_ms, 0)

    async def send(self, *events: Event) -> dict[tuple[str, int], int]:
        """Append events to the log and work them off as one batch."""
        return await self.work(*[self.record(event) for event in events])

    def state(self, customer_id: str) -> CustomerState | None:
        """Return a customer's stored state."""
        data = self.server.partition(place(customer_id)).states.get(customer_id.encode())
        return None if data is None else unpack(customer_id, data)

    def stored(self) -> dict[int, Any]:
        """Return everything stored but epochs and sequence numbers."""
        return {
            number: (part.states, part.timers, part.offsets, part.clock_ms, part.fields)
            for number, part in self.server.dump().items()
        }

    def timers(self) -> dict[str, int]:
        """Return every stored timer."""
        parts = self.server.dump().values()
        return {name.decode(): due_ms for part in parts for name, due_ms in part.timers.items()}


def write_journeys(folder: Path) -> list[str]:
    """Write the tests' journeys, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, text in enumerate(JOURNEYS.split("---")):
        path = folder / f"journey{number}.yaml"
        path.write_text(text, "utf-8")
        paths.append(str(path))
    return paths


def place(customer_id: str) -> int:
    """Return a customer's partition."""
    return partition_of(customer_id.encode(), PARTITIONS)


def event(kind: str, customer_id: str, number: int = 0, at_ms: int = NOW_MS, **fields: Any) -> Event:
    """Return an event whose id follows from the arguments."""
    family = EVENT_TYPES[kind].family
    own: dict[str, Any] = {}
    if family.value == "order":
        own = {"order_id": f"o{number}", "amount": 10.0}
    elif family.value == "service":
        own = {"inquiry_id": f"i{number}"}
    return EVENT_CLASSES[family](
        id=f"{kind}-{customer_id}-{number}",
        type=kind,
        customer_id=customer_id,
        time=at_ms,
        source="test",
        **(own | fields),
    )


def down(times: int) -> list[Exception]:
    """Return the errors of a server that does not answer for some calls."""
    return [TransientError("no answer") for _ in range(times)]
