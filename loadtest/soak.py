"""`make soak`: load for half an hour; memory, file descriptors, threads and Redis keys must stay flat.

They are looked at every few seconds. What is judged is the second half of the run: the first fills caches and
makes the customers known. A customer's state grows until it has as many entries as are kept one by one
(`engine/features/tiles.py`), so there are few enough customers for all to get there in the first half.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from loadtest.bench import Bench
from loadtest.generator import Order, Sent
from loadtest.processes import LoadTestError, Workers
from loadtest.report import machine
from loadtest.workload import TOPICS, Workload

# Share by which the last quarter's median may lie above that of the third; of memory, an allocator's scatter.
ALLOWED = {"resident_mib": 0.03, "descriptors": 0.0, "threads": 0.0, "redis_keys": 0.005, "redis_mib": 0.05}
_LOOK_S = 5.0
_MIN_LOOKS = 8
_REWRITE_LOOKS = 24
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """The worker and the store at one moment.

    Args:
        at_s: since the run began.
        events: worked on since the worker's start.
        resident_mib: the worker's memory.
        descriptors: files and sockets it has open.
        threads: how many it has.
        redis_keys: how many the store has.
        redis_mib: the store's memory for data.
    """

    at_s: float
    events: int
    resident_mib: float
    descriptors: int
    threads: int
    redis_keys: int
    redis_mib: float


def look(engine: Workers, client: redis.Redis, began_s: float) -> Look:
    """Look at workers and store; what several workers have is added up."""
    resident, descriptors, threads = 0.0, 0, 0
    for pid in engine.pids():
        process = Path(f"/proc/{pid}")
        told = dict(line.split(":", 1) for line in (process / "status").read_text("ascii").splitlines())
        resident += int(told["VmRSS"].split()[0]) / 1024
        threads += int(told["Threads"])
        descriptors += sum(1 for _ in (process / "fd").iterdir())
    memory = client.info("memory")["used_memory_dataset"] / _MIB
    at_s = round(time.monotonic() - began_s, 1)
    keys = int(client.dbsize())
    return Look(at_s, engine.events_total(), round(resident, 1), descriptors, threads, keys, round(memory, 1))


def growth(looks: Sequence[Look], name: str) -> float:
    """Return by which share a number's median in the last quarter lies above that in the third."""
    half = [getattr(each, name) for each in looks[len(looks) // 2 :]]
    before, after = half[: len(half) // 2], half[len(half) // 2 :]
    base = statistics.median(before)
    return statistics.median(after) / base - 1 if base else 0.0


def verdicts(looks: Sequence[Look]) -> dict[str, tuple[float, bool]]:
    """Return growth of every number, and whether it is flat.

    Raises:
        LoadTestError: there are too few looks to say anything.
    """
    if len(looks) < _MIN_LOOKS:
        raise LoadTestError(
            f"only {len(looks)} looks in this time, {_MIN_LOOKS} are needed: take --minutes 2"
        )
    grown = {name: growth(looks, name) for name in ALLOWED}
    return {name: (share, share <= ALLOWED[name]) for name, share in grown.items()}


def soak(bench: Bench, engine: Workers, rate: float, seconds: float) -> tuple[list[Look], Sent]:
    """Offer events at a rate and look on.

    Args:
        bench: broker, store and generator.
        engine: the workers.
        rate: events per second.
        seconds: how long.
    """
    client = redis.Redis.from_url(bench.store.url)
    looks: list[Look] = []
    began_s = time.monotonic()
    bench.generator.pipe.send(Order("soak", rate, seconds, TOPICS, time.time() + 0.5))
    try:
        while time.monotonic() < began_s + 2 * seconds + 60:
            while bench.generator.pipe.poll(0.05):
                message = bench.generator.pipe.recv()
                if isinstance(message, Sent):
                    return looks, message
            if not looks or time.monotonic() - began_s - looks[-1].at_s >= _LOOK_S:
                looks.append(look(engine, client, began_s))
                if len(looks) % _REWRITE_LOOKS == 0:
                    client.bgrewriteaof()  # the test's server does not by itself, and its file lies in memory
    finally:
        client.close()
    raise LoadTestError("the generator did not finish")


def main() -> int:
    """Soak; 0 when everything stayed flat."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--rate", type=float, default=5_000.0, help="events/s; about 80 %% of what is sustained"
    )
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of our own in it
    options = parser.parse_args()
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:6.1f} s] {text}", flush=True)

    scratch = options.scratch if options.scratch.is_dir() else None
    try:
        workload = Workload(customers=options.customers, rules=options.rules)
        with Bench(workload, scratch, say) as bench, bench.engine() as engine:
            say(f"{options.rate:,.0f} events/s for {options.minutes:g} minutes")
            looks, sent = soak(bench, engine, options.rate, options.minutes * 60)
            bench.drain(engine)
            done = engine.events_total()
            found = verdicts(looks)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    first, last = looks[len(looks) // 2], looks[-1]
    for name, (share, flat) in found.items():
        span = f"{getattr(first, name):,} half-way, {getattr(last, name):,} at the end"
        print(f"{name:14}{share:>8.1%} (may grow by {ALLOWED[name]:.1%})  {span}  {'' if flat else 'GREW'}")
    lost = sent.records - done
    print(f"{done:,} of {sent.records:,} events worked on{'' if not lost else '  LOST'}")
    result = {
        "machine": machine(options.scratch),
        "rate": options.rate,
        "minutes": options.minutes,
        "growth": {name: round(share, 4) for name, (share, _) in found.items()},
        "samples": [dataclasses.asdict(each) for each in looks],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "soak.json").write_text(json.dumps(result, indent=1), "utf-8")
    return 0 if not lost and all(flat for _, flat in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
