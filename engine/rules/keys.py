"""What tells runs of one journey side by side apart (`per`), and the names a journey is remembered by."""

from __future__ import annotations

from engine.actions import deterministic_id
from engine.events import Event
from engine.features.profile import Profile
from engine.rules.journey import Journey
from engine.rules.limits import MAX_KEY_CHARS, MAX_KEYS_REMEMBERED

_MARK = "/"  # `journey/inquiry`: this inquiry has been dealt with; journey names hold no slash
_KEY = "#"  # `journey#key`: the runs of this key; journey names hold none of these either


def mark_of(journey: Journey, inquiry_id: str) -> str:
    """Return the key under which an inquiry is noted as dealt with by a journey."""
    return f"{journey.name}{_MARK}{inquiry_id}"


def marked_inquiry(name: str) -> str:
    """Return the inquiry a name of `Profile.entered` is the mark of, or an empty text."""
    journey, _, inquiry_id = name.partition(_MARK)
    return "" if _KEY in journey else inquiry_id


def instance_of(journey: Journey, event: Event) -> str | None:
    """Return the event's value of `per`, which tells runs apart; empty without `per`, None without value."""
    if not journey.per:
        return ""
    if journey.per[0] == "props":
        value = event.props.get(journey.per[1], "")
    else:
        value = getattr(event, journey.per[0])
    text = str(value)
    return (text if len(text) <= MAX_KEY_CHARS else deterministic_id("key", text)) or None


def kept_as(journey: Journey, instance: str) -> str:
    """Return the name under which a journey's counts and re-entry are kept, for one key if it has `per`."""
    return f"{journey.name}{_KEY}{instance}" if journey.per else journey.name


def remember_entry(profile: Profile, journey: Journey, instance: str, now_ms: int) -> None:
    """Note an entry for re-entry; of a journey with `per` only so many keys, those that entered last.

    Args:
        profile: changed.
        journey: the journey.
        instance: the run's key.
        now_ms: the instant.
    """
    name = kept_as(journey, instance)
    if journey.per:
        prefix = journey.name + _KEY
        keys = [each for each in profile.entered if each.startswith(prefix) and each != name]
        pause_ms = journey.reentry.after_ms
        over = [each for each in keys if 0 < pause_ms <= now_ms - profile.entered[each]]
        for each in over:
            del profile.entered[each]
        keys = [each for each in keys if each in profile.entered]
        if len(keys) >= MAX_KEYS_REMEMBERED:
            del profile.entered[min(keys, key=lambda each: (profile.entered[each], each))]
    profile.entered[name] = now_ms
