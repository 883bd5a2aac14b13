"""`python -m tests.fuzz rules|events|yaml --count N`: the long run; each process has a seed of its own."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.fuzz import event_records, rule_files, yaml_readers

CHUNK = 10_000
FUZZERS = {"rules": rule_files.fuzz, "events": event_records.fuzz, "yaml": yaml_readers.fuzz}


def main() -> None:
    """Run until the count is reached, in chunks with a seed each; the first failure ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", choices=sorted(FUZZERS))
    parser.add_argument("--count", type=int, default=100_000, help="how many inputs (100000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first chunk (1)")
    parser.add_argument("--processes", type=int, default=1, help="how many at once (1)")
    asked = parser.parse_args()
    chunks = -(-asked.count // CHUNK)
    begun, total = time.monotonic(), Counter[str]()
    with ProcessPoolExecutor(asked.processes) as pool:
        jobs = [pool.submit(FUZZERS[asked.what], asked.seed + at, CHUNK) for at in range(chunks)]
        for at, job in enumerate(jobs, start=1):
            try:
                total += job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # told now, not when all the others are done
                raise
            passed_s = time.monotonic() - begun
            sys.stdout.write(f"{at * CHUNK:,} of {chunks * CHUNK:,} in {passed_s:.0f} s: {dict(total)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
