"""What a worker keeps in memory of the partitions it owns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.changes import SegmentChange
from engine.rules.ledger import Ledger
from engine.streams.steps.timers import TimerQueue
from engine.streams.transactions.outbox import OUTBOX_FIELD

RATE_FIELD = "rate"
SEGMENTS_FIELD = "segments"
LEDGER_FIELD = "limits"
ARMED_FIELD = "armed"
CLOCK_FIELD, LIVE = "clock", b"live"
REACHED_FIELD = "reached"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a step changes of a partition in memory, as it was before.

    Args:
        rate: the global purchase rate, packed as it is stored.
        segments: customers by segment.
        ledger: the part in limits over all customers, packed as it is stored.
    """

    rate: bytes
    segments: Mapping[str, int]
    ledger: bytes


@dataclass(slots=True)
class OwnedPartition:
    """One owned partition.

    Args:
        number: partition number, the same for all event topics.
        epoch: the fencing epoch this worker holds it with.
        rate: the global purchase rate.
        segments: customers by name of the segment last announced.
        timers: due timers up to a horizon.
        states: cached customer states.
        partitions: how many partitions there are; limits over all customers are shared out by it.
        ledger: this one's part in them.
        armed: entries by the clock that every customer has a timer for (`RuleSet.triggers`).
        durable_ms: for each topic, what Kafka took up to here is durable; a topic of which that is not known
            since the partition was taken is missing. Live clock only.
        outbox: actions of the last step that are durable, packed; only with actions in transactions.
        unmarked: whether the store is to be told with the next write that the live clock is on.
        reached_ms: what came up to here has been worked on, so deadlines up to here may be judged; 0 = not
            known yet. Live clock only, as the next.
        at_end: whether that was all there was, so that it goes on with the clock.
        was_reached_ms: what `reached_ms` was when the store was last written to, by whoever owned it before;
            0 = it was never known.
    """

    number: int
    epoch: int
    rate: GlobalRate = field(default_factory=GlobalRate)
    segments: dict[str, int] = field(default_factory=dict)
    timers: TimerQueue = field(default_factory=TimerQueue)
    states: dict[str, CustomerState] = field(default_factory=dict)
    partitions: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    armed: frozenset[str] = frozenset()
    durable_ms: dict[str, int] = field(default_factory=dict)
    outbox: bytes = b""
    unmarked: bool = False
    reached_ms: int = 0
    at_end: bool = False
    was_reached_ms: int = 0

    @classmethod
    def restored(
        cls, number: int, epoch: int, fields: Mapping[str, bytes], partitions: int
    ) -> OwnedPartition:
        """Build it from what the store holds."""
        owned = cls(number, epoch, partitions=partitions, outbox=fields.get(OUTBOX_FIELD, b""))
        owned.ledger = Ledger.from_bytes(fields.get(LEDGER_FIELD, b""), number, partitions)
        if blob := fields.get(RATE_FIELD):
            owned.rate = GlobalRate.from_bytes(blob)
        if blob := fields.get(SEGMENTS_FIELD):
            owned.segments = msgspec.json.decode(blob, type=dict[str, int])
        if blob := fields.get(ARMED_FIELD):
            owned.armed = msgspec.json.decode(blob, type=frozenset[str])
        owned.was_reached_ms = int(fields.get(REACHED_FIELD, 0))
        return owned

    def mark(self) -> Mark:
        """Note what a step may change."""
        return Mark(self.rate.to_bytes(), dict(self.segments), self.ledger.to_bytes())

    def go_back(self, mark: Mark) -> None:
        """Undo a step that failed."""
        self.rate = GlobalRate.from_bytes(mark.rate)
        self.segments = dict(mark.segments)
        self.ledger = Ledger.from_bytes(mark.ledger, self.number, self.partitions)

    def reach(self, now_ms: int, behind_ms: int | None) -> None:
        """Note how far what came has been worked on.

        Args:
            now_ms: the wall clock.
            behind_ms: how long ago what has been read was all there was; None = not known.
        """
        self.at_end = behind_ms == 0
        if behind_ms is not None:
            self.reached_ms = max(1, now_ms - behind_ms)

    @property
    def met_from_ms(self) -> int:
        """Up to here everything has been worked on, so who is still unknown came later; 0 = not known."""
        return self.reached_ms or self.was_reached_ms

    def wakeup_ms(self) -> int | None:
        """Return when a timer is to be looked after, or those of the store are; None = not by the clock."""
        due_ms, horizon_ms = self.timers.next_due_ms(), self.timers.horizon_ms
        first_ms = horizon_ms if due_ms is None else min(due_ms, horizon_ms)
        if self.at_end or horizon_ms < self.reached_ms:
            return first_ms
        return first_ms if due_ms is not None and due_ms <= self.reached_ms else None

    def count_segments(self, changes: Iterable[SegmentChange], erased_from: Iterable[str]) -> bool:
        """Follow segment changes and erasures; False when there were none."""
        counts = self.segments
        changed = False
        for change in changes:
            changed = True
            counts[change.entered] = counts.get(change.entered, 0) + 1
            if change.exited:
                counts[change.exited] = max(0, counts.get(change.exited, 0) - 1)
        for name in erased_from:
            if name:
                changed = True
                counts[name] = max(0, counts.get(name, 0) - 1)
        return changed

    def evict(self, most: int, keep: Mapping[str, object]) -> None:
        """Drop the states that came first until at most `most` are left, but none in `keep`."""
        surplus = len(self.states) - most
        if surplus <= 0:
            return
        for customer_id in list(islice((name for name in self.states if name not in keep), surplus)):
            del self.states[customer_id]
