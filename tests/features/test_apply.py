"""What each event does to its customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from engine.events import EVENT_CLASSES, EVENT_TYPES, VISIT_CODES, Event
from engine.features.apply import apply_event
from engine.features.profile import MAX_INQUIRIES, MAX_TEXT, MAX_TRAITS
from engine.features.series import Series
from engine.features.state import CustomerState, pack, unpack

NOW_MS = 1_700_000_000_000


def happen(
    state: CustomerState,
    name: str,
    after_s: int = 0,
    series: Mapping[int, Sequence[Series]] | None = None,
    **fields: Any,
) -> None:
    """Let an event of a type happen `after_s` seconds after NOW_MS."""
    kind = EVENT_TYPES[name]
    needed = {"order_id": "o"} if name.startswith(("order.", "payment.")) else {}
    if name.startswith(("inquiry.", "complaint.")):
        needed = {"inquiry_id": "q"}
    values = {
        "id": f"{name}-{after_s}",
        "customer_id": "c",
        "time": NOW_MS + after_s * 1000,
        **needed,
        **fields,
    }
    event: Event = EVENT_CLASSES[kind.family](type=name, **values)
    apply_event(state, event, kind.code, NOW_MS + after_s * 1000, series or {})


@pytest.mark.parametrize("name", sorted(set(EVENT_TYPES) - {"erasure.requested"}))
def test_every_event_leaves_one_entry_at_its_own_time(name: str) -> None:
    """Each event type adds one entry with the event's own second, late or not, and dates the first sight."""
    state = CustomerState("c")
    happen(state, name, 50)
    happen(state, name, -50)
    kept = state.marks + state.values
    assert len(kept) == 2 * (5 if EVENT_TYPES[name].value_field is None else 13)
    assert int.from_bytes(kept[:4], "little") == NOW_MS // 1000 + 50
    assert state.first_seen_ms == NOW_MS - 50_000


def test_a_withdrawal_beats_a_grant_that_happened_before_it() -> None:
    """A grant that arrives late never overrides the newer withdrawal, and the other way round."""
    state = CustomerState("c")
    happen(state, "consent.withdrawn", 10, purpose="marketing")
    happen(state, "consent.granted", 5, purpose="marketing")
    assert not state.profile.consents_to("marketing")
    happen(state, "consent.granted", 10, purpose="marketing")
    assert not state.profile.consents_to("marketing")
    happen(state, "consent.granted", 11, purpose="marketing")
    happen(state, "consent.withdrawn", 9, purpose="marketing")
    assert state.profile.consents_to("marketing")


def test_consent_for_one_channel_goes_before_the_general_answer() -> None:
    """A channel's own answer decides for that channel alone; no answer at all means no."""
    state = CustomerState("c")
    assert not state.profile.consents_to("marketing", "email")
    happen(state, "consent.granted", 1, purpose="marketing")
    happen(state, "consent.withdrawn", 2, purpose="marketing", props={"channel": "email"})
    assert not state.profile.consents_to("marketing", "email")
    assert state.profile.consents_to("marketing", "push")
    assert not state.profile.consents_to("analytics")


def test_unsubscribing_holds_until_the_customer_subscribes_again() -> None:
    """An unsubscription suppresses its channel; only a later grant for the channel lifts it."""
    state = CustomerState("c")
    happen(state, "message.unsubscribed", 10, channel="email")
    assert state.profile.suppressed == {"email": "unsubscribed"}
    happen(state, "consent.granted", 5, purpose="marketing", props={"channel": "email"})
    assert "email" in state.profile.suppressed
    happen(state, "consent.granted", 20, purpose="marketing", props={"channel": "email"})
    assert state.profile.suppressed == {}
    happen(state, "message.unsubscribed", 15, channel="email")
    assert state.profile.suppressed == {}
    assert state.profile.consents_to("marketing", "email")


def test_only_a_hard_bounce_suppresses() -> None:
    """A soft bounce is counted; a hard one closes the channel, and consent doesn't open it."""
    state = CustomerState("c")
    happen(state, "message.bounced", 1, channel="email", reason="soft: mailbox full")
    assert state.profile.suppressed == {}
    happen(state, "message.bounced", 2, channel="email", reason="unknown address")
    happen(state, "consent.granted", 3, purpose="marketing", props={"channel": "email"})
    assert state.profile.suppressed == {"email": "bounced"}


def test_an_inquiry_waits_until_replied_and_is_open_until_resolved() -> None:
    """The head shows the oldest unanswered inquiry; a reply ends the wait, a resolution closes."""
    state = CustomerState("c")
    happen(state, "inquiry.opened", 0, inquiry_id="a", sentiment=-0.5)
    happen(state, "inquiry.opened", 60, inquiry_id="b")
    happen(state, "inquiry.replied", 90, inquiry_id="a")
    inquiries = state.profile.inquiries
    assert inquiries["a"].replied
    assert (inquiries["a"].opened_ms, inquiries["a"].sentiment) == (NOW_MS, -0.5)
    assert not inquiries["b"].replied
    happen(state, "inquiry.resolved", 95, inquiry_id="a")
    assert list(state.profile.inquiries) == ["b"]


def test_open_inquiries_are_bounded() -> None:
    """Beyond the bound the oldest inquiry is let go."""
    state = CustomerState("c")
    for number in range(MAX_INQUIRIES + 5):
        happen(state, "inquiry.opened", number, inquiry_id=f"q{number}")
    assert len(state.profile.inquiries) == MAX_INQUIRIES
    assert "q4" not in state.profile.inquiries


def test_traits_are_bounded_and_null_removes() -> None:
    """Traits beyond the bound are dropped, long texts cut, a null takes a trait away; any script survives."""
    state = CustomerState("c")
    happen(state, "profile.updated", 0, traits={f"t{number}": number for number in range(MAX_TRAITS + 9)})
    assert len(state.profile.traits) == MAX_TRAITS
    happen(state, "profile.updated", 1, traits={"t0": None, "t1": "长" * 999})
    assert "t0" not in state.profile.traits
    assert state.profile.traits["t1"] == "长" * MAX_TEXT
    assert unpack("c", pack(state)).profile == state.profile


def test_signing_up_dates_the_customer() -> None:
    """Sign-up sets its instant, the zone and the locale; a second sign-up never moves it later."""
    state = CustomerState("c")
    happen(state, "customer.signed_up", 5, time_zone="Asia/Shanghai", locale="zh-CN", traits={"vip": True})
    happen(state, "customer.signed_up", 9, time_zone="No/Where")
    assert state.signup_ms == NOW_MS + 5000
    assert (state.profile.time_zone, state.profile.locale) == ("Asia/Shanghai", "zh-CN")


def test_last_channel_is_where_the_customer_acted() -> None:
    """Clicks and service events tell the channel; what became of a message does not."""
    state = CustomerState("c")
    happen(state, "page.viewed", 1, channel="app")
    happen(state, "message.opened", 2, channel="email")
    assert state.profile.last_channel == "app"


def test_purchases_feed_the_churn_record() -> None:
    """Only orders placed reach the churn model's record."""
    state = CustomerState("c")
    happen(state, "page.viewed")
    assert state.purchases == b""
    happen(state, "order.placed", amount=10.0)
    first = state.purchases
    happen(state, "order.placed", 90_000, amount=10.0)
    assert first
    assert state.purchases != first


def test_forgetting_leaves_nothing() -> None:
    """After an erasure the state equals one never seen."""
    state = CustomerState("c")
    happen(state, "customer.signed_up", locale="de")
    happen(state, "order.placed", amount=3.0)
    state.forget()
    assert pack(state) == pack(CustomerState("c"))
    assert state.head == CustomerState("c").head


def test_what_the_shop_tells_is_no_visit() -> None:
    """A restock or a price drop shows no activity of the customer's."""
    state = CustomerState("c")
    happen(state, "product.restocked", channel="web")
    happen(state, "price.dropped", 1, channel="web")
    assert state.profile.last_channel == ""
    assert not {EVENT_TYPES[name].code for name in ("product.restocked", "price.dropped")} & set(VISIT_CODES)


def test_points_are_kept_as_a_trait() -> None:
    """The balance of `points.changed` is a trait from then on."""
    state = CustomerState("c")
    happen(state, "points.changed", traits={"points": 1200})
    assert state.profile.traits == {"points": 1200}
