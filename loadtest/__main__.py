"""`python -m loadtest`: relay, engine and stock Faust in one run, in alternation; the report goes to out/."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.bench import Bench, Run, as_data
from loadtest.page import write as write_page
from loadtest.processes import LoadTestError
from loadtest.report import machine, print_table, write_report
from loadtest.search import Trial, best, search
from loadtest.workload import PARTITIONS, Workload

_MAX_RATE = 200_000.0
_BACKLOG_RATE = 30_000.0  # of each worker; more than it can do
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - no disk in the way; the files are in a folder of our own


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes.

    Args:
        warm_up_s: before anything counts.
        trial_s: each run of the search.
        search_s: the whole search.
        latency_s: each latency run.
        settle_s: load on a fresh worker before its latency run.
        faust_s: stock Faust's count.
        rates: latency is measured at those of these that are sustained, besides half of the sustained rate.
    """

    warm_up_s: float
    trial_s: float
    search_s: float
    latency_s: float
    settle_s: float
    faust_s: float
    rates: tuple[float, ...]


FULL = Plan(75, 60, 480, 40, 10, 15, (10_000, 30_000))
QUICK = Plan(25, 15, 60, 12, 5, 6, (10_000,))


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 3 minutes; shorter runs, rougher figures")
    parser.add_argument("--rules", type=int, default=1000, help="active journeys besides the shipped ones")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument(
        "--workers", type=int, default=1, choices=range(1, PARTITIONS + 1), help="of the engine and of Faust"
    )
    parser.add_argument("--start-rate", type=float, default=30_000, help="events/s the search starts at")
    parser.add_argument("--rates", type=float, nargs="*", help="measure latency at these rates")
    parser.add_argument("--no-search", action="store_true", help="no search; latency at --rates only")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument(
        "--scratch", type=Path, default=_SHARED_MEMORY, help="where Kafka's and Valkey's files lie"
    )
    return parser.parse_args(given)


def measure(bench: Bench, plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    """Run every phase.

    Args:
        bench: broker, store, generator and reader, running.
        plan: how long everything takes.
        options: the command line.

    Returns:
        Everything for the report.
    """
    trials: list[Trial] = []
    runs: list[Run] = []
    with bench.engine() as engine:
        bench.load(engine, min(10_000, options.start_rate), plan.warm_up_s / 3)
        bench.load(engine, options.start_rate / 2, plan.warm_up_s * 2 / 3)
        if not options.no_search:
            deadline_s = time.monotonic() + plan.search_s

            def attempt(rate: float) -> Trial:
                verdict, run = bench.trial(engine, rate, plan.trial_s)
                runs.append(run)
                return verdict

            trials = search(attempt, options.start_rate, _MAX_RATE, lambda: time.monotonic() < deadline_s)
        per_customer = bench.bytes_per_customer()
    sustained = best(trials)
    rates = list(options.rates or plan.rates)
    if sustained:
        # above what is sustained a latency says only how long the run was
        rates = [sustained / 2, *(rate for rate in rates if options.rates or rate <= sustained)]
    pairs = [latency_pair(bench, plan, rate) for rate in rates]
    return {
        "trials": [asdict(trial) for trial in trials],
        "search_runs": [as_data(run) for run in runs],
        "sustained_per_s": sustained,
        "latency": [{"relay": as_data(relay), "engine": as_data(engine)} for relay, engine in pairs],
        "backlog_per_s": bench.backlog(_BACKLOG_RATE * options.workers, plan.faust_s).per_s,
        "stock_faust_per_s": bench.stock_faust(plan.faust_s),
        "bytes_per_customer": per_customer,
    }


def latency_pair(bench: Bench, plan: Plan, rate: float) -> tuple[Run, Run]:
    """Measure the relay without the engine, then the engine without the relay, at one rate."""
    relay = bench.relay_run(rate, plan.latency_s)
    with bench.engine() as engine:
        bench.load(engine, rate, plan.settle_s)
        return relay, bench.engine_run(engine, rate, plan.latency_s)


def main() -> int:
    """Run the load test; 0 when every figure may be reported."""
    options = arguments(sys.argv[1:])
    plan = QUICK if options.quick else FULL
    started_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started_s:6.1f} s] {text}", flush=True)

    workload = Workload(customers=options.customers, rules=options.rules)
    scratch = options.scratch if options.scratch.is_dir() else None
    try:
        with Bench(workload, scratch, say, options.workers) as bench:
            result = measure(bench, plan, options)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    whole = {
        "machine": machine(options.scratch),
        "workload": asdict(workload),
        "plan": asdict(plan),
        "workers": options.workers,
        "took_s": round(time.monotonic() - started_s, 1),
        **result,
    }
    faults = print_table(whole)
    print(f"wrote {write_report(whole, options.out)}")
    for path in write_page(options.out):
        print(f"wrote {path}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
