"""A paused journey: nobody enters, and what is to be sent waits, but no longer than it is of use."""

from __future__ import annotations

from engine.actions import Outcome
from engine.rules.guards import Attempt, Verdict
from engine.rules.limits import PAUSE_RETRY_MS


def judge_pause(attempt: Attempt) -> Verdict:
    """Put a send of a paused journey off for an hour, or drop it when it has been put off for too long.

    Args:
        attempt: the message; knows since when it is held back.
    """
    until_ms = attempt.now_ms + PAUSE_RETRY_MS
    if until_ms > attempt.expires_ms:
        text = "the journey has been paused for longer than the message is of use"
        return Verdict(Outcome.SUPPRESSED, "expired", text)
    return Verdict(Outcome.DEFERRED, "paused", "the journey is paused", until_ms=until_ms)
