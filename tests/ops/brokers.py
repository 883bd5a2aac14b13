"""Three brokers of Apache Kafka on this machine, each also a controller."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from engine.streams.local.server import HOST, reserve_port
from engine.streams.local.stack import ApacheKafka, LocalServerError

BROKERS = 3
_FORMAT_TIMEOUT_S = 300
# Production's: what the brokers make for themselves has three copies, too; one that is gone is missed soon.
_SETTINGS = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}


class Broker(ApacheKafka):
    """One of several.

    Args:
        number: from 0.
        controllers: a reserved port of each broker, for the controllers among themselves.
        cluster: the cluster's id.
        folder: where it keeps its data.
    """

    ports_wanted = 1
    start_timeout_s = 120.0

    def __init__(self, number: int, controllers: list[int], cluster: str, folder: Path) -> None:
        super().__init__(folder, settings=_SETTINGS)
        self._number = number
        self._controllers = controllers
        self._cluster = cluster

    def _own_settings(self) -> dict[str, str]:
        own = f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self._controllers[self._number]}"
        voters = (f"{number}@{HOST}:{port}" for number, port in enumerate(self._controllers))
        return {
            "node.id": str(self._number),
            "listeners": own,
            "advertised.listeners": own,
            "controller.quorum.voters": ",".join(voters),
            "log.dirs": str(self.folder / "data"),
        }

    def _format(self) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(self._properties)]
        done = subprocess.run(
            [*self._java(), *tool], capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise LocalServerError(f"kafka: its storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _is_ready(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return super()._is_ready() and len(admin.list_topics(timeout=1).brokers) > 1


@contextmanager
def three_brokers(folder: Path) -> Iterator[list[Broker]]:
    """Run them; a broker may be killed and started again meanwhile."""
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
    with ExitStack() as running:
        holders = [running.enter_context(reserve_port()) for _ in range(BROKERS)]
        controllers = [holder.getsockname()[1] for holder in holders]
        brokers = [Broker(n, controllers, cluster, folder / f"broker-{n}") for n in range(BROKERS)]
        for broker in brokers:
            running.callback(broker.stop)
        with ThreadPoolExecutor(BROKERS) as pool:  # two of them must be there for a first answer
            list(pool.map(Broker.start, brokers))
        yield brokers
