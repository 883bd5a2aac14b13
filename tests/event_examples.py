"""Valid events of every family, drawn at random, for the tests of whatever reads or writes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from engine.events import EARLIEST_MS, EVENT_CLASSES, EVENT_TYPES, LATEST_MS, PURPOSES, Event, Family

_PLAIN = st.characters(codec="utf-8", exclude_characters="\0")
_TEXT = st.text(_PLAIN, max_size=40)
_IDS = st.text(_PLAIN, min_size=1, max_size=32)  # at most 4 bytes a character: within 128 bytes
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_AMOUNTS = st.floats(0, 1e12)
_SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), _FLOATS, _TEXT)
_ZONES = st.sampled_from(["", "UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires"])

_OWN: dict[Family, dict[str, st.SearchStrategy[Any]]] = {
    Family.CLICK: {
        "url": _TEXT,
        "product_id": _TEXT,
        "query": _TEXT,
        "quantity": _AMOUNTS,
        "price": _AMOUNTS,
    },
    Family.ORDER: {"order_id": _IDS, "amount": _AMOUNTS, "items": st.integers(0, 2**31 - 1), "coupon": _TEXT},
    Family.SERVICE: {"inquiry_id": _IDS, "subject": _TEXT, "text": _TEXT, "sentiment": st.floats(-1, 1)},
    Family.PROFILE: {
        "traits": st.dictionaries(_TEXT, st.one_of(st.none(), _SCALARS), max_size=8),
        "time_zone": _ZONES,
        "locale": _TEXT,
        "purpose": st.sampled_from(PURPOSES),
    },
    Family.ENGAGEMENT: {"action_id": _TEXT, "template": _TEXT, "answer": _TEXT, "score": st.floats(1, 5)},
}


@st.composite
def events(draw: st.DrawFn, family: Family | None = None) -> Event:
    """Draw a valid event, of one family or of any."""
    family = family or draw(st.sampled_from(Family))
    names = [name for name, kind in EVENT_TYPES.items() if kind.family is family]
    fields: dict[str, Any] = {
        "id": draw(_IDS),
        "type": draw(st.sampled_from(names)),
        "customer_id": draw(_IDS),
        "time": draw(st.integers(EARLIEST_MS, LATEST_MS)),
        "source": draw(_TEXT),
        "channel": draw(_TEXT),
        "props": draw(st.dictionaries(_TEXT, _SCALARS, max_size=8)),
    }
    fields |= {name: draw(strategy) for name, strategy in _OWN[family].items()}
    return EVENT_CLASSES[family](**fields)
