"""The slow-changing half of a customer's state: who they are, what they allow, where they stand in journeys.

A `Profile` is stored as a MessagePack array whose trailing defaults are left off, so that a customer of whom
only the time zone is known costs a dozen bytes. Fields are appended at the end only: an older value then
reads with defaults.
"""

from __future__ import annotations

import msgspec

from engine.errors import StateError
from engine.events import Scalar

MAX_TRAITS = 64
MAX_INQUIRIES = 16
MAX_CONTACTS = 32
MAX_BEYOND = 64
MAX_POSITIONS = 16
MAX_SUPPRESSED = 16
MAX_CONSENTS = 32
MAX_COUNTED = 32  # journeys (or their keys) whose events are being counted
MAX_GOALS = 16
MAX_TEXT = 256  # characters of a trait's or an inquiry's text

_PREFIXES_BY_PURPOSE = {"marketing": "m", "analytics": "a", "personalization": "p", "third_party": "t"}
_PURPOSES_BY_PREFIX = {short: purpose for purpose, short in _PREFIXES_BY_PURPOSE.items()}


class Inquiry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open question of the customer's.

    Args:
        opened_ms: when it was asked.
        event_id: the `inquiry.opened` event.
        sentiment: -1 (angry) to 1 (happy), 0 unknown.
        replied: whether a person has answered; the deadline for an answer is then over.
    """

    opened_ms: int
    event_id: str
    sentiment: float = 0.0
    replied: bool = False


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where the customer stands in one run of one journey.

    Args:
        journey: name of the journey.
        version: the version entered.
        instance: tells apart runs of the same journey side by side, or empty.
        pc: index into the journey's flat program.
        entered_ms: when the run began.
        due_ms: when it goes on by itself; 0 = it waits for an event only.
        event_id: the event (or timer) that caused the entry.
        event: the entry event's fields kept for correlation.
        deferred: whether a guard put the step off until `due_ms`.
        put_off_ms: when a guard put the step off for the first time; 0 = none did.
        reserved_ms: the instant for which a place under a rate limit is kept; 0 = none is.
    """

    journey: str
    version: int
    instance: str
    pc: int
    entered_ms: int
    due_ms: int
    event_id: str
    event: dict[str, Scalar | dict[str, Scalar]] = {}
    deferred: bool = False
    put_off_ms: int = 0
    reserved_ms: int = 0


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message sent, as frequency caps count them.

    Args:
        time_s: when, whole seconds since the epoch.
        journey: the journey that sent it.
        channel: the channel it went to.
        kind: the kind of contact, as the contact policy counts them; empty = not known.
    """

    time_s: int
    journey: str
    channel: str
    kind: str = ""


class OpenGoal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a customer who entered a journey may still do for it to count as a success.

    Args:
        journey: name of the journey.
        version: the version entered.
        instance: tells apart runs of the same journey side by side, or empty.
        entered_ms: when the customer entered.
        until_ms: from here on it counts no more.
        event_id: the event (or timer) that caused the entry.
        event: its type, and the fields of it the goal asks about.
        held_out: whether the customer gets nothing from the journey, to compare with.
    """

    journey: str
    version: int
    instance: str
    entered_ms: int
    until_ms: int
    event_id: str
    event: dict[str, Scalar | dict[str, Scalar]] = {}
    held_out: bool = False


class Profile(msgspec.Struct, array_like=True, gc=False):
    """What is known of a customer beyond counts; see docs/internals.md for each field.

    Args:
        time_zone: IANA name, or empty.
        consents: purpose or `purpose/channel` to the second it was given; negative when withdrawn.
        locale: such as `zh-CN`, or empty.
        last_channel: where the customer was last seen acting.
        entered: journey to the instant of the last entry, ms; `journey#key` where it is told per key,
            `journey/inquiry` for an inquiry that was dealt with.
        contacts: messages sent, oldest first, at most `MAX_CONTACTS`.
        positions: runs in progress, at most `MAX_POSITIONS`.
        traits: what the business says of the customer, at most `MAX_TRAITS`.
        inquiries: open ones by inquiry id, at most `MAX_INQUIRIES`.
        suppressed: channel to the reason nothing may be sent there.
        counts: journey (or `journey#key`) to the last times of the events it counts, ms, oldest first.
        goals: what journeys entered hope for, at most `MAX_GOALS`.
        beyond: journeys beyond whose level a feature of the customer's is, at most `MAX_BEYOND`.
    """

    time_zone: str = ""
    consents: dict[str, int] = {}
    locale: str = ""
    last_channel: str = ""
    entered: dict[str, int] = {}
    contacts: list[Contact] = []
    positions: list[Position] = []
    traits: dict[str, Scalar] = {}
    inquiries: dict[str, Inquiry] = {}
    suppressed: dict[str, str] = {}
    counts: dict[str, list[int]] = {}
    goals: list[OpenGoal] = []
    beyond: list[str] = []

    def consents_to(self, purpose: str, channel: str = "") -> bool:
        """Tell whether the customer allows a purpose on a channel; no answer means no.

        Args:
            purpose: one of `engine.events.PURPOSES`.
            channel: a channel's own answer goes before the general one; empty = ask for the general one.
        """
        if channel:
            time_s = self.consents.get(f"{purpose}/{channel}")
            if time_s is not None:
                return time_s > 0
        return self.consents.get(purpose, 0) > 0


# Stored as one character, chr(1 + place): the zone is in nearly every profile. Append only, at most 126.
_COMMON_ZONES = [
    "UTC",
    "Asia/Shanghai",
    "Asia/Hong_Kong",
    "Asia/Taipei",
    "Asia/Tokyo",
    "Asia/Seoul",
    "Asia/Singapore",
    "Asia/Kuala_Lumpur",
    "Asia/Jakarta",
    "Asia/Bangkok",
    "Asia/Ho_Chi_Minh",
    "Asia/Manila",
    "Asia/Kolkata",
    "Asia/Dhaka",
    "Asia/Karachi",
    "Asia/Dubai",
    "Asia/Riyadh",
    "Asia/Jerusalem",
    "Asia/Urumqi",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Madrid",
    "Europe/Paris",
    "Europe/Brussels",
    "Europe/Amsterdam",
    "Europe/Berlin",
    "Europe/Zurich",
    "Europe/Vienna",
    "Europe/Rome",
    "Europe/Prague",
    "Europe/Warsaw",
    "Europe/Budapest",
    "Europe/Copenhagen",
    "Europe/Oslo",
    "Europe/Stockholm",
    "Europe/Helsinki",
    "Europe/Athens",
    "Europe/Bucharest",
    "Europe/Kyiv",
    "Europe/Istanbul",
    "Europe/Moscow",
    "Africa/Cairo",
    "Africa/Lagos",
    "Africa/Nairobi",
    "Africa/Johannesburg",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Toronto",
    "America/Vancouver",
    "America/Mexico_City",
    "America/Bogota",
    "America/Lima",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Argentina/Buenos_Aires",
    "Australia/Perth",
    "Australia/Sydney",
    "Australia/Melbourne",
    "Australia/Brisbane",
    "Pacific/Auckland",
]
_SHORT_BY_ZONE = {zone: chr(1 + place) for place, zone in enumerate(_COMMON_ZONES)}
_ZONE_BY_SHORT = {short: zone for zone, short in _SHORT_BY_ZONE.items()}

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Profile)


def encode_profile(profile: Profile) -> bytes:
    """Return the stored form; a profile of defaults only is empty bytes."""
    fields = list(msgspec.structs.astuple(profile))
    while fields and not fields[-1]:
        fields.pop()
    if not fields:
        return b""
    fields[0] = _SHORT_BY_ZONE.get(profile.time_zone, profile.time_zone)
    if profile.consents:
        fields[1] = {_rename(key, _PREFIXES_BY_PURPOSE): time_s for key, time_s in profile.consents.items()}
    return _ENCODER.encode(fields)


def decode_profile(data: bytes) -> Profile:
    """Read the stored form.

    Raises:
        StateError: the bytes are not a profile.
    """
    if not data:
        return Profile()
    try:
        profile = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"stored profile of {len(data)} bytes cannot be read") from error
    if len(profile.time_zone) == 1:
        profile.time_zone = _ZONE_BY_SHORT.get(profile.time_zone, profile.time_zone)
    if profile.consents:
        profile.consents = {
            _rename(key, _PURPOSES_BY_PREFIX): time_s for key, time_s in profile.consents.items()
        }
    return profile


def _rename(key: str, names: dict[str, str]) -> str:
    """Shorten (or restore) the purpose in `purpose` or `purpose/channel`: it is in nearly every profile."""
    purpose, slash, channel = key.partition("/")
    return names.get(purpose, purpose) + slash + channel
