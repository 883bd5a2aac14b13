"""The topics of `engage topics create --production` on three brokers: one goes, and nothing is seen of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from engine.streams.local.stack import ValkeyServer
from tests.faults.harness import Deployment, end_offsets, read_all
from tests.ops.brokers import three_brokers

pytestmark = [pytest.mark.ops, pytest.mark.kafka, pytest.mark.timeout(1_800)]

JOURNEY = Path(__file__).parent.parent / "simulation" / "journeys" / "receipt.yaml"
EACH = 1_000
PATIENCE_S = 300.0


def send(bootstrap: str, first: int) -> None:
    """Send orders; every one must be on two brokers."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "acks": "all"})
    refused = []

    def taken(error: object, _record: object) -> None:
        if error is not None:
            refused.append(error)

    for number in range(first, first + EACH):
        event = {"id": f"e{number}", "type": "order.placed", "customer_id": f"c{number}"}
        event |= {"order_id": f"o{number}"}
        text = json.dumps({**event, "time": time.time_ns() // 10**6, "amount": 20})
        producer.produce("engage.orders", text, f"c{number}", on_delivery=taken)
        producer.poll(0)
    assert producer.flush(120) == 0
    assert not refused


def receipts(bootstrap: str) -> set[str]:
    """Return the orders that have got one."""
    found = map(json.loads, read_all(bootstrap, ["engage.actions.email"]))
    return {action["event_id"] for action in found if action["template"] == "receipt"}


def test_a_broker_goes_and_nothing_is_seen_of_it(tmp_path: Path) -> None:
    """Writing goes on with two of three, `engage doctor` tells of the third; back again, all is well."""
    with three_brokers(tmp_path) as brokers, ValkeyServer(tmp_path / "valkey") as valkey:
        bootstrap = ",".join(broker.bootstrap for broker in brokers)
        settings = {
            "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
            "ENGAGE_RULES_PATHS": str(JOURNEY),
            "ENGAGE_TOPICS_PARTITIONS": "4",
        }
        shop = Production("engage", bootstrap, valkey.url, tmp_path, settings)
        assert "copies of each partition: 3" in shop.engage("topics", "create", "--production")
        assert "settings of topics and brokers are fit for production" in shop.engage("topics", "check")
        with shop.worker():
            send(bootstrap, 0)
            shop.wait_done(end_offsets(bootstrap), PATIENCE_S)
            brokers[1].kill9()
            send(bootstrap, EACH)
            shop.wait_done(end_offsets(bootstrap), PATIENCE_S)
            told = shop.engage("doctor")
            assert "copies that lag behind their leader: engage.clicks" in told
            assert "is a broker down or full?" in told
            brokers[1].start()
            send(bootstrap, 2 * EACH)
            shop.wait_done(end_offsets(bootstrap), PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            while "lag behind" in shop.engage("topics", "check"):
                assert time.monotonic() < deadline
        wanted = {f"e{number}" for number in range(3 * EACH)}
        assert receipts(bootstrap) == wanted


class Production(Deployment):
    """A deployment with the names of the settings' defaults."""

    @property
    def topics(self) -> dict[str, str]:
        """Those of the defaults."""
        return {}

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of every process of this deployment."""
        own = super().environment
        del own["ENGAGE_TOPICS_ACTIONS_PREFIX"]
        return own
