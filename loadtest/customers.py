"""What an event costs by how many customers there are: `python -m loadtest.customers`.

For each count the store is filled with that many customers who have done something before. Then events
come from all of them alike, so that the worker's cache of states saves little: the worst case. For ten
million, store and file together take some 10 GB, in memory when the file lies in /dev/shm.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from engine.streams.partition import partition_of
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.redis import RedisStore
from loadtest.bench import Bench, WorkedOff
from loadtest.cost import Rehearsal
from loadtest.processes import LoadTestError
from loadtest.workload import PARTITIONS, Workload, customer_id

COUNTS = (10_000, 100_000, 1_000_000)
_SAMPLES = 5_000  # customers whose states stand for all
_EVENTS_EACH = 8  # that they have sent
_AT_ONCE = 20_000  # customers in one commit
_STORE_TIMEOUT_S = 60.0
_WARM_UP_RATE = 4_000.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - as in the load test


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        customers: how many.
        fill_s: how long it took to write them.
        bytes_per_customer: memory of the store for each, its share of everything included.
        work: how a backlog was worked off.
    """

    customers: int
    fill_s: float
    bytes_per_customer: float
    work: WorkedOff


def sample_states(rules: int) -> list[tuple[bytes, int]]:
    """Return packed states of customers who have sent a few events each, and when their timers are due."""
    rehearsal = Rehearsal(Workload(customers=_SAMPLES, zipf=0.0, rules=rules))
    rehearsal.run(_SAMPLES * _EVENTS_EACH, 1_000)
    return [(state.pack(), state.due_ms) for state in rehearsal.states.values()]


async def fill(url: str, count: int, samples: list[tuple[bytes, int]]) -> None:
    """Write customers the way a worker does.

    Args:
        url: the store, empty.
        count: how many.
        samples: states and due instants, given to one customer after the other.
    """
    store = RedisStore(url, timeout_s=_STORE_TIMEOUT_S)
    try:
        epochs = [(await store.acquire(number, PARTITIONS)).epoch for number in range(PARTITIONS)]
        for numbers in _chunks(count):
            writes = [PartitionWrite(number, epoch, {}, {}) for number, epoch in enumerate(epochs)]
            for number in numbers:
                name = customer_id(number).encode()
                write = writes[partition_of(name, PARTITIONS)]
                state, due_ms = samples[number % len(samples)]
                write.states[name] = state  # type: ignore[index] # made here, given away when full
                if due_ms > 0:
                    write.timers[name] = due_ms  # type: ignore[index]
            await store.commit(writes)
    finally:
        await store.close()


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))


def measure(customers: int, options: argparse.Namespace, samples: list[tuple[bytes, int]]) -> Row:
    """Fill a store, let a worker get warm, and let a fresh one work off a backlog."""
    workload = Workload(customers=customers, zipf=0.0, rules=options.rules)
    scratch = options.scratch if options.scratch.is_dir() else None
    with Bench(workload, scratch, lambda text: print(f"  {text}", flush=True)) as bench:
        began_s = time.monotonic()
        asyncio.run(fill(bench.store.url, customers, samples))
        fill_s = time.monotonic() - began_s
        with redis.Redis.from_url(bench.store.url) as client:
            used = int(client.info("memory")["used_memory"])
        with bench.engine() as engine:
            bench.load(engine, _WARM_UP_RATE, options.seconds)
        return Row(customers, fill_s, used / customers, bench.backlog(options.rate, options.seconds))


def main() -> int:
    """Print the table; 0 when every count was measured."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.customers", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS))
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=30_000, help="of the backlog; more than it can do")
    parser.add_argument("--seconds", type=float, default=10, help="of each part")
    parser.add_argument("--scratch", type=Path, default=_SHARED_MEMORY)
    options = parser.parse_args()
    rows = []
    samples = sample_states(options.rules)
    try:
        for count in options.counts:
            print(f"{count:,} customers", flush=True)
            rows.append(measure(count, options, samples))
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{'customers':>12}{'filled in':>11}{'bytes each':>12}{'us/event':>10}{'events/s':>10}{'others':>8}"
    )
    for row in rows:
        print(
            f"{row.customers:>12,}{row.fill_s:>9.0f} s{row.bytes_per_customer:>12.0f}"
            f"{row.work.cpu_us:>10.1f}{row.work.per_s:>10,.0f}{row.work.others_cores:>8.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
