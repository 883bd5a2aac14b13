"""What an event costs by how many workers share the partitions: `python -m loadtest.workers`.

On one machine all workers share its cores, so what is looked at is not how much they get done but what they
spend: each count gets its share of events a second, few enough that nobody waits for a processor. Processor
time for an event that stays the same says that workers do not stand in each other's way, and that twice the
machines do twice the work. What the servers spend is beside it: they are shared, and come to their end
first.

What an event costs depends most of all on how many are worked on at once, and that on how fast everybody
else is. So the broker is a slow one: it answers a fetch after a fixed time with all that has come since, and
every worker's batches are alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench import Bench, Run
from loadtest.processes import LoadTestError
from loadtest.workload import Workload

_NEVER_ENOUGH_BYTES = 1_000_000
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - as in the load test


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        workers: how many.
        run: what was seen.
    """

    workers: int
    run: Run

    def server_us(self, server: str) -> float:
        """Return a server's processor time for an event, microseconds."""
        return self.run.cpu_cores[server] * 1e6 / self.run.rate


def measure(counts: Sequence[int], options: argparse.Namespace) -> list[Row]:
    """Run each number of workers at its rate, on servers of its own."""
    rows = []
    scratch = options.scratch if options.scratch.is_dir() else None
    for count in counts:
        servers = Bench(Workload(rules=options.rules), scratch, _say, count, partitions=max(counts))
        with servers as bench:
            bench.environment["ENGAGE_BATCH_FETCH_WAIT_MS"] = str(options.fetch_wait_ms)
            bench.environment["ENGAGE_BATCH_FETCH_MIN_BYTES"] = str(_NEVER_ENOUGH_BYTES)
            rows.append(_measure(bench, count, options))
    return rows


def _measure(bench: Bench, count: int, options: argparse.Namespace) -> Row:
    rate = options.rate * count
    with bench.engine() as engine:
        bench.load(engine, rate, options.warm_up)
        return Row(count, bench.engine_run(engine, rate, options.seconds))


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> int:
    """Print the table; 0 when every run may be reported."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.workers", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--rate", type=float, default=750, help="events/s of each worker")
    parser.add_argument("--fetch-wait-ms", type=int, default=200, help="a slow broker's answer to a fetch")
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--warm-up", type=float, default=15, help="seconds")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--scratch", type=Path, default=_SHARED_MEMORY)
    options = parser.parse_args()
    try:
        rows = measure(options.counts, options)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    titles = ("workers", "events/s", "a batch", "us/event", "kafka us", "valkey us", "p50 ms", "p99 ms")
    print("".join(f"{title:>10}" for title in titles))
    for row in rows:
        seen = row.run.latencies.percentiles_ms if row.run.latencies else {}
        figures = (
            *(row.run.figures.get("batch_records_mean", 0.0), row.run.cpu_us_per_event),
            *(row.server_us("kafka"), row.server_us("valkey")),
            *(seen.get("50", 0.0), seen.get("99", 0.0)),
        )
        numbers = "".join(f"{figure:>10.1f}" for figure in figures)
        print(f"{row.workers:>10}{row.run.rate:>10,.0f}{numbers}  {row.run.fault}")
    return 1 if any(row.run.fault for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
