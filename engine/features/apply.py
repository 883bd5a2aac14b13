"""What an event does to its customer's state: an entry, and for some types a change of the profile.

Events of one customer come in their topic's order, which need not be the order in which things happened.
Entries carry their own time, so lateness doesn't matter to them; where two events contradict each other
(consent, unsubscription) the one that happened later wins. Traits, time zone and locale are taken in order of
arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.events import (
    EVENT_TYPES,
    TYPE_BY_CODE,
    EngagementEvent,
    Event,
    Family,
    OrderEvent,
    ProfileEvent,
    ServiceEvent,
)
from engine.features.churn.purchases import update_purchase
from engine.features.profile import (
    MAX_CONSENTS,
    MAX_INQUIRIES,
    MAX_SUPPRESSED,
    MAX_TEXT,
    MAX_TRAITS,
    Inquiry,
    Profile,
)
from engine.features.series import Series
from engine.features.state import CustomerState
from engine.features.zones import is_zone

UNSUBSCRIBED, BOUNCED = "unsubscribed", "bounced"
ANY_CHANNEL = "*"  # suppresses every channel: the event did not say which

_NO_SERIES: Mapping[int, Sequence[Series]] = {}
_ORDER = EVENT_TYPES["order.placed"].code
_VALUE_FIELDS = [TYPE_BY_CODE[code].value_field if code in TYPE_BY_CODE else None for code in range(256)]
_SHOWS_CHANNEL = [
    code in TYPE_BY_CODE
    and TYPE_BY_CODE[code].by_customer
    and TYPE_BY_CODE[code].family in {Family.CLICK, Family.SERVICE}
    for code in range(256)
]


def apply_event(
    state: CustomerState,
    event: Event,
    code: int,
    now_ms: int,
    series: Mapping[int, Sequence[Series]] = _NO_SERIES,
) -> bool:
    """Let an event take effect on its customer: `record_event` and `change_profile` at once.

    Args:
        state: the customer's state, changed in place.
        event: the event, validated.
        code: code of its type. `erasure.requested` is the pipeline's business, not this function's.
        now_ms: the row's instant.
        series: declared series by code of the event type they watch (`declared.by_event`).

    Returns:
        Whether the entries are over their bound now, so that `state.fold` is due.
    """
    over = record_event(state, event, code, series)
    change_profile(state, event, code, now_ms)
    return over


def record_event(
    state: CustomerState, event: Event, code: int, series: Mapping[int, Sequence[Series]] = _NO_SERIES
) -> bool:
    """Add an event to the customer's entries; arguments and result as for `apply_event`."""
    time_ms = event.time
    if not 0 < state.first_seen_ms <= time_ms:
        state.first_seen_ms = time_ms
    time_s = time_ms // 1000  # fits: an event's time is between 1990 and `LATEST_MS`
    field = _VALUE_FIELDS[code]
    over = state.record(code, time_s, None if field is None else getattr(event, field))
    if code == _ORDER:
        assert isinstance(event, OrderEvent)
        state.purchases = update_purchase(state.purchases or None, time_s, event.amount)
    if code in series:
        for one in series[code]:
            taken, value = one.record(event)
            if taken:
                over |= state.record(one.code, time_s, value)
    return over


def change_profile(state: CustomerState, event: Event, code: int, now_ms: int) -> tuple[str, Inquiry] | None:
    """Let an event change the customer's profile, if its type does; arguments as for `apply_event`.

    Apart from `record_event`, for several rows of a customer are recorded before the first of them is decided
    on, and each decision must see the profile as of its own row.

    Returns:
        The inquiry that was let go for one more, with its id; None = none was.
    """
    handler = _HANDLERS[code]
    let_go = None if handler is None else handler(state, event, now_ms)
    if event.channel and _SHOWS_CHANNEL[code] and state.profile.last_channel != event.channel:
        state.note().last_channel = event.channel[:MAX_TEXT]
    return let_go


def _signed_up(state: CustomerState, event: Any, now_ms: int) -> None:
    if not 0 < state.signup_ms <= event.time:
        state.signup_ms = event.time
    _updated(state, event, now_ms)


def _updated(state: CustomerState, event: ProfileEvent, _: int) -> None:
    """Take over what the event says of the customer; a trait of null goes away."""
    profile = state.mutate()
    if event.time_zone and is_zone(event.time_zone):
        profile.time_zone = event.time_zone
    if event.locale:
        profile.locale = event.locale[:MAX_TEXT]
    traits: Mapping[str, Any] = event.traits
    for name, value in traits.items():
        if value is None:
            profile.traits.pop(name, None)
        elif name in profile.traits or (len(profile.traits) < MAX_TRAITS and len(name) <= MAX_TEXT):
            profile.traits[name] = value[:MAX_TEXT] if isinstance(value, str) else value


def _consent_key(event: ProfileEvent) -> str:
    """Return the purpose, or `purpose/channel` where the answer is for one channel only."""
    channel = event.props.get("channel")
    return f"{event.purpose}/{channel}"[:MAX_TEXT] if isinstance(channel, str) and channel else event.purpose


def _answer(profile: Profile, key: str, time_s: int, *, yes: bool) -> bool:
    """Note an answer unless a later one is known (in the same second no wins); tell whether it was noted."""
    known = profile.consents.get(key, 0)
    if time_s < abs(known) or (time_s == abs(known) and yes and known < 0):
        return False
    if key not in profile.consents and len(profile.consents) >= MAX_CONSENTS:
        return False
    profile.consents[key] = time_s if yes else -time_s
    return True


def _granted(state: CustomerState, event: ProfileEvent, _: int) -> None:
    profile = state.mutate()
    key = _consent_key(event)
    noted = _answer(profile, key, event.time // 1000, yes=True)
    channel = key.partition("/")[2]
    if noted and channel and profile.suppressed.get(channel) == UNSUBSCRIBED:
        del profile.suppressed[channel]


def _withdrawn(state: CustomerState, event: ProfileEvent, _: int) -> None:
    _answer(state.mutate(), _consent_key(event), event.time // 1000, yes=False)


def _opened(state: CustomerState, event: ServiceEvent, _: int) -> tuple[str, Inquiry] | None:
    """Keep the inquiry open; beyond the bound the oldest is let go, and returned."""
    inquiries = state.mutate().inquiries
    inquiry_id = event.inquiry_id[:MAX_TEXT]
    known = inquiries.get(inquiry_id)
    if known is not None and known.opened_ms > event.time:
        return None
    inquiries[inquiry_id] = Inquiry(event.time, event.id[:MAX_TEXT], event.sentiment)
    if len(inquiries) <= MAX_INQUIRIES:
        return None
    oldest = min(inquiries, key=lambda name: (inquiries[name].opened_ms, name))
    return oldest, inquiries.pop(oldest)


def _replied(state: CustomerState, event: ServiceEvent, _: int) -> None:
    inquiry_id = event.inquiry_id[:MAX_TEXT]
    inquiry = state.profile.inquiries.get(inquiry_id)
    if inquiry is not None and not inquiry.replied and event.time >= inquiry.opened_ms:
        state.mutate().inquiries[inquiry_id] = Inquiry(
            inquiry.opened_ms, inquiry.event_id, inquiry.sentiment, replied=True
        )


def _resolved(state: CustomerState, event: ServiceEvent, _: int) -> None:
    inquiry_id = event.inquiry_id[:MAX_TEXT]
    inquiry = state.profile.inquiries.get(inquiry_id)
    if inquiry is not None and event.time >= inquiry.opened_ms:
        del state.mutate().inquiries[inquiry_id]


def _suppress(profile: Profile, channel: str, why: str) -> None:
    if channel in profile.suppressed or len(profile.suppressed) < MAX_SUPPRESSED:
        profile.suppressed[channel] = why
    else:  # full: rather no message at all than one to a channel that must not be used
        profile.suppressed[ANY_CHANNEL] = why


def _unsubscribed(state: CustomerState, event: EngagementEvent, _: int) -> None:
    """Suppress the channel unless the customer subscribed to it again since."""
    profile = state.mutate()
    channel = event.channel[:MAX_TEXT] or ANY_CHANNEL
    if channel == ANY_CHANNEL or _answer(profile, f"marketing/{channel}", event.time // 1000, yes=False):
        _suppress(profile, channel, UNSUBSCRIBED)


def _bounced(state: CustomerState, event: EngagementEvent, _: int) -> None:
    """Suppress the channel; a soft bounce (full mailbox, server away) is only counted."""
    if not event.reason.lower().startswith("soft"):
        _suppress(state.mutate(), event.channel[:MAX_TEXT] or ANY_CHANNEL, BOUNCED)


_BY_NAME: dict[str, Callable[[CustomerState, Any, int], tuple[str, Inquiry] | None]] = {
    "customer.signed_up": _signed_up,
    "profile.updated": _updated,
    "points.changed": _updated,
    "consent.granted": _granted,
    "consent.withdrawn": _withdrawn,
    "inquiry.opened": _opened,
    "inquiry.replied": _replied,
    "inquiry.resolved": _resolved,
    "message.unsubscribed": _unsubscribed,
    "message.bounced": _bounced,
}
_HANDLERS = [_BY_NAME.get(TYPE_BY_CODE[code].name) if code in TYPE_BY_CODE else None for code in range(256)]
