"""How long a hand-over takes: `python -m loadtest.handover`.

Two workers share the partitions under a steady load. One is ended, by SIGTERM or by `kill -9`; the other
takes its partitions over. Measured are the time until the process is gone, and the longest that any event had
to wait for its action around that moment, from its intended send time to the action being readable. Nothing
may be lost.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest.bench import Bench
from loadtest.generator import Order, Sent
from loadtest.processes import LoadTestError, Workers
from loadtest.reader import Latencies
from loadtest.workload import PARTITIONS, TOPICS, Workload

_WARM_S = 15.0
_BEFORE_S = 6.0
_AFTER_S = 8.0
_GIVE_UP_S = 60.0


@dataclass(frozen=True, slots=True)
class HandOver:
    """What ending one of two workers did.

    Args:
        how: `SIGTERM` or `SIGKILL`.
        rate: events per second.
        exit_code: of the process; negative = the signal.
        gone_s: from the signal until the process was gone.
        longest_ms: the longest an event sent from a second before the signal on waited for its action.
        longest_before_ms: the longest of those sent before.
        actions: how many came.
        lost: how many did not.
        repeats: how many came twice, with the same id.
    """

    how: str
    rate: float
    exit_code: int
    gone_s: float
    longest_ms: float
    longest_before_ms: float
    actions: int
    lost: int
    repeats: int


def hand_over(bench: Bench, workers: Workers, rate: float, how: signal.Signals, run: str) -> HandOver:
    """End the first of two workers under load.

    Args:
        bench: broker, store, generator and reader.
        workers: two that share the partitions.
        rate: events per second.
        how: the signal.
        run: name of the run.
    """
    start_s = time.time() + 0.5
    bench.reader.ask(("begin", run, int(start_s * 1e6)))
    stop = threading.Event()
    taken: list[Sent] = []
    duration_s = 600.0
    bench.generator.pipe.send(Order(run, rate, duration_s, TOPICS, start_s))

    def listen() -> None:
        told = False
        while True:
            message = bench.generator.pipe.recv()
            if isinstance(message, Sent):
                taken.append(message)
                return
            if stop.is_set() and not told:
                bench.generator.pipe.send("stop")
                told = True

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    time.sleep(0.5 + _BEFORE_S)
    at_s = time.time()
    exit_code, gone_s = workers.engines[0].end(how)
    time.sleep(_AFTER_S)
    stop.set()
    thread.join(_GIVE_UP_S)
    if not taken:
        raise LoadTestError("the generator did not stop")
    deadline_s = time.monotonic() + _GIVE_UP_S
    while bench.reader.ask(("count",)) < taken[0].fired and time.monotonic() < deadline_s:
        time.sleep(0.2)
    seen: Latencies = bench.reader.ask(("end",))
    around = [longest for second, _, longest in seen.per_second_ms if second >= int(at_s) - 1]
    before = [longest for second, _, longest in seen.per_second_ms if second < int(at_s) - 1]
    return HandOver(
        how=how.name,
        rate=rate,
        exit_code=exit_code,
        gone_s=round(gone_s, 2),
        longest_ms=round(max(around, default=0.0)),
        longest_before_ms=round(max(before, default=0.0)),
        actions=seen.actions,
        lost=taken[0].fired - seen.actions,
        repeats=seen.repeats,
    )


def _share_out(workers: Workers) -> None:
    """Wait until both workers have their part of the partitions."""
    deadline_s = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < deadline_s:
        if sorted(len(engine.status()["partitions"]) for engine in workers.engines) == [PARTITIONS // 2] * 2:
            return
        time.sleep(0.1)
    raise LoadTestError("the workers did not share the partitions")


def main() -> None:
    """Measure and print a line of JSON for each hand-over; exit code 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=3000.0, help="events per second")
    parser.add_argument("--times", type=int, default=3, help="hand-overs of each kind")
    parser.add_argument("--scratch", type=Path, default=None, help="where files are kept, such as /dev/shm")
    given = parser.parse_args()
    lost = 0

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with Bench(Workload(), given.scratch, say, 2) as bench:
        for number in range(given.times):
            for how in (signal.SIGTERM, signal.SIGKILL):
                with bench.engine() as workers:
                    _share_out(workers)
                    if not number:
                        bench.load(workers, given.rate, _WARM_S)
                    done = hand_over(bench, workers, given.rate, how, f"{how.name.lower()}{number}")
                lost += done.lost
                print(json.dumps(asdict(done)), flush=True)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
