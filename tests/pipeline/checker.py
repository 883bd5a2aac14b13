"""Judges what was sent by the events given and the journeys as written, never by what the engine remembers.

At one instant there may be a due timer and events: what was sent then is right if it is right before, between
or after them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from engine.actions import Action, Decision, Outcome
from engine.events import EngagementEvent, ProfileEvent
from engine.pipeline.changes import SegmentChange
from engine.pipeline.waves import EventRow
from engine.rules.guards import held_out, in_control_group
from engine.rules.times.units import Cap, read_cap, read_duration, read_quiet_hours
from engine.streams.wiring import machine_settings
from tests.pipeline.histories import CUSTOMERS, DAY, Deployment, World
from tests.rules.random_journeys import Data

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONDAY_MS = 4 * DAY
POLICY: dict[str, dict[str, list[str]]] = {
    "new": {"any": ["4 per 1d"], "care": ["1 per 1d"]},
    "high_value": {"any": ["2 per 1d"]},
}
POLICY_REST = {"promotion": ["9 per 7d"], "survey": ["1 per 1d"]}


@dataclass(frozen=True, slots=True)
class Known:
    """What the events up to some row say of a customer.

    Args:
        answers: purpose, or channel of an unsubscription, to the second of the last answer; negative = no.
        suppressed: channels nothing may go to; `*` = none at all.
        zone: the time zone.
    """

    answers: dict[str, int]
    suppressed: frozenset[str]
    zone: str = "UTC"

    def consents(self, channel: str) -> bool:
        """Tell whether marketing is allowed on a channel."""
        return self.answers.get(channel, self.answers.get("", 0)) > 0

    def after(self, row: EventRow) -> Known:
        """Return what is known after one more event."""
        event, second = row.event, row.event.time // 1000
        match event:
            case EngagementEvent(type="message.unsubscribed", channel=channel):
                answers = {**self.answers, **({channel: -second} if channel else {})}
                return Known(answers, self.suppressed | {channel or "*"}, self.zone)
            case ProfileEvent(type="consent.granted"):
                last = self.answers.get("", 0)
                same = last == -second  # within one second no wins
                return Known({**self.answers, "": last if same else second}, self.suppressed, self.zone)
            case ProfileEvent(type="consent.withdrawn"):
                return Known({**self.answers, "": -second}, self.suppressed, self.zone)
            case ProfileEvent(time_zone=zone) if zone:
                return Known(self.answers, self.suppressed, zone)
        return self


class Checker:
    """Checks one history of one deployment.

    Args:
        deployment: the journeys as written, and the settings.
        rows: every event.
        world: what came of them.
    """

    def __init__(self, deployment: Deployment, rows: Sequence[EventRow], world: World) -> None:
        self.settings = deployment.settings
        self.machine = machine_settings(deployment.settings)
        self.journeys, self.rules = deployment.journeys, deployment.rules
        self.world = world
        self.known: dict[str, list[tuple[int, Known]]] = {
            name: [(0, Known({}, frozenset()))] for name in CUSTOMERS
        }
        for row in rows:
            own = self.known[row.event.customer_id]
            own.append((row.now_ms, own[-1][1].after(row)))

    def check(self) -> None:
        """Assert that nothing that was sent, and no entry, breaks a guard."""
        assert len({each.id for each in self.world.actions}) == len(self.world.actions), "sent twice"
        told = self.world.told()
        for name, (actions, decisions, changes) in told.items():
            self._messages(name, actions)
            self._caps(actions, changes)
            self._entries(name, decisions)
            fired = {each.action_id for each in decisions if each.outcome is Outcome.FIRED}
            assert fired == {each.id for each in actions}, "each action has its decision"
        self._over_all()

    def guards(self, journey: str) -> Data:
        """Return a journey's guards; a transactional one has none."""
        found: Data = self.journeys[journey].get("guards", {})
        return found

    def _messages(self, name: str, actions: Sequence[Action]) -> None:
        """Check consent, suppression, hours and groups to compare with."""
        member = in_control_group(self.machine, name)
        for action in actions:
            assert not held_out(self.rules.by_name[action.journey, 1], name), "holdout"
            assert not member or action.transactional, "control group"
            known = list(at_instant(self.known[name], action.time))
            guards, channel = self.guards(action.journey), action.channel
            if "consent" in guards:
                assert any(each.consents(channel) for each in known), "consent"
            if channel != "agent":
                assert any(not each.suppressed & {channel, "*"} for each in known), "suppression"
                assert any(in_hours(guards, each.zone, action.time) for each in known), f"hours: {guards}"

    def _caps(self, actions: Sequence[Action], changes: Sequence[SegmentChange]) -> None:
        """Check caps of journeys, policy and deployment on the contacts of a customer, in order."""
        segments = [(0, ""), *((each.time, each.entered) for each in changes)]
        contacts: list[Action] = []
        for action in actions:
            if action.transactional or action.channel == "agent":
                continue
            contacts.append(action)
            own = [each for each in contacts if each.journey == action.journey]
            caps = self.guards(action.journey).get("cap", [])
            assert not over([caps] if isinstance(caps, str) else caps, own), "cap"
            assert not over(self.settings.global_cap, contacts), "global cap"
            of_kind = [each for each in contacts if self._kind(each) == self._kind(action)]
            assert any(
                not over(row.get("any", []), contacts) and not over(row.get(self._kind(action), []), of_kind)
                for segment in at_instant(segments, action.time)
                for row in (POLICY.get(segment, POLICY_REST),)
            ), "policy"

    def _kind(self, action: Action) -> str:
        kind: str = self.guards(action.journey).get("contact", "promotion")
        return kind

    def _entries(self, name: str, decisions: Sequence[Decision]) -> None:
        """Check re-entry, goals, and that of a group one is entered at a time."""
        begun: dict[str, list[Decision]] = defaultdict(list)
        for each in decisions:
            if each.step == "entry" and each.outcome in (Outcome.ENTERED, Outcome.HELD_OUT):
                begun[each.journey].append(each)
        for journey, entries in begun.items():
            data = self.journeys[journey]["entry"]
            rule = data.get("reentry", "never")
            if "per" in data or (isinstance(data["on"], dict) and "unanswered" in data["on"]):
                continue
            if rule == "never":
                assert len(entries) == 1, f"{journey} was entered again"
            elif rule != "always":
                pause_ms = read_duration(rule.removeprefix("after "))
                assert pause_ms is not None
                for one, other in pairwise(entries):
                    assert other.time - one.time >= pause_ms, f"{journey} was entered too early"
        by_cause: dict[tuple[str, str], set[str]] = defaultdict(set)
        for journey, entries in begun.items():
            group = self.guards(journey).get("exclusion_group", "")
            for each in entries if group else []:
                by_cause[group, each.event_id].add(journey)
        assert all(len(each) == 1 for each in by_cause.values()), f"exclusion group: {by_cause}"
        converted = [(each.journey, each.id) for each in decisions if each.outcome is Outcome.CONVERTED]
        assert len(set(converted)) == len(converted), f"{name} converted twice"

    def _over_all(self) -> None:
        """Check what is limited over all customers, in fixed windows."""
        for channel, limit in self.machine.rate_limits.items():
            counted = [
                each.time for each in self.world.actions if each.channel == channel and not each.transactional
            ]
            assert fullest(counted, limit) <= limit.count, f"rate limit of {channel}"
        first: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
        for each in self.world.decisions:
            refused = each.step == "entry" and each.outcome in (Outcome.SUPPRESSED, Outcome.NOT_MATCHED)
            if not refused:
                first[each.journey].setdefault((each.customer_id, each.event_id), each.time)
        for journey, runs in first.items():
            cap = read_cap(self.guards(journey).get("entry_cap", ""))
            if cap is not None:
                assert fullest(list(runs.values()), cap) <= cap.count, f"entry cap of {journey}"


def at_instant(history: Sequence[tuple[int, Any]], at_ms: int) -> Iterator[Any]:
    """Yield what was so just before an instant, and everything that came to be so at it."""
    before = [value for time_ms, value in history if time_ms < at_ms]
    yield before[-1]
    yield from (value for time_ms, value in history if time_ms == at_ms)


def over(caps: Sequence[str], contacts: Sequence[Action]) -> bool:
    """Tell whether the last contact is one too many for a sliding window; whole seconds, as they are kept."""
    last_s = contacts[-1].time // 1000
    for cap in map(read_cap, caps):
        assert cap is not None
        within = [each for each in contacts if each.time // 1000 > last_s - cap.window_ms // 1000]
        if len(within) > cap.count:
            return True
    return False


def fullest(times: Sequence[int], limit: Cap) -> int:
    """Return how many lie in the fullest window of a limit; windows lie end to end from a Monday on."""
    windows = [(time - MONDAY_MS) // limit.window_ms for time in times]
    return max((windows.count(each) for each in set(windows)), default=0)


def in_hours(guards: Data, zone: str, at_ms: int) -> bool:
    """Tell whether quiet hours and send windows allow an instant."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    quiet = read_quiet_hours(guards.get("quiet_hours", ""))
    if quiet is not None and between(minute, quiet.start_min, quiet.end_min):
        return False
    windows = guards.get("send_window", [])
    found = [windows] if isinstance(windows, str) else windows
    return not found or any(opened(each, local.weekday(), minute) for each in found)


def opened(window: str, weekday: int, minute: int) -> bool:
    """Tell whether a window such as `MON-FRI 09:00-18:00` is open; `SUN,WED 20:00-02:00` passes midnight."""
    days, _, times = window.rpartition(" ")
    begin, end = (int(each[:2]) * 60 + int(each[3:]) for each in times.split("-"))
    allowed = set(range(7))
    if "-" in days:
        first, last = (WEEKDAYS.index(each) for each in days.split("-"))
        allowed = set(range(first, last + 1))
    elif days:
        allowed = {WEEKDAYS.index(each) for each in days.split(",")}
    begun = weekday if begin < end or minute >= begin else (weekday - 1) % 7
    return begun in allowed and between(minute, begin, end)


def between(minute: int, begin: int, end: int) -> bool:
    """Tell whether a minute of the day lies in a span that may pass midnight."""
    return begin <= minute < end if begin < end else minute >= begin or minute < end
