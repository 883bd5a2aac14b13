"""What a publication costs the worker: `python -m loadtest.publish`.

A worker under a steady load runs a thousand generated journeys from the rules topic. Then one journey is
changed and published, then all of them. Measured are the time from the record to the new rules live, and the
engine's p99 from the append on until `--window` seconds later, against a window of the same length before.
The rules are checked and composed outside of the windows: an author's machine does that.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.config import load_settings
from engine.metrics import ENGINE_LATENCY
from engine.streams.kafka import KafkaSettings, create_topics
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.rules.desk import Draft, RuleDesk
from engine.streams.topics import topic_specs
from engine.top.scrape import difference, percentiles_ms, read_samples
from loadtest import generator
from loadtest.generator import Order
from loadtest.processes import Engine, Helper, LoadTestError, running_engine
from loadtest.workload import PARTITIONS, TOPICS, Workload, write_journeys

_WARM_S = 20.0
_GIVE_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What one publication did.

    Args:
        changed: journeys that were new in it.
        published_to_live_ms: record appended to rules live, as the worker says.
        new: journeys that were new to the worker.
        compiled: those of them it compiled itself.
        before_p99_ms: the engine's p99 in a window before.
        during_p99_ms: the same in a window that begins with the append.
        before_p50_ms: the engine's p50 before.
        during_p50_ms: the engine's p50 during.
    """

    changed: int
    published_to_live_ms: float
    new: int
    compiled: int
    before_p99_ms: float | None
    during_p99_ms: float | None
    before_p50_ms: float | None
    during_p50_ms: float | None


class Scene:
    """A broker, a store, a worker that follows the rules topic, and its load.

    Args:
        folder: for files.
        broker: Kafka.
        store: Valkey.
        rules: how many journeys.
    """

    def __init__(self, folder: Path, broker: ApacheKafka, store: ValkeyServer, rules: int) -> None:
        self.workload = Workload(rules=rules)
        self.journeys = folder / "journeys"
        self.journeys.mkdir()
        write_journeys(self.journeys, self.workload)
        (folder / "engage.toml").write_text("", "utf-8")
        self.environment = {
            "ENGAGE_CONFIG": str(folder / "engage.toml"),
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "ENGAGE_REDIS_URL": store.url,
            "ENGAGE_TOPICS_PARTITIONS": str(PARTITIONS),
            "ENGAGE_RULES_PATHS": str(self.journeys),
            "ENGAGE_RULES_SOURCE": "topic",
        }
        self.settings = load_settings(environ=self.environment)
        self.kafka = KafkaSettings(broker.bootstrap)
        create_topics(self.kafka, topic_specs(self.settings), timeout_s=60.0)
        self.desk = RuleDesk(self.settings, self.kafka, "loadtest")

    def draft(self, changed: int, mark: str) -> Draft:
        """Change so many journeys, and compose the publication."""
        watching = sorted(self.journeys.glob("load-watch-*.yaml"))
        for path in watching[:changed]:
            text = path.read_text("utf-8").partition("    priority:")[0]
            path.write_text(f"{text}    priority: {mark}\n", "utf-8")
        return self.desk.draft(mark)

    def publish(self, draft: Draft, engine: Engine, window_s: float) -> Effect:
        """Publish, and see what it does to the worker."""
        first = read_samples(engine.metrics())
        time.sleep(window_s)
        quiet = read_samples(engine.metrics())
        wanted = draft.publish.version
        self.desk.send(draft)
        time.sleep(window_s)
        deadline = time.monotonic() + _GIVE_UP_S
        while engine.status()["rules"]["version"] != wanted:
            if time.monotonic() > deadline:
                raise LoadTestError(f"version {wanted} never came live: {engine.status()['rules']}")
            time.sleep(0.5)
        last = read_samples(engine.metrics())
        before = percentiles_ms(difference(first, quiet), ENGINE_LATENCY)
        during = percentiles_ms(difference(quiet, last), ENGINE_LATENCY)
        return Effect(
            changed=len(draft.publish.changes),
            published_to_live_ms=round(last["engage_rules_delay_seconds", ()] * 1000, 1),
            new=int(last["engage_rules_new", ()]),
            compiled=int(last["engage_rules_compiled", ()]),
            before_p99_ms=before["99"],
            during_p99_ms=during["99"],
            before_p50_ms=before["50"],
            during_p50_ms=during["50"],
        )


def measure(rules: int, rate: float, window_s: float) -> list[Effect]:
    """Run everything.

    Args:
        rules: how many journeys.
        rate: events per second.
        window_s: length of a window, s.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        ApacheKafka() as broker,
        ValkeyServer(Path(name) / "valkey") as store,
    ):
        folder = Path(name)
        scene = Scene(folder, broker, store, rules)
        scene.desk.send(scene.desk.draft("first"))
        drafts = ((1, "high"), (rules, "normal"), (1, "high"))
        with (
            running_engine(1, scene.environment, folder) as workers,
            Helper(generator.main, broker.bootstrap, scene.workload) as sender,
        ):
            stop = threading.Event()
            thread = threading.Thread(target=_send_load, args=(sender, rate, stop), daemon=True)
            thread.start()
            time.sleep(_WARM_S)
            effects = []
            for changed, mark in drafts:
                draft = scene.draft(changed, mark)
                time.sleep(2.0)
                effects.append(scene.publish(draft, workers.engines[0], window_s))
            stop.set()
            thread.join(30)
            return effects


def _send_load(sender: Helper, rate: float, stop: threading.Event) -> None:
    """Send at a steady rate until told to stop."""
    sender.pipe.send(Order("publish", rate, 3_600.0, TOPICS, time.time()))
    while not stop.is_set():
        while sender.pipe.poll(0.1):
            sender.pipe.recv()
    sender.pipe.send("stop")


def main() -> None:
    """Measure and print a line of JSON for each publication."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", type=int, default=1000, help="journeys")
    parser.add_argument("--rate", type=float, default=1500.0, help="events per second")
    parser.add_argument("--window", type=float, default=10.0, help="seconds of a window")
    given = parser.parse_args()
    for effect in measure(given.rules, given.rate, given.window):
        print(json.dumps(asdict(effect)))


if __name__ == "__main__":
    main()
