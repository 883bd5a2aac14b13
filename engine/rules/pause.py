"""A paused journey: nobody enters, and what is to be sent waits, but no longer than it is of use."""

from __future__ import annotations

import msgspec

from engine.actions import Outcome
from engine.features.profile import Position
from engine.rules.guards import Verdict
from engine.rules.journey import Send
from engine.rules.limits import PAUSE_RETRY_MS

_SINCE = "_paused"  # key of a position's fields: since when a pause holds its message back


def judge_pause(send: Send, position: Position, now_ms: int) -> Verdict:
    """Put a send of a paused journey off for an hour, or drop it when it has been put off for too long.

    Args:
        send: the step.
        position: the run; knows since when it is held back.
        now_ms: the instant.
    """
    until_ms = now_ms + PAUSE_RETRY_MS
    if until_ms - _since_ms(position, now_ms) > send.expires_ms:
        text = "the journey has been paused for longer than the message is of use"
        return Verdict(Outcome.SUPPRESSED, "expired", text)
    return Verdict(Outcome.DEFERRED, "paused", "the journey is paused", until_ms=until_ms)


def hold(position: Position, now_ms: int) -> Position:
    """Note since when a pause holds a run's message back; the first time counts."""
    fields = {**position.event, _SINCE: _since_ms(position, now_ms)}
    return msgspec.structs.replace(position, event=fields)


def let_go(position: Position) -> Position:
    """Forget the note: the message has gone out or has been dropped."""
    if _SINCE not in position.event:
        return position
    fields = {name: value for name, value in position.event.items() if name != _SINCE}
    return msgspec.structs.replace(position, event=fields)


def _since_ms(position: Position, now_ms: int) -> int:
    found = position.event.get(_SINCE)
    return found if isinstance(found, int) else now_ms
