"""Three brokers, one of which goes: with copies nothing is seen of it; without, it is told and waited for."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from engine.settings import Settings
from engine.streams.local.server import reserve_port
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


CART = """
journey: basket
transactional: true
entry: {on: cart.added}
exit: [{on: order.placed}]
steps:
  - wait: 4s
  - {send: email, template: basket}
"""
NAMES = [f"c{number}" for number in range(20)]
LEADS = {"engage.orders": 1}  # the others' leader is broker 0


def test_a_topic_whose_leader_is_away_is_told_of_and_deadlines_wait_for_it(tmp_path: Path) -> None:
    """Carts are read without the orders that empty them; nobody is reminded before those are read, too."""
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    (journeys / "basket.yaml").write_text(CART, "utf-8")
    with (
        three_brokers(tmp_path) as brokers,
        ValkeyServer(tmp_path / "valkey") as valkey,
        reserve_port() as holder,
    ):
        bootstrap = ",".join(broker.bootstrap for broker in brokers)
        port = holder.getsockname()[1]
        settings = {
            "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
            "ENGAGE_RULES_PATHS": str(journeys),
            "ENGAGE_TOPICS_PARTITIONS": "1",
            "ENGAGE_HTTP_PORT": str(port),
        }
        shop = Production("engage", bootstrap, valkey.url, tmp_path, settings)
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for topic in Settings().event_topics().values():
            wanted = NewTopic(topic, 1, replica_assignment=[[LEADS.get(topic, 0)]])
            admin.create_topics([wanted])[topic].result(PATIENCE_S)
        shop.engage("topics", "create", "--production")
        shop.engage(
            "send", "--file", "-", text=lines(NAMES, "cart.added", product_id="p1", price=5, quantity=1)
        )
        shop.engage("send", "--file", "-", text=lines(NAMES[::2], "order.placed", order_id="o", amount=5))
        brokers[1].kill9()
        with shop.worker():
            wait_until(lambda: "engage.orders partition 0 has handed out nothing" in page(port, "readyz"))
            wait_until(lambda: 'engage_events_total{family="click"} 20.0' in page(port, "metrics"))
            time.sleep(6)  # all carts' deadlines have passed
            assert reminded(bootstrap) == set()
            brokers[1].start()
            wait_until(lambda: reminded(bootstrap) >= set(NAMES[1::2]))
            wait_until(lambda: page(port, "readyz") == "ok\n")
        assert reminded(bootstrap) == set(NAMES[1::2])


def lines(names: list[str], kind: str, **fields: object) -> str:
    """Write an event of each customer, as JSON Lines."""
    own = {"type": kind, "time": time.time_ns() // 10**6, "source": "shop", **fields}
    return "\n".join(json.dumps({"id": f"{kind}-{name}", "customer_id": name, **own}) for name in names)


def reminded(bootstrap: str) -> set[str]:
    """Return who was reminded of a cart."""
    found = map(json.loads, read_all(bootstrap, ["engage.actions.email"]))
    return {action["customer_id"] for action in found if action["template"] == "basket"}


def page(port: int, name: str) -> str:
    """Return a page of the worker, empty while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()
    except OSError:
        return ""


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


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
