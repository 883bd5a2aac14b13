"""The generator: a process of its own that follows a schedule fixed beforehand.

Record i of a run at rate R is due at start + i / R, whatever happened to the records before it. A late
generator does not move the schedule: it catches up, and how late it was is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from confluent_kafka import Producer

from loadtest.workload import Template, Workload, templates

MAX_LATE_SHARE = 0.01
_TICK_S = 0.001
_REPORT_EVERY_S = 0.25
_CHUNK = 2_000  # records between two looks at the clock while catching up
_FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """One run.

    Args:
        run: its name, first part of every record id.
        rate: records per second.
        duration_s: how long.
        topics: topic of each family.
        start_s: wall clock of the first record, seconds since the epoch.
    """

    run: str
    rate: float
    duration_s: float
    topics: Mapping[str, str]
    start_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """What the generator did.

    Args:
        records: how many it sent.
        fired: how many of them fire an action.
        failed: how many Kafka did not acknowledge.
        late_ms_max: the longest time a record was handed over after it was due.
        overrun_s: how much later than planned the last record went out.
    """

    records: int
    fired: int
    failed: int
    late_ms_max: float
    overrun_s: float

    def fault(self, duration_s: float) -> str:
        """Say why a run with this generator must not be reported; empty when it may."""
        if self.failed:
            return f"kafka did not acknowledge {self.failed} records"
        if self.overrun_s > MAX_LATE_SHARE * duration_s:
            return f"the generator fell {self.overrun_s:.2f} s behind its schedule"
        return ""


class Generator:
    """Sends a run's records on schedule.

    Args:
        bootstrap: Kafka.
        workload: how the load looks.
    """

    def __init__(self, bootstrap: str, workload: Workload) -> None:
        self._pool: Sequence[Template] = templates(workload)
        self._failed = 0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "acks": "1",
                "compression.type": "none",
                "socket.nagle.disable": True,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "on_delivery": self._delivered,
            }
        )

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed += 1

    def run(self, order: Order, report: Connection) -> Sent:
        """Send everything; tell the parent a few times a second how many records are out.

        Args:
            order: what to send.
            report: takes `(wall clock in s, records sent)`; anything coming back ends the run early.

        Returns:
            What happened.
        """
        total = round(order.rate * order.duration_s)
        rate, start_s = order.rate, order.start_s
        sent, fired, late_s, reported_s = 0, 0, 0.0, 0.0
        self._failed = 0
        while sent < total:
            now_s = time.time()
            due = min(total, int((now_s - start_s) * rate) + 1)
            if due <= sent:
                self._producer.poll(0)
                time.sleep(_TICK_S)
                continue
            late_s = max(late_s, now_s - start_s - sent / rate)
            until = min(due, sent + _CHUNK)
            fired += self._send(order, sent, until)
            sent = until
            self._producer.poll(0)
            if now_s - reported_s > _REPORT_EVERY_S:
                report.send((now_s, sent))
                reported_s = now_s
                if report.poll():
                    report.recv()
                    break
        overrun_s = max(0.0, time.time() - start_s - order.duration_s)
        left = self._producer.flush(_FLUSH_S)
        return Sent(sent, fired, self._failed + left, late_s * 1000, overrun_s)

    def _send(self, order: Order, first: int, until: int) -> int:
        pool, size, produce = self._pool, len(self._pool), self._producer.produce
        topics, run, rate, start_us = order.topics, order.run, order.rate, order.start_s * 1e6
        fired = 0
        for number in range(first, until):
            template = pool[number % size]
            intended_us = int(start_us + number * 1e6 / rate)
            head = f'{{"id":"{run}-{number}-{intended_us}","time":{intended_us // 1000},'
            produce(topics[template.family], head.encode() + template.tail, template.key)
            fired += template.fires
        return fired


def main(pipe: Connection, bootstrap: str, workload: Workload) -> None:
    """Serve orders from the parent until it goes away.

    Args:
        pipe: takes `Order`s, gives progress and then `Sent`.
        bootstrap: Kafka.
        workload: how the load looks.
    """
    generator = Generator(bootstrap, workload)
    pipe.send("ready")
    try:
        while (order := pipe.recv()) is not None:
            if isinstance(order, Order):  # else a "stop" that came too late
                pipe.send(generator.run(order, pipe))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
