"""What an event must satisfy, and exactly what is wrong with one that does not.

Two roads lead to the same answer. `accepts` is the fast one, for a decoded event whose bounds msgspec has
enforced already: it only says yes or "look closer". `build` is the slow one and the authority: it goes
through a record's fields one by one and names the first that is wrong. No detail holds a value that could
be personal: of a text it tells the length, never the text.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.resources
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.errors import InvalidEvent
from engine.events import (
    EARLIEST_MS,
    EVENT_CLASSES,
    EVENT_TYPES,
    FAMILY_OF,
    LATEST_MS,
    MAX_AHEAD_MS,
    MAX_CUSTOMER_ID_BYTES,
    MAX_ID_BYTES,
    PURPOSES,
    DeadLetterReason,
    EngagementEvent,
    Event,
    Family,
    OrderEvent,
    ProfileEvent,
)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_SECONDS_RANGE = range(EARLIEST_MS // 1000, LATEST_MS // 1000)
_TYPE_SHAPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+){0,3}", re.ASCII)
_PURPOSES = frozenset(PURPOSES)
_FIELDS = {family: msgspec.structs.fields(cls) for family, cls in EVENT_CLASSES.items()}
_RFC3339 = Annotated[dt.datetime, Meta(tz=True)]
_JSON_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "a boolean",
    dict: "an object",
    list: "a list",
    bytes: "bytes",
    type(None): "null",
}

Check = Callable[[Any], bool]


@functools.cache
def time_zones() -> frozenset[str]:
    """Return the IANA time zone names of the pinned tzdata package, the same on every machine."""
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


def _never(event: Event) -> bool:  # noqa: ARG001 - stands in for the check of an unknown type
    return False


def _known_zone(event: ProfileEvent) -> bool:
    return not event.time_zone or event.time_zone in time_zones()


def _known_consent(event: ProfileEvent) -> bool:
    return event.purpose in _PURPOSES and _known_zone(event)


def _has_amount(event: OrderEvent) -> bool:
    return event.amount != 0.0  # zero may mean "missing": the slow road looks at the record


def _has_nps(event: EngagementEvent) -> bool:
    return event.score != 0.0


def _has_csat(event: EngagementEvent) -> bool:
    return 1.0 <= event.score <= 5.0


_SPECIAL: dict[str, Check] = {
    "order.placed": _has_amount,
    "feedback.nps": _has_nps,
    "feedback.csat": _has_csat,
    "consent.granted": _known_consent,
    "consent.withdrawn": _known_consent,
    "customer.signed_up": _known_zone,
    "profile.updated": _known_zone,
    "erasure.requested": _known_zone,
    "points.changed": _known_zone,
    "referral.joined": _known_zone,
}
_VALUE_FIELDS = {"order.placed": "amount", "feedback.nps": "score", "feedback.csat": "score"}
_CHECKS: dict[Family, dict[str, Check | None]] = {
    family: {name: _SPECIAL.get(name) for name, kind in EVENT_TYPES.items() if kind.family is family}
    for family in Family
}


def accepts(event: Event, family: Family, latest_ms: int) -> bool:
    """Say whether a freshly decoded event is surely valid; `False` means "ask `build`".

    Args:
        event: decoded by msgspec, so that the bounds of its annotations hold.
        family: the family of the topic it came from.
        latest_ms: the highest allowed time.

    Returns:
        Whether everything that the annotations cannot say holds too.
    """
    check = _CHECKS[family].get(event.type, _never)
    if event.time > latest_ms:
        return False
    identity = event.id
    if not identity.isascii() and len(identity.encode()) > MAX_ID_BYTES:
        return False
    customer = event.customer_id
    if not customer.isascii() and len(customer.encode()) > MAX_CUSTOMER_ID_BYTES:
        return False
    return check is None or check(event)


def latest_ms(now_ms: int | None) -> int:
    """Return the highest allowed event time: an hour ahead of the live clock, or what can be stored."""
    return LATEST_MS if now_ms is None else min(LATEST_MS, now_ms + MAX_AHEAD_MS)


def validate(event: Event, *, now_ms: int | None = None) -> Event:
    """Check an event made by a program as if it had come from a topic.

    Args:
        event: the event.
        now_ms: the live clock, milliseconds; `None` for no upper bound but what can be stored.

    Returns:
        The event.

    Raises:
        InvalidEvent: naming the first thing that is wrong.
    """
    build(FAMILY_OF[type(event)], msgspec.structs.asdict(event), latest_ms(now_ms))
    return event


def read_fields(family: Family, fields: dict[str, Any], latest_ms: int) -> Event:
    """Make an event of a record's fields: by the fast road if nothing is wrong, else by `build`.

    Args:
        family: the family of the topic.
        fields: the record as plain Python values.
        latest_ms: the highest allowed time, milliseconds.

    Returns:
        The event.

    Raises:
        InvalidEvent: naming the first thing that is wrong.
    """
    try:
        time = fields.get("time")
        plain = {**fields, "time": _milliseconds(time)} if isinstance(time, str) else fields
        event = msgspec.convert(plain, EVENT_CLASSES[family])
        if accepts(event, family, latest_ms):
            return event
    except (msgspec.ValidationError, UnicodeError):
        pass
    return build(family, fields, latest_ms)


def build(family: Family, fields: Mapping[str, object], latest_ms: int) -> Event:
    """Make an event of a record's fields, or say what is wrong with them.

    `null` means "not given", except as the value of a trait. `time` may be RFC 3339 text. Unknown fields are
    ignored.

    Args:
        family: the family of the topic.
        fields: the record as plain Python values.
        latest_ms: the highest allowed time, milliseconds.

    Returns:
        The event.

    Raises:
        InvalidEvent: naming the first thing that is wrong.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    type_name = _type_of(family, given)
    _require(family, type_name, given)
    values: dict[str, Any] = {"type": type_name}
    for info in _FIELDS[family]:
        if info.name in given and info.name != "type":
            values[info.name] = _READERS.get(info.name, _field)(info, given[info.name])
    _check_time(values["time"], latest_ms)
    event = EVENT_CLASSES[family](**values)
    _check_special(event, given)
    return event


def _invalid(reason: DeadLetterReason, detail: str) -> InvalidEvent:
    return InvalidEvent(reason, detail)


def _kind(value: object) -> str:
    """Describe a value without telling it."""
    name = _JSON_NAMES.get(type(value), type(value).__name__)
    return f"{name} of {len(value)} characters" if isinstance(value, str) else name


def _type_of(family: Family, given: Mapping[str, object]) -> str:
    """Return the event's type, which must be one of the family's."""
    if "type" not in given:
        raise _invalid(DeadLetterReason.FIELD_MISSING, "field type is missing")
    name = given["type"]
    if not isinstance(name, str):
        raise _invalid(DeadLetterReason.FIELD_INVALID, f"field type is {_kind(name)}, expected text")
    known = EVENT_TYPES.get(name)
    if known is None:
        # Only what looks like a type is repeated: anything else might be somebody's name in the wrong field.
        shown = name if len(name) <= 64 and _TYPE_SHAPE.fullmatch(name) else _kind(name)
        raise _invalid(DeadLetterReason.TYPE_UNKNOWN, f"type {shown} is not known")
    if known.family is not family:
        detail = f"type {name} belongs to the {known.family.value} topic, this is the {family.value} topic"
        raise _invalid(DeadLetterReason.TYPE_UNKNOWN, detail)
    return name


def _require(family: Family, type_name: str, given: Mapping[str, object]) -> None:
    needed = [info.name for info in _FIELDS[family] if info.required]
    if type_name in _VALUE_FIELDS:
        needed.append(_VALUE_FIELDS[type_name])
    for name in needed:
        if name not in given:
            raise _invalid(DeadLetterReason.FIELD_MISSING, f"field {name} is missing ({type_name})")


def _field(info: msgspec.structs.FieldInfo, value: object) -> Any:
    """Check one field against the bounds of its annotation."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(
            DeadLetterReason.FIELD_INVALID, f"field {info.name} is {value}, expected a finite number"
        )
    if isinstance(value, Mapping):
        return _mapping(info, value)
    if isinstance(value, str) and _has_lone_surrogate(value):
        raise _invalid(DeadLetterReason.FIELD_INVALID, f"field {info.name} holds a lone surrogate")
    try:
        return msgspec.convert(value, info.type)
    except msgspec.ValidationError as error:
        raise _invalid(DeadLetterReason.FIELD_INVALID, _mismatch(info.name, value, error)) from None


def _has_lone_surrogate(text: str) -> bool:
    """Say whether a text holds half a surrogate pair and so cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _mapping(info: msgspec.structs.FieldInfo, value: Mapping[object, object]) -> Any:
    """Check props or traits; of a bad entry not even the name is told, it is the sender's own text."""
    entries = {key: entry for key, entry in value.items() if entry is not None or info.name == "traits"}
    if any(isinstance(entry, float) and not math.isfinite(entry) for entry in entries.values()):
        detail = f"field {info.name} holds a number that is not finite"
        raise _invalid(DeadLetterReason.FIELD_INVALID, detail)
    texts = (text for entry in entries.items() for text in entry if isinstance(text, str))
    if any(map(_has_lone_surrogate, texts)):
        raise _invalid(DeadLetterReason.FIELD_INVALID, f"field {info.name} holds a lone surrogate")
    try:
        return msgspec.convert(entries, info.type)
    except msgspec.ValidationError as error:
        raise _invalid(DeadLetterReason.FIELD_INVALID, _mismatch(info.name, value, error)) from None


def _mismatch(name: str, value: object, error: msgspec.ValidationError) -> str:
    expected = str(error).split(" - at ")[0].split(", got ")[0].replace("`", "")
    shown = f"{value!r}" if isinstance(value, float) or _is_short_int(value) else _kind(value)
    return f"field {name} is {shown}, {expected[:1].lower()}{expected[1:]}"


def _is_short_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(10**18) < value < 10**18


def _identifier(info: msgspec.structs.FieldInfo, value: object) -> Any:
    """Check an id: 1-128 bytes of UTF-8."""
    is_customer = info.name == "customer_id"
    reason = DeadLetterReason.CUSTOMER_ID_INVALID if is_customer else DeadLetterReason.FIELD_INVALID
    if not isinstance(value, str):
        raise _invalid(reason, f"field {info.name} is {_kind(value)}, expected text")
    if _has_lone_surrogate(value):
        raise _invalid(reason, f"field {info.name} holds a lone surrogate")
    length = len(value.encode())
    if not 1 <= length <= MAX_ID_BYTES:
        detail = f"field {info.name} has {length} bytes of UTF-8, allowed are 1 to {MAX_ID_BYTES}"
        raise _invalid(reason, detail)
    return value


def _milliseconds(text: str) -> int:
    return (msgspec.convert(text, _RFC3339) - _EPOCH) // _MILLISECOND


def _instant(info: msgspec.structs.FieldInfo, value: object) -> Any:
    """Read milliseconds or RFC 3339 text; the range is checked later, against the clock."""
    if isinstance(value, str):
        try:
            return _milliseconds(value)
        except msgspec.ValidationError:
            detail = f"field {info.name} is {_kind(value)}, expected milliseconds or RFC 3339 with a zone"
            raise _invalid(DeadLetterReason.FIELD_INVALID, detail) from None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        detail = f"field {info.name} is {_kind(value)}, expected milliseconds since 1970"
        raise _invalid(DeadLetterReason.FIELD_INVALID, detail)
    return value


_READERS: dict[str, Callable[[msgspec.structs.FieldInfo, object], Any]] = {
    "id": _identifier,
    "customer_id": _identifier,
    "time": _instant,
}


def _check_time(time_ms: int, latest_ms: int) -> None:
    if EARLIEST_MS <= time_ms <= latest_ms:
        return
    if time_ms < EARLIEST_MS:
        hint = "; it looks like seconds, milliseconds are expected" if time_ms in _SECONDS_RANGE else ""
        detail = f"time is before 1990-01-01{hint}"
    else:
        detail = f"time is {_ahead(time_ms - latest_ms)} later than allowed"
    raise _invalid(DeadLetterReason.TIME_OUT_OF_RANGE, detail)


def _ahead(excess_ms: int) -> str:
    return f"{excess_ms} ms" if excess_ms < 10**15 else "very much"


def _check_special(event: Event, given: Mapping[str, object]) -> None:
    """Check what depends on the type: consent purpose, time zone, satisfaction score."""
    if isinstance(event, ProfileEvent):
        if event.type.startswith("consent.") and event.purpose not in _PURPOSES:
            missing = "purpose" not in given
            reason = DeadLetterReason.FIELD_MISSING if missing else DeadLetterReason.FIELD_INVALID
            detail = "field purpose is missing" if missing else f"field purpose is {_kind(event.purpose)}"
            raise _invalid(reason, f"{detail}, expected one of {', '.join(PURPOSES)}")
        if not _known_zone(event):
            detail = (
                f"field time_zone is {_kind(event.time_zone)}, expected an IANA name such as Asia/Shanghai"
            )
            raise _invalid(DeadLetterReason.FIELD_INVALID, detail)
    if event.type == "feedback.csat" and isinstance(event, EngagementEvent) and not _has_csat(event):
        detail = f"field score is {event.score!r}, expected 1 to 5"
        raise _invalid(DeadLetterReason.FIELD_INVALID, detail)
