"""The faults: what each does, for how long, and how many of each make a run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.crew import Crew
from tests.chaos.feed import POISON, Feed
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Servers
from tests.chaos.takers import Takers

SESSION_S = 1.5  # after which the broker of these tests gives a silent worker's partitions away
STORM_ROUNDS = 5
STORM_MEMBERS = 3
JUMP_S = 3600


@dataclass
class Scene:
    """What faults act upon.

    Args:
        servers: Kafka, Valkey and the links.
        crew: the workers.
        feed: the events.
        rng: draws places and lengths.
        takers: the services that consume the actions.
        clock: the file that sets the workers' clock off; None = it is not.
        publish: publishes rules anew; None = they come from files.
    """

    servers: Servers
    crew: Crew
    feed: Feed
    rng: random.Random
    takers: Takers
    clock: Path | None = None
    publish: Callable[[], None] | None = None


@dataclass
class Incident:
    """A fault as it happened.

    Args:
        kind: name of the fault.
        began_ms: wall clock.
        detail: what was drawn.
        moved: partitions whose worker was killed.
        took_s: from its beginning until all written by its end was durable.
        takeover_s: from the kill until each of the moved partitions has had an action again.
        repeated: action records with an id that had been there before.
        repeated_events: how many events and timers these were for.
        actions: actions made after it began and before the next.
    """

    kind: str
    began_ms: int
    detail: str = ""
    moved: frozenset[int] = frozenset()
    took_s: float = 0.0
    takeover_s: float | None = None
    repeated: int = 0
    repeated_events: int = 0
    actions: int = 0


Fault = Callable[[Scene, Incident], None]


def kill_worker(scene: Scene, incident: Incident) -> None:
    """Kill -9 one of the workers; a new one starts at once."""
    scene.crew.wait_shared()
    scene.feed.burst(scene.rng.randrange(200, 1000))
    time.sleep(scene.rng.uniform(0.2, 0.6))
    place = scene.rng.choice(sorted(scene.crew.at_work))
    incident.began_ms = _now_ms()
    incident.moved = scene.crew.kill(place)
    scene.crew.start(place)
    incident.detail = f"partitions {sorted(incident.moved)}"


def kill_all_workers(scene: Scene, incident: Incident) -> None:
    """Kill -9 all workers; new ones start at once."""
    for place in sorted(scene.crew.at_work):
        scene.crew.kill(place)
    for place in sorted(scene.crew.at_work):
        scene.crew.start(place)
    incident.detail = "all"


def rebalance_storm(scene: Scene, incident: Incident) -> None:
    """Workers join and leave each second, some of them by kill -9."""
    crew, members = scene.crew, [worker.process for worker in scene.crew.at_work.values()]
    for _ in range(STORM_ROUNDS):
        place = scene.rng.choice(sorted(crew.at_work))
        members.append(crew.start(place).process)
        time.sleep(1.0)
        if len(members) > STORM_MEMBERS:
            leaver = members.pop(0)
            leaver.send_signal(scene.rng.choice((signal.SIGKILL, signal.SIGTERM)))
            crew.left.append(leaver)
    stay = [worker.process for worker in crew.at_work.values()]
    for process in members:
        if process not in stay:
            process.terminate()
            crew.left.append(process)
    incident.detail = f"{STORM_ROUNDS} joined"


def stop_worker(scene: Scene, incident: Incident) -> None:
    """SIGSTOP a worker for longer than its session."""
    worker = scene.crew.at_work[scene.rng.choice(sorted(scene.crew.at_work))]
    stopped_s = scene.rng.uniform(SESSION_S + 0.5, SESSION_S + 3)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(stopped_s)
    finally:
        worker.process.send_signal(signal.SIGCONT)
    incident.detail = f"{stopped_s:.1f} s"


def kill_redis(scene: Scene, incident: Incident) -> None:
    """Kill -9 Redis; it comes back."""
    away_s = scene.rng.uniform(0, 1.5)
    scene.servers.valkey.kill9()
    time.sleep(away_s)
    scene.servers.valkey.start()
    incident.detail = f"away {away_s:.1f} s"


def restore_redis(scene: Scene, incident: Incident) -> None:
    """Redis goes back in time by about a second."""
    back_s = scene.rng.uniform(0.7, 1.3)
    scene.servers.valkey.go_back(back_s)
    incident.detail = f"back {back_s:.1f} s"


def kill_broker(scene: Scene, incident: Incident) -> None:
    """Kill -9 the broker; it comes back."""
    killed_s = time.monotonic()
    scene.servers.kafka.kill9()
    time.sleep(scene.rng.uniform(0, 1))
    scene.servers.kafka.start()
    incident.detail = f"answers after {time.monotonic() - killed_s:.1f} s"


def slow_link(scene: Scene, incident: Incident) -> None:
    """Delay everything on some links."""
    links, incident.detail = _links(scene)
    delay_s = scene.rng.uniform(0.02, 0.2)
    usual_s = links[0].delay_s
    for link in links:
        link.mend(delay_s)
    time.sleep(scene.rng.uniform(2, 4))
    for link in links:
        link.mend(usual_s)
    incident.detail += f" by {delay_s * 1000:.0f} ms"


def cut_link(scene: Scene, incident: Incident) -> None:
    """Break the connections of some links, and refuse new ones."""
    _interrupt(scene, incident, Proxy.cut, scene.rng.uniform(0.1, 4))


def dead_link(scene: Scene, incident: Incident) -> None:
    """Let nothing through some links, connections stay open."""
    _interrupt(scene, incident, Proxy.hold, scene.rng.uniform(0.5, 6.5))


def full_disk(scene: Scene, incident: Incident) -> None:
    """Redis can't write to its append-only file."""
    full_s = scene.rng.uniform(1, 3)
    with scene.servers.valkey.full_disk():
        time.sleep(full_s)
    incident.detail = f"{full_s:.1f} s"


def full_memory(scene: Scene, incident: Incident) -> None:
    """Redis has reached `maxmemory` and evicts nothing."""
    full_s = scene.rng.uniform(1, 3)
    with scene.servers.valkey.full_memory():
        time.sleep(full_s)
    incident.detail = f"{full_s:.1f} s"


def poison(scene: Scene, incident: Incident) -> None:
    """Records that nobody can read, one of each format."""
    for name in POISON:
        scene.feed.poison(name)
    time.sleep(0.5)
    incident.detail = f"{len(POISON)} records"


def kill_takers(scene: Scene, incident: Incident) -> None:
    """Kill -9 the services that consume the actions, and all workers; new ones start at once."""
    scene.feed.burst(1000)
    time.sleep(scene.rng.uniform(0.2, 0.6))
    scene.takers.kill()
    kill_all_workers(scene, incident)
    scene.takers.start()
    incident.detail = "all, and the consumers"


def clock_jump(scene: Scene, incident: Incident) -> None:
    """The wall clock of the workers, of Redis or of both is an hour ahead or behind for some seconds."""
    assert scene.clock is not None
    whose = scene.rng.choice(("workers", "Redis", "both"))
    jump_s = scene.rng.choice((JUMP_S, -JUMP_S))
    for offset_s in (jump_s, 0):
        if whose != "Redis":
            scene.clock.write_text(f"{offset_s:+d}\n", "utf-8")
        if whose != "workers":
            scene.servers.valkey.set_clock(offset_s)
        if offset_s:
            time.sleep(scene.rng.uniform(3, 5))
    incident.detail = f"{whose}, {jump_s:+d} s"


def publish_rules(scene: Scene, incident: Incident) -> None:
    """Publish rules anew while much is to be done."""
    assert scene.publish is not None
    scene.feed.burst(500)
    scene.publish()
    incident.detail = "published"


RESTORED = "Redis restored from 1 s before"
#: How many workers a fault of these kinds hits; of the others each at most both.
HIT = {"kill -9 of a worker": 1, "SIGSTOP of a worker": 1, "rebalance storm": STORM_ROUNDS + 2}
#: Faults of every run, and how many parts of it each is.
COMMON: dict[str, tuple[Fault, int]] = {
    "kill -9 of a worker": (kill_worker, 8),
    "kill -9 of all workers": (kill_all_workers, 1),
    "kill -9 of workers and consumers": (kill_takers, 1),
    "rebalance storm": (rebalance_storm, 1),
    "SIGSTOP of a worker": (stop_worker, 2),
    "kill -9 of Redis": (kill_redis, 2),
    RESTORED: (restore_redis, 2),
    "kill -9 of the broker": (kill_broker, 1),
    "link delayed": (slow_link, 1),
    "link cut": (cut_link, 2),
    "link dead": (dead_link, 2),
    "disk full for the AOF": (full_disk, 1),
    "maxmemory reached": (full_memory, 1),
    "poison records": (poison, 1),
}
#: Faults that only the live clock knows: on the replay clock rules and time are the log's.
LIVE: dict[str, tuple[Fault, int]] = {
    **COMMON,
    "clock jump of an hour": (clock_jump, 3),
    "rules published": (publish_rules, 3),
}


def plan(kinds: dict[str, tuple[Fault, int]], count: int, rng: random.Random) -> list[str]:
    """Draw the order of faults: each kind as often as its parts say, whatever the seed.

    Args:
        kinds: faults and their parts.
        count: how many faults.
        rng: shuffles.
    """
    parts = [kind for kind, (_, share) in kinds.items() for _ in range(share)]
    names: list[str] = []
    while len(names) < count:
        rng.shuffle(parts)
        names += parts
    return names[:count]


def _interrupt(scene: Scene, incident: Incident, how: Callable[[Proxy], None], seconds: float) -> None:
    links, incident.detail = _links(scene)
    usual_s = links[0].delay_s
    for link in links:
        how(link)
    time.sleep(seconds)
    for link in links:
        link.mend(usual_s)
    incident.detail += f", {seconds:.1f} s"


def _links(scene: Scene) -> tuple[list[Proxy], str]:
    """Draw the links of one server, of one worker or of all."""
    name, links = scene.rng.choice(
        (("Kafka", scene.servers.kafka_links), ("Redis", scene.servers.redis_links))
    )
    if scene.rng.random() < 0.5:
        return [scene.rng.choice(links)], f"{name} of one worker"
    return list(links), f"{name} of all workers"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
