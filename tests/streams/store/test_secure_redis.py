"""Over TLS and as a user of its own: each role does its work on a real Redis, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError
from typer.testing import CliRunner

from engine.cli import app
from engine.config import load_settings
from engine.errors import AccessError, ConfigError, TransientError
from engine.settings import Settings
from engine.streams.kafka import TopicSpec, create_topics
from engine.streams.local.redis import redis_binary
from engine.streams.local.stack import EmbeddedBroker, RedisServer, ValkeyServer
from engine.streams.store.contract import PartitionWrite, retrying
from engine.streams.store.redis import RedisStore
from engine.streams.store.users import USERS, acl_file
from engine.streams.topics import topic_specs
from engine.streams.trainer import Trainer
from engine.streams.wiring import kafka_settings
from tests.certificates import Authority, Issued
from tests.faults.harness import end

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2"
PASSWORDS = {user.name: f"{SECRET}-{user.name}" for user in USERS}
ANNA = "anna@example.org"
_WAIT_S = 150.0
_PLAIN = re.compile("\x1b\\[[0-9;]*m")


class SecureRedis(RedisServer):
    """Takes clients over TLS, and knows a user for each role; beside it a plain port, for the probe."""

    ports_wanted = 2

    def __init__(self, certificates: Path) -> None:
        super().__init__()
        self.authority = Authority(certificates)
        self._issued = self.authority.issue("redis")
        self._users = certificates / "users.acl"
        self._users.write_text(acl_file("engage", PASSWORDS))

    @property
    def tls_url(self) -> str:
        """Address for clients."""
        return f"rediss://127.0.0.1:{self.ports[1]}/0"

    def client(self, role: str) -> redis.Redis:
        """Return a client of redis-py's own, as a role's user."""
        return redis.Redis.from_url(
            self.tls_url,
            username=f"engage-{role}",
            password=PASSWORDS[role],
            ssl_ca_certs=str(self.authority.file),
            driver_info=None,
        )

    def _command(self) -> list[str]:
        files = ("--tls-cert-file", str(self._issued.certificate), "--tls-key-file", str(self._issued.key))
        trusted = ("--tls-ca-cert-file", str(self.authority.file), "--tls-auth-clients", "no")
        port = ("--tls-port", str(self.ports[1]))
        return [*super()._command(), *port, *files, *trusted, "--aclfile", str(self._users)]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRedis]:
    """Run one for the module."""
    with SecureRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def environment(server: SecureRedis, role: str, **more: str) -> dict[str, str]:
    """Return the settings of a role's process."""
    return {
        "ENGAGE_REDIS_URL": server.tls_url,
        "ENGAGE_REDIS_USER": f"engage-{role}",
        "ENGAGE_REDIS_PASSWORD": PASSWORDS[role],
        "ENGAGE_REDIS_CA_FILE": str(server.authority.file),
        **more,
    }


def settings_of(server: SecureRedis, role: str, **more: str) -> Settings:
    """Return the settings of a role."""
    return load_settings(environ=environment(server, role, **more))


async def test_the_worker_may_do_what_the_store_does(secure: SecureRedis) -> None:
    """Every call of the store works as the user `worker`; the server notes no attempt at more."""
    with secure.client("admin") as admin:
        admin.execute_command("ACL", "LOG", "RESET")
        store = RedisStore.of(settings_of(secure, "worker").redis)
        epoch = (await store.acquire(7)).epoch
        states, timers = {b"a": b"1", b"b": b"2"}, {b"a": 5, b"b": None}
        await store.commit([PartitionWrite(7, epoch, states=states, timers=timers, ids=b"i" * 8)])
        await store.commit([PartitionWrite(7, epoch, states={b"b": None}, rotate_ids=True)])
        assert await store.load({7: [b"a", b"b"]}) == {7: [b"1", None]}
        assert await store.due(7, 10, 1) == [(b"a", 5)]
        assert [customer async for customer in store.customers(7)] == [b"a"]
        assert await store.get(7, b"a") == b"1"
        assert await store.field(7, "none") is None
        await store.ping()
        assert (await store.health()).aof_enabled
        assert admin.execute_command("ACL", "LOG") == []
        assert await store.configuration() == {}, "that needs the right to read passwords"
        await store.close()


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "GET", "requirepass")),
        ("worker", ("GET", "engage:trainer")),
        ("worker", ("EVAL", "return redis.call('get', 'other')", "0")),
        ("worker", ("ACL", "LIST")),
        ("trainer", ("GET", "{engage:1}:c:c1")),
        ("trainer", ("SCAN", "0")),
        ("viewer", ("SET", "{engage:1}:c:c1", "x")),
        ("viewer", ("SCAN", "0")),
        ("operator", ("FLUSHALL",)),
        ("operator", ("ACL", "SETUSER", "me")),
    ],
)
def test_what_a_role_does_not_need_is_refused(
    secure: SecureRedis, role: str, command: tuple[str, ...]
) -> None:
    """No role reaches another's keys, the users, the settings or the deletion of everything."""
    with secure.client(role) as client, pytest.raises((NoPermissionError, redis.ResponseError)) as told:
        client.execute_command(*command)
    assert re.search("permission|can't", str(told.value)), told.value


async def test_a_missing_right_says_what_to_do(secure: SecureRedis) -> None:
    """A worker as the viewer's user ends with the command that writes the right users."""
    store = RedisStore.of(settings_of(secure, "viewer").redis)
    with pytest.raises(ConfigError, match=r"lacks a right.*engage redis acl"):
        await store.acquire(1)
    await store.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ENGAGE_REDIS_PASSWORD": f"{SECRET}-wrong"}, r"refuses our login; check redis\.user"),
        ({"ENGAGE_REDIS_USER": "unknown"}, r"refuses our login"),
        ({"ENGAGE_REDIS_USER": "", "ENGAGE_REDIS_PASSWORD": ""}, r"refuses our login"),
        ({"ENGAGE_REDIS_CA_FILE": "other.pem"}, r"no TLS connection.*redis\.ca_file"),
        ({"ENGAGE_REDIS_CA_FILE": ""}, r"no TLS connection.*redis\.ca_file"),
    ],
)
async def test_what_is_wrong_is_told_at_once(
    secure: SecureRedis, change: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong login or certificate is told with what to look at, and no secret."""
    Authority(tmp_path, "other")
    monkeypatch.chdir(tmp_path)
    store = RedisStore.of(settings_of(secure, "worker", **change).redis)
    with pytest.raises(ConfigError, match=told) as error:
        await store.ping()
    await store.close()
    assert SECRET not in str(error.value)


class MutualRedis(SecureRedis):
    """Lets nobody in who shows no certificate of the same authority."""

    def _command(self) -> list[str]:
        words = super()._command()
        words[words.index("--tls-auth-clients") + 1] = "yes"
        return words


def kinds() -> list[type[RedisServer | ValkeyServer]]:
    """Return the servers there are here."""
    return [ValkeyServer, *([RedisServer] if redis_binary() is not None else [])]


@pytest.mark.parametrize("kind", kinds())
async def test_the_state_outlives_a_restart(kind: type[RedisServer | ValkeyServer], tmp_path: Path) -> None:
    """A server with these users, killed and started again, reads back what transactions and scripts wrote."""
    users = tmp_path / "users.acl"
    users.write_text(acl_file("engage", PASSWORDS))

    class Guarded(kind):  # type: ignore[misc,valid-type]
        def _command(self) -> list[str]:
            return [*super()._command(), "--aclfile", str(users)]

    with Guarded(tmp_path / "data") as server:

        def environ(role: str) -> dict[str, str]:
            login = {"ENGAGE_REDIS_USER": f"engage-{role}", "ENGAGE_REDIS_PASSWORD": PASSWORDS[role]}
            return {"ENGAGE_REDIS_URL": server.url, **login}

        async def store_of(role: str) -> RedisStore:
            return RedisStore.of(load_settings(environ=environ(role)).redis)

        store = await store_of("worker")
        epoch = (await store.acquire(7)).epoch
        write = PartitionWrite(7, epoch, states={b"a": b"1", b"b": b"2"}, timers={b"a": 5}, offsets={"t": 9})
        await store.commit([write])
        await store.close()
        await asyncio.sleep(1.5)  # everysec
        server.kill9()
        server.restart()
        store = await store_of("worker")
        again = await retrying(lambda: store.acquire(7))  # it may be loading still
        assert again.epoch > epoch
        assert again.offsets == {"t": 9}
        assert await store.load({7: [b"a", b"b"]}) == {7: [b"1", b"2"]}
        assert await store.due(7, 10, 5) == [(b"a", 5)]
        await store.close()
        operator = await store_of("operator")
        assert await operator.reads_back() is True
        await operator.close()
        viewer = await store_of("viewer")
        assert await viewer.reads_back() is None, "it may not ask"
        await viewer.close()


async def test_a_client_shows_its_certificate(tmp_path: Path) -> None:
    """A worker with a certificate of the authority gets in; without, or with another's, it is told."""
    with MutualRedis(tmp_path) as server:
        own = server.authority.issue("engage-worker")
        other = Authority(tmp_path, "other").issue("stranger")

        async def ping(**more: str) -> None:
            store = RedisStore.of(settings_of(server, "worker", **more).redis)
            try:
                await store.ping()
            finally:
                await store.close()

        def files(issued: Issued) -> dict[str, str]:
            certificate, key = str(issued.certificate), str(issued.key)
            return {"ENGAGE_REDIS_CERTIFICATE_FILE": certificate, "ENGAGE_REDIS_KEY_FILE": key}

        await ping(**files(own))
        for wrong in ({}, files(other)) * 5:  # its alert is often overtaken by the end of the connection
            with pytest.raises(AccessError, match=r"check redis.*\.certificate_file"):
                await ping(**wrong)


async def test_a_port_that_wants_tls_is_a_server_that_does_not_answer(secure: SecureRedis) -> None:
    """Redis hangs up on who does not speak TLS; so does one that is just starting: no more than a hint."""
    url = secure.tls_url.replace("rediss://", "redis://")
    store = RedisStore.of(settings_of(secure, "worker", ENGAGE_REDIS_URL=url, ENGAGE_REDIS_CA_FILE="").redis)
    told = r"does not answer: (it closed the connection|connection reset by peer); it is starting, or .*TLS.*rediss://"
    with pytest.raises(TransientError, match=told):
        await store.ping()
    await store.close()


async def test_a_port_without_tls_is_told(secure: SecureRedis) -> None:
    """It waits for the rest of a command that never comes."""
    more = {
        "ENGAGE_REDIS_URL": secure.url.replace("redis://", "rediss://"),
        "ENGAGE_REDIS_TIMEOUT_MS": "1000",
    }
    store = RedisStore.of(settings_of(secure, "worker", **more).redis)
    with pytest.raises(TransientError, match=r"does not answer: no reply in time; it hangs, or .*redis://"):
        await store.ping()
    await store.close()


async def test_a_server_that_hangs_behind_the_handshake_has_tls(secure: SecureRedis) -> None:
    """What it answers to nothing, after it has spoken TLS, is no question of the settings."""
    with secure.client("admin") as admin:
        admin.execute_command("CLIENT", "PAUSE", 4000, "ALL")
    store = RedisStore.of(settings_of(secure, "worker", ENGAGE_REDIS_TIMEOUT_MS="1000").redis)
    with pytest.raises(TransientError, match=r"does not answer: no reply in time$"):
        await store.ping()
    await asyncio.sleep(3)
    await retrying(store.ping)
    await store.close()


async def test_where_the_link_has_worked_tls_is_no_question(secure: SecureRedis) -> None:
    """A server that stands still later on is told as that, without a guess at the settings."""
    store = RedisStore.of(settings_of(secure, "worker", ENGAGE_REDIS_TIMEOUT_MS="1000").redis)
    await store.ping()
    pid = secure.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # the second on a connection that could not be made
            with pytest.raises(TransientError, match=r"does not answer: no reply in time$"):
                await store.ping()
    finally:
        os.kill(pid, signal.SIGCONT)
    await store.ping()
    await store.close()


def test_a_password_is_changed_without_a_gap(secure: SecureRedis) -> None:
    """A user has two passwords while processes change over; then the old one is taken away."""
    with secure.client("admin") as admin, secure.client("worker") as before:
        admin.execute_command("ACL", "SETUSER", "engage-worker", ">new-one")
        assert before.ping()
        with redis.Redis.from_url(secure.url, username="engage-worker", password="new-one") as after:
            assert after.ping()
        admin.execute_command("ACL", "SETUSER", "engage-worker", f"<{PASSWORDS['worker']}")
        assert before.ping(), "a connection that is open stays"
        with secure.client("worker") as late, pytest.raises(AuthenticationError):
            late.ping()
        admin.execute_command("ACL", "LOAD")


def test_a_worker_and_a_trainer_run_as_their_users(
    secure: SecureRedis, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """An event sent comes back as a customer that the viewer sees; no command was refused meanwhile.

    Neither the log nor a page of the worker's HTTP port names the customer; it listens on 127.0.0.1 only.
    """
    names = {f"ENGAGE_TOPICS_{kind}": f"secure.{kind.lower()}" for kind in ("CLICK", "ORDER", "SERVICE")}
    more = {
        **names,
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap,
        "ENGAGE_KAFKA_GROUP": "secure",
        "ENGAGE_TOPICS_PARTITIONS": "4",
        "ENGAGE_HTTP_PORT": "0",
    }
    settings = settings_of(secure, "trainer", **more)
    kafka = kafka_settings(settings, "test")
    create_topics(kafka, [TopicSpec(spec.name, 4) for spec in topic_specs(settings)])
    with secure.client("admin") as admin:
        admin.execute_command("ACL", "LOG", "RESET")
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "worker"],
            env=os.environ | environment(secure, "worker", **more),
            stdout=output,
            stderr=output,
        )
    try:
        trainer = Trainer(settings, kafka, 4)
        trainer.stopped = True
        asyncio.run(trainer.run())  # takes the lock, restores, saves and lets the lock go
        event = ("send", "order.placed", "-c", ANNA, "-f", "order_id=o1", "-f", "amount=20")
        viewer = environment(secure, "viewer", **more)
        sent = CliRunner().invoke(app, event, env=viewer)
        assert sent.exit_code == 0, sent.output
        deadline, seen = time.monotonic() + _WAIT_S, 1
        while seen and worker.poll() is None and time.monotonic() < deadline:
            shown = CliRunner().invoke(app, ["customer", "show", ANNA, "--json"], env=viewer)
            seen = shown.exit_code
        checked = CliRunner().invoke(app, ["partitions", "check"], env=viewer)
        listens = re.search(r"worker listens.*port=(\d+)", _PLAIN.sub("", log.read_text()))
        assert listens is not None, log.read_text()
        pages = [_page(int(listens[1]), path) for path in ("metrics", "status", "readyz", "healthz")]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(listens[1])), 5)
    finally:
        end(worker)
    assert not seen, (shown.output, log.read_text())
    assert "everything has been worked on" in checked.output, checked.output
    assert SECRET not in log.read_text() + shown.output
    assert "engage_events_total" in pages[0]
    assert not [page for page in (*pages, log.read_text()) if ANNA in page or SECRET in page]
    with secure.client("admin") as admin:
        refused = [entry for entry in admin.acl_log() if "config" not in entry["object"]]
    assert refused == []


def _page(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as page:
            return str(page.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_a_worker_with_a_wrong_password_ends_at_once(
    secure: SecureRedis, embedded_broker: EmbeddedBroker
) -> None:
    """It does not wait for ever: exit code 2, what to look at, no secret."""
    more = {"ENGAGE_KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap, "ENGAGE_HTTP_PORT": "0"}
    environ = environment(secure, "worker", **more, ENGAGE_TOPICS_PARTITIONS="4")
    settings = load_settings(environ=environ)
    create_topics(
        kafka_settings(settings, "test"), [TopicSpec(each.name, 4) for each in topic_specs(settings)]
    )
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "worker"],
        env=os.environ | environ | {"ENGAGE_REDIS_PASSWORD": f"{SECRET}-old"},
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "refuses our login; check redis.user and redis.password" in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", [ValkeyServer, RedisServer])
def test_the_shipped_file_lets_nobody_in_until_it_has_passwords(
    kind: type[ValkeyServer | RedisServer], tmp_path: Path
) -> None:
    """`deploy/redis/users.acl` is what `engage redis acl` writes; with passwords, those log in."""
    shipped = (ROOT / "deploy" / "redis" / "users.acl").read_text()
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    assert CliRunner().invoke(app, ["redis", "acl"]).output == shipped
    written = CliRunner().invoke(app, ["redis", "acl", "--password-file", f"admin={secret}"]).output
    assert SECRET not in written
    users = tmp_path / "users.acl"
    users.write_text(shipped)
    with kind(settings={"aclfile": str(users)}) as server:
        for user in (None, "engage-admin", "engage-worker"):
            client = redis.Redis.from_url(server.url, username=user, password=SECRET)
            with client, pytest.raises(AuthenticationError):
                client.ping()
        users.write_text(written)
        server.restart()
        with redis.Redis.from_url(server.url, username="engage-admin", password=SECRET) as client:
            assert client.ping()


def test_memory_is_sized_from_what_customers_take(valkey: ValkeyServer) -> None:
    """With many keys the server's own figure counts, before that the load test's; sums are told."""
    environ = {"ENGAGE_REDIS_URL": valkey.url}
    ask = ["redis", "size", "--customers", "1000000"]
    few = CliRunner().invoke(app, ask, env=environ)
    assert "473 bytes (the load test's; this server holds only 0 keys)" in few.output
    with redis.Redis.from_url(valkey.url) as client:
        client.mset({f"{{engage:1}}:c:{number}": os.urandom(300) for number in range(10_000)})
    many = CliRunner().invoke(app, ask, env=environ).output
    found = re.search(r"customers of ([\d,]+) bytes \(measured here, 10,000 keys\)", many)
    assert found is not None, many
    assert 350 < int(found[1]) < 550
    told = CliRunner().invoke(app, [*ask, "--bytes-each", "400"], env=environ).output
    for line in (
        "data           0.40 GB",
        "maxmemory      0.50 GB",
        "machine        1.00 GB",
        "disk           1.20 GB",
    ):
        assert line in told
