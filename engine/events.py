"""The five event families: types, codes, fields and units.

An event is immutable and validated once, at the codec; everything behind the codec trusts it. On the wire its
fields are flat (`{"id": …, "type": "order.placed", "amount": 99.5, …}`); `docs/events.md` documents each. The
bounds in the annotations are enforced while decoding; what they cannot say is in `engine.validation`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec
import xxhash
from msgspec import Meta

Scalar = str | int | float | bool

MAX_CUSTOMER_ID_BYTES = 128
MAX_ID_BYTES = 128
MAX_RECORD_BYTES = 64 * 1024
MAX_PROPS = 64
MAX_NAME_CHARS = 128
MAX_PROP_CHARS = 1024
EARLIEST_MS = 631_152_000_000  # 1990-01-01
LATEST_MS = 4_294_967_295_000  # 2106-02-07: stored instants are unsigned 32-bit seconds
MAX_AHEAD_MS = 3_600_000  # on the live clock
MAX_AMOUNT = 1e12
MAX_COUNT = 2**31 - 1

Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Instant = Annotated[int, Meta(ge=EARLIEST_MS, le=LATEST_MS)]
Amount = Annotated[float, Meta(ge=0.0, le=MAX_AMOUNT)]
PropText = Annotated[str, Meta(max_length=MAX_PROP_CHARS)]
PropInt = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what Avro's `long` and CEL's `int` can hold
PropFloat = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]  # neither NaN nor infinite
Props = Annotated[dict[Name, PropText | PropInt | PropFloat | bool], Meta(max_length=MAX_PROPS)]
Traits = Annotated[Mapping[Name, PropText | PropInt | PropFloat | bool | None], Meta(max_length=MAX_PROPS)]


class Family(StrEnum):
    """An event family; each has a topic of its own."""

    __hash__ = str.__hash__  # an enumeration's own is in Python, and each record is looked up by its family

    CLICK = "click"
    ORDER = "order"
    SERVICE = "service"
    PROFILE = "profile"
    ENGAGEMENT = "engagement"


class DeadLetterReason(StrEnum):
    """Why a record went to the dead letters; the list is closed."""

    NOT_DECODABLE = "not_decodable"
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_INCOMPATIBLE = "schema_incompatible"
    TYPE_UNKNOWN = "type_unknown"
    FIELD_MISSING = "field_missing"
    FIELD_INVALID = "field_invalid"
    KEY_MISMATCH = "key_mismatch"
    CUSTOMER_ID_INVALID = "customer_id_invalid"
    RECORD_TOO_LARGE = "record_too_large"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    PROCESSING_FAILED = "processing_failed"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every event has: the envelope.

    Args:
        id: unique within `source`; a second event with both the same counts once.
        type: dotted type, a key of `EVENT_TYPES`.
        customer_id: 1-128 bytes of UTF-8; also the Kafka key.
        time: when it happened, milliseconds since the epoch, UTC.
        source: the system that sent it.
        channel: where it happened (`web`, `app`, `store`, `email`, …), or empty.
        props: further fields of the sender's own, scalars only.
    """

    id: Identifier
    type: Name
    customer_id: Identifier
    time: Instant
    source: Name = ""
    channel: Name = ""
    props: Props = {}


class ClickEvent(Event, frozen=True, kw_only=True, gc=False):
    """A visit to a page, product or cart. `price` is per unit, in the shop's own currency unit."""

    session_id: Name = ""
    url: str = ""
    product_id: Name = ""
    category: Name = ""
    query: str = ""
    quantity: Amount = 1.0
    price: Amount = 0.0


class OrderEvent(Event, frozen=True, kw_only=True, gc=False):
    """An order's life. `amount` is in the shop's own currency unit, never negative."""

    order_id: Identifier
    amount: Amount = 0.0
    currency: Name = ""
    items: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    coupon: Name = ""
    reason: str = ""


class ServiceEvent(Event, frozen=True, kw_only=True, gc=False):
    """A customer asks, an agent answers. `sentiment` is -1 (angry) to 1 (happy), 0 unknown."""

    inquiry_id: Identifier
    subject: str = ""
    text: str = ""
    sentiment: Annotated[float, Meta(ge=-1.0, le=1.0)] = 0.0
    agent_id: Name = ""
    priority: Name = ""


class ProfileEvent(Event, frozen=True, kw_only=True, gc=False):
    """Who the customer is and what they consent to.

    A trait whose value is `None` is removed. `time_zone` is an IANA name; `purpose` one of `PURPOSES`, which
    together with the prop `channel` says what a `consent.*` event is about.
    """

    traits: Traits = {}
    time_zone: Name = ""
    locale: Name = ""
    purpose: Name = ""


class EngagementEvent(Event, frozen=True, kw_only=True, gc=False):
    """What became of a message, and feedback. `score`: NPS 0-10, CSAT 1-5."""

    action_id: Name = ""
    journey: Name = ""
    template: Name = ""
    answer: str = ""
    score: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type.

    Args:
        code: 0-63, stored in customer state: never reused.
        name: dotted name on the wire.
        family: the family, and so the topic.
        stem: plural stem of its count features (`orders_30d`).
        singular: stem of its recency feature (`days_since_order`).
        value_field: the field kept with the entry, or None.
        mutates: whether it changes the customer's profile (see docs/internals.md, waves).
        by_customer: whether the customer did it; what the shop tells of itself is no visit.
    """

    code: int
    name: str
    family: Family
    stem: str
    singular: str
    value_field: str | None = None
    mutates: bool = False
    by_customer: bool = True


_C, _O, _S, _P, _E = Family.CLICK, Family.ORDER, Family.SERVICE, Family.PROFILE, Family.ENGAGEMENT

_TYPES = (
    EventType(0, "page.viewed", _C, "page_views", "page_view"),
    EventType(1, "product.viewed", _C, "product_views", "product_view"),
    EventType(2, "search.performed", _C, "searches", "search"),
    EventType(3, "cart.added", _C, "cart_adds", "cart_add"),
    EventType(4, "cart.removed", _C, "cart_removes", "cart_remove"),
    EventType(5, "session.started", _C, "sessions", "session"),
    EventType(6, "product.restocked", _C, "restocks", "restock", by_customer=False),
    EventType(7, "price.dropped", _C, "price_drops", "price_drop", by_customer=False),
    EventType(8, "order.placed", _O, "orders", "order", "amount"),
    EventType(9, "order.cancelled", _O, "cancellations", "cancellation", "amount"),
    EventType(10, "order.refunded", _O, "refunds", "refund", "amount"),
    EventType(11, "order.delivered", _O, "deliveries", "delivery"),
    EventType(12, "payment.failed", _O, "payment_failures", "payment_failure"),
    EventType(16, "inquiry.opened", _S, "inquiries", "inquiry", mutates=True),
    EventType(17, "inquiry.replied", _S, "replies", "reply", mutates=True),
    EventType(18, "inquiry.resolved", _S, "resolutions", "resolution", mutates=True),
    EventType(19, "complaint.filed", _S, "complaints", "complaint", mutates=True),
    EventType(24, "customer.signed_up", _P, "signups", "signup", mutates=True),
    EventType(25, "profile.updated", _P, "profile_updates", "profile_update", mutates=True),
    EventType(26, "consent.granted", _P, "consents_granted", "consent_granted", mutates=True),
    EventType(27, "consent.withdrawn", _P, "consents_withdrawn", "consent_withdrawn", mutates=True),
    EventType(28, "erasure.requested", _P, "erasures", "erasure", mutates=True),
    EventType(29, "points.changed", _P, "point_changes", "point_change", mutates=True),
    EventType(30, "referral.joined", _P, "referrals", "referral"),
    EventType(32, "message.delivered", _E, "messages_delivered", "message_delivered"),
    EventType(33, "message.opened", _E, "messages_opened", "message_opened"),
    EventType(34, "message.clicked", _E, "messages_clicked", "message_clicked"),
    EventType(35, "message.responded", _E, "messages_responded", "message_responded"),
    EventType(36, "message.bounced", _E, "messages_bounced", "message_bounced", mutates=True),
    EventType(37, "message.unsubscribed", _E, "messages_unsubscribed", "message_unsubscribed", mutates=True),
    EventType(38, "feedback.nps", _E, "nps_answers", "nps_answer", "score"),
    EventType(39, "feedback.csat", _E, "csat_answers", "csat_answer", "score"),
)

EVENT_TYPES: dict[str, EventType] = {event_type.name: event_type for event_type in _TYPES}
TYPE_BY_CODE: dict[int, EventType] = {event_type.code: event_type for event_type in _TYPES}
EVENT_CLASSES: dict[Family, type[Event]] = {
    Family.CLICK: ClickEvent,
    Family.ORDER: OrderEvent,
    Family.SERVICE: ServiceEvent,
    Family.PROFILE: ProfileEvent,
    Family.ENGAGEMENT: EngagementEvent,
}
VISIT_CODES = tuple(kind.code for kind in _TYPES if kind.family is Family.CLICK and kind.by_customer)
FAMILY_OF: dict[type[Event], Family] = {cls: family for family, cls in EVENT_CLASSES.items()}

FIRST_SERIES_CODE = 64  # series of declared features
LAST_SERIES_CODE = 199
TIMER_CODE = 255  # a row that is a due timer

PURPOSES = ("marketing", "analytics", "personalization", "third_party")


def event_key(event: Event) -> int:
    """Return the 64-bit key by which a repeated event is known: a hash of its source and id."""
    key: int = xxhash.xxh3_64_intdigest(f"{event.source}\0{event.id}".encode())
    return key


def say_type(name: str) -> str:
    """Return an event type in words: `order.placed` is said "order placed"."""
    return name.replace(".", " ").replace("_", " ")
