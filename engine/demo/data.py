"""The demo's log as events: 69,659 real purchases and what a shop would have seen around them.

`events` is a function of its arguments: the same seed gives the same events with the same ids, in order of
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from engine.demo import texts
from engine.demo.cdnow import Purchases, load_purchases
from engine.demo.columns import Columns, Population
from engine.demo.history import build_history
from engine.events import (
    EVENT_TYPES,
    TYPE_BY_CODE,
    ClickEvent,
    EngagementEvent,
    Event,
    Family,
    OrderEvent,
    ProfileEvent,
    Scalar,
    ServiceEvent,
)

DEFAULT_SEED = 1997
CHUNK_ROWS = 8_192  # rows turned into Python values at a time: what bounds the memory
_PRODUCTS = 4_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the log as Python values; the fields are those of `Columns`."""

    time_ms: int
    customer: int
    number: int
    value: float
    detail: int


@dataclass(frozen=True, slots=True)
class Log:
    """The demo's whole log, ready to be read as events.

    Args:
        population: the customers.
        columns: the rows, in order of time.
    """

    population: Population
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns)

    def events(self) -> Iterator[tuple[Family, Event]]:
        """Yield the events in order of time, each with its family."""
        writer = EventWriter(self.population)
        columns = self.columns
        for start in range(0, len(columns), CHUNK_ROWS):
            chunk = columns.take(np.arange(start, min(start + CHUNK_ROWS, len(columns))))
            fields = (chunk.time_ms, chunk.customer, chunk.number, chunk.value, chunk.detail)
            rows = zip(*(field.tolist() for field in fields), strict=True)
            for code, row in zip(chunk.code.tolist(), rows, strict=True):
                yield writer.write(code, Row(*row))


def build_log(
    seed: int = DEFAULT_SEED,
    customers: int | None = None,
    until: int | None = None,
    purchases: Purchases | None = None,
) -> Log:
    """Draw the log.

    Args:
        seed: any integer.
        customers: keep only about this many customers, spread over the population; None keeps all. The kept
            ones live through the same events as in the whole log.
        until: keep only what happens before this instant, ms; None keeps all.
        purchases: the real orders; read from the shipped file when None.
    """
    population, columns = build_history(seed, purchases or load_purchases())
    keep = np.ones(len(columns), dtype=bool)
    if customers is not None and customers < population.size:
        picked = np.zeros(population.size, dtype=bool)
        picked[np.linspace(0, population.size - 1, max(customers, 1)).round().astype(np.int64)] = True
        keep &= picked[columns.customer]
    if until is not None:
        keep &= columns.time_ms < until
    return Log(population=population, columns=columns.take(keep))


def events(
    seed: int = DEFAULT_SEED, customers: int | None = None, until: int | None = None
) -> Iterator[tuple[Family, Event]]:
    """Yield the demo's events in order of time; the arguments are those of `build_log`."""
    return build_log(seed, customers, until).events()


class EventWriter:
    """Turns rows of the log into events.

    Args:
        population: the customers the rows are about.
    """

    def __init__(self, population: Population) -> None:
        self._ids = [f"{number + 1:05d}" for number in range(population.size)]
        self._zone = population.zone.tolist()
        self._birthday = population.birthday.tolist()
        self._since = population.customer_since.tolist()
        self._writers: dict[int, tuple[Family, str, Callable[[str, Row], Event]]] = {}
        by_family: dict[Family, Callable[[str, Row], Event]] = {
            Family.CLICK: self._click,
            Family.ORDER: self._order,
            Family.SERVICE: self._service,
            Family.PROFILE: self._profile,
            Family.ENGAGEMENT: self._engagement,
        }
        for code, event_type in TYPE_BY_CODE.items():
            self._writers[code] = (event_type.family, event_type.name, by_family[event_type.family])

    def write(self, code: int, row: Row) -> tuple[Family, Event]:
        """Return the event of a row, with its family."""
        family, name, writer = self._writers[code]
        return family, writer(name, row)

    def customer_id(self, customer: int) -> str:
        """Return the id of a customer: for buyers the one in the purchase log."""
        return self._ids[customer]

    def _click(self, name: str, row: Row) -> Event:
        # A visit has at most one event of each type but sessions, so type and visit make the id.
        product = (row.number * 2_654_435_761 + row.customer) % _PRODUCTS
        is_product = name in _PRODUCT_CLICKS
        return ClickEvent(
            id=f"{_SHORT[name]}-{row.number}",
            type=name,
            customer_id=self._ids[row.customer],
            time=row.time_ms,
            source="web",
            channel="web",
            session_id=f"s{row.number}",
            url=f"/product/{product}" if is_product else "/",
            product_id=f"p{product:04d}" if is_product else "",
            category=texts.CATEGORIES[product % len(texts.CATEGORIES)] if is_product else "",
            query=texts.SEARCHES[product % len(texts.SEARCHES)] if name == "search.performed" else "",
            price=row.value,
        )

    def _order(self, name: str, row: Row) -> Event:
        return OrderEvent(
            id=f"{_SHORT[name]}-{row.number}",
            type=name,
            customer_id=self._ids[row.customer],
            time=row.time_ms,
            source="shop",
            channel="web",
            order_id=_order_id(row.number),
            amount=row.value,
            currency="USD",
            items=row.detail,
            reason=_REASONS[row.number % len(_REASONS)] if name in _FAILED_ORDERS else "",
        )

    def _service(self, name: str, row: Row) -> Event:
        locale = self._locale(row.customer)
        mood, choice = texts.Mood(row.detail % 3), row.detail // 3
        subject = text = ""
        if name in ("inquiry.opened", "complaint.filed"):
            subject, text = texts.inquiry_text(locale, mood, choice, _order_id(row.number))
        elif name == "inquiry.replied":
            text = texts.reply_text(locale, choice)
        return ServiceEvent(
            id=f"{_SHORT[name]}-{row.number}",
            type=name,
            customer_id=self._ids[row.customer],
            time=row.time_ms,
            source="helpdesk",
            channel="email" if choice % 3 else "chat",
            inquiry_id=f"q{row.number}",
            subject=subject,
            text=text,
            sentiment=row.value,
            agent_id=f"agent-{choice % 12}" if name in ("inquiry.replied", "inquiry.resolved") else "",
        )

    def _profile(self, name: str, row: Row) -> Event:
        locale = self._locale(row.customer)
        traits: dict[str, Scalar] = {}
        if name == "customer.signed_up":
            traits = {
                "first_name": texts.first_name(locale, row.customer),
                "newsletter": bool(row.customer % 3),
            }
            if born := self._birthday[row.customer]:
                traits["birthday"] = date.fromordinal(born).isoformat()
            if since := self._since[row.customer]:
                traits["customer_since"] = date.fromordinal(since).isoformat()
        elif name == "profile.updated":
            traits = {"favourite_category": texts.CATEGORIES[row.customer % len(texts.CATEGORIES)]}
        return ProfileEvent(
            id=f"{_SHORT[name]}-{row.number}",
            type=name,
            customer_id=self._ids[row.customer],
            time=row.time_ms,
            source="crm",
            traits=traits,
            time_zone=texts.ZONES[self._zone[row.customer]][0] if name == "customer.signed_up" else "",
            locale=locale if name == "customer.signed_up" else "",
            purpose="marketing" if name.startswith("consent.") else "",
        )

    def _engagement(self, name: str, row: Row) -> Event:
        return EngagementEvent(
            id=f"{_SHORT[name]}-{row.number}",
            type=name,
            customer_id=self._ids[row.customer],
            time=row.time_ms,
            source="newsletter-tool" if name.startswith("message.") else "survey",
            channel="email",
            template=_TEMPLATES.get(name, "monthly-newsletter"),
            score=row.value,
            reason="mailbox unknown" if name == "message.bounced" else "",
        )

    def _locale(self, customer: int) -> str:
        return texts.ZONES[self._zone[customer]][2]


_PRODUCT_CLICKS = ("product.viewed", "cart.added", "cart.removed")
_FAILED_ORDERS = ("order.cancelled", "order.refunded")
_TEMPLATES = {"feedback.nps": "after-purchase-survey", "feedback.csat": "after-service-survey"}
_REASONS = ("changed my mind", "ordered twice", "damaged", "late")
_SHORT = {name: name.replace(".", "-").replace("_", "-") for name in EVENT_TYPES}


def _order_id(number: int) -> str:
    return f"A{100_000 + number}"
