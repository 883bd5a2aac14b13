"""The local stack comes up, keeps what it must and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from engine.streams.local.server import LocalServer, reserve_port
from engine.streams.local.stack import ApacheKafka, EmbeddedBroker, LocalServerError, LocalStack, ValkeyServer
from tests.conftest import create_topic

_WAIT_S = 10.0
_STACK = """
import sys
from engine.streams.local.stack import LocalStack, run_stack

def announce(stack):
    print(stack.broker.pid, stack.store.pid, stack.store.folder, flush=True)

run_stack(LocalStack(), announce)
"""
_GRANDPARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {_STACK!r}])
time.sleep(60)
"""


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it came to hold in time."""
    deadline_s = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; one that waits to be reaped by init counts as ended."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_reserved_port_is_given_to_no_one_else() -> None:
    """Servers that start at the same time get different ports."""
    holders = [reserve_port() for _ in range(200)]
    ports = {holder.getsockname()[1] for holder in holders}
    for holder in holders:
        holder.close()
    assert len(ports) == 200


def test_valkey_keeps_data_and_port_over_a_kill() -> None:
    """After kill -9 and start the server has the same address and what it had synced."""
    with ValkeyServer() as server:
        url = server.url
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
            client.execute_command("WAITAOF", 1, 0, 2000)
        server.kill9()
        assert server.pid is None
        server.start()
        assert server.url == url
        with redis.Redis.from_url(url) as client:
            assert client.get("key") == b"value"


def test_stop_removes_process_and_folder() -> None:
    """A stopped server leaves neither a process nor a file."""
    server = ValkeyServer().start()
    pid, folder = server.pid, server.folder
    assert pid is not None
    server.stop()
    assert is_gone(pid)
    assert not folder.exists()


def test_the_environment_stays_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command line, which every user of the machine can read, shows the environment."""
    monkeypatch.setenv("ENGAGE_TEST_SECRET", "hush-7f3a")
    with ValkeyServer() as server:
        assert server._guard is not None
        for pid in (server.pid, server._guard.pid):
            assert b"hush-7f3a" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_given_folder_is_kept(tmp_path: Path) -> None:
    """Data in a folder of the caller's outlives the server and is found by the next one."""
    for expected in (None, b"value"):
        with ValkeyServer(tmp_path / "data") as server, redis.Redis.from_url(server.url) as client:
            assert client.get("key") == expected
            client.set("key", "value")


class Slow(LocalServer):
    """Ready when its file is there."""

    name = "slow"
    start_timeout_s = 0.3

    def __init__(self, work: str) -> None:
        super().__init__()
        self._work = work

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", self._work.format(file=self.folder / "ready")]

    def _is_ready(self) -> bool:
        return (self.folder / "ready").exists()

    def _prepare(self) -> None:
        pass


def test_a_server_that_works_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded machine a start takes longer; one that only sleeps is given up."""
    monkeypatch.setattr("engine.streams.local.server._MORE_S", 1.0)
    monkeypatch.setattr("engine.streams.local.server._WORKS_S", 0.001)
    monkeypatch.setattr("engine.streams.local.server._MOST_TIMES", 200)  # this machine may be loaded, too
    busy = "import time\nwhile time.process_time() < 0.6: pass\nopen('{file}', 'w').close()\ntime.sleep(60)"
    with Slow(busy):
        pass
    asleep = Slow("import time\ntime.sleep(60)")
    with pytest.raises(LocalServerError, match="slow does not answer after"), asleep:
        pass


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """A failed start raises with the server's last words and leaves nothing running."""
    (tmp_path / "appendonlydir").write_text("not a folder", encoding="utf-8")
    server = ValkeyServer(tmp_path)
    with pytest.raises(LocalServerError, match=r"(?s)valkey ended at once.*appendonlydir"):
        server.start()
    assert server.pid is None


def test_embedded_broker_carries_records(embedded_broker: EmbeddedBroker) -> None:
    """What is produced to a topic with a chosen number of partitions is consumed by a group."""
    topic = create_topic(embedded_broker, partitions=6)
    metadata = AdminClient({"bootstrap.servers": embedded_broker.bootstrap}).list_topics(topic, timeout=5)
    assert len(metadata.topics[topic].partitions) == 6
    assert hop(embedded_broker.bootstrap, topic) == b"value"


def test_embedded_broker_refuses_a_topic_twice(embedded_broker: EmbeddedBroker) -> None:
    """Making a topic that exists is an error that names it."""
    topic = create_topic(embedded_broker)
    with pytest.raises(LocalServerError, match=topic):
        embedded_broker.create_topic(topic, 8)


@pytest.mark.kafka
def test_apache_kafka_carries_records(apache_kafka: ApacheKafka) -> None:
    """What is produced is consumed by a group, on a real broker."""
    topic = create_topic(apache_kafka, partitions=3, cleanup_policy="compact")
    assert hop(apache_kafka.bootstrap, topic) == b"value"


@pytest.mark.kafka
def test_apache_kafka_keeps_topics_over_a_kill() -> None:
    """After kill -9 and start the broker has the same address and topics."""
    with ApacheKafka() as server:
        topic, bootstrap = create_topic(server), server.bootstrap
        server.restart()
        assert server.bootstrap == bootstrap
        admin = AdminClient({"bootstrap.servers": bootstrap})
        assert len(admin.list_topics(timeout=10).topics[topic].partitions) == 8


def hop(bootstrap: str, topic: str) -> bytes | None:
    """Produce one record and read it back through a consumer group."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"value", b"key")
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(20)
    consumer.close()
    return None if message is None or message.error() else message.value()


def test_a_stack_has_both_addresses() -> None:
    """A stack gives the addresses of its broker and its store, and ends both."""
    with LocalStack(topics={"events": 2}) as stack:
        pid = stack.store.pid
        assert stack.bootstrap.startswith("127.0.0.1:")
        assert stack.redis_url.startswith("redis://127.0.0.1:")
        metadata = AdminClient({"bootstrap.servers": stack.bootstrap}).list_topics(timeout=5)
        assert len(metadata.topics["events"].partitions) == 2
    assert pid is not None
    assert is_gone(pid)


def read_announcement(process: subprocess.Popen[str]) -> tuple[list[int], Path]:
    """Read the process ids and the folder that the stack's process announces."""
    assert process.stdout is not None
    broker, store, folder = process.stdout.readline().split()
    return [int(broker), int(store)], Path(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_however_the_owner_ends(number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM, a closed terminal and kill -9 of the owner all end every process and file."""
    with subprocess.Popen([sys.executable, "-c", _STACK], stdout=subprocess.PIPE, text=True) as process:
        pids, folder = read_announcement(process)
        assert folder.exists()
        process.send_signal(number)
        assert process.wait(_WAIT_S) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert eventually(lambda: all(map(is_gone, pids)) and not folder.exists())


def test_a_stack_ends_with_the_parent_of_its_process() -> None:
    """When the process that ran the stack's process is killed, the stack ends too."""
    with subprocess.Popen([sys.executable, "-c", _GRANDPARENT], stdout=subprocess.PIPE, text=True) as process:
        pids, folder = read_announcement(process)
        process.kill()
        assert eventually(lambda: all(map(is_gone, pids)) and not folder.exists())


def test_a_killed_keeper_takes_its_server_along() -> None:
    """The server ends even when its keeper process is killed."""
    server = ValkeyServer().start()
    assert server._guard is not None
    assert server.pid is not None
    pid = server.pid
    os.kill(server._guard.pid, signal.SIGKILL)
    assert eventually(lambda: is_gone(pid))
    server.stop()
