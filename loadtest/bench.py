"""The phases of a load test, on one broker and one store, each bounded in time."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from engine.config import load_settings
from engine.resources import shipped
from engine.streams.kafka import KafkaSettings, TopicSpec, create_topics
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.topics import topic_specs
from loadtest import generator, reader, relay
from loadtest.figures import engine_figures, read_all
from loadtest.generator import Order, Sent
from loadtest.processes import (
    Helper,
    LoadTestError,
    Workers,
    cpu_s,
    create_relay_topics,
    machine_cpu_s,
    running_engine,
    stock_faust_rate,
)
from loadtest.reader import Latencies
from loadtest.search import LagSample, Trial, judge
from loadtest.workload import (
    ACTION_PREFIX,
    FIRE_CHANNELS,
    PARTITIONS,
    RELAY_OUTPUT,
    RELAY_TOPICS,
    TOPICS,
    Workload,
    write_journeys,
)

MAX_OTHERS_CORES = 0.3  # of what is not the test; more makes a run worthless
_LEAD_S = 0.5
_SAMPLE_EVERY_S = 0.5
_RAMP_S = 3.0
_TAIL_S = 10.0
_REWRITE_S = 60.0
_HOPELESS_S = 8.0  # of events not worked on
_SAMPLED_CUSTOMERS = 2_000
# Old segments go within seconds: a load test must not fill the memory it keeps its files in.
_BROKER = {"log.retention.check.interval.ms": "10000", "log.segment.delete.delay.ms": "1000"}
_RETENTION = {"retention.bytes": str(96 << 20), "segment.bytes": str(24 << 20)}


@dataclass(frozen=True, slots=True)
class Run:
    """One run and everything seen of it.

    Args:
        subject: `engine` or `relay`.
        rate: records per second.
        duration_s: how long.
        sent: what the generator did.
        latencies: what the reader saw; None when it did not look.
        samples: looks at the engine's progress.
        figures: the engine's own view.
        cpu_cores: processor cores used by process, on average.
        others_cores: cores used by processes that have nothing to do with the test.
        cpu_us_per_event: processor time of the subject for each record it worked on, all threads.
        fault: why the run must not be reported; empty when it may.
    """

    subject: str
    rate: float
    duration_s: float
    sent: Sent
    latencies: Latencies | None = None
    samples: list[LagSample] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    cpu_cores: dict[str, float] = field(default_factory=dict)
    others_cores: float = 0.0
    cpu_us_per_event: float = 0.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class WorkedOff:
    """Work on a backlog.

    Args:
        records: how many.
        seconds: in which time.
        cpu_us: processor time of the workers for each, all threads.
        others_cores: cores used by processes that have nothing to do with the test.
    """

    records: int
    seconds: float
    cpu_us: float
    others_cores: float

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.records / self.seconds


class Bench:
    """Broker, store, generator and reader, and the runs on them.

    Args:
        workload: how the load looks.
        scratch: where files are kept, /dev/shm for latency runs.
        say: tells the person what is going on.
        workers: how many share the partitions.
        partitions: of each event topic.
    """

    def __init__(
        self,
        workload: Workload,
        scratch: Path | None,
        say: Callable[[str], None],
        workers: int = 1,
        partitions: int = PARTITIONS,
    ) -> None:
        self.workload = workload
        self._workers = workers
        self._partitions = partitions
        self._scratch = scratch
        self._say = say
        self._runs = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # SIGTERM ends it as Ctrl-C does, with all it has started; in the background a shell mutes SIGINT
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            stack.callback(signal.signal, signal.SIGTERM, before)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-", dir=self._scratch))
            self.folder = Path(folder)
            self._say("starting Apache Kafka and Valkey")
            self.broker = stack.enter_context(
                ApacheKafka(scratch=self._scratch, bench=True, settings=_BROKER)
            )
            self.store = stack.enter_context(ValkeyServer(scratch=self._scratch, rewrite_aof=False))
            self.environment = self._prepare()
            outputs = [ACTION_PREFIX + channel for channel in FIRE_CHANNELS]
            self.generator = stack.enter_context(Helper(generator.main, self.broker.bootstrap, self.workload))
            self.reader = stack.enter_context(
                Helper(reader.main, self.broker.bootstrap, [*outputs, RELAY_OUTPUT])
            )
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _prepare(self) -> dict[str, str]:
        """Make topics, journeys and an empty settings file; return the worker's environment."""
        journeys = self.folder / "journeys"
        journeys.mkdir()
        written = write_journeys(journeys, self.workload)
        (self.folder / "engage.toml").write_text("", "utf-8")
        environment = {
            "ENGAGE_CONFIG": str(self.folder / "engage.toml"),
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
            "ENGAGE_REDIS_URL": self.store.url,
            "ENGAGE_TOPICS_PARTITIONS": str(self._partitions),
            "ENGAGE_RULES_PATHS": f"{shipped('journeys')},{journeys}",
            "ENGAGE_LOG_LEVEL": "warning",
        }
        settings = load_settings(environ=environment)
        assert settings.event_topics() == TOPICS
        specs = [
            TopicSpec(spec.name, spec.partitions, spec.replication, {**_RETENTION, **spec.config})
            for spec in topic_specs(settings)
        ]
        create_topics(KafkaSettings(self.broker.bootstrap), specs, timeout_s=60.0)
        create_relay_topics(self.broker.bootstrap)
        self._say(f"{written} generated journeys beside the shipped ones")
        return environment

    def engine(self) -> AbstractContextManager[Workers]:
        """Start the workers; a context manager that gives them when they are ready."""
        return running_engine(self._workers, self.environment, self.folder)

    def relay_run(self, rate: float, duration_s: float) -> Run:
        """Measure the relay at a rate."""
        self._say(f"relay at {rate:,.0f}/s for {duration_s:.0f} s")
        with Helper(relay.main, self.broker.bootstrap, list(RELAY_TOPICS.values())) as process:
            return self._latency_run("relay", rate, duration_s, RELAY_TOPICS, {"relay": [process.pid]})

    def engine_run(self, engine: Workers, rate: float, duration_s: float) -> Run:
        """Measure the engine at a rate."""
        self._say(f"engine at {rate:,.0f}/s for {duration_s:.0f} s")
        before = read_all(engine.metrics())
        run = self._latency_run("engine", rate, duration_s, TOPICS, {"engine": engine.pids()}, engine)
        figures = engine_figures(before, read_all(engine.metrics()))
        return Run(**{**{name: getattr(run, name) for name in Run.__slots__}, "figures": figures})

    def _latency_run(
        self,
        subject: str,
        rate: float,
        duration_s: float,
        topics: Mapping[str, str],
        pids: Mapping[str, Sequence[int | None]],
        engine: Workers | None = None,
    ) -> Run:
        name = self._next_name()
        start_s = time.time() + _LEAD_S
        self.reader.ask(("begin", name, int((start_s + _RAMP_S) * 1e6)))
        order = Order(name, rate, duration_s, topics, start_s)
        processes = {**self._server_pids(), **pids}
        begun = engine.events_total() if engine else 0
        machine_s = machine_cpu_s()
        used = {process: sum(map(cpu_s, each)) for process, each in processes.items()}
        sent, samples = self._drive(order, engine)
        took_s = time.time() - start_s
        machine_s = machine_cpu_s() - machine_s
        spent_s = {process: sum(map(cpu_s, each)) - used[process] for process, each in processes.items()}
        done = engine.events_total() - begun if engine else sent.records
        self._await_actions(sent.fired)
        latencies: Latencies = self.reader.ask(("end",))
        others = max(0.0, machine_s - sum(spent_s.values())) / took_s
        fault = sent.fault(duration_s)
        if not fault and others > MAX_OTHERS_CORES:
            fault = f"other processes used {others:.1f} cores meanwhile"
        if not fault and sent.records < round(rate * duration_s):
            fault = f"stopped, more than {_HOPELESS_S:.0f} s of events behind"
        if not fault and latencies.actions < sent.fired:
            fault = f"{sent.fired - latencies.actions} of {sent.fired} actions were not seen"
        return Run(
            subject=subject,
            rate=rate,
            duration_s=duration_s,
            sent=sent,
            latencies=latencies,
            samples=samples,
            cpu_cores={process: round(spent / took_s, 2) for process, spent in spent_s.items()},
            others_cores=round(others, 2),
            cpu_us_per_event=round(spent_s[subject] * 1e6 / done, 2) if done else 0.0,
            fault=fault,
        )

    def trial(self, engine: Workers, rate: float, duration_s: float) -> tuple[Trial, Run]:
        """Find out whether the engine sustains a rate; wait until it has worked everything off."""
        run = self.engine_run(engine, rate, duration_s)
        verdict = judge(run.samples, rate, duration_s, run.sent.fault(duration_s))
        outcome = "sustained" if verdict.sustained else verdict.why
        crowd = f"; others used {run.others_cores:.1f} cores" if run.others_cores > MAX_OTHERS_CORES else ""
        self._say(f"  {rate:,.0f}/s: {outcome}{crowd}")
        self.drain(engine)
        return verdict, run

    def load(self, engine: Workers, rate: float, duration_s: float) -> None:
        """Run without looking: warms the broker's compiler, the caches and the customers' states."""
        self._say(f"warming up: {rate:,.0f}/s for {duration_s:.0f} s")
        order = Order(self._next_name(), rate, duration_s, TOPICS, time.time() + _LEAD_S)
        self._drive(order, engine)
        self.drain(engine)

    def drain(self, engine: Workers, timeout_s: float = 180.0) -> None:
        """Wait until the engine's progress stands still, then let the store rewrite its file."""
        deadline_s = time.monotonic() + timeout_s
        done = -1
        while time.monotonic() < deadline_s:
            if (now := engine.events_total()) == done:
                break
            done = now
            time.sleep(1.0)
        else:
            raise LoadTestError(f"the engine did not catch up within {timeout_s:.0f} s")
        self._rewrite_store_file()

    def backlog(self, rate: float, seconds: float) -> WorkedOff:
        """Measure how fast the engine works off what lies in the event topics when it starts.

        Args:
            rate: more than it can do, events per second.
            seconds: how long it is looked at from its first event on.
        """
        self._say(f"engine on a backlog of {rate * seconds:,.0f} events")
        sent, _ = self._drive(Order(self._next_name(), rate, seconds, TOPICS, time.time() + _LEAD_S), None)
        return self.work_off(sent.records, seconds)

    def work_off(self, records: int, seconds: float) -> WorkedOff:
        """Let fresh workers work off what lies in the event topics.

        Args:
            records: how many events there are; more than can be done in that time.
            seconds: how long they are looked at from the start on.
        """
        with self.engine() as engine:
            begun_s, begun = time.monotonic(), engine.events_total()
            machine_s, used_s = machine_cpu_s(), sum(map(cpu_s, engine.pids()))
            servers = [pid for pids in self._server_pids().values() for pid in pids]
            ours_s = sum(map(cpu_s, servers))
            while time.monotonic() - begun_s < seconds:
                time.sleep(_SAMPLE_EVERY_S)
            done = engine.events_total() - begun
            if begun + done >= records:
                raise LoadTestError(f"the backlog ended before {seconds:.0f} s were over")
            passed_s = time.monotonic() - begun_s
            used_s = sum(map(cpu_s, engine.pids())) - used_s
            others_s = machine_cpu_s() - machine_s - used_s - (sum(map(cpu_s, servers)) - ours_s)
            self.drain(engine)
        cpu_us = round(used_s * 1e6 / done, 2) if done else 0.0
        return WorkedOff(done, round(passed_s, 3), cpu_us, round(max(0.0, others_s) / passed_s, 2))

    def stock_faust(self, seconds: float) -> float | None:
        """Measure stock Faust's empty agent on what lies in the event topics, as many workers as ours."""
        self._say("stock Faust, empty agent")
        return stock_faust_rate(
            self._workers, self.broker.bootstrap, self.folder / "faust", seconds, seconds + 60
        )

    def bytes_per_customer(self) -> float | None:
        """Return memory the store uses for a customer: key, state and timer, all in."""
        client = redis.Redis.from_url(self.store.url)
        try:
            timers = client.keys("{*}:timers")
            timer_bytes = sum(client.memory_usage(key) or 0 for key in timers)
            timer_count = sum(client.zcard(key) for key in timers)
            states = [
                client.memory_usage(key) or 0
                for key in islice(client.scan_iter("{*}:c:*", count=1_000), _SAMPLED_CUSTOMERS)
            ]
        finally:
            client.close()
        if not states:
            return None
        return round(sum(states) / len(states) + timer_bytes / max(1, timer_count), 1)

    def _rewrite_store_file(self) -> None:
        client = redis.Redis.from_url(self.store.url)
        try:
            client.bgrewriteaof()
            deadline_s = time.monotonic() + _REWRITE_S
            while time.monotonic() < deadline_s:
                state = client.info("persistence")
                if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                    return
                time.sleep(0.1)
        finally:
            client.close()

    def _server_pids(self) -> dict[str, list[int | None]]:
        return {
            "kafka": [self.broker.pid],
            "valkey": [self.store.pid],
            "generator": [self.generator.pid],
            "reader": [self.reader.pid],
        }

    def _next_name(self) -> str:
        self._runs += 1
        return f"r{self._runs:03d}"

    def _await_actions(self, expected: int) -> None:
        deadline_s = time.monotonic() + _TAIL_S
        while time.monotonic() < deadline_s and self.reader.ask(("count",)) < expected:
            time.sleep(0.1)

    def _drive(self, order: Order, engine: Workers | None) -> tuple[Sent, list[LagSample]]:
        """Let the generator go and look at the engine's progress meanwhile."""
        begun = engine.events_total() if engine else 0
        self.generator.pipe.send(order)
        samples: list[LagSample] = []
        limit_s = time.monotonic() + 2 * order.duration_s + 60
        looked_s, stopped = 0.0, False
        while time.monotonic() < limit_s:
            if self.generator.pipe.poll(0.05):
                message = self.generator.pipe.recv()
                if isinstance(message, Sent):
                    return message, samples
            passed_s = time.time() - order.start_s
            if engine and passed_s - looked_s >= _SAMPLE_EVERY_S and passed_s < order.duration_s:
                looked_s = passed_s
                # The schedule counts, not what the generator managed: its own lateness is lag, too.
                done = engine.events_total() - begun
                passed_s = time.time() - order.start_s
                samples.append(LagSample(passed_s, int(passed_s * order.rate), done))
                if samples[-1].lag > _HOPELESS_S * order.rate and not stopped:
                    # What is left of the run would only be a longer wait for the backlog to go.
                    self.generator.pipe.send("stop")
                    stopped = True
        raise LoadTestError(f"the generator did not finish {order.rate:,.0f}/s for {order.duration_s:.0f} s")


def as_data(run: Run) -> dict[str, Any]:
    """Return a run as plain data for the report."""
    return asdict(run)
