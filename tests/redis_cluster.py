"""A Redis Cluster on this machine, for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis

from engine.streams.local.server import HOST, reserve_port
from engine.streams.local.stack import ValkeyServer

_NODES = 3
_SLOTS = 16_384
_JOIN_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Cluster:
    """Three masters without replicas.

    Args:
        nodes: the servers.
        announced: the port each tells its clients: its own, or one where a test listens and passes on.
    """

    nodes: list[ValkeyServer]
    announced: list[int]


@contextmanager
def redis_cluster(*, relayed: bool = False) -> Iterator[Cluster]:
    """Run a cluster.

    Args:
        relayed: whether each node announces a port that is not its own (`ServerBacking` listens there).
    """
    with ExitStack() as running:
        nodes, buses, announced = [], [], []
        for _ in range(_NODES):
            bus, relay = (running.enter_context(reserve_port()).getsockname()[1] for _ in range(2))
            # A node that is killed for a moment is to come back as itself, not to be voted out.
            settings = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": "15000",
                "appendfsync": "always",
            }
            if relayed:
                settings["cluster-announce-port"] = str(relay)
            nodes.append(running.enter_context(ValkeyServer(settings=settings)))
            buses.append(bus)
            announced.append(relay if relayed else nodes[-1].ports[0])
        clients = [running.enter_context(redis.Redis.from_url(node.url)) for node in nodes]
        for number, client in enumerate(clients):
            first, after = _SLOTS * number // _NODES, _SLOTS * (number + 1) // _NODES
            run(client, "CLUSTER ADDSLOTSRANGE", first, after - 1)
            run(client, "CLUSTER MEET", HOST, announced[0], buses[0])
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        while not all(is_joined(client) for client in clients):
            assert time.monotonic() < deadline_s, "the nodes did not form a cluster"
            time.sleep(0.1)
        yield Cluster(nodes, announced)


def run(client: redis.Redis, *command: str | int) -> object:
    """Run a command that redis-py would treat in its own way."""
    answer: object = client.execute_command(*command)  # type: ignore[no-untyped-call]
    return answer


def is_joined(client: redis.Redis) -> bool:
    """Tell whether a node sees all slots served."""
    info = str(run(client, "CLUSTER INFO"))
    return "'cluster_state': 'ok'" in info and f"'cluster_known_nodes': '{_NODES}'" in info
