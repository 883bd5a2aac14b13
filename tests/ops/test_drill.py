"""The page of tasks, typed into a shell as it stands, under load: no event is lost and none counts twice."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import redis
from confluent_kafka import Producer

from engine.config import load_settings
from engine.streams.kafka import KafkaSettings, create_topics
from engine.streams.local.redis import redis_binary
from engine.streams.local.stack import ApacheKafka
from engine.streams.topics import topic_specs
from tests.faults.harness import Deployment, read_all

pytestmark = [pytest.mark.ops, pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(3_600)]

PAGE = Path(__file__).parent.parent.parent / "docs" / "tasks.md"
JOURNEY = Path(__file__).parent.parent / "simulation" / "journeys" / "receipt.yaml"
RATE = int(os.environ.get("DRILL_RATE", "300"))  # events/s
ORDER_EVERY = 20
CUSTOMERS = 20_000
SECTION_S = 1_200.0
UNDER_LOAD = (
    "Scale out and in",
    "Drain a worker",
    "Poison records",
    "Erase a customer",
    "Replay a day",
    "Lost broker",
    "Back up Redis",
    "Lost Redis",
    "Move Redis to another server",
)
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


class Shell:
    """A bash in which the page is typed; a command that fails ends it.

    Args:
        folder: where one is.
        environment: of the shell; `engage` is on its PATH.
        ports: what to put in place of the page's ports.
    """

    def __init__(self, folder: Path, environment: dict[str, str], ports: dict[str, str]) -> None:
        self._ports = ports
        self._folder = folder
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.type("set -eu -o pipefail\nWORKERS=''")

    def type(self, block: str) -> str:
        """Type commands; return what they print."""
        assert self._process.stdin is not None
        for port, free in self._ports.items():
            block = block.replace(port, free)
        step = self._folder / "step.sh"  # sourced, so that no command reads on in what is to be typed next
        step.write_text(block, "utf-8")
        self._process.stdin.write(f"source {step} < /dev/null\nprintf '\\n@@ done\\n'\n")
        self._process.stdin.flush()
        said: list[str] = []
        end = time.monotonic() + SECTION_S
        with suppress(queue.Empty):
            while (line := self._lines.get(timeout=max(0.0, end - time.monotonic()))) != "@@ done\n":
                said.append(line)
                if not line:
                    break
            else:
                return "".join(said)
        raise AssertionError(f"{block}\n--- printed\n{''.join(said)[-4000:]}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def close(self) -> None:
        """End the shell and the workers it has started; they are a process group of their own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()


class Load:
    """Sends clicks and orders at a steady rate, whatever comes back; notes which orders Kafka took."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.orders: set[str] = set()
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.seconds = 0.0

    def _run(self) -> None:
        settings = {
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "delivery.timeout.ms": 300_000,
            "acks": "all",
        }
        settings |= {"enable.idempotence": True, "queue.buffering.max.messages": 10_000_000}
        producer = Producer({"bootstrap.servers": self._bootstrap, **settings, "log_level": 0})
        started = time.monotonic()
        number = 0
        while not self._stop.is_set():
            due = int((time.monotonic() - started) * RATE)
            for number in range(number, due):  # noqa: B020 - goes on where it was
                self._one(producer, number)
            number = max(number, due)
            producer.poll(0)
            time.sleep(0.01)
        self.seconds = time.monotonic() - started
        assert producer.flush(300) == 0

    def _one(self, producer: Producer, number: int) -> None:
        customer = f"c{number * 7919 % CUSTOMERS}"
        event: dict[str, object] = {
            "id": f"e{number}",
            "customer_id": customer,
            "time": time.time_ns() // 10**6,
        }
        topic = "engage.clicks"
        if number % ORDER_EVERY:
            event["type"] = "page.viewed"
        else:
            topic = "engage.orders"
            event |= {"type": "order.placed", "order_id": f"o{number}", "amount": 20.0}

        def taken(error: object, _message: object) -> None:
            if error is not None:
                self.refused[str(error)] += 1
            elif topic == "engage.orders":
                self.orders.add(f"e{number}")

        producer.produce(topic, json.dumps(event).encode(), customer.encode(), on_delivery=taken)
        self.sent += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop and wait until Kafka has everything."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()


@contextmanager
def free_ports(*names: str) -> Iterator[dict[str, str]]:
    """Provide a free port for each of the page's."""
    with ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = {name: str(server.getsockname()[1]) for name, server in zip(names, found, strict=True)}
    yield ports


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


@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server")
def test_the_tasks_under_load(tmp_path: Path) -> None:
    """Every section of the page while events come in: each order gets its receipt, and always with one id."""
    blocks = sections()
    with ApacheKafka(tmp_path / "kafka") as kafka, free_ports("6066", "6067", "6379", "6380") as ports:
        url = f"redis://127.0.0.1:{ports['6379']}"
        conf, data = tmp_path / "redis.conf", tmp_path / "redis"
        data.mkdir()
        conf.write_text(
            f"port {ports['6379']}\nbind 127.0.0.1\ndir {data}\nappendonly yes\nmaxmemory-policy noeviction\n"
        )
        settings = {
            "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
            "ENGAGE_RULES_PATHS": str(JOURNEY),
            "ENGAGE_WATCHDOG_NO_PROGRESS_S": "300",
        }
        names = {
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "ENGAGE_REDIS_URL": f"{url}/0",
            **settings,
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        plain = {key: value for key, value in os.environ.items() if not key.startswith("ENGAGE_")}
        more = {"REDIS": url, "DATA": str(data), "CONF": str(conf), "PATH": path}
        deployment = Plain("engage", kafka.bootstrap, f"{url}/0", tmp_path, settings)
        shell = Shell(tmp_path, plain | names | more, ports)
        try:
            shell.type(f"redis-server {conf} --daemonize yes")
            prepare(deployment, tmp_path, kafka.bootstrap)
            for block in blocks[""]:
                shell.type(block)
            with Load(kafka.bootstrap) as load:
                walk(shell, blocks, kafka)
                load.end()
                say(shell.type("until engage partitions check; do sleep 1; done"))
            assert not load.refused
            account(kafka.bootstrap, load)
            rest(shell, blocks, ports)
        finally:
            with suppress(redis.RedisError):
                for port in (ports["6379"], ports["6380"]):
                    redis.Redis(port=int(port)).shutdown(nosave=True)
            shell.close()


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


def walk(shell: Shell, blocks: dict[str, list[str]], kafka: ApacheKafka) -> None:
    """Type the sections that need no rest, with the fault each is about."""
    for name in UNDER_LOAD:
        started = time.monotonic()
        mine = blocks[name][:1] if name == "Lost Redis" else blocks[name]  # the second: nothing is left
        again = threading.Timer(5.0, kafka.restart)
        if name == "Lost broker":
            kafka.kill9()
            again.start()
        for block in mine:
            shell.type(block)
        if name == "Lost broker":
            again.join()
        say(f"{name}: {time.monotonic() - started:.1f} s")


def account(bootstrap: str, load: Load) -> None:
    """Compare what was sent with what came out."""
    ids: dict[str, set[str]] = {}
    repeats = 0
    for value in read_all(bootstrap, ["engage.actions.email"]):
        action = json.loads(value)
        if action["template"] == "receipt":
            known = ids.setdefault(action["event_id"], set())
            repeats += action["id"] in known
            known.add(action["id"])
    wanted = load.orders | {"poison"} | {f"day-{number}" for number in range(20)}
    lost = wanted - ids.keys()
    say(
        f"{load.sent} events in {load.seconds:.0f} s, {load.sent / load.seconds:.0f}/s of {RATE} asked; "
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
