"""What an event costs in the engine's own code, without servers: `python -m loadtest.cost`.

Processor time, not wall time, so that the figures hold on a crowded machine. The load test's workload.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.config import load_settings
from engine.events import EVENT_TYPES, Event, Family, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.resources import shipped
from engine.streams.partition import partition_of
from engine.streams.wire.codec import Decoder, encode_action
from engine.streams.wiring import build_pipeline
from loadtest.workload import PARTITIONS, Template, Workload, record_id, templates, write_journeys

_BATCHES = (32, 128, 500, 2000)
_RULES = (3, 100, 1000, 10_000)
_WARM_EVENTS = 60_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time per event.

    Args:
        rules: generated journeys beside the shipped ones.
        batch: events worked on at once.
        decode_us: bytes to events.
        pipeline_us: events and states to new states, actions and decisions.
        pack_us: states to bytes, actions to bytes.
        actions: share of events that fired an action.
        state_bytes: mean size of a packed state.
    """

    rules: int
    batch: int
    decode_us: float
    pipeline_us: float
    pack_us: float
    actions: float
    state_bytes: float

    @property
    def total_us(self) -> float:
        """Everything but Kafka and Redis."""
        return self.decode_us + self.pipeline_us + self.pack_us


class Rehearsal:
    """The pure core with the states of all customers in memory.

    Args:
        workload: how the load looks.
    """

    def __init__(self, workload: Workload) -> None:
        self._rules = workload.rules
        self._pool = templates(workload)
        self._decoder = Decoder("live")
        self.states: dict[str, CustomerState] = {}
        self._rates = {number: GlobalRate() for number in range(PARTITIONS)}
        self._number = 0
        self._start_ms = time.time_ns() // 1_000_000
        with tempfile.TemporaryDirectory() as folder:
            write_journeys(Path(folder), workload)
            paths = f"{shipped('journeys')},{folder}"
            self.pipeline: Pipeline = build_pipeline(load_settings({"rules.paths": paths}, environ={}))

    def _records(self, count: int) -> Iterator[tuple[Template, bytes]]:
        for _ in range(count):
            number = self._number
            self._number += 1
            template = self._pool[number % len(self._pool)]
            # Ten milliseconds apart for one thing after the other to have a time of its own.
            time_ms = self._start_ms + number // 100
            head = f'{{"id":"{record_id("c", number, time_ms)}","time":{time_ms},'
            yield template, head.encode() + template.tail

    def run(self, events: int, batch: int) -> Cost:
        """Work on events in batches.

        Args:
            events: how many; at least one batch.
            batch: how many at once.

        Returns:
            What it cost.
        """
        spent_ns = [0, 0, 0]
        actions, size, packed = 0, 0, 0
        rounds = max(1, events // batch)
        families = {str(family): family for family in Family}  # a worker knows it by the record's topic
        for _ in range(rounds):
            records = list(self._records(batch))
            now_ms = self._start_ms + self._number // 100
            marks = [time.process_time_ns()]
            decode = self._decoder.decode
            decoded = [
                decode(families[template.family], value, template.key, now_ms) for template, value in records
            ]
            marks.append(time.process_time_ns())
            outcome = self.pipeline.process(self._work(decoded, now_ms))
            marks.append(time.process_time_ns())
            blobs = [self.states[name].pack() for name in outcome.touched]
            actions += len([encode_action(action) for action in outcome.actions])
            marks.append(time.process_time_ns())
            size += sum(map(len, blobs))
            packed += len(blobs)
            for stage in range(3):
                spent_ns[stage] += marks[stage + 1] - marks[stage]
        count = rounds * batch
        decode_us, pipeline_us, pack_us = (spent / count / 1000 for spent in spent_ns)
        return Cost(self._rules, batch, decode_us, pipeline_us, pack_us, actions / count, size / packed)

    def _work(self, events: list[Event], now_ms: int) -> Work:
        rows, states = [], {}
        for event in events:
            name = event.customer_id
            state = self.states.get(name)
            if state is None:
                state = self.states[name] = CustomerState(name)
            states[name] = state
            number = partition_of(name.encode(), PARTITIONS)
            rows.append(EventRow(number, event, EVENT_TYPES[event.type].code, now_ms, event_key(event)))
        until_ms = dict.fromkeys(range(PARTITIONS), now_ms)
        return Work(rows, {}, states, until_ms, self._rates, replay=False)


def main() -> int:
    """Print what an event costs by batch size and by number of rules."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.cost", description=__doc__)
    parser.add_argument("--rules", type=int, nargs="*", default=list(_RULES))
    parser.add_argument("--batches", type=int, nargs="*", default=list(_BATCHES))
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    print(
        f"{'rules':>7}{'batch':>7}{'decode':>9}{'pipeline':>10}{'pack':>7}{'total':>8} us/event actions bytes"
    )
    for rules in options.rules:
        rehearsal = Rehearsal(Workload(rules=rules))
        rehearsal.run(_WARM_EVENTS, 1000)
        for batch in options.batches:
            profiler = cProfile.Profile() if options.profile else None
            if profiler:
                profiler.enable()
            cost = rehearsal.run(options.events, batch)
            if profiler:
                profiler.disable()
                pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(40)
            print(
                f"{cost.rules:>7}{cost.batch:>7}{cost.decode_us:>9.2f}{cost.pipeline_us:>10.2f}"
                f"{cost.pack_us:>7.2f}{cost.total_us:>8.2f}{cost.actions:>17.1%}{cost.state_bytes:>6.0f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
