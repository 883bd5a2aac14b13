"""The demo's log as columns: what happens to whom and when, drawn from a seed around the real purchases.

Everything here is a function of the seed and the purchase log. Each part of the log draws from a generator of
its own, so changing one leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.demo.cdnow import DAY_MS, END_MS, START_MS, Purchases
from engine.demo.columns import Bools, Columns, Ints, Population, columns, concatenate
from engine.demo.texts import ZONES, Mood
from engine.events import EVENT_TYPES

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NEVER_BUYERS = 2_600  # sign up in the course of the log, look around, buy nothing
_TRACKED = 0.2  # share of the orders whose carrier tells of the delivery
_BY_CART = 0.4  # share of the purchases seen coming that lead through the cart
_LONG_FORM = 0.3  # share of the customers who tell their birthday and since when they have been buying here
_EPOCH_ORDINAL = 719_163  # 1970-01-01, as `date.toordinal` counts
# Share of a day's purchases by the customer's own hour of the day.
_HOURS = (1, 1, 0, 0, 0, 1, 2, 4, 6, 7, 8, 9, 11, 10, 8, 8, 8, 9, 10, 12, 13, 12, 8, 4)


def build_history(seed: int, purchases: Purchases) -> tuple[Population, Columns]:
    """Draw the whole log, ordered by time.

    Args:
        seed: any integer; the same seed gives the same log.
        purchases: the real orders everything is drawn around.
    """
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(11)]
    zone = (
        streams[0]
        .choice(len(ZONES), purchases.customers + NEVER_BUYERS, p=[share for *_, share in ZONES])
        .astype(np.int64)
    )
    purchase_ms = _purchase_times(streams[1], purchases, zone)
    population = _with_dates(streams[7], _population(streams[2], purchases, purchase_ms, zone))
    orders = _orders(streams[3], purchases, purchase_ms)
    service = _service(streams[5], purchases, purchase_ms)
    parts = [
        *_profiles(streams[2], population),
        *orders,
        _deliveries(streams[8], concatenate(orders)),
        *_visits(streams[4], streams[10], purchases, purchase_ms, population),
        *service,
        _ratings(streams[9], concatenate(service)),
        *_messages(streams[6], purchases, purchase_ms, population),
    ]
    log = concatenate(parts)
    log = log.take((log.time_ms >= START_MS) & (log.time_ms < END_MS))
    log = _erase_some(log, population)
    return population, log.take(np.lexsort((log.code, log.customer, log.time_ms)))


def _purchase_times(rng: np.random.Generator, purchases: Purchases, zone: Ints) -> Ints:
    """Give each purchase a time of day its customer would be awake at; the date stays the real one (UTC)."""
    weights = np.array(_HOURS, dtype=np.float64)
    rows = len(purchases.day)
    hour = rng.choice(24, rows, p=weights / weights.sum())
    offsets = np.array([offset for _, offset, _, _ in ZONES], dtype=np.int64)
    hour_utc = (hour - offsets[zone[purchases.customer]]) % 24
    time_ms = START_MS + purchases.day * DAY_MS + hour_utc * HOUR_MS + rng.integers(0, HOUR_MS, rows)
    order = np.lexsort((time_ms, purchases.customer))  # two orders of one day keep the order of the file
    ordered: Ints = time_ms[order]
    return ordered


def _population(rng: np.random.Generator, purchases: Purchases, purchase_ms: Ints, zone: Ints) -> Population:
    """Sign-ups: shortly before the first purchase, or any time without one; consent by four in five."""
    buyers = purchases.customers
    first_ms = np.full(buyers, END_MS, dtype=np.int64)
    np.minimum.at(first_ms, purchases.customer, purchase_ms)
    last_ms = np.zeros(len(zone), dtype=np.int64)
    np.maximum.at(last_ms, purchases.customer, purchase_ms)
    lead_ms = rng.lognormal(np.log(40 * MINUTE_MS), 0.8, buyers)
    lead_ms = np.where(rng.random(buyers) < 0.3, lead_ms + rng.exponential(2 * DAY_MS, buyers), lead_ms)
    # Who bought on the log's first days signed up within the log, too.
    lead_ms = np.minimum(lead_ms, (first_ms - START_MS) * rng.uniform(0.1, 0.9, buyers))
    idle_ms = rng.integers(START_MS + HOUR_MS, END_MS - HOUR_MS, len(zone) - buyers)
    signup_ms = np.concatenate((first_ms - lead_ms.astype(np.int64), idle_ms))
    choice = rng.random(len(zone))
    # The form's consent box is an event of its own, a moment after the sign-up's.
    at_once = signup_ms + rng.integers(100, 900, len(zone))
    later = signup_ms + rng.integers(DAY_MS, 90 * DAY_MS, len(zone))
    consent_ms = np.where(choice < 0.82, at_once, np.where(choice < 0.88, later, 0))
    nothing = np.zeros(len(zone), dtype=np.int64)
    return Population(
        zone=zone,
        signup_ms=signup_ms,
        consent_ms=consent_ms,
        last_purchase_ms=last_ms,
        birthday=nothing,
        customer_since=nothing,
    )


def _with_dates(rng: np.random.Generator, population: Population) -> Population:
    """Let some fill in the long form: when they were born, and since when they have been customers.

    Half of those bought by mail before there was a web shop, up to seven years back.
    """
    signup_day = population.signup_ms // DAY_MS + _EPOCH_ORDINAL
    told = rng.random(population.size) < _LONG_FORM
    age_days = rng.integers(18 * 365, 66 * 365, population.size)
    by_mail = rng.random(population.size) < 0.5
    before_days = np.where(by_mail, rng.integers(1, 7 * 365, population.size), 0)
    return replace(
        population,
        birthday=np.where(told, signup_day - age_days, 0),
        customer_since=np.where(told, signup_day - before_days, 0),
    )


def _profiles(rng: np.random.Generator, population: Population) -> list[Columns]:
    everyone = np.arange(population.size)
    agreed = np.flatnonzero(population.consent_ms)
    back_out = agreed[rng.random(len(agreed)) < 0.06]
    moved = everyone[rng.random(len(everyone)) < 0.03]
    return [
        columns("customer.signed_up", population.signup_ms, everyone, number=everyone),
        columns("consent.granted", population.consent_ms[agreed], agreed, number=agreed),
        columns(
            "consent.withdrawn",
            population.consent_ms[back_out] + rng.integers(HOUR_MS, 300 * DAY_MS, len(back_out)),
            back_out,
            number=back_out,
        ),
        columns(
            "profile.updated",
            population.signup_ms[moved] + rng.integers(HOUR_MS, 300 * DAY_MS, len(moved)),
            moved,
            number=moved,
        ),
    ]


def _orders(rng: np.random.Generator, purchases: Purchases, purchase_ms: Ints) -> list[Columns]:
    """Return the real purchases and what becomes of a few of them."""
    rows = np.arange(len(purchase_ms))
    fate = rng.random(len(rows))
    delay_ms = rng.integers(2 * HOUR_MS, 36 * HOUR_MS, len(rows))
    parts = [
        columns(
            "order.placed",
            purchase_ms,
            purchases.customer,
            number=rows,
            value=purchases.amount,
            detail=purchases.items,
        )
    ]
    for name, picked, factor in (
        ("order.cancelled", rows[fate < 0.008], 1),
        ("order.refunded", rows[fate > 0.988], 8),
    ):
        parts.append(
            columns(
                name,
                purchase_ms[picked] + delay_ms[picked] * factor,
                purchases.customer[picked],
                number=picked,
                value=purchases.amount[picked],
            )
        )
    return parts


def _deliveries(rng: np.random.Generator, orders: Columns) -> Columns:
    """Return the deliveries the shop hears of, two to nine days after orders that were not cancelled."""
    placed = orders.take(orders.code == EVENT_TYPES["order.placed"].code)
    cancelled = orders.number[orders.code == EVENT_TYPES["order.cancelled"].code]
    delay_ms = rng.integers(2 * DAY_MS, 9 * DAY_MS, len(placed))
    arrived = (rng.random(len(placed)) < _TRACKED) & ~np.isin(placed.number, cancelled)
    picked = placed.take(arrived)
    return columns(
        "order.delivered", picked.time_ms + delay_ms[arrived], picked.customer, number=picked.number
    )


def _gaps(purchases: Purchases, purchase_ms: Ints) -> tuple[Bools, Ints]:
    """Return for each purchase whether it is its customer's last, and the time to the next or the end, ms."""
    last = np.append(purchases.customer[1:] != purchases.customer[:-1], True)
    following = np.append(purchase_ms[1:], END_MS)
    return last, np.where(last, END_MS, following) - purchase_ms


def _visits(
    rng: np.random.Generator,
    cart_rng: np.random.Generator,
    purchases: Purchases,
    purchase_ms: Ints,
    population: Population,
) -> list[Columns]:
    """Clicks: the way to half of the purchases (the rest refused the tracker), and visits ending without one.

    Some purchases lead through the cart, the others are made at one click.

    Between two purchases visits lead up to the second; after the last purchase they fade within weeks. So a
    customer's activity falls before the customer is known to have lapsed.
    """
    rows = np.flatnonzero(rng.random(len(purchase_ms)) < 0.5)
    end_ms, who = purchase_ms[rows], purchases.customer[rows]
    span_ms = np.minimum(
        rng.uniform(6, 40, len(rows)) * MINUTE_MS, (end_ms - population.signup_ms[who]) * 0.95
    )
    by_cart = cart_rng.random(len(rows)) < _BY_CART
    cart_ms, carted = end_ms - (span_ms * 0.2).astype(np.int64), rows[by_cart]
    parts = [
        columns("session.started", end_ms - span_ms.astype(np.int64), who, number=rows),
        columns("product.viewed", end_ms - (span_ms * 0.6).astype(np.int64), who, number=rows),
        columns("cart.added", cart_ms[by_cart], who[by_cart], number=carted, value=purchases.amount[carted]),
    ]
    last, gap_ms = _gaps(purchases, purchase_ms)
    count = rng.poisson(np.where(last, 0.8, np.minimum(1.3, 0.3 + gap_ms / (60 * DAY_MS))))
    gap = np.repeat(np.arange(len(purchase_ms)), count)
    toward = gap_ms[gap] * rng.beta(2.5, 1.2, len(gap))
    fading = rng.exponential(12 * DAY_MS, len(gap))
    visit_ms = purchase_ms[gap] + np.where(last[gap], fading, toward).astype(np.int64)
    idle = np.repeat(np.arange(purchases.customers, population.size), 2)
    idle_ms = population.signup_ms[idle] + rng.exponential(5 * DAY_MS, len(idle)).astype(np.int64) + 1000
    visit_ms = np.concatenate((visit_ms, idle_ms))
    who = np.concatenate((purchases.customer[gap], idle))
    return parts + _browsing(rng, visit_ms, who, len(purchase_ms))


def _browsing(rng: np.random.Generator, visit_ms: Ints, who: Ints, first_number: int) -> list[Columns]:
    """Return the clicks of visits that do not end in a purchase."""
    number = first_number + np.arange(len(visit_ms))
    parts = [columns("session.started", visit_ms, who, number=number)]
    for name, share in (
        ("search.performed", 0.12),
        ("page.viewed", 0.25),
        ("product.viewed", 0.6),
        ("cart.added", 0.05),
        ("cart.removed", 0.01),
    ):
        picked = np.flatnonzero(rng.random(len(visit_ms)) < share)
        offset = rng.integers(5_000, 12 * MINUTE_MS, len(picked))
        price = np.round(rng.uniform(8, 40, len(picked)), 2)
        parts.append(
            columns(name, visit_ms[picked] + offset, who[picked], number=number[picked], value=price)
        )
    return parts


def _service(rng: np.random.Generator, purchases: Purchases, purchase_ms: Ints) -> list[Columns]:
    """Inquiries after some purchases: four in five answered within minutes, some late, some never."""
    rows = np.flatnonzero(rng.random(len(purchase_ms)) < 0.035)
    who = purchases.customer[rows]
    opened_ms = purchase_ms[rows] + rng.exponential(3 * DAY_MS, len(rows)).astype(np.int64) + 10 * MINUTE_MS
    mood = rng.choice(3, len(rows), p=(0.74, 0.16, 0.10))
    rated = rng.random(len(rows)) < 0.7  # the rest come from a channel without a sentiment model
    strength = rng.uniform(0.45, 0.95, len(rows)) * np.array((0.1, -1.0, 1.0))[mood]
    sentiment = np.where(rated, np.round(strength, 2), 0.0)
    detail = mood + 3 * rng.integers(0, 60, len(rows))
    answer = rng.random(len(rows))
    quick_ms = rng.uniform(0.5, 4.8, len(rows)) * MINUTE_MS
    late_ms = 5 * MINUTE_MS + rng.exponential(90 * MINUTE_MS, len(rows))
    replied_ms = opened_ms + np.where(answer < 0.8, quick_ms, late_ms).astype(np.int64)
    answered = np.flatnonzero(answer < 0.96)
    resolved = answered[rng.random(len(answered)) < 0.9]
    settled_ms = replied_ms[resolved] + rng.exponential(3 * HOUR_MS, len(resolved)).astype(np.int64) + 1000
    filed = np.flatnonzero((mood == Mood.ANGRY) & (rng.random(len(rows)) < 0.15))
    filed_ms = opened_ms[filed] + rng.integers(HOUR_MS, 48 * HOUR_MS, len(filed))
    return [
        columns("inquiry.opened", opened_ms, who, number=rows, value=sentiment, detail=detail),
        columns(
            "inquiry.replied",
            replied_ms[answered],
            who[answered],
            number=rows[answered],
            detail=detail[answered],
        ),
        columns("inquiry.resolved", settled_ms, who[resolved], number=rows[resolved]),
        columns(
            "complaint.filed", filed_ms, who[filed], number=rows[filed], value=-0.9, detail=detail[filed]
        ),
    ]


def _ratings(rng: np.random.Generator, service: Columns) -> Columns:
    """Return what a third of the customers say once their inquiry is resolved: CSAT, lower when angry."""
    opened = service.take(service.code == EVENT_TYPES["inquiry.opened"].code)
    resolved = service.take(service.code == EVENT_TYPES["inquiry.resolved"].code)
    angry = opened.number[opened.detail % 3 == Mood.ANGRY]
    mean = np.where(np.isin(resolved.number, angry), 2.4, 4.2)
    score = np.clip(np.round(rng.normal(mean, 0.9)), 1, 5)
    delay_ms = rng.integers(10 * MINUTE_MS, DAY_MS, len(resolved))
    rated = rng.random(len(resolved)) < 0.33
    picked = resolved.take(rated)
    return columns(
        "feedback.csat",
        picked.time_ms + delay_ms[rated],
        picked.customer,
        number=picked.number,
        value=score[rated],
    )


def _messages(
    rng: np.random.Generator, purchases: Purchases, purchase_ms: Ints, population: Population
) -> list[Columns]:
    """Another system's newsletter to a part of the agreed customers, and NPS answers after purchases."""
    agreed = np.flatnonzero(population.consent_ms)
    who = agreed[rng.integers(0, len(agreed), 16_000)]
    sent_ms = rng.integers(START_MS, END_MS, len(who))
    known = sent_ms > population.consent_ms[who]
    who, sent_ms = who[known], sent_ms[known]
    number = np.arange(len(who))
    opened = np.flatnonzero(rng.random(len(who)) < 0.3)
    fate = rng.random(len(who))
    opened_ms = sent_ms[opened] + rng.exponential(6 * HOUR_MS, len(opened)).astype(np.int64) + 5_000
    left, bounced = np.flatnonzero(fate < 0.03), np.flatnonzero(fate > 0.995)
    left_ms = sent_ms[left] + rng.integers(MINUTE_MS, DAY_MS, len(left))
    asked = np.flatnonzero(rng.random(len(purchase_ms)) < 0.04)
    last, _ = _gaps(purchases, purchase_ms)
    score = np.clip(np.round(rng.normal(np.where(last[asked], 7.0, 8.4), 2.2)), 0, 10)
    asked_ms = purchase_ms[asked] + rng.integers(5 * DAY_MS, 9 * DAY_MS, len(asked))
    return [
        columns("message.delivered", sent_ms, who, number=number),
        columns("message.opened", opened_ms, who[opened], number=number[opened]),
        columns("message.unsubscribed", left_ms, who[left], number=number[left]),
        columns("message.bounced", sent_ms[bounced] + 2_000, who[bounced], number=number[bounced]),
        columns("feedback.nps", asked_ms, purchases.customer[asked], number=asked, value=score),
    ]


def _erase_some(log: Columns, population: Population) -> Columns:
    """Let every 900th customer ask for erasure some days after all else that happens to them."""
    picked = np.arange(450, population.size, 900)
    last_ms = np.zeros(population.size, dtype=np.int64)
    np.maximum.at(last_ms, log.customer, log.time_ms)
    time_ms = last_ms[picked] + 20 * DAY_MS
    inside = time_ms < END_MS
    erasures = columns("erasure.requested", time_ms[inside], picked[inside], number=picked[inside])
    return concatenate([log, erasures])
