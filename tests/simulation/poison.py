"""What cannot be processed: records of every kind that is refused, and a rule that raises."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from engine.events import EVENT_CLASSES, MAX_RECORD_BYTES, DeadLetterReason, Event, Family
from engine.rules.context import Outbox, RowContext
from engine.rules.machine import JourneyMachine
from engine.streams.wire.avro import encode_avro_single_object
from engine.streams.wire.codec import encode_json

#: Orders at which a rule raises: at once, or when their second message is due.
AT_ONCE, LATER = "bad-", "later-"


def changed(**fields: Any) -> Callable[[Event], bytes]:
    """Return what makes JSON of an event with some fields of other values; None leaves one out."""

    def make(event: Event) -> bytes:
        whole = msgspec.to_builtins(event) | fields
        return msgspec.json.encode({name: value for name, value in whole.items() if value is not None})

    return make


def another_family(event: Event) -> Event:
    """Return an event that belongs on another topic."""
    kind, other = ("page.viewed", "click") if hasattr(event, "order_id") else ("order.placed", "order")
    own: dict[str, Any] = {"order_id": "o", "amount": 1.0} if other == "order" else {}
    made: Event = EVENT_CLASSES[Family(other)](
        id=event.id, type=kind, customer_id=event.customer_id, time=event.time, source=event.source, **own
    )
    return made


#: Each way in which a record is refused: what makes one of an event, and the reason it is refused with.
REFUSED: dict[str, tuple[Callable[[Event], bytes], str]] = {
    "cut JSON": (lambda event: encode_json(event)[:-5], DeadLetterReason.NOT_DECODABLE),
    "not UTF-8": (lambda event: b'{"id": "\xff' + event.id.encode(), DeadLetterReason.NOT_DECODABLE),
    "no value": (lambda _: b"", DeadLetterReason.NOT_DECODABLE),
    "no known format": (lambda event: b"\x17" + encode_json(event), DeadLetterReason.NOT_DECODABLE),
    "cut Avro": (lambda event: encode_avro_single_object(event)[:-3], DeadLetterReason.NOT_DECODABLE),
    "Avro and more": (lambda event: encode_avro_single_object(event) + b"\0", DeadLetterReason.NOT_DECODABLE),
    "Avro of another family": (
        lambda event: encode_avro_single_object(another_family(event)),
        DeadLetterReason.SCHEMA_INCOMPATIBLE,
    ),
    "Avro of no schema": (
        lambda event: b"\xc3\x01" + b"\x07" * 8 + encode_avro_single_object(event)[10:],
        DeadLetterReason.SCHEMA_UNKNOWN,
    ),
    "Avro of a registry": (
        lambda event: b"\0\0\0\0\5" + encode_avro_single_object(event)[10:],
        DeadLetterReason.SCHEMA_UNKNOWN,
    ),
    "unknown type": (changed(type="parcel.lost"), DeadLetterReason.TYPE_UNKNOWN),
    "no id": (changed(id=None), DeadLetterReason.FIELD_MISSING),
    "wrong field": (changed(source=["shop"]), DeadLetterReason.FIELD_INVALID),
    "no customer": (changed(customer_id=""), DeadLetterReason.CUSTOMER_ID_INVALID),
    "another's key": (changed(customer_id="another"), DeadLetterReason.KEY_MISMATCH),
    "too large": (changed(note="x" * MAX_RECORD_BYTES), DeadLetterReason.RECORD_TOO_LARGE),
    "another time": (changed(time=2**52), DeadLetterReason.TIME_OUT_OF_RANGE),
}


def refused(rng: random.Random, event: Event) -> tuple[bytes, str]:
    """Make a record that is refused; return it and why.

    Args:
        rng: chooses in which way.
        event: what it would have been.
    """
    make, reason = REFUSED[rng.choice(list(REFUSED))]
    return make(event), reason


class RaisingMachine(JourneyMachine):
    """The journey machine with a rule that raises at some orders, when everything else has been done."""

    def run(self, context: RowContext, outbox: Outbox) -> None:
        """See `JourneyMachine`."""
        raises = _raises(context)
        super().run(context, outbox)
        if raises:
            raise ArithmeticError("a rule raised")


def _raises(context: RowContext) -> bool:
    if getattr(context.event, "order_id", "").startswith(AT_ONCE):
        return True
    return any(
        0 < each.due_ms <= context.reached_ms and each.instance.startswith(LATER)
        for each in context.state.profile.positions
    )
