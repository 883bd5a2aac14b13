"""`python -m tests.simulation --seeds 10000 --processes 2`: the long run; `--seed N` runs one again."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.plan import LIVE_FAULTS
from tests.simulation.run import never, run_seeds, table

CHUNK = 25
ENOUGH = 1000  # seeds, in which everything has to happen


def main() -> None:
    """Run seeds in chunks, each chunk in one of the processes; the first failure ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds (10000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--processes", type=int, default=1, help="how many at once (1)")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    asked = parser.parse_args()
    if asked.seed is not None:
        sys.stdout.write(f"{table(run_seeds([asked.seed]))}\n")
        return
    begun, total, end = time.monotonic(), Counter[str](), asked.first + asked.seeds
    with ProcessPoolExecutor(asked.processes) as pool:
        jobs = [
            pool.submit(run_seeds, range(first, min(first + CHUNK, end)))
            for first in range(asked.first, end, CHUNK)
        ]
        for number, job in enumerate(jobs, start=1):
            try:
                total += job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # told now, not when all the others are done
                raise
            if number % 10 == 0 or number == len(jobs):
                say(total, begun)
    sys.stdout.write(f"{table(total)}\n")
    if total["seeds"] >= ENOUGH and (missing := never(total)):
        sys.exit(f"these seeds show less than they seem to, for this never happened: {', '.join(missing)}")


def say(total: Counter[str], begun: float) -> None:
    """Print what happened so far."""
    passed_s = time.monotonic() - begun
    sys.stdout.write(
        f"{total['seeds']:,} seeds hold after {passed_s:.0f} s: {total['records']:,} records, "
        f"{total['sent']:,} actions, {sum(total[kind] for kind in set(LIVE_FAULTS)):,} faults\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
