"""Over TLS and with a login: each role does its work on a real Kafka, and nothing else."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import typer
from confluent_kafka import Consumer
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.commands.base import with_exit_code
from engine.config import load_settings
from engine.errors import ConfigError
from engine.settings import Settings
from engine.streams.kafka import KafkaSettings, cluster_metadata, common_config
from engine.streams.local.stack import ValkeyServer
from engine.streams.producer import ActionProducer, DeliveryError
from engine.streams.security.acls import check_rights
from engine.streams.security.rights import roles_of
from engine.streams.store.contract import retrying
from engine.streams.store.redis import RedisStore
from engine.streams.transactions.producer import KafkaTransactions
from engine.streams.wiring import kafka_settings
from tests.certificates import Authority
from tests.faults.harness import end
from tests.streams.secure_kafka import ADMIN_PASSWORD, SecureKafka

pytestmark = pytest.mark.kafka

SECRET = "hunter2"
_WAIT_S = 150.0
Environment = dict[str, str]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder for keys and certificates."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def secure(certificates: Path) -> Iterator[SecureKafka]:
    """Run Kafka with TLS, SASL and an authorizer: a user for each role, made as the documentation says.

    The superuser gives the role `admin` its rights; that one makes the topics and everyone else's rights.
    """
    with SecureKafka(certificates) as server:
        for role in roles_of(Settings()):
            server.add_user(f"engage-{role}", f"{SECRET}-{role}")
        server.add_user("engage-nobody", f"{SECRET}-nobody")
        as_superuser = environment(server, "admin") | {
            "ENGAGE_KAFKA_SASL_USERNAME": "admin",
            "ENGAGE_KAFKA_SASL_PASSWORD": ADMIN_PASSWORD,
        }
        as_admin = environment(server, "admin")
        engage(as_superuser, "topics", "acls", "--apply", "--role", "admin")
        engage(as_admin, "topics", "create")
        everyone = [part for role in roles_of(Settings()) for part in ("--role", role)]
        engage(as_admin, "topics", "acls", "--apply", *everyone)
        yield server


def environment(server: SecureKafka, role: str, **more: str) -> Environment:
    """Return the settings of a role's process."""
    return {
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": server.bootstrap,
        "ENGAGE_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "ENGAGE_KAFKA_CA_FILE": str(server.authority.file),
        "ENGAGE_KAFKA_SASL_USERNAME": f"engage-{role}",
        "ENGAGE_KAFKA_SASL_PASSWORD": f"{SECRET}-{role}",
        "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
        "ENGAGE_TOPICS_PARTITIONS": "2",
        "ENGAGE_HTTP_PORT": "0",
        **more,
    }


def engage(environ: Mapping[str, str], *arguments: str, exit_code: int = 0) -> str:
    """Run a command in this process; no secret may show."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ENGAGE_") and name != "ENGAGE_CACHE"]:
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == exit_code, (arguments, done.output, done.exception)
    assert SECRET not in done.output
    return done.output


def settings_of(environ: Environment) -> tuple[Settings, KafkaSettings]:
    """Return the settings, and what a client gets of them."""
    settings = load_settings(environ=environ)
    return settings, kafka_settings(settings, "test")


# ---- logging in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_from_a_file_logs_in(secure: SecureKafka, mechanism: str, tmp_path: Path) -> None:
    """Both SCRAM mechanisms work, with the password in a file."""
    environ = environment(secure, "worker", ENGAGE_KAFKA_SASL_MECHANISM=mechanism)
    del environ["ENGAGE_KAFKA_SASL_PASSWORD"]
    secret = tmp_path / "password"
    secret.write_text(f"{SECRET}-worker\n")
    environ["ENGAGE_KAFKA_SASL_PASSWORD_FILE"] = str(secret)
    settings, kafka = settings_of(environ)
    assert settings.topics.rules in cluster_metadata(kafka).topics


def test_a_certificate_logs_in(secure: SecureKafka) -> None:
    """On a listener that asks for certificates its name is the user; without one the reason is told."""
    issued = secure.authority.issue("engage-worker")
    environ = {
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": secure.tls_address,
        "ENGAGE_KAFKA_SECURITY_PROTOCOL": "ssl",
        "ENGAGE_KAFKA_CA_FILE": str(secure.authority.file),
    }
    own = {
        "ENGAGE_KAFKA_CERTIFICATE_FILE": str(issued.certificate),
        "ENGAGE_KAFKA_KEY_FILE": str(issued.key),
    }
    settings, kafka = settings_of(environ | own)
    check_rights(kafka, roles_of(settings)["worker"].rights)
    with pytest.raises(ConfigError, match=r"no TLS connection.*kafka\.certificate_file"):
        cluster_metadata(settings_of(environ)[1])


class TokenServer(http.server.ThreadingHTTPServer):
    """Gives a token to the one client that knows the secret."""

    def __init__(self, kafka: SecureKafka) -> None:
        self.kafka = kafka
        super().__init__(("127.0.0.1", 0), TokenRequest)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"


class TokenRequest(http.server.BaseHTTPRequestHandler):
    """One request of OpenID Connect's client credentials."""

    server: TokenServer

    def do_POST(self) -> None:
        """Answer."""
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        # librdkafka sends client and secret as basic authentication
        right = self.headers["Authorization"] == "Basic ZW5nYWdlOmh1bnRlcjI="
        assert asked["grant_type"] == ["client_credentials"]
        answer: dict[str, object] = {"error": "invalid_client"}
        if right:
            answer = {
                "access_token": self.server.kafka.issuer.token("engage-worker"),
                "token_type": "Bearer",
                "expires_in": 300,
            }
        body = json.dumps(answer).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Be quiet."""


@pytest.fixture
def tokens(secure: SecureKafka) -> Iterator[TokenServer]:
    """Run a token endpoint."""
    with TokenServer(secure) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_token_logs_in(secure: SecureKafka, tokens: TokenServer) -> None:
    """OAUTHBEARER gets its tokens itself; a wrong secret is told, and not shown."""
    environ = environment(
        secure,
        "worker",
        ENGAGE_KAFKA_SASL_MECHANISM="OAUTHBEARER",
        ENGAGE_KAFKA_OAUTH_TOKEN_URL=tokens.url,
        ENGAGE_KAFKA_OAUTH_CLIENT_ID="engage",
        ENGAGE_KAFKA_OAUTH_CLIENT_SECRET=SECRET,
    )
    for name in ("ENGAGE_KAFKA_SASL_USERNAME", "ENGAGE_KAFKA_SASL_PASSWORD"):
        del environ[name]
    settings, kafka = settings_of(environ)
    check_rights(kafka, roles_of(settings)["worker"].rights)
    wrong = settings_of(environ | {"ENGAGE_KAFKA_OAUTH_CLIENT_SECRET": f"{SECRET}-wrong"})[1]
    with pytest.raises(ConfigError, match=r"refuses our login|no token") as told:
        cluster_metadata(wrong)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"ENGAGE_KAFKA_SASL_PASSWORD": "hunter2-wrong"}, 2, r"refuses our login.*kafka\.sasl_"),
        ({"ENGAGE_KAFKA_SASL_USERNAME": "unknown"}, 2, r"refuses our login.*kafka\.sasl_"),
        ({"ENGAGE_KAFKA_SASL_MECHANISM": "PLAIN"}, 2, r"refuses our login.*SCRAM-SHA-512"),
        ({"ENGAGE_KAFKA_CA_FILE": "other.pem"}, 2, r"no TLS connection.*kafka\.ca_file"),
        (
            {"ENGAGE_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext", "ENGAGE_KAFKA_CA_FILE": ""},
            3,
            "security_protocol",
        ),
    ],
)
def test_what_is_wrong_is_told_at_once(
    secure: SecureKafka,
    change: Environment,
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong login, certificate or protocol ends a command soon, with what to look at and no secret.

    Exit code 2 where waiting does not help; brokers that hang up may be just starting.
    """
    Authority(tmp_path, "other")
    monkeypatch.chdir(tmp_path)
    environ = environment(secure, "viewer", ENGAGE_KAFKA_TIMEOUT_MS="2000") | change
    output = engage(environ, "doctor", exit_code=code)
    assert re.search(told, output.partition("redis")[0], re.DOTALL), output


# ---- what each role may ---------------------------------------------------------------------------


JOURNEYS = str(Path(__file__).parent.parent.parent / "deploy" / "journeys")
EVENT = ("send", "order.placed", "-c", "c1", "-f", "order_id=o1", "-f", "amount=20")


@pytest.mark.parametrize(
    ("role", "command", "refused"),
    [
        ("producer", EVENT, False),
        ("producer", ("tail", "decisions", "--last", "1", "--no-follow"), True),
        ("viewer", ("tail", "decisions", "--last", "1", "--no-follow"), False),
        ("viewer", ("dlq", "list"), False),
        ("viewer", ("topics", "check"), False),
        ("viewer", ("rules", "history"), False),
        ("viewer", ("rules", "backtest", JOURNEYS, "--from", "1d"), False),
        ("viewer", EVENT, True),
        ("operator", ("model", "freeze", "-m", "sale"), False),
        ("operator", ("topics", "acls", "--apply"), True),
        ("consumer", ("tail", "actions", "--last", "1", "--no-follow"), False),
        ("consumer", EVENT, True),
        ("author", ("rules", "history"), False),
        ("author", ("rules", "backtest", JOURNEYS, "--from", "1d"), False),
        ("author", EVENT, True),
        ("nobody", ("topics", "check"), True),
        ("nobody", ("doctor",), True),
        ("trainer", EVENT, True),
    ],
)
def test_a_role_does_its_work_and_nothing_else(
    secure: SecureKafka, role: str, command: tuple[str, ...], refused: bool
) -> None:
    """What a role needs it may do; what it does not need Kafka refuses, and the command says so."""
    output = engage(environment(secure, role), *command, exit_code=2 if refused else 0)
    if refused:
        assert "engage topics acls" in output
        assert "Request(" not in output
    if refused and command[0] in {"send", "tail"} and "Cluster authorization" not in output:
        assert re.search(r"(access to '|see )engage\.(orders|decisions|clicks)", output), output


@pytest.mark.parametrize("role", ["viewer", "author"])
async def test_a_right_to_write_that_is_missing_is_told_as_that(secure: SecureKafka, role: str) -> None:
    """Who writes nothing is refused by the cluster, who writes elsewhere by the topic: no retry helps."""
    settings, kafka = settings_of(environment(secure, role))
    producer = ActionProducer(kafka)
    with pytest.raises(DeliveryError, match="may not write there; `engage topics acls`") as error:
        await producer.send([(settings.topics.models, b"key", b"value", None)])
    assert error.value.no_access

    def refuse() -> None:
        raise error.value

    with pytest.raises(typer.Exit) as ended:
        with_exit_code(refuse)
    assert ended.value.exit_code == 2


def test_who_may_not_see_settings_is_told_who_may(secure: SecureKafka, valkey: ValkeyServer) -> None:
    """The worker's user needs no right to read settings: the doctor asks for another user, not for it."""
    output = engage(environment(secure, "worker", ENGAGE_REDIS_URL=valkey.url), "doctor")
    assert "cannot be seen by this user" in output
    assert "look as the role viewer or operator" in output
    assert re.search("workers: (none|nothing)", output), "who works, it may see"
    output = engage(environment(secure, "viewer", ENGAGE_REDIS_URL=valkey.url), "doctor")
    assert "cannot be seen" not in output


def test_rights_that_are_missing_are_named_before_the_start(secure: SecureKafka) -> None:
    """A worker as the trainer's user is told each right it lacks; each role has exactly its own."""
    settings, kafka = settings_of(environment(secure, "trainer"))
    rights = roles_of(settings)
    check_rights(kafka, rights["trainer"].rights)
    with pytest.raises(
        ConfigError, match=r"lacks READ on topic engage\.clicks.*WRITE on topic engage\.actions"
    ):
        check_rights(kafka, rights["worker"].rights)


async def own_partitions(url: str, count: int) -> None:
    """Leave in Redis what a worker of so many partitions has written."""
    store = RedisStore(url)
    for partition in range(count):
        await store.acquire(partition, count)
    await store.close()


def test_an_operator_widens_partitions(secure: SecureKafka, valkey: ValkeyServer) -> None:
    """The operator's rights suffice, also to send on what waits; the viewer is refused."""
    topics = {f"ENGAGE_TOPICS_{kind}": f"wide.{kind.lower()}" for kind in ("CLICK", "ORDER", "SERVICE")}
    topics |= {f"ENGAGE_TOPICS_{kind}": f"wide.{kind.lower()}" for kind in ("PROFILE", "ENGAGEMENT")}
    topics |= {"ENGAGE_REDIS_URL": valkey.url, "ENGAGE_KAFKA_GROUP": "engage-wide"}
    as_superuser = {"ENGAGE_KAFKA_SASL_USERNAME": "admin", "ENGAGE_KAFKA_SASL_PASSWORD": ADMIN_PASSWORD}
    engage(environment(secure, "admin", **topics, **as_superuser), "topics", "acls", "--apply")
    engage(environment(secure, "admin", **topics), "topics", "create")
    asyncio.run(own_partitions(valkey.url, 2))
    widen = ("partitions", "widen", "--to", "4", "--send-on")

    def run(role: str, *words: str, exit_code: int = 0) -> str:
        return engage(environment(secure, role, **topics), *words, exit_code=exit_code)

    for number in range(5):
        run("operator", "send", "page.viewed", "-c", f"c{number}")
    told = run("viewer", *widen, exit_code=2)
    assert "kafka refuses access" in told
    assert "engage topics acls" in told
    assert "2 partitions" in run("viewer", "topics", "check"), "refused before anything is changed"
    assert "5 records" in run("viewer", "partitions", "check", exit_code=1)
    done = run("operator", *widen)
    assert "are in 4 partitions" in done
    assert "5 records" in run("operator", "partitions", "check", exit_code=1)
    assert "all but 5 records" in run("operator", "partitions", "check", "--within", "5")


async def test_transactions_need_rights_of_their_own(secure: SecureKafka) -> None:
    """Without them a worker is told what shows them; with those that `topics acls` makes it sends."""
    on = {"ENGAGE_KAFKA_TRANSACTIONS": "yes"}
    settings, kafka = settings_of(environment(secure, "worker", **on))
    worker, action = KafkaTransactions(kafka), settings.action_topics()["email"]
    with pytest.raises(ConfigError, match="engage topics acls"):
        await worker.open()
    engage(environment(secure, "admin", **on), "topics", "acls", "--apply", "--role", "worker")
    check_rights(kafka, roles_of(settings)["worker"].rights)
    await worker.open()
    await worker.send([(action, b"c1", b"{}", None)], {0: "token"})
    assert await retrying(lambda: worker.sent([0], settled=True)) == {0: "token"}
    assert "--transactional-id engage-sender-" in engage(
        environment(secure, "admin", **on), "topics", "acls", "--commands", "--role", "worker"
    )


# ---- the processes --------------------------------------------------------------------------------


def test_a_worker_works_over_a_secured_link(
    secure: SecureKafka, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """An event sent by one user becomes a decision that another reads; logs hold no secret."""
    environ = os.environ | environment(secure, "worker", ENGAGE_REDIS_URL=valkey.url)
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "worker"], env=environ, stdout=output, stderr=output
        )
    try:
        engage(environment(secure, "producer"), *EVENT)
        settings, kafka = settings_of(environment(secure, "consumer"))
        reader = Consumer(
            common_config(kafka) | {"group.id": "engage-actions-test", "auto.offset.reset": "earliest"}
        )
        reader.subscribe([settings.topics.decisions])
        deadline, found = time.monotonic() + _WAIT_S, None
        while found is None and worker.poll() is None and time.monotonic() < deadline:
            found = reader.poll(0.2)
        reader.close()
    finally:
        end(worker)
    assert found is not None, log.read_text()
    assert found.error() is None, found.error()
    assert found.key() == b"c1"
    assert SECRET not in log.read_text()


def test_a_worker_with_a_wrong_password_ends_at_once(secure: SecureKafka) -> None:
    """It does not hang: exit code 2, one line that says what to do, no secret."""
    environ = os.environ | environment(secure, "worker", ENGAGE_KAFKA_SASL_PASSWORD=f"{SECRET}-old")
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "worker"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "refuses our login" in done.stderr
    assert "kafka.sasl_" in done.stderr
    assert SECRET not in done.stdout + done.stderr
