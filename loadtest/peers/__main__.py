"""`python -m loadtest.peers`: the engine's full job beside Quix Streams, Bytewax and stock Faust.

First every peer works off a small backlog, and what it wrote must equal the plain count. Then all take turns
on a large one; what they write then must be right, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from engine.streams.kafka import KafkaSettings, TopicSpec, create_topics
from loadtest.bench import Bench
from loadtest.page import write as write_page
from loadtest.peers.backlog import Backlog, produce
from loadtest.peers.environments import interpreter
from loadtest.peers.jobs import JOBS, Task
from loadtest.peers.report import print_table, summary, write
from loadtest.peers.side import PEERS, Expected, Measured, Side
from loadtest.processes import LoadTestError, cpu_s
from loadtest.report import machine
from loadtest.workload import PARTITIONS, TOPICS, Workload, templates

_SMALL = Workload(customers=500)
_SMALL_PER_S = 5.0
_PER_S = 500.0
_ENGINE_PER_S = 40_000  # more than it can do


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes.

    Args:
        warm_up_s: load before anything counts.
        seconds: each run, from its first record on.
        rounds: how often all take their turn.
        records: of the peers' backlog.
    """

    warm_up_s: float
    seconds: float
    rounds: int
    records: int


FULL = Plan(60, 15, 2, 1_200_000)
QUICK = Plan(20, 10, 1, 800_000)


class Comparison:
    """The runs, on one broker.

    Args:
        bench: broker and store, running.
        plan: how long everything takes.
        say: tells the person what is going on.
    """

    def __init__(self, bench: Bench, plan: Plan, say: Any) -> None:
        self._bench = bench
        self._plan = plan
        self._say = say
        self._tasks = 0
        self._pool = templates(bench.workload)

    def check(self, peers: list[str], records: int) -> list[Measured]:
        """Let every peer do every job on the small backlog; what it wrote must equal the plain count."""
        start_ms = int((time.time() - 2 * records / _SMALL_PER_S) * 1000)
        backlog = Backlog("small", templates(_SMALL), records, _SMALL_PER_S, start_ms)
        self._create("peers.small")
        topics = dict.fromkeys(TOPICS, "peers.small")
        count = produce(self._bench.broker.bootstrap, backlog.events(), topics, stamped=True)
        count += produce(self._bench.broker.bootstrap, backlog.closing(), topics, stamped=True)
        expected = Expected(backlog.seen())
        return [
            self._run(peer, job, "peers.small", count, expected, whole=True) for peer in peers for job in JOBS
        ]

    def measure(self, peers: list[str]) -> list[Measured]:
        """Let the engine and all peers take turns on the large backlog."""
        plan = self._plan
        start_ms = int((time.time() - plan.records / _PER_S) * 1000)
        backlog = Backlog("large", self._pool, plan.records, _PER_S, start_ms)
        self._create("peers.large")
        self._say(f"a backlog of {plan.records:,} events")
        topics = dict.fromkeys(TOPICS, "peers.large")
        produce(self._bench.broker.bootstrap, backlog.events(), topics, stamped=True)
        expected = Expected(backlog.seen())
        found = []
        for number in range(plan.rounds):
            found.append(self._engine(number))
            turns = [(peer, job) for job in JOBS for peer in peers]
            turns += [("faust", "empty")] if "faust" in peers else []
            found += [
                self._run(
                    peer, job, "peers.large", plan.records, None if job == "empty" else expected, whole=False
                )
                for peer, job in turns
            ]
        return found

    def _engine(self, number: int) -> Measured:
        records = int(_ENGINE_PER_S * self._plan.seconds)
        start_ms = int((time.time() - records / _PER_S) * 1000)
        backlog = Backlog(f"engine{number}", self._pool, records, _PER_S, start_ms)
        produce(self._bench.broker.bootstrap, backlog.events(), TOPICS, stamped=False)
        try:
            done = self._bench.work_off(records, self._plan.seconds)
        except LoadTestError as error:
            measured = Measured("engine", "full", 0, 0.0, 0.0, 0.0, str(error))
        else:
            measured = Measured("engine", "full", done.records, done.seconds, done.cpu_us, done.others_cores)
        self._told(measured)
        return measured

    def _run(
        self, peer: str, job: str, source: str, records: int, expected: Expected | None, *, whole: bool
    ) -> Measured:
        self._tasks += 1
        name = f"{peer}-{job}-{self._tasks}"
        target = f"peers.{name}"
        self._create(target)
        folder = self._bench.folder / name
        seconds = 0.0 if whole else self._plan.seconds
        task = Task(self._bench.broker.bootstrap, job, source, target, name, str(folder), seconds, records)
        try:
            measured = self._attempt(peer, task, expected, whole=whole)
        except LoadTestError as error:
            # One that fails must not take the others' figures with it.
            measured = Measured(peer, job, 0, 0.0, 0.0, 0.0, str(error))
        if whole:
            self._say(f"{peer}, {job}: {measured.fault or 'equals the plain count'}")
        else:
            self._told(measured)
        return measured

    def _attempt(self, peer: str, task: Task, expected: Expected | None, *, whole: bool) -> Measured:
        side = Side(peer, task)
        fault = ""
        try:
            measured = side.measured(self._ours_s)
            if expected and whole:
                fault = side.settle(lambda: expected.fault(task, peer, whole=True))
        finally:
            side.stop()
        if expected and not whole:
            fault = expected.fault(task, peer, whole=False)
        return dataclasses.replace(measured, fault=fault)

    def _told(self, measured: Measured) -> None:
        wrong = f"; {measured.fault}" if measured.fault else ""
        self._say(
            f"{measured.subject}, {measured.job}: {measured.per_s:,.0f} events/s, "
            f"{measured.cpu_us_per_event:.1f} us of processor an event{wrong}"
        )

    def _create(self, topic: str) -> None:
        create_topics(KafkaSettings(self._bench.broker.bootstrap), [TopicSpec(topic, PARTITIONS, 1)])

    def _ours_s(self) -> float:
        return time.process_time() + cpu_s(self._bench.broker.pid)


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of short runs, about 5 minutes")
    parser.add_argument("--check", action="store_true", help="only see whether what the peers write is right")
    parser.add_argument("--small", type=int, default=20_000, help="events of the small backlog")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rules", type=int, default=1000, help="active journeys besides the shipped ones")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of our own in it
    return parser.parse_args(given)


def compare(bench: Bench, plan: Plan, options: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Run everything; return it for the report."""
    missing = {}
    for peer in list(options.peers):
        try:
            interpreter(peer)
        except LoadTestError as error:
            missing[peer] = str(error)
            options.peers.remove(peer)
            say(str(error))
    comparison = Comparison(bench, plan, say)
    checked = comparison.check(options.peers, options.small)
    measured = []
    if not options.check:
        with bench.engine() as engine:
            bench.load(engine, 10_000, plan.warm_up_s)
        measured = comparison.measure(options.peers)
    return summary(checked, measured, missing)


def main() -> int:
    """Compare; 0 when everything was right."""
    options = arguments(sys.argv[1:])
    plan = QUICK if options.quick else FULL
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:6.1f} s] {text}", flush=True)

    workload = Workload(rules=options.rules)
    scratch = options.scratch if options.scratch.is_dir() else None
    try:
        with Bench(workload, scratch, say) as bench:
            found = compare(bench, plan, options, say)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    whole = {
        "machine": machine(options.scratch),
        "workload": dataclasses.asdict(workload),
        "plan": dataclasses.asdict(plan),
        "took_s": round(time.monotonic() - began_s, 1),
        "peers": found,
    }
    print_table(found)
    print(f"wrote {write(whole, options.out)}")
    for path in write_page(options.out):
        print(f"wrote {path}")
    return 1 if any(each["fault"] for each in (*found["checked"], *found["measured"])) else 0


if __name__ == "__main__":
    sys.exit(main())
