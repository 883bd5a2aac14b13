"""The workload: who sends what, which events fire, and the journeys that watch.

Every record's id names the run, its number and its intended send time in microseconds: whoever sees an
action knows when its cause should have been sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Of each topic. librdkafka sends one request a partition, so 8 partitions of 5 event topics make the broker,
# not the engine, the limit of a machine with two cores; a worker owns a few partitions in production, too.
PARTITIONS = 2
TOPICS = {
    "click": "engage.clicks",
    "order": "engage.orders",
    "service": "engage.service",
    "profile": "engage.profile",
    "engagement": "engage.engagement",
}
RELAY_TOPICS = {family: f"relay.{family}" for family in TOPICS}
RELAY_OUTPUT = "relay.output"
ACTION_PREFIX = "engage.actions."
FIRE_CHANNELS = ("email", "sms", "push")
FIRE_JOURNEY = "load-fire"
FIRE_PRICE = 999.0
POOL = 65_536
_CATEGORIES = 200

# Family, type, share of all events. Clicks dominate, as they do in a shop.
MIX = (
    ("click", "page.viewed", 0.30),
    ("click", "product.viewed", 0.30),
    ("click", "search.performed", 0.06),
    ("click", "cart.added", 0.08),
    ("click", "session.started", 0.065),
    ("order", "order.placed", 0.05),
    ("order", "order.delivered", 0.02),
    # Of the customers with service contact about one in eight has an inquiry open at any time.
    ("service", "inquiry.opened", 0.001),
    ("service", "inquiry.replied", 0.002),
    ("service", "inquiry.resolved", 0.007),
    ("profile", "customer.signed_up", 0.001),
    ("profile", "profile.updated", 0.010),
    ("profile", "consent.granted", 0.004),
    ("engagement", "message.delivered", 0.05),
    ("engagement", "message.opened", 0.04),
    ("engagement", "feedback.nps", 0.01),
)
FIRING_TYPES = ("page.viewed", "product.viewed", "cart.added")


@dataclass(frozen=True, slots=True)
class Workload:
    """How the load looks.

    Args:
        customers: how many.
        zipf: exponent of their activity: customer k is drawn with weight 1 / k^zipf.
        fire_share: share of all events that fire an action.
        rules: active journeys, the shipped ones not counted.
        seed: of everything drawn.
        hot_share: share of all events that one customer more has.
    """

    customers: int = 20_000
    zipf: float = 0.8
    fire_share: float = 0.03
    rules: int = 1000
    seed: int = 1
    hot_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Template:
    """A record but for its id and time.

    Args:
        family: decides the topic.
        key: the customer id.
        tail: what follows `{"id":"…","time":…,` in the value.
        fires: whether a journey of the load fires on it.
    """

    family: str
    key: bytes
    tail: bytes
    fires: bool


def templates(workload: Workload, count: int = POOL) -> list[Template]:
    """Draw the records of a run; it goes round them.

    Args:
        workload: how the load looks.
        count: how many.

    Returns:
        Exactly round(count * fire_share) of them fire.
    """
    rng = np.random.default_rng(workload.seed)
    weights = np.arange(1, workload.customers + 1, dtype=np.float64) ** -workload.zipf
    ranks = rng.choice(workload.customers, count, p=weights / weights.sum())
    # Rank 1 should not be customer 0: names must say nothing about activity or partition.
    names = rng.permutation(workload.customers)[ranks]
    if workload.hot_share:
        names[rng.random(count) < workload.hot_share] = workload.customers
    shares = np.array([share for _, _, share in MIX])
    kinds = rng.choice(len(MIX), count, p=shares / shares.sum())
    fires = np.zeros(count, bool)
    can_fire = np.flatnonzero(np.isin([MIX[kind][1] for kind in kinds], FIRING_TYPES))
    fires[rng.choice(can_fire, round(count * workload.fire_share), replace=False)] = True
    numbers = rng.integers(0, 1_000_000, count)
    return [
        _template(int(kind), customer_id(name), int(number), bool(fire))
        for kind, name, number, fire in zip(kinds, names, numbers, fires, strict=True)
    ]


def customer_id(number: int) -> str:
    """Return a customer's name."""
    return f"customer-{number:06d}"


def _template(kind: int, customer: str, number: int, fires: bool) -> Template:
    family, event_type, _ = MIX[kind]
    fields: dict[str, object] = {
        "type": event_type,
        "customer_id": customer,
        "source": "loadtest",
        "channel": ("web", "app")[number % 2],
        **_fields(event_type, customer, number),
    }
    if event_type in FIRING_TYPES:
        fields["price"] = FIRE_PRICE if fires else round(number % 500 + 0.99, 2)
    fields["props"] = {"campaign": f"campaign-{number % 37}", "device": f"device-{number % 11}"}
    tail = json.dumps(fields, separators=(",", ":")).encode()[1:]
    return Template(family, customer.encode(), tail, fires)


def _fields(event_type: str, customer: str, number: int) -> dict[str, object]:
    family = event_type.partition(".")[0]
    action: dict[str, object] = {"action_id": f"action-{number}"}
    if family in {"page", "product", "search", "cart", "session"}:
        return {
            "session_id": f"session-{customer}-{number % 97}",
            "url": f"https://shop.example/catalogue/category-{number % _CATEGORIES}/product-{number}",
            "product_id": f"product-{number}",
            "category": f"category-{number % _CATEGORIES}",
        }
    if family == "order":
        return {
            "order_id": f"order-{number}",
            "amount": round(number % 300 + 9.9, 2),
            "currency": "EUR",
            "items": 2,
        }
    if family == "inquiry":
        return {
            "inquiry_id": f"inquiry-{customer}",
            "subject": "Where is my parcel?",
            "text": "It is two days late.",
        }
    if family in {"customer", "profile", "consent"}:
        purpose = {"purpose": "marketing"} if family == "consent" else {}
        return {
            "time_zone": "Europe/Berlin",
            "locale": "de-DE",
            "traits": {"tier": f"tier-{number % 4}"},
            **purpose,
        }
    if event_type == "feedback.nps":
        return action | {"score": number % 11}
    return action | {"journey": "newsletter", "template": f"template-{number % 9}"}


def record_id(run: str, number: int, intended_us: int) -> str:
    """Name a record."""
    return f"{run}-{number}-{intended_us}"


def intended_us(identifier: bytes) -> int:
    """Read the intended send time out of a record's id, in microseconds since the epoch."""
    return int(identifier[identifier.rindex(b"-") + 1 :])


def write_journeys(folder: Path, workload: Workload) -> int:
    """Write the generated journeys: one a firing type that fires, the rest looking on.

    The onlookers compare features of the customer with thresholds that few reach, as triggers do: two or
    three comparisons each, over all event types of the mix.

    Args:
        folder: where to; it exists.
        workload: how many.

    Returns:
        How many journeys were written.
    """
    count = 0
    for path, text in _journeys(workload):
        (folder / path).write_text(text, "utf-8")
        count += 1
    return count


def _journeys(workload: Workload) -> Iterator[tuple[str, str]]:
    for index, event_type in enumerate(FIRING_TYPES):
        name = f"{FIRE_JOURNEY}-{index}"
        where = f"event.price >= {FIRE_PRICE - 9}"
        yield f"{name}.yaml", _journey(name, event_type, FIRE_CHANNELS[index], where=where)
    rng = np.random.default_rng(workload.seed)
    types = sorted({event_type for _, event_type, _ in MIX})
    for index in range(max(0, workload.rules - len(FIRING_TYPES))):
        name = f"load-watch-{index:05d}"
        event_type = types[index % len(types)]
        yield f"{name}.yaml", _journey(name, event_type, "email", when=_condition(rng))


# Feature and a range of thresholds that a customer of this load hardly ever reaches.
_RARE = (
    ("customer.cancellations_30d", 1, 9),
    ("customer.refunds_90d", 1, 9),
    ("customer.complaints_365d", 1, 9),
    ("customer.cart_removes_7d", 1, 40),
)
_COMMON = (
    ("customer.page_views_24h", 1, 50),
    ("customer.product_views_7d", 1, 50),
    ("customer.orders_90d", 1, 9),
    ("customer.spend_365d", 10, 2000),
    ("customer.sessions_30d", 1, 30),
)


def _condition(rng: np.random.Generator) -> str:
    atoms = []
    for table, count in ((_COMMON, int(rng.integers(1, 3))), (_RARE, 1)):
        for index in rng.choice(len(table), count, replace=False):
            feature, low, high = table[index]
            atoms.append(f"{feature} >= {int(rng.integers(low, high))}")
    return " && ".join(atoms)


def _journey(name: str, event_type: str, channel: str, *, where: str = "", when: str = "") -> str:
    conditions = "".join(
        f"  {key}: {json.dumps(value)}\n" for key, value in (("where", where), ("when", when)) if value
    )
    return (
        f"journey: {name}\n"
        f"description: Generated for the load test.\n"
        f"entry:\n  on: {event_type}\n{conditions}  reentry: always\n"
        f"transactional: true\n"
        f"steps:\n  - send: {channel}\n    template: {name}\n"
    )
