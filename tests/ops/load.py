"""Events at a steady rate, for drills."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Self

from confluent_kafka import Producer

ORDER_EVERY = 20
_CHUNK = 1_000  # events between two looks at the clock


class Load:
    """Sends clicks and orders on a schedule fixed beforehand, whatever comes back: who is late catches up.

    Args:
        bootstrap: Kafka.
        rate: events a second.
        most: how many of them from one `go` to the next.
        customers: how many there are, a prime number.
    """

    def __init__(self, bootstrap: str, rate: int, most: int, customers: int) -> None:
        self._bootstrap = bootstrap
        self._rate = rate
        self._most = most
        self._customers = customers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._schedule = time.monotonic(), 0  # since when, and what was sent before
        self.orders: set[str] = set()  # that Kafka took
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.seconds = 0.0  # in which there was something to send

    def go(self) -> None:
        """Send as many as may be sent once more, from now on."""
        self._schedule = time.monotonic(), self.sent

    def _due(self) -> int:
        since, before = self._schedule
        return before + min(self._most, int((time.monotonic() - since) * self._rate))

    def _run(self) -> None:
        settings = {
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "delivery.timeout.ms": 300_000,
            "acks": "all",
        }
        settings |= {"enable.idempotence": True, "queue.buffering.max.messages": 10_000_000}
        producer = Producer({"bootstrap.servers": self._bootstrap, **settings, "log_level": 0})
        now = time.monotonic()
        while not self._stop.is_set():
            before, now = now, time.monotonic()
            if self.sent < (due := self._due()):
                self.seconds += now - before
            while self.sent < due:
                until = min(due, self.sent + _CHUNK)
                now_ms = time.time_ns() // 10**6
                for number in range(self.sent, until):
                    self._one(producer, number, now_ms)
                self.sent = until
                producer.poll(0)
            producer.poll(0)
            time.sleep(0.01)
        assert producer.flush(300) == 0

    def _one(self, producer: Producer, number: int, now_ms: int) -> None:
        customer = f"c{number * 7919 % self._customers}"
        head = f'{{"id":"e{number}","customer_id":"{customer}","time":{now_ms},'
        if number % ORDER_EVERY:
            event = f'{head}"type":"page.viewed"}}'
            producer.produce("engage.clicks", event, customer, on_delivery=self._refused)
            return
        event = f'{head}"type":"order.placed","order_id":"o{number}","amount":20.0}}'

        def taken(error: object, message: object) -> None:
            self._refused(error, message)
            if error is None:
                self.orders.add(f"e{number}")

        producer.produce("engage.orders", event, customer, on_delivery=taken)

    def _refused(self, error: object, _message: object) -> None:
        if error is not None:
            self.refused[str(error)] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop and wait until Kafka has everything."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
