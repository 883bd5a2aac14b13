"""Every action counts once, at the time it could be read, against the intended send time of its cause."""

from __future__ import annotations

import time
from multiprocessing import Pipe
from threading import Thread
from typing import Any

from confluent_kafka import Producer

from engine.streams.local.stack import EmbeddedBroker
from loadtest import generator, reader, relay
from loadtest.generator import Order, Sent
from loadtest.reader import Latencies
from loadtest.workload import RELAY_OUTPUT, RELAY_TOPICS, Workload, record_id


def test_generator_relay_and_reader_agree(embedded_broker: EmbeddedBroker) -> None:
    """What the generator says fires is what the reader sees through the relay, and nothing twice."""
    probe = Producer({"bootstrap.servers": embedded_broker.bootstrap})
    for topic in (*RELAY_TOPICS.values(), RELAY_OUTPUT):
        probe.list_topics(topic, timeout=10)  # the embedded broker makes a topic when it is asked for
    pipes = {name: Pipe() for name in ("generator", "relay", "reader")}
    arguments: dict[str, tuple[Any, ...]] = {
        "generator": (generator.main, Workload(customers=200)),
        "relay": (relay.main, list(RELAY_TOPICS.values())),
        "reader": (reader.main, [RELAY_OUTPUT]),
    }
    threads = []
    for name, (target, argument) in arguments.items():
        pipe = pipes[name][1]
        threads.append(Thread(target=target, args=(pipe, embedded_broker.bootstrap, argument), daemon=True))
        threads[-1].start()
        assert pipes[name][0].recv() == "ready"
    seen = pipes["reader"][0]
    start_s = time.time() + 0.2
    seen.send(("begin", "r1", int(start_s * 1e6)))
    assert seen.recv() == "begun"
    pipes["generator"][0].send(Order("r1", 2_000, 1.0, RELAY_TOPICS, start_s))
    sent = pipes["generator"][0].recv()
    while not isinstance(sent, Sent):
        sent = pipes["generator"][0].recv()
    assert sent.records == 2_000
    deadline_s = time.monotonic() + 20
    seen.send(("count",))
    while seen.recv() < sent.fired and time.monotonic() < deadline_s:
        time.sleep(0.05)
        seen.send(("count",))
    seen.send(("end",))
    found = seen.recv()
    assert isinstance(found, Latencies)
    assert (found.actions, found.repeats, found.counted) == (sent.fired, 0, sent.fired)
    assert 0 < found.percentiles_ms["50"] < 20_000
    for name in ("generator", "relay", "reader"):
        pipes[name][0].send(None)
    for thread in threads:
        thread.join(10)


def test_a_repeat_is_counted_apart_and_early_seconds_are_left_out() -> None:
    """A second action of a cause is no second value; causes before the declared ramp are left out."""
    run = reader._Run(b"r1-", count_from_us=2_000_000)
    early, late = record_id("r1", 1, 1_500_000).encode(), record_id("r1", 2, 2_500_000).encode()
    for identifier in (early, late, late):
        run.note(identifier, 2_510_000)
    result = run.result()
    assert (result.actions, result.repeats, result.counted) == (2, 1, 1)
    assert abs(result.percentiles_ms["100"] - 10) < 0.05
