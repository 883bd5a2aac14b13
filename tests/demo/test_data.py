"""Laws of the demo's log."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from itertools import islice

import numpy as np
import pytest

from engine.demo.cdnow import END_MS, PURCHASES, START_MS, Purchases, load_purchases
from engine.demo.data import Log, build_log, events
from engine.events import EVENT_CLASSES, EVENT_TYPES, PURPOSES, Family, OrderEvent, ProfileEvent, ServiceEvent


@pytest.fixture(scope="module")
def purchases() -> Purchases:
    """The real purchases."""
    return load_purchases()


@pytest.fixture(scope="module")
def log(purchases: Purchases) -> Log:
    """The whole log of the default seed."""
    return build_log(purchases=purchases)


def test_purchases_are_the_real_ones(purchases: Purchases) -> None:
    """The purchase log is read whole: rows, customers, days and the sum of all amounts."""
    assert len(purchases.amount) == PURCHASES
    assert purchases.customers == 23_570
    assert (purchases.day.min(), purchases.day.max()) == (0, 545)
    assert purchases.amount.sum() == pytest.approx(2_500_315.63)


def test_log_size_is_bounded(log: Log) -> None:
    """The demo's length in events stays what the demo's minute is planned for."""
    assert 300_000 < len(log) < 400_000


def test_every_event_is_sorted_valid_and_unique(log: Log) -> None:
    """Times never fall nor leave the log; types fit families; ids are unique within their source."""
    last_ms = START_MS
    seen: set[tuple[str, str]] = set()
    count: Counter[str] = Counter()
    for family, event in log.events():
        assert last_ms <= event.time < END_MS
        last_ms = event.time
        assert type(event) is EVENT_CLASSES[family]
        assert EVENT_TYPES[event.type].family is family
        seen.add((event.source, event.id))
        count[event.type] += 1
    assert len(seen) == len(log)
    assert count["order.placed"] == PURCHASES
    assert all(count[name] for name in ("consent.withdrawn", "message.unsubscribed", "feedback.nps"))


def test_purchases_keep_date_amount_and_customer(log: Log, purchases: Purchases) -> None:
    """An order event carries the real customer, date (UTC), amount and number of items."""
    placed = log.columns.take(log.columns.code == EVENT_TYPES["order.placed"].code)
    order = np.argsort(placed.number)
    assert np.array_equal(placed.customer[order], purchases.customer)
    assert np.array_equal((placed.time_ms[order] - START_MS) // 86_400_000, purchases.day)
    assert np.array_equal(placed.value[order], purchases.amount)
    assert np.array_equal(placed.detail[order], purchases.items)


def test_same_seed_same_events(purchases: Purchases) -> None:
    """A seed decides every event; another seed gives others around the same purchases."""
    first, again = (list(islice(events(5), 3_000)) for _ in range(2))
    assert first == again
    assert first != list(islice(events(6), 3_000))


def test_fewer_customers_live_the_same_lives(log: Log, purchases: Purchases) -> None:
    """A smaller demo is a selection of whole customers out of the full one, cut at the instant asked for."""
    until_ms = START_MS + 60 * 86_400_000
    small = build_log(customers=50, until=until_ms, purchases=purchases)
    chosen = set(small.columns.customer.tolist())
    assert 25 <= len(chosen) <= 50
    whole = log.columns.take(np.isin(log.columns.customer, list(chosen)) & (log.columns.time_ms < until_ms))
    assert np.array_equal(whole.time_ms, small.columns.time_ms)
    assert np.array_equal(whole.customer, small.columns.customer)


def test_customers_sign_up_before_anything_else(log: Log) -> None:
    """Nothing happens to a customer before the sign-up."""
    assert (log.columns.time_ms >= log.population.signup_ms[log.columns.customer]).all()
    first: dict[int, int] = {}
    for customer, code in zip(log.columns.customer.tolist(), log.columns.code.tolist(), strict=True):
        first.setdefault(customer, code)
    assert set(first.values()) == {EVENT_TYPES["customer.signed_up"].code}


def test_nothing_follows_an_erasure(log: Log) -> None:
    """A customer who asked for erasure does nothing more."""
    last: dict[int, int] = dict(zip(log.columns.customer.tolist(), log.columns.code.tolist(), strict=True))
    erasure = EVENT_TYPES["erasure.requested"].code
    erased = log.columns.customer[log.columns.code == erasure]
    assert len(erased) > 0
    assert all(last[customer] == erasure for customer in erased.tolist())


def test_service_has_quick_late_and_missing_replies(log: Log) -> None:
    """Most inquiries are answered within five minutes, some later, a few never."""
    opened = log.columns.take(log.columns.code == EVENT_TYPES["inquiry.opened"].code)
    replied = log.columns.take(log.columns.code == EVENT_TYPES["inquiry.replied"].code)
    reply_ms = dict(zip(replied.number.tolist(), replied.time_ms.tolist(), strict=True))
    waits = [
        reply_ms.get(number, 1 << 60) - at
        for number, at in zip(opened.number.tolist(), opened.time_ms.tolist(), strict=True)
    ]
    quick = sum(wait < 300_000 for wait in waits) / len(waits)
    never = sum(wait > 1 << 50 for wait in waits) / len(waits)
    assert 0.7 < quick < 0.85
    assert 0.02 < never < 0.08


def test_deliveries_follow_orders_that_stand(log: Log) -> None:
    """A fifth of the orders is delivered, two to nine days later; a cancelled one never."""
    placed, delivered, cancelled = (
        log.columns.take(log.columns.code == EVENT_TYPES[f"order.{name}"].code)
        for name in ("placed", "delivered", "cancelled")
    )
    assert 0.17 < len(delivered) / len(placed) < 0.23
    placed_ms = dict(zip(placed.number.tolist(), placed.time_ms.tolist(), strict=True))
    days = [
        (at - placed_ms[number]) / 86_400_000
        for number, at in zip(delivered.number.tolist(), delivered.time_ms.tolist(), strict=True)
    ]
    assert min(days) >= 2
    assert max(days) < 9
    assert not set(delivered.number.tolist()) & set(cancelled.number.tolist())


def test_carts_are_ordered_or_left(log: Log) -> None:
    """Most carts become an order within the hour, and some thousand never do."""
    carts = log.columns.take(log.columns.code == EVENT_TYPES["cart.added"].code)
    placed = log.columns.take(log.columns.code == EVENT_TYPES["order.placed"].code)
    orders: dict[int, list[int]] = {}
    for customer, at in zip(placed.customer.tolist(), placed.time_ms.tolist(), strict=True):
        orders.setdefault(customer, []).append(at)
    left = sum(
        not any(at < order_ms <= at + 3_600_000 for order_ms in orders.get(customer, ()))
        for customer, at in zip(carts.customer.tolist(), carts.time_ms.tolist(), strict=True)
    )
    assert 2_000 < left < 0.2 * len(carts)


def test_service_is_rated_after_it_is_over(log: Log) -> None:
    """CSAT answers are 1 to 5, follow the resolution of an inquiry within a day, and some are bad."""
    rated = log.columns.take(log.columns.code == EVENT_TYPES["feedback.csat"].code)
    resolved = log.columns.take(log.columns.code == EVENT_TYPES["inquiry.resolved"].code)
    at_ms = dict(zip(resolved.number.tolist(), resolved.time_ms.tolist(), strict=True))
    assert all(
        0 < at - at_ms[number] < 86_400_000
        for number, at in zip(rated.number.tolist(), rated.time_ms.tolist(), strict=True)
    )
    assert set(rated.value.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert 50 < (rated.value <= 2).sum() < 0.3 * len(rated)


def test_some_tell_their_dates(log: Log) -> None:
    """Three in ten tell at the sign-up when they were born and since when they have bought here."""
    told = 0
    sign_ups = [
        event
        for _, event in islice(log.events(), 60_000)
        if isinstance(event, ProfileEvent) and event.type == "customer.signed_up"
    ]
    for event in sign_ups:
        assert ("birthday" in event.traits) == ("customer_since" in event.traits)
        if "birthday" not in event.traits:
            continue
        told += 1
        today = datetime.fromtimestamp(event.time / 1000, UTC).date()
        born, since = (date.fromisoformat(str(event.traits[name])) for name in ("birthday", "customer_since"))
        assert 18 * 365 <= (today - born).days < 66 * 365
        assert 0 <= (today - since).days < 7 * 365
    assert 0.25 < told / len(sign_ups) < 0.35


def test_fields_marketers_rely_on_are_filled(log: Log) -> None:
    """Sign-ups carry zone and locale, consent its purpose, inquiries a subject and text, some in Chinese."""
    texts: list[str] = []
    for _, event in islice(log.events(), 40_000):
        if isinstance(event, ProfileEvent) and event.type == "customer.signed_up":
            assert "/" in event.time_zone
            assert event.locale
        if isinstance(event, ProfileEvent) and event.type.startswith("consent."):
            assert event.purpose in PURPOSES
        if isinstance(event, OrderEvent):
            assert event.order_id
        if isinstance(event, ServiceEvent) and event.type == "inquiry.opened":
            assert event.subject
            texts.append(event.text)
    assert any("投诉" in text or "愤怒" in text for text in texts)
    assert any("furious" in text or "complaint" in text for text in texts)


def test_activity_falls_before_the_customer_is_lost(log: Log, purchases: Purchases) -> None:
    """Visits after a customer's last purchase come within weeks, not evenly until the end."""
    sessions = log.columns.take(log.columns.code == EVENT_TYPES["session.started"].code)
    last_ms = log.population.last_purchase_ms[sessions.customer]
    after = (last_ms > 0) & (sessions.time_ms > last_ms)
    delay_days = (sessions.time_ms - last_ms)[after] / 86_400_000
    assert np.median(delay_days) < 15


def test_every_family_occurs(log: Log) -> None:
    """All five topics get events within the first simulated day."""
    families = {family for family, event in islice(log.events(), 20_000)}
    assert families == set(Family)
