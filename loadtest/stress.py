"""`python -m loadtest.stress`: overload, a hot customer, large records, a million timers due in one second.

But for the overload, steady events go on at half of the sustained rate beside something nasty. Nothing may be
lost, memory must stay bounded, and the actions of the steady events must keep coming.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import redis
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from engine.metrics import LAG
from engine.top.scrape import total
from loadtest import generator
from loadtest.bench import Bench, Run
from loadtest.figures import read_all
from loadtest.generator import Order, Sent
from loadtest.page import write as write_page
from loadtest.peers.backlog import produce
from loadtest.peers.outputs import records
from loadtest.processes import Helper, LoadTestError, Workers, running_engine
from loadtest.report import machine
from loadtest.soak import look
from loadtest.workload import ACTION_PREFIX, PARTITIONS, TOPICS, Template, Workload

OVER = 3.0
HOT_SHARE = 0.1
MAX_GROWN_MIB = 1_024.0
MAX_TIMES = 5.0  # p99 of the steady events, times that of a quiet run,
MAX_MORE_MS = 100.0  # and so much more
MAX_TIMER_MS = 5_000.0
CATCH_UP = 4.0  # times what the rest would take at the sustained rate
_LARGE = 500
_LARGE_BYTES = 60_000
_TIMED = "stress-timed"
_TIMED_CHANNEL = "wechat"
_LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Case:
    """A case and what became of it.

    Args:
        name: of the case.
        said: what was seen.
        held: whether it was as it must be.
        figures: the same for programs.
    """

    name: str
    said: str
    held: bool
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overload:
    """What was seen of an overload.

    Args:
        sent: events.
        done: of them, worked on in the end.
        backlog: most events waiting, by what is in the topics and what was done.
        told: most records waiting, by the metric.
        grown_mib: the worker's memory at most over that at the start.
        caught_up_s: from the last event sent to the last one done.
    """

    sent: int
    done: int
    backlog: int
    told: float
    grown_mib: float
    caught_up_s: float


def judge_overload(seen: Overload, sustained: float) -> Case:
    """Say whether the engine bore an overload: nothing lost, memory bounded, lag told, caught up in time."""
    may_take_s = CATCH_UP * seen.backlog / sustained + 5
    held = (
        seen.done == seen.sent
        and seen.grown_mib <= MAX_GROWN_MIB
        and seen.told >= seen.backlog / 2
        and seen.caught_up_s <= may_take_s
    )
    said = (
        f"{seen.done:,} of {seen.sent:,} events; {seen.backlog:,} waited at most, the metric said "
        f"{seen.told:,.0f}; memory grew by {seen.grown_mib:,.0f} MiB; caught up in {seen.caught_up_s:.0f} s"
    )
    return Case(f"overload, {OVER:g} times the sustained rate", said, held, dataclasses.asdict(seen))


def judge_steady(name: str, run: Run, quiet_ms: float, more: str = "") -> Case:
    """Say whether the steady events' actions kept coming.

    Args:
        name: of the case.
        run: the steady events.
        quiet_ms: p99 with nothing beside them.
        more: what else is to be said.
    """
    seen = run.latencies.percentiles_ms if run.latencies else {}
    p99_ms = seen.get("99", float("inf"))
    held = not run.fault and p99_ms <= MAX_TIMES * quiet_ms + MAX_MORE_MS
    said = (
        f"p50 {seen.get('50', 0):.0f}, p99 {p99_ms:.0f} ms of the others; {quiet_ms:.0f} ms when quiet{more}"
    )
    return Case(name, f"{said}; {run.fault}" if run.fault else said, held, {"latency_ms": seen})


class Stress:
    """The cases, on one broker and store.

    Args:
        bench: broker, store, generator and reader.
        sustained: events per second that are sustained.
        seconds: of each run.
    """

    def __init__(self, bench: Bench, sustained: float, seconds: float) -> None:
        self._bench = bench
        self._sustained = sustained
        self._seconds = seconds

    def overload(self, engine: Workers, seconds: float) -> Case:
        """Offer three times what is sustained, then wait until all of it is done."""
        self._keep_everything()
        client = redis.Redis.from_url(self._bench.store.url)
        began_s, begun = time.monotonic(), engine.events_total()
        first = look(engine, client, began_s)
        rate = OVER * self._sustained
        start_s = time.time() + 0.5
        self._bench.generator.pipe.send(Order("over", rate, seconds, TOPICS, start_s))
        sent: Sent | None = None
        told, backlog, ended_s, looks, done = 0.0, 0, 0.0, [first], 0
        before = appended(self._bench.broker.bootstrap)
        while time.monotonic() - began_s < _LIMIT_S:
            while self._bench.generator.pipe.poll(0.2):
                message = self._bench.generator.pipe.recv()
                if isinstance(message, Sent):
                    sent, ended_s = message, time.monotonic()
            # Not what the generator handed over: some of that may not have reached Kafka yet.
            there = appended(self._bench.broker.bootstrap) - before
            done = engine.events_total() - begun
            backlog = max(backlog, there - done)
            told = max(told, total(read_all(engine.metrics()), LAG))
            looks.append(look(engine, client, began_s))
            if sent is not None and done >= sent.records:
                break
        client.close()
        if sent is None:
            raise LoadTestError("the generator did not finish the overload")
        grown = max(each.resident_mib for each in looks) - first.resident_mib
        caught_up_s = time.monotonic() - ended_s
        seen = Overload(sent.records, done, backlog, told, round(grown, 1), round(caught_up_s, 1))
        return judge_overload(seen, self._sustained)

    def quiet(self, engine: Workers) -> float:
        """Return the p99 of the steady events with nothing beside them, ms."""
        run = self._steady(engine)
        if run.fault or run.latencies is None:
            raise LoadTestError(f"the quiet run failed: {run.fault}")
        return run.latencies.percentiles_ms["99"]

    def hot_customer(self, engine: Workers, quiet_ms: float) -> Case:
        """Let one customer have a tenth of all events."""
        ordinary = self._bench.generator
        workload = dataclasses.replace(self._bench.workload, hot_share=HOT_SHARE)
        with Helper(generator.main, self._bench.broker.bootstrap, workload) as hot:
            self._bench.generator = hot
            try:
                run = self._steady(engine)
            finally:
                self._bench.generator = ordinary
        return judge_steady("one customer has a tenth of all events", run, quiet_ms)

    def large_records(self, engine: Workers, quiet_ms: float) -> Case:
        """Send records of nearly 64 KiB all at once in the middle of a run."""
        run = self._steady(engine, self._send_large)
        return judge_steady(f"{_LARGE} records of {_LARGE_BYTES // 1000} kB at once", run, quiet_ms)

    def timers(self, count: int) -> Case:
        """Let so many customers' waits end in the same second, with steady events beside."""
        folder = self._bench.folder / "timed"
        folder.mkdir()
        due_s = (time.time() + 90 + count / (self._sustained / 2)) // 60 * 60 + 60
        at = datetime.fromtimestamp(due_s, UTC).strftime("%H:%M")
        self._keep_everything()
        (folder / f"{_TIMED}.yaml").write_text(_timed_journey(at), "utf-8")
        environment = dict(self._bench.environment)
        environment["ENGAGE_RULES_PATHS"] += f",{folder}"
        with running_engine(1, environment, self._bench.folder) as engine:
            produce(self._bench.broker.bootstrap, _timed_events(count), TOPICS, stamped=False)
            while engine.events_total() < count:
                if time.time() > due_s - 10:
                    raise LoadTestError(f"{count:,} timers were not set in time; give a lower --sustained")
                time.sleep(1)
            time.sleep(max(0.0, due_s - 5 - time.time()))
            run = self._steady(engine, seconds=10 + 2 * count / self._sustained)
            came = self._count_timed(count)
        seen = run.latencies.percentiles_ms if run.latencies else {}
        held = came == count and not run.fault and seen.get("100", float("inf")) <= MAX_TIMER_MS
        said = (
            f"{came:,} of {count:,} came; p50 {seen.get('50', 0):.0f}, p99 {seen.get('99', 0):.0f}, "
            f"at most {seen.get('100', 0):.0f} ms of the others{'; ' + run.fault if run.fault else ''}"
        )
        return Case(f"{count:,} timers due in one second", said, held, {"came": came, "latency_ms": seen})

    def _steady(self, engine: Workers, beside: Callable[[], None] | None = None, seconds: float = 0.0) -> Run:
        duration_s = seconds or self._seconds
        timer = threading.Timer(duration_s / 2, beside) if beside else None
        if timer:
            timer.start()
        run = self._bench.engine_run(engine, self._sustained / 2, duration_s)
        if timer:
            timer.join()
        self._bench.drain(engine)
        return run

    def _send_large(self) -> None:
        now_ms = int(time.time() * 1000)
        props = {f"note-{number}": "x" * 1000 for number in range(_LARGE_BYTES // 1010)}
        events = []
        for number in range(_LARGE):
            key = f"customer-{number:06d}"
            fields = {"type": "page.viewed", "customer_id": key, "source": "stress", "props": props}
            template = Template("click", key.encode(), orjson.dumps(fields)[1:], fires=False)
            events.append((template, f"large-{number}", now_ms))
        produce(self._bench.broker.bootstrap, iter(events), TOPICS, stamped=False)

    def _count_timed(self, count: int) -> int:
        limit_s = time.monotonic() + 60 + 2 * count / self._sustained
        while True:
            topic = ACTION_PREFIX + _TIMED_CHANNEL
            found = {orjson.loads(value)["id"] for _, value in records(self._bench.broker.bootstrap, topic)}
            if len(found) >= count or time.monotonic() > limit_s:
                return len(found)
            time.sleep(2)

    def _keep_everything(self) -> None:
        """Let Kafka keep what the engine has not read yet: the load test's topics are short."""
        client = AdminClient({"bootstrap.servers": self._bench.broker.bootstrap})
        entry = ConfigEntry("retention.bytes", "-1", incremental_operation=AlterConfigOpType.SET)
        topics = [*TOPICS.values(), ACTION_PREFIX + _TIMED_CHANNEL]
        resources = [
            ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics
        ]
        for done in client.incremental_alter_configs(resources).values():
            done.result(timeout=30)


def appended(bootstrap: str) -> int:
    """Return how many records the event topics have been given since they were made."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "loadtest-stress"})
    try:
        places = [TopicPartition(topic, number) for topic in TOPICS.values() for number in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    finally:
        consumer.close()


def _timed_journey(at: str) -> str:
    return (
        f"journey: {_TIMED}\ndescription: All at once.\nentry:\n  on: search.performed\n"
        "  where: event.query == 'stress'\n  reentry: always\ntransactional: true\nsteps:\n"
        f'  - wait: {{until: "{at}", zone: UTC}}\n  - send: {_TIMED_CHANNEL}\n    template: {_TIMED}\n'
    )


def _timed_events(count: int) -> Iterator[tuple[Template, str, int]]:
    now_ms = int(time.time() * 1000)
    for number in range(count):
        key = f"timed-{number:07d}"
        tail = f'"type":"search.performed","customer_id":"{key}","source":"stress","query":"stress"}}'
        yield Template("click", key.encode(), tail.encode(), fires=False), key, now_ms


def sustained_rate(folder: Path) -> float:
    """Return the rate that the last load test found sustained; 0 when there is none."""
    path = folder / "loadtest.json"
    return float(json.loads(path.read_text("utf-8"))["sustained_per_s"]) if path.is_file() else 0.0


def run(bench: Bench, options: argparse.Namespace, say: Callable[[str], None]) -> list[Case]:
    """Run the cases in turn."""
    stress = Stress(bench, options.sustained, options.seconds)
    cases: list[Case] = []

    def tell(case: Case) -> None:
        cases.append(case)
        say(f"{case.name}: {case.said}{'' if case.held else '  DID NOT HOLD'}")

    with bench.engine() as engine:
        bench.load(engine, options.sustained / 2, options.seconds)
        if not options.only_timers:
            quiet_ms = stress.quiet(engine)
            tell(stress.hot_customer(engine, quiet_ms))
            tell(stress.large_records(engine, quiet_ms))
            tell(stress.overload(engine, options.overload_s))
        bench.drain(engine)
    if options.timers:
        tell(stress.timers(options.timers))
    return cases


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.stress", description=__doc__)
    parser.add_argument("--sustained", type=float, help="events/s; otherwise what out/loadtest.json says")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run beside something nasty")
    parser.add_argument("--overload-s", type=float, default=120.0)
    parser.add_argument("--timers", type=int, default=1_000_000, help="0 leaves them out")
    parser.add_argument("--only-timers", action="store_true", help="leave the other cases out")
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of our own in it
    options = parser.parse_args(given)
    options.sustained = options.sustained or sustained_rate(options.out)
    if not options.sustained:
        parser.error(f"{options.out}/loadtest.json knows no sustained rate; give --sustained")
    return options


def main() -> int:
    """Stress; 0 when everything held."""
    options = arguments(sys.argv[1:])
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:6.1f} s] {text}", flush=True)

    scratch = options.scratch if options.scratch.is_dir() else None
    try:
        with Bench(Workload(rules=options.rules), scratch, say) as bench:
            cases = run(bench, options, say)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    result = {
        "machine": machine(options.scratch),
        "sustained_per_s": options.sustained,
        "took_s": round(time.monotonic() - began_s, 1),
        "cases": [dataclasses.asdict(case) for case in cases],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "stress.json").write_text(json.dumps(result, indent=1), "utf-8")
    for path in write_page(options.out):
        print(f"wrote {path}")
    return 0 if all(case.held for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
