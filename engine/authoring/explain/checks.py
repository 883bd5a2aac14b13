"""What explaining is made of: a customer as of now, and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from engine.features.profile import Profile

Verdict = Literal["yes", "no", "open"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a journey asks for.

    Args:
        about: what it is about: `enabled`, `entry`, `when`, `reentry`, `holdout`, `send`.
        verdict: `yes` it is so now, `no` it is not, `open` it depends on what has not happened yet.
        text: how it is, in a sentence.
        missing: what would have to change; empty when nothing does.
    """

    about: str
    verdict: Verdict
    text: str
    missing: str = ""


class Contacts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that count against a cap now.

    Args:
        whose: `this journey` or `all journeys`.
        count: how many count now.
        cap: how many there may be.
        window_ms: within this time.
        free_ms: when the next one is possible again; 0 = now.
    """

    whose: str
    count: int
    cap: int
    window_ms: int
    free_ms: int


@dataclass(frozen=True, slots=True)
class Person:
    """A customer as of now.

    Args:
        customer_id: who.
        profile: zone, consents, contacts, positions.
        values: every `customer.NAME`.
        now_ms: the instant.
    """

    customer_id: str
    profile: Profile
    values: Mapping[str, Any]
    now_ms: int
