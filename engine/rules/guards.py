"""What may hold a message or an entry back, in the order it is judged.

The table in docs/journeys.md says the same for marketers. A task for a person (`agent`) is no message to the
customer: of the guards only consent is judged for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import xxhash

from engine.actions import AGENT, Outcome, Reason
from engine.events import Scalar
from engine.features.apply import ANY_CHANNEL
from engine.features.profile import MAX_CONTACTS, Contact, Profile
from engine.rules.context import MachineSettings
from engine.rules.journey import Journey, Send
from engine.rules.ledger import Ledger, same_window
from engine.rules.limits import CONTACT_MEMORY_S
from engine.rules.policy import ANY_KIND, Policy
from engine.rules.sentences import Facts
from engine.rules.times.local_time import MIN_DEFERRAL_MS, zone_of
from engine.rules.times.quiet import quiet_until
from engine.rules.times.units import Cap, say_duration
from engine.rules.times.windows import opens_at

CONTROL_GROUP_TEXT = "in the control group, who get nothing but transactional messages, to compare with"
_CHANNEL, _ENTRIES = "channel/", "entries/"  # names of limits in the ledger


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a send may not go out now.

    Args:
        outcome: `suppressed`, `deferred` or `held_out`.
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


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """A message about to be sent.

    Args:
        journey: whose step it is.
        send: the step.
        customer_id: to whom.
        profile: the customer.
        facts: what conditions are judged on.
        now_ms: the instant.
        put_off_ms: when a guard put it off for the first time; 0 = none did.
        reserved_ms: the instant for which a place under the channel's rate limit is kept; 0 = none is.
    """

    journey: Journey
    send: Send
    customer_id: str
    profile: Profile
    facts: Facts
    now_ms: int
    put_off_ms: int = 0
    reserved_ms: int = 0

    @property
    def expires_ms(self) -> int:
        """When it is of no use any more."""
        return (self.put_off_ms or self.now_ms) + self.send.expires_ms


def judge_send(attempt: Attempt, policy: Policy, settings: MachineSettings) -> Verdict | None:
    """Return the first guard that holds a send back, or None when only the rate limit is left to ask.

    Args:
        attempt: the message.
        policy: the contact policy.
        settings: default zone, global caps, control group.
    """
    journey, channel, profile = attempt.journey, attempt.send.channel, attempt.profile
    if journey.consent and not journey.transactional and not profile.consents_to(journey.consent, channel):
        text = f"no consent to {journey.consent} on {channel}"
        return Verdict(Outcome.SUPPRESSED, "consent", text)
    if channel != AGENT and profile.suppressed:
        listed = channel if channel in profile.suppressed else ANY_CHANNEL
        if listed in profile.suppressed:
            text = f"nothing may go to {channel}: {profile.suppressed[listed]}"
            return Verdict(Outcome.SUPPRESSED, "suppression", text)
    if journey.transactional:
        return None
    if in_control_group(settings, attempt.customer_id):
        return Verdict(Outcome.HELD_OUT, "control_group", CONTROL_GROUP_TEXT)
    if channel == AGENT:
        return None
    return _judge_caps(attempt, policy, settings) or _judge_hours(attempt, settings)


def _judge_caps(attempt: Attempt, policy: Policy, settings: MachineSettings) -> Verdict | None:
    journey, contacts = attempt.journey, attempt.profile.contacts
    if not contacts:
        return None
    own = [contact for contact in contacts if contact.journey == journey.name]
    return (
        _over(journey.caps, own, attempt.now_ms, "cap", "contact by this journey")
        or _judge_policy(attempt, policy)
        or _over(settings.global_caps, contacts, attempt.now_ms, "global_cap", "contact by all journeys")
    )


def _judge_policy(attempt: Attempt, policy: Policy) -> Verdict | None:
    """Judge the caps of the customer's row that count this kind of contact."""
    row = policy.row_of(attempt.facts) if policy.rows else None
    if row is None:
        return None
    kind, contacts = attempt.journey.contact, attempt.profile.contacts
    of_kind = [contact for contact in contacts if contact.kind == kind]
    whom = f"the policy for {row.who}"
    return _over(row.caps.get(kind, ()), of_kind, attempt.now_ms, "policy", f"{kind} contact", whom) or _over(
        row.caps.get(ANY_KIND, ()), contacts, attempt.now_ms, "policy", "contact of any kind", whom
    )


def _over(
    caps: Iterable[Cap], contacts: Sequence[Contact], now_ms: int, guard: str, what: str, whose: str = ""
) -> Verdict | None:
    """Return the first cap that is used up."""
    for cap in caps:
        count = count_contacts(contacts, cap, now_ms)
        if count >= cap.count:
            thing = what if count == 1 else what.replace("contact", "contacts")
            allows = f"{whose} allows" if whose else "the cap is"
            text = f"{count} {thing} in {say_duration(cap.window_ms)}, {allows} {cap.count}"
            return Verdict(Outcome.SUPPRESSED, guard, text, {"contacts": count, "cap": cap.count})
    return None


def count_contacts(contacts: Iterable[Contact], cap: Cap, now_ms: int) -> int:
    """Count the contacts within a cap's window; one exactly a window ago is outside."""
    after_s = now_ms // 1000 - cap.window_ms // 1000
    return sum(contact.time_s > after_s for contact in contacts)


def _judge_hours(attempt: Attempt, settings: MachineSettings) -> Verdict | None:
    """Judge quiet hours, then send windows, in the customer's zone."""
    quiet, windows, now_ms = attempt.journey.quiet_hours, attempt.journey.send_windows, attempt.now_ms
    if quiet is None and not windows:
        return None
    zone = zone_of(attempt.profile.time_zone, settings.default_time_zone)
    guard, text, until_ms = "quiet_hours", f"quiet hours {quiet} in {zone}", 0
    if quiet is not None:
        until_ms = quiet_until(quiet, now_ms, zone)
    if windows and not until_ms:
        said = ", ".join(map(str, windows))
        guard, text = "send_window", f"messages go out {said} in {zone} only"
        until_ms = opens_at(windows, now_ms, zone)
    if not until_ms:
        return None
    if until_ms > attempt.expires_ms:
        return Verdict(Outcome.SUPPRESSED, "expired", f"{text}, longer than the message is of use")
    return Verdict(Outcome.DEFERRED, guard, text, until_ms=until_ms)


def judge_rate(attempt: Attempt, ledger: Ledger | None, settings: MachineSettings) -> Verdict | None:
    """Take a place under the channel's rate limit, or reserve one later; asked last, when all else holds.

    Args:
        attempt: the message.
        ledger: the partition's counts; must be there when the channel has a limit.
        settings: the limits.
    """
    channel, now_ms = attempt.send.channel, attempt.now_ms
    limit = settings.rate_limits.get(channel)
    if limit is None or attempt.journey.transactional or channel == AGENT:
        return None
    assert ledger is not None, "a rate limit needs the partition's ledger"
    if attempt.reserved_ms and same_window(limit, attempt.reserved_ms, now_ms):
        return None
    name = f"{_CHANNEL}{channel}"
    if ledger.take(name, limit, now_ms):
        return None
    until_ms = ledger.reserve(name, limit, now_ms + MIN_DEFERRAL_MS, now_ms, attempt.expires_ms)
    values = {"limit": limit.count, "share": ledger.share(limit, now_ms)}
    text = f"{limit.count} messages on {channel} in {say_duration(limit.window_ms)} over all customers"
    if not until_ms:
        text = f"{text}, no room before the message is of no use any more"
        return Verdict(Outcome.SUPPRESSED, "rate_limit", text, values)
    return Verdict(Outcome.DEFERRED, "rate_limit", text, values, until_ms)


def judge_entry_cap(journey: Journey, ledger: Ledger | None, now_ms: int) -> Reason | None:
    """Count an entry, or say why there is no room for it.

    Args:
        journey: the journey.
        ledger: the partition's counts; must be there when the journey has a cap.
        now_ms: the instant.
    """
    cap = journey.entry_cap
    if cap is None:
        return None
    assert ledger is not None, "an entry cap needs the partition's ledger"
    if ledger.take(f"{_ENTRIES}{journey.name}", cap, now_ms):
        return None
    share = ledger.share(cap, now_ms)
    every = say_duration(cap.window_ms)
    text = f"{cap.count} entries in {every} over all customers, {share} of them here, are used up"
    return Reason(text=text, guard="entry_cap", values={"cap": cap.count, "share": share})


def in_control_group(settings: MachineSettings, customer_id: str) -> bool:
    """Tell whether a customer gets nothing but transactional messages: stable, independent of holdouts."""
    return bool(settings.control_group) and share_of("control_group", customer_id) < settings.control_group


def held_out(journey: Journey, customer_id: str) -> bool:
    """Tell whether a customer is in a journey's holdout: stable, and independent between journeys."""
    if not journey.holdout:
        return False
    return share_of("holdout", journey.name, customer_id) < journey.holdout


def share_of(*parts: str) -> float:
    """Hash names to a number in [0, 1); the same names always give the same number."""
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode()) / 2**64


@dataclass(frozen=True, slots=True)
class ContactMemory:
    """How long contacts are counted.

    Args:
        journeys: journey to its longest cap window, ms.
        kinds: kind of contact to the policy's longest window, ms; `any` for every kind.
        every_ms: the longest global cap window, ms.
    """

    journeys: Mapping[str, int]
    kinds: Mapping[str, int]
    every_ms: int

    def counted_s(self, contact: Contact) -> int:
        """Return for how long some cap counts a contact, s."""
        return (
            max(
                self.journeys.get(contact.journey, 0),
                self.kinds.get(contact.kind, 0),
                self.kinds.get(ANY_KIND, 0),
                self.every_ms,
            )
            // 1000
        )

    def remember(self, profile: Profile, contact: Contact, now_ms: int) -> None:
        """Note a message sent; forget those no cap can count any more.

        Args:
            profile: changed.
            contact: the message.
            now_ms: the instant.
        """
        now_s = now_ms // 1000
        kept = [
            each
            for each in profile.contacts
            if each.time_s > now_s - max(self.counted_s(each), CONTACT_MEMORY_S)
        ]
        if len(kept) >= MAX_CONTACTS:
            # Only what a cap still counts must stay; the rest is there for people to look at.
            kept = [each for each in kept if each.time_s > now_s - self.counted_s(each)]
        profile.contacts = [*kept, contact][-MAX_CONTACTS:]

    def is_full(self, profile: Profile, now_ms: int) -> bool:
        """Tell whether a cap still counts every remembered contact, so that no further one can be kept."""
        if len(profile.contacts) < MAX_CONTACTS:
            return False
        now_s = now_ms // 1000
        return all(each.time_s > now_s - self.counted_s(each) for each in profile.contacts)
