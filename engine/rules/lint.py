"""Checks beyond types, of one journey: what is possible, but hardly meant."""

from __future__ import annotations

from engine.rules.check import AGENT
from engine.rules.journey import Journey, Send
from engine.rules.parsed import ParsedJourney
from engine.rules.source import ErrorList


def find_oddities(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    """Look through a journey without errors.

    Args:
        parsed: what the file says, with places.
        journey: the same, compiled.
        problems: takes the warnings.
    """
    _without_consent(parsed, journey, problems)


def _without_consent(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    if journey.consent or journey.transactional:
        return
    sends = [step for step in journey.program if isinstance(step, Send) and step.channel != AGENT]
    if sends:
        message = f"messages on {sends[0].channel} go out without anybody being asked for consent"
        hint = "`guards: {consent: marketing}`, or `transactional: true` for receipts and service"
        problems.warn("W0402", message, parsed.name.place, hint)
