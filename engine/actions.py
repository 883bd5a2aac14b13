"""What leaves the engine, and why: actions, decisions and their deterministic ids."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import xxhash

from engine.events import Scalar

AGENT = "agent"  # the channel of tasks for people


class Outcome(StrEnum):
    """What became of a considered trigger."""

    FIRED = "fired"
    SUPPRESSED = "suppressed"
    DEFERRED = "deferred"
    HELD_OUT = "held_out"
    NOT_MATCHED = "not_matched"
    ENTERED = "entered"
    EXITED = "exited"
    COMPLETED = "completed"
    CONVERTED = "converted"


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why, for a person and for a program.

    Args:
        text: one sentence without personal data.
        guard: the guard that decided, or empty (`consent`, `cap`, `quiet_hours`, `holdout`, …).
        values: feature values the decision saw, by name.
    """

    text: str
    guard: str = ""
    values: dict[str, Scalar] = {}


class Action(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message or task for a channel.

    Args:
        id: deterministic; a replay repeats it (`action_id`).
        customer_id: whom it is for.
        journey: name of the journey.
        version: version of the journey the customer is in.
        step: path of the step in the file, such as `steps[1].otherwise[0]`.
        channel: the channel; also the end of the topic's name.
        template: the template the channel renders.
        data: values for the template.
        priority: `normal` or `high`.
        transactional: passed caps and quiet hours.
        reason: why this customer gets it.
        event_id: the event that caused the entry (or the timer's id).
        event_type: its type.
        event_time: when that event happened, ms.
        time: the instant of the decision, ms.
        expires_at: do not deliver after, ms.
    """

    id: str
    customer_id: str
    journey: str
    version: int
    step: str
    channel: str
    template: str
    data: dict[str, Scalar]
    priority: str
    transactional: bool
    reason: Reason
    event_id: str
    event_type: str
    event_time: int
    time: int
    expires_at: int


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One considered trigger and what became of it.

    Args:
        id: deterministic, like an action's.
        customer_id: whom it was about.
        journey: name of the journey.
        version: its version.
        step: path of the step, or `entry`.
        outcome: what became of it.
        reason: why.
        event_id: the causing event.
        event_type: its type.
        time: the instant of the decision, ms.
        until: for deferred ones, when it is taken up again, ms; else 0.
        action_id: for fired ones; else empty.
    """

    id: str
    customer_id: str
    journey: str
    version: int
    step: str
    outcome: Outcome
    reason: Reason
    event_id: str
    event_type: str
    time: int
    until: int = 0
    action_id: str = ""


def deterministic_id(*parts: str | int) -> str:
    """Hash the parts to 32 hex digits; the same parts always give the same id."""
    return xxhash.xxh3_128_hexdigest("\x1f".join(map(str, parts)).encode())


def action_id(journey: str, version: int, customer_id: str, event_id: str, step: str) -> str:
    """Return the id of the action a step fires for a customer and causing event."""
    return deterministic_id("action", journey, version, customer_id, event_id, step)
