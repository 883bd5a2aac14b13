"""The page of tasks, typed into a shell as it stands, under load: no event is lost and none counts twice."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from engine.config import load_settings
from engine.streams.kafka import KafkaSettings, create_topics
from engine.streams.local.redis import redis_binary
from engine.streams.local.stack import ApacheKafka, EmbeddedBroker
from engine.streams.store.users import USERS, acl_file
from engine.streams.topics import topic_specs
from tests.certificates import Authority
from tests.faults.harness import Deployment, read_all
from tests.ops.load import Load
from tests.ops.shell import Shell, free_ports
from tests.ops.versions import install_newer

pytestmark = [pytest.mark.ops, pytest.mark.faults, pytest.mark.timeout(3_600)]

PAGE = Path(__file__).parent.parent.parent / "docs" / "tasks.md"
JOURNEY = Path(__file__).parent.parent / "simulation" / "journeys" / "receipt.yaml"
STEADY, FAST, MODEST = 300, 10_000, 100  # events/s
BURST, NO_END = 200_000, 10**9  # most events in a section, however long it takes
# Primes: orders are spread over all of them. Each comes again within a minute or so.
MANY, CUSTOMERS, FEW = 99_991, 19_997, 2_003
UNDER_LOAD = (
    "Scale out and in",
    "Drain a worker",
    "Poison records",
    "Erase a customer",
    "Replay a day",
    "Lost broker",
    "Back up Redis",
    "Upgrade and roll back",
    "Lost Redis",
    "Move Redis to another server",
)
UNDER_FAST_LOAD = (
    "Scale out and in",
    "Drain a worker",
    "Poison records",
    "Lost broker",
    "Back up Redis",
    "Lost Redis",
)
ON_REDIS = ("Back up Redis", "Lost Redis", "Move Redis to another server")
AT_REST = ("Rotate credentials", "Widen partitions")


def say(text: str) -> None:
    """Tell the person who runs it with `-s`."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def sections() -> dict[str, list[str]]:
    """Return the shell blocks of the page by section; those before the first one under an empty name."""
    parts = re.split(r"^## (.+)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    named = {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return {
        name: re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for name, text in named.items()
    }


def test_every_section_is_tried() -> None:
    """A section with commands that no part of the drill types would rot."""
    assert {name for name, blocks in sections().items() if name and blocks} == {*UNDER_LOAD, *AT_REST}


def prepare(deployment: Deployment, folder: Path, bootstrap: str) -> None:
    """Make what the sections speak of: a poison record, a customer to erase, a day to send again."""
    settings = load_settings(environ=deployment.environment)
    create_topics(KafkaSettings(bootstrap), topic_specs(settings))
    event = {"id": "poison", "type": "order.placed", "customer_id": "poor", "time": time.time_ns() // 10**6}
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    text = json.dumps(event | {"order_id": "mended", "amount": "?"}).replace('"?"', "nothing")
    producer.produce("engage.orders", text.encode(), b"poor")
    seen = {"id": "seen", "type": "page.viewed", "customer_id": "customer-7", "time": event["time"]}
    producer.produce("engage.clicks", json.dumps(seen).encode(), b"customer-7")
    assert producer.flush(30) == 0
    day = [
        event | {"id": f"day-{n}", "customer_id": f"d{n}", "order_id": f"d{n}", "amount": 5}
        for n in range(20)
    ]
    (folder / "day.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in (*day, *day[:5])), "utf-8")


@dataclass(frozen=True)
class Access:
    """How Redis is reached: without anything, unless told.

    Args:
        scheme: of its URL.
        port: how its configuration file names the port.
        lines: more of that file.
        settings: of the workers, besides the URL.
        names: of the shell, as the page asks for them.
        client: for redis-py.
    """

    scheme: str = "redis"
    port: str = "port"
    lines: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Access()


def over_tls(folder: Path) -> Access:
    """Return the way to a Redis over TLS that knows a user for each role."""
    authority = Authority(folder)
    issued, users = authority.issue("redis"), folder / "users.acl"
    passwords = {user.name: f"hunter2-{user.name}" for user in USERS}
    users.write_text(acl_file("engage", passwords))
    return Access(
        scheme="rediss",
        port="port 0\ntls-port",
        lines=f"tls-cert-file {issued.certificate}\ntls-key-file {issued.key}\n"
        f"tls-ca-cert-file {authority.file}\ntls-auth-clients no\ntls-replication yes\naclfile {users}\n"
        f"masteruser engage-admin\nmasterauth {passwords['admin']}\n",
        settings={
            "ENGAGE_REDIS_USER": "engage-worker",
            "ENGAGE_REDIS_PASSWORD": passwords["worker"],
            "ENGAGE_REDIS_CA_FILE": str(authority.file),
        },
        names={
            "REDIS_AS": f"--cacert {authority.file} --user engage-admin",
            "REDISCLI_AUTH": passwords["admin"],
        },
        client={
            "ssl": True,
            "ssl_ca_certs": str(authority.file),
            "username": "engage-admin",
            "password": passwords["admin"],
        },
    )


@contextmanager
def shop(
    folder: Path, bootstrap: str, more: Mapping[str, str], access: Access = PLAIN
) -> Iterator[tuple[Shell, dict[str, str]]]:
    """Provide a shell where the page's first lines have been typed, on a Redis of its own, and its ports."""
    with free_ports("6066", "6067", "6379", "6380") as ports:
        url = f"{access.scheme}://127.0.0.1:{ports['6379']}"
        conf, data = folder / "redis.conf", folder / "redis"
        data.mkdir()
        conf.write_text(
            f"{access.port} {ports['6379']}\nbind 127.0.0.1\ndir {data}\nappendonly yes\n"
            f"maxmemory-policy noeviction\n{access.lines}"
        )
        settings = {"ENGAGE_RULES_PATHS": str(JOURNEY), "ENGAGE_WATCHDOG_NO_PROGRESS_S": "300"}
        deployment = Plain("engage", bootstrap, f"{url}/0", folder, settings | {**access.settings, **more})
        names = {"REDIS": url, "DATA": str(data), "CONF": str(conf), **access.names}
        names["NEW"] = str(install_newer(folder / "new"))
        names["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = Shell(folder, deployment.environment | names, ports)
        try:
            shell.type(f"redis-server {conf} --daemonize yes")
            prepare(deployment, folder, bootstrap)
            for block in sections()[""]:
                shell.type(block)
            yield shell, ports
        finally:
            with suppress(redis.RedisError):
                for port in (ports["6379"], ports["6380"]):
                    redis.Redis(port=int(port), **access.client).shutdown(nosave=True)
            shell.close()


@pytest.mark.kafka
@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server")
@pytest.mark.parametrize(
    ("rate", "names", "burst", "customers"),
    [(STEADY, UNDER_LOAD, NO_END, CUSTOMERS), (FAST, UNDER_FAST_LOAD, BURST, MANY)],
    ids=["300 a second", "10,000 a second"],
)
def test_the_tasks_under_load(
    tmp_path: Path, rate: int, names: Sequence[str], burst: int, customers: int
) -> None:
    """While events come in, sections of the page: each order gets its receipt, and always with one id.

    The engine may fall behind meanwhile, and catches up. Without load, the sections that need rest follow.
    """
    blocks = sections()
    more = {"ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer"}
    server = ApacheKafka(tmp_path / "kafka", bench=True)
    with server as kafka, shop(tmp_path, kafka.bootstrap, more) as (shell, ports):
        with Load(kafka.bootstrap, rate, burst, customers) as load:
            walk(shell, blocks, kafka, names, load)
            load.end()
            say(shell.type("until engage partitions check; do sleep 1; done"))
        assert not load.refused
        days = {f"day-{number}" for number in range(20 if "Replay a day" in names else 0)}
        account(kafka.bootstrap, load, days | {"poison"})
        if names is UNDER_LOAD:
            rest(shell, blocks, ports)


@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server")
def test_an_upgrade_and_the_way_back(tmp_path: Path) -> None:
    """Two workers upgraded to a version with another state layout and rolled back: nothing is lost.

    The same section as above, on the embedded broker: no JVM is needed.
    """
    more = {"ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_KAFKA_SESSION_TIMEOUT_MS": "6000"}
    with EmbeddedBroker() as broker, shop(tmp_path, broker.bootstrap, more) as (shell, _):
        shell.type(
            "stop_workers\nstart_worker 6067\nuntil curl -sf 127.0.0.1:6067/readyz; do sleep 0.5; done"
        )
        with Load(broker.bootstrap, MODEST, NO_END, FEW) as load:
            for number, block in enumerate(sections()["Upgrade and roll back"]):
                shell.type(block)
                say(f"block {number}: {load.sent} events sent")
            load.end()
            say(shell.type("until engage partitions check; do sleep 1; done"))
        assert not load.refused
        account(broker.bootstrap, load, set())


@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server")
def test_the_trainer_moves_with_redis(tmp_path: Path) -> None:
    """Where there is a trainer it stops before the last of its state is copied, and goes on from the copy."""
    more = {"ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_KAFKA_SESSION_TIMEOUT_MS": "6000"}
    with EmbeddedBroker() as broker, shop(tmp_path, broker.bootstrap, more) as (shell, ports):
        old, new = (redis.Redis(port=int(ports[port])) for port in ("6379", "6380"))
        at_work = "until redis_at $REDIS exists engage:trainer:lock | grep -q 1; do sleep 0.2; done"
        shell.type(f"start_trainer\n{at_work}")
        for block in sections()["Move Redis to another server"]:
            shell.type(block)
        shell.type(at_work)
        assert old.exists("engage:trainer:lock") == 0, "it ended and let go"
        assert new.exists("engage:trainer:lock") == 1
        shell.type("stop_trainer")
        assert new.exists("engage:trainer:lock") == 0
        old.close()
        new.close()


@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server")
def test_redis_over_tls(tmp_path: Path) -> None:
    """What is done to Redis is done to one with TLS and users as well, by the same commands."""
    more = {"ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_KAFKA_SESSION_TIMEOUT_MS": "6000"}
    with (
        EmbeddedBroker() as broker,
        shop(tmp_path, broker.bootstrap, more, over_tls(tmp_path)) as (shell, _),
    ):
        with Load(broker.bootstrap, MODEST, NO_END, FEW) as load:
            for name in (*ON_REDIS, "Rotate credentials"):
                load.go()
                for block in sections()[name][:1]:
                    shell.type(block)
                say(f"{name}: {load.sent} events sent")
            load.end()
            say(shell.type("until engage partitions check; do sleep 1; done"))
        assert not load.refused
        account(broker.bootstrap, load, set())


class Plain(Deployment):
    """A deployment with the names of the settings' defaults."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of every process."""
        mine = {key: value for key, value in os.environ.items() if not key.startswith("ENGAGE_")}
        return mine | {
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "ENGAGE_REDIS_URL": self.redis_url,
            **self.more,
        }


def walk(
    shell: Shell, blocks: dict[str, list[str]], kafka: ApacheKafka, names: Sequence[str], load: Load
) -> None:
    """Type sections, with the fault each is about."""
    for name in names:
        started = time.monotonic()
        load.go()
        mine = blocks[name][:1] if name == "Lost Redis" else blocks[name]  # the second: nothing is left
        again = threading.Timer(5.0, kafka.restart)
        if name == "Lost broker":
            kafka.kill9()
            again.start()
        for block in mine:
            shell.type(block)
        if name == "Lost broker":
            again.join()
        say(f"{name}: {time.monotonic() - started:.1f} s, {load.sent} events sent")


def account(bootstrap: str, load: Load, others: set[str]) -> None:
    """Compare what the load and others sent with what came out."""
    ids: dict[str, set[str]] = {}
    repeats = 0
    for value in read_all(bootstrap, ["engage.actions.email"]):
        action = json.loads(value)
        if action["template"] == "receipt":
            known = ids.setdefault(action["event_id"], set())
            repeats += action["id"] in known
            known.add(action["id"])
    wanted = load.orders | others
    lost = wanted - ids.keys()
    say(
        f"{load.sent} events in {load.seconds:.0f} s, {load.sent / max(load.seconds, 1e-9):.0f}/s; "
        f"{len(load.orders)} orders, {len(lost)} lost, {repeats} repeats of the same id"
    )
    assert not lost
    assert ids.keys() == wanted
    assert all(len(each) == 1 for each in ids.values()), "two ids for one order"


def rest(shell: Shell, blocks: dict[str, list[str]], ports: dict[str, str]) -> None:
    """Type what needs rest, then lose everything and read the log again."""
    for block in blocks["Rotate credentials"]:
        shell.type(block)
    before = customers(ports["6380"])
    redis.Redis(port=int(ports["6380"])).flushall()
    shell.type(blocks["Lost Redis"][1])
    after = customers(ports["6380"])
    assert after == before
    assert "is in group 'engage': stop it" in shell.type("! engage partitions widen --to 16 --dry-run")
    for block in blocks["Widen partitions"]:
        say(shell.type(block))
    assert customers(ports["6380"]) == before


def customers(port: str) -> int:
    """Count the customers in Redis."""
    with redis.Redis(port=int(port)) as client:
        return sum(1 for _ in client.scan_iter("{engage:*}:c:*", count=5000))
