"""Apache Kafka on this machine without containers: jars from Maven, one process as broker and controller."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from engine.streams.local.server import HOST, LocalServer, LocalServerError

KAFKA_VERSION = "4.1.0"
_LOG4J_VERSION = "2.25.1"
_FETCH_TIMEOUT_S = 300
_FORMAT_TIMEOUT_S = 300
_PROBE_TIMEOUT_S = 1.0
_POM = f"""<project>
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
_LOG4J = """rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
"""
_QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Xmx512m")
_BENCH_JVM = ("-XX:+UseParallelGC", "-Xms1g", "-Xmx1g")
# Group members that die are missed after 1.5 s instead of 45 s; a group does not wait for late joiners.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # After kill -9 the broker may come back only when its old session is over (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.partitions": "8",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "1500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "300",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    "message.max.bytes": str(8 * 1024 * 1024),
}


def cache_folder() -> Path:
    """Return where downloads are kept: `ENGAGE_CACHE`, or `~/.cache/engage`."""
    given = os.environ.get("ENGAGE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "engage"


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars in the cache; it may not exist yet."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def missing_tools() -> list[str]:
    """Return which of the programs that Kafka needs here are not on PATH: `java`, `mvn`."""
    tools = ["java"] if kafka_jars().is_dir() else ["java", "mvn"]
    return [tool for tool in tools if shutil.which(tool) is None]


def fetch_kafka() -> Path:
    """Fetch Kafka's jars with Maven unless they are in the cache; safe when several processes do it at once.

    Returns:
        The folder of the jars.

    Raises:
        LocalServerError: if a tool is missing or Maven fails.
    """
    jars = kafka_jars()
    if jars.is_dir():
        return jars
    if missing_tools():
        raise LocalServerError(
            f"apache kafka needs {' and '.join(missing_tools())} on PATH (a JRE 17+, Maven)"
        )
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as name:
        work = Path(name)
        (work / "pom.xml").write_text(_POM, encoding="utf-8")
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                command, cwd=work, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise LocalServerError(f"maven did not fetch kafka within {_FETCH_TIMEOUT_S} s") from None
        if done.returncode:
            raise LocalServerError(f"maven could not fetch kafka {KAFKA_VERSION}:\n{done.stdout[-1500:]}")
        try:
            (work / "jars").rename(jars)
        except OSError:
            if not jars.is_dir():  # otherwise another process was quicker
                raise
    return jars


class ApacheKafka(LocalServer):
    """Apache Kafka, KRaft, one process.

    Args:
        folder: see `LocalServer`.
        scratch: see `LocalServer`.
        bench: full compiler and a fixed heap for load runs; otherwise a JVM that starts quickly.
        settings: broker settings that override the defaults above.
    """

    name = "kafka"
    start_timeout_s = 60.0
    ports_wanted = 2

    def __init__(
        self,
        folder: Path | None = None,
        scratch: Path | None = None,
        *,
        bench: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__(folder, scratch)
        self._bench = bench
        self._settings = settings or {}

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for clients."""
        return self.address

    def _java(self) -> list[str]:
        options = [*(_BENCH_JVM if self._bench else _QUICK_JVM), f"-Dlog4j2.configurationFile={self._log4j}"]
        return ["java", *options, *self._java_options(), "-cp", f"{kafka_jars()}/*"]

    def _java_options(self) -> list[str]:
        """Return further options of the JVM."""
        return []

    def _format_options(self) -> list[str]:
        """Return further options of the tool that formats the storage."""
        return []

    def _probe(self) -> str:
        """Return the address of a listener that takes clients without credentials."""
        return self.bootstrap

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log4j(self) -> Path:
        return self.folder / "log4j2.properties"

    def _command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def _own_settings(self) -> dict[str, str]:
        """Return the settings that depend on ports and folder."""
        client, controller, *_ = self.ports
        listeners = f"PLAINTEXT://{HOST}:{client},CONTROLLER://{HOST}:{controller}"
        return {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "log.dirs": str(self.folder / "data"),
        }

    def _prepare(self) -> None:
        fetch_kafka()
        settings = _SETTINGS | self._own_settings() | self._settings
        lines = (f"{key}={value}\n" for key, value in settings.items())
        self._properties.write_text("".join(lines), encoding="utf-8")
        self._log4j.write_text(_LOG4J, encoding="utf-8")
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            cluster,
            "-c",
            str(self._properties),
            *self._format_options(),
        ]
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [*self._java(), *tool], capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise LocalServerError(f"kafka: its storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _is_ready(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self._probe(), "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=_PROBE_TIMEOUT_S).brokers)
        except KafkaException:
            return False
