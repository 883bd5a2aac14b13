"""What may hold a message back, in the order it is judged: consent, suppression, caps, quiet hours.

The table in docs/journeys.md says the same for marketers. A task for a person (`agent`) is no message to the
customer: of the guards only consent is judged for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import xxhash

from engine.actions import Outcome
from engine.events import Scalar
from engine.features.apply import ANY_CHANNEL
from engine.features.profile import MAX_CONTACTS, Contact, Profile
from engine.rules.check import AGENT
from engine.rules.context import MachineSettings
from engine.rules.journey import Journey, Send
from engine.rules.limits import CONTACT_MEMORY_S
from engine.rules.local_time import zone_of
from engine.rules.quiet import quiet_until
from engine.rules.units import Cap, say_duration
from engine.rules.windows import opens_at


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a send may not go out now.

    Args:
        outcome: `suppressed` or `deferred`.
        guard: the guard that decided.
        text: why, in a sentence.
        values: what it saw.
        until_ms: for deferred ones, when to try again.
    """

    outcome: Outcome
    guard: str
    text: str
    values: Mapping[str, Scalar] = field(default_factory=dict)
    until_ms: int = 0


def judge_send(
    journey: Journey, send: Send, profile: Profile, now_ms: int, settings: MachineSettings
) -> Verdict | None:
    """Return the first guard that holds a send back, or None when it may go.

    Args:
        journey: whose step it is.
        send: the step.
        profile: the customer.
        now_ms: the instant.
        settings: default zone and global caps.
    """
    if (
        journey.consent
        and not journey.transactional
        and not profile.consents_to(journey.consent, send.channel)
    ):
        text = f"no consent to {journey.consent} on {send.channel}"
        return Verdict(Outcome.SUPPRESSED, "consent", text)
    if send.channel == AGENT:
        return None
    if profile.suppressed and (send.channel in profile.suppressed or ANY_CHANNEL in profile.suppressed):
        why = profile.suppressed.get(send.channel) or profile.suppressed[ANY_CHANNEL]
        return Verdict(Outcome.SUPPRESSED, "suppression", f"nothing may go to {send.channel}: {why}")
    if journey.transactional:
        return None
    return _judge_caps(journey, profile, now_ms, settings) or _judge_hours(
        journey, send, profile, now_ms, settings
    )


def _judge_caps(journey: Journey, profile: Profile, now_ms: int, settings: MachineSettings) -> Verdict | None:
    own = [contact for contact in profile.contacts if contact.journey == journey.name]
    for caps, contacts, guard, whose in (
        (journey.caps, own, "cap", "this journey"),
        (settings.global_caps, profile.contacts, "global_cap", "all journeys"),
    ):
        for cap in caps:
            count = count_contacts(contacts, cap, now_ms)
            if count >= cap.count:
                times = "contact" if count == 1 else "contacts"
                text = f"{count} {times} by {whose} in {say_duration(cap.window_ms)}, the cap is {cap.count}"
                return Verdict(Outcome.SUPPRESSED, guard, text, {"contacts": count, "cap": cap.count})
    return None


def count_contacts(contacts: Iterable[Contact], cap: Cap, now_ms: int) -> int:
    """Count the contacts within a cap's window; one exactly a window ago is outside."""
    after_s = now_ms // 1000 - cap.window_ms // 1000
    return sum(contact.time_s > after_s for contact in contacts)


def _judge_hours(
    journey: Journey, send: Send, profile: Profile, now_ms: int, settings: MachineSettings
) -> Verdict | None:
    """Judge quiet hours, then send windows, in the customer's zone."""
    quiet, windows = journey.quiet_hours, journey.send_windows
    if quiet is None and not windows:
        return None
    zone = zone_of(profile.time_zone, settings.default_time_zone)
    guard, text, until_ms = "quiet_hours", f"quiet hours {quiet} in {zone}", 0
    if quiet is not None:
        until_ms = quiet_until(quiet, now_ms, zone)
    if windows and not until_ms:
        said = ", ".join(map(str, windows))
        guard, text = "send_window", f"messages go out {said} in {zone} only"
        until_ms = opens_at(windows, now_ms, zone)
    if not until_ms:
        return None
    if until_ms - now_ms > send.expires_ms:
        return Verdict(Outcome.SUPPRESSED, "expired", f"{text}, longer than the message is of use")
    return Verdict(Outcome.DEFERRED, guard, text, until_ms=until_ms)


def held_out(journey: Journey, customer_id: str) -> bool:
    """Tell whether a customer is in a journey's holdout: stable, and independent between journeys."""
    if not journey.holdout:
        return False
    return share_of("holdout", journey.name, customer_id) < journey.holdout


def share_of(*parts: str) -> float:
    """Hash names to a number in [0, 1); the same names always give the same number."""
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode()) / 2**64


def remember_contact(
    profile: Profile, contact: Contact, now_ms: int, windows: Mapping[str, int], every_ms: int
) -> None:
    """Note a message sent; forget those no cap can count any more.

    Args:
        profile: changed.
        contact: the message.
        now_ms: the instant.
        windows: journey to its longest cap window, ms.
        every_ms: the longest global cap window, ms.
    """
    now_s = now_ms // 1000
    kept = [
        each
        for each in profile.contacts
        if each.time_s > now_s - max(windows.get(each.journey, 0) // 1000, every_ms // 1000, CONTACT_MEMORY_S)
    ]
    if len(kept) >= MAX_CONTACTS:
        # Only what a cap still counts must stay; the rest is there for people to look at.
        kept = [
            each for each in kept if each.time_s > now_s - max(windows.get(each.journey, 0), every_ms) // 1000
        ]
    profile.contacts = [*kept, contact][-MAX_CONTACTS:]


def contacts_full(profile: Profile, now_ms: int, windows: Mapping[str, int], every_ms: int) -> bool:
    """Tell whether every remembered contact is one a cap still counts, so that no further one can be kept."""
    if len(profile.contacts) < MAX_CONTACTS:
        return False
    now_s = now_ms // 1000
    return all(
        each.time_s > now_s - max(windows.get(each.journey, 0), every_ms) // 1000 for each in profile.contacts
    )
