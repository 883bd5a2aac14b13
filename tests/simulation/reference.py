"""What should come of the events: the journeys written by hand, one event at a time, in dictionaries.

It shares nothing with the engine but the events' fields and the hash that makes an action's id. What a
customer gets follows from their own events and instants, so a `Customer` stands alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from engine.actions import action_id

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
GLOBAL_CAP = (3, 6 * HOUR)
LATER = "later-"  # orders whose second message a rule raises at
HELD = HOUR  # who had something that failed is looked at again then
LASTING = 16  # runs one customer can be inside

Run = dict[str, Any]
ALWAYS = ("receipt", "escalation", "care", "ticket")  # wanted each time, without consent


class Sent(NamedTuple):
    """An action as it should be."""

    id: str
    customer: str
    journey: str
    channel: str
    template: str
    time: int


JOURNEYS: dict[str, dict[str, Any]] = {
    "receipt": {"steps": [("send", "email", "receipt"), ("wait", 2 * HOUR), ("send", "email", "packed")]},
    "welcome": {
        "steps": [("send", "email", "hello"), ("wait", 3 * HOUR), ("send", "email", "tips")],
        "exit": "order.placed",
        "cap": (1, 3 * HOUR),
    },
    "escalation": {"steps": [("send", "agent", "call")]},
    "ticket": {"steps": [("send", "push", "ticket")]},
    "care": {"steps": [("send", "agent", "follow-up")]},
    "win-back": {
        "steps": [("send", "email", "miss-you"), ("answer", 5 * HOUR), ("send", "push", "coupon")],
        "paths": {2: "steps[1].otherwise[0]"},
        "exit": "order.placed",
        "cap": (1, 5 * HOUR),
        "quiet": (22, 6),
        "pause": 12 * HOUR,
    },
    "browse": {
        "steps": [("send", "push", "still-looking")],
        "cap": (1, 6 * HOUR),
        "quiet": (23, 1),
        "pause": HOUR,
        "expires": 12 * HOUR,
    },
}
RECORDED = {
    "page.viewed": "page_views",
    "product.viewed": "product_views",
    "order.placed": "orders",
    "inquiry.opened": "inquiries",
    "inquiry.replied": "replies",
    "inquiry.resolved": "resolutions",
    "customer.signed_up": "signups",
    "consent.granted": "consents_granted",
    "consent.withdrawn": "consents_withdrawn",
    "message.responded": "messages_responded",
}


class Remembered:
    """The ids a partition knows: each until the generation after its own is full.

    Args:
        size: ids of a generation.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._places: dict[Any, int] = {}
        self._count = 0

    def add(self, key: Any) -> bool:
        """Give an id the next place; False when it is known."""
        place = self._places.get(key)
        if place is not None and place // self._size >= self._count // self._size - 1:
            return False
        self._places[key] = self._count
        self._count += 1
        return True


class Customer:
    """One customer and what they should get.

    Args:
        name: their id.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[Sent] = []
        self.forget()

    def forget(self) -> None:
        """Know nothing any more."""
        self.known = False
        self.clock = 0  # the last instant anything was done for them
        self.held = 0  # what is known by looking at everything waits until then
        self.counted: dict[str, int] = {}
        self.spent = 0.0
        self.consent: tuple[int, bool] = (0, False)
        self.ordered = 0  # the last order
        self.inquiries: dict[str, dict[str, Any]] = {}
        self.escalated: set[str] = set()
        self.viewed: list[int] = []
        self.entered: dict[str, int] = {}
        self.runs: list[Run] = []
        self.contacts: list[tuple[int, str]] = []

    # ---- what can happen --------------------------------------------------------------------------------

    def next_due(self) -> int:
        """Return the earliest instant anything is due; 0 = nothing is."""
        due = [run["due"] for run in self.runs]
        due += [
            found["opened"] + 30 * MINUTE
            for inquiry, found in self.inquiries.items()
            if not found["replied"] and inquiry not in self.escalated
        ]
        if self.ordered and self.ordered + 8 * HOUR > self.clock:
            due.append(max(self.ordered + 8 * HOUR, self.held))
        return min(due, default=0)

    def pass_to(self, now: int) -> None:
        """Let each due instant come at its own time, up to and including one."""
        while 0 < (due := self.next_due()) <= now:
            self.tick(due, due)

    def tick(self, now: int, reached: int) -> None:
        """Do at an instant what is due; where a rule raises, nothing of it, and none of it later.

        Args:
            now: the instant.
            reached: what is due by then is done; all that came until then has taken effect.
        """
        overdue = [run for run in self.runs if run["due"] <= reached]
        if not any(run["key"].startswith(LATER) for run in overdue):
            self._go_on(now, reached, None)
            return
        self.runs = [run for run in self.runs if run["due"] > reached]
        self.escalated |= {inquiry for inquiry, found in self.inquiries.items() if late(found, reached)}
        self.clock = max(self.clock, reached)
        self.held = reached + HELD

    def event(
        self, event: Any, now: int, reached: int, *, met_from: int = 0, published: bool = False
    ) -> None:
        """Let one event take effect.

        Args:
            event: the event.
            now: the instant at which the engine sees it.
            reached: what is due by then is done with it.
            met_from: everything that came until then had been worked on before; 0 = not known.
            published: whether it is seen after the publication.
        """
        met = min(now, max(met_from, event.time)) if met_from else now
        if event.type == "erasure.requested":
            self.forget()
            self.clock = met
            return
        self.known = True
        stem = RECORDED[event.type]
        self.counted[stem] = self.counted.get(stem, 0) + 1
        self._learn(event)
        self._go_on(now, reached, event, met)
        if event.type == "inquiry.opened":
            self._enter("ticket", event.id, now, version=2 if published else 1)
        if published and event.type == "inquiry.resolved":
            self._enter("care", event.id, now)

    # ---- what is known ----------------------------------------------------------------------------------

    def _learn(self, event: Any) -> None:
        """Note what an event says of the customer; what happened later counts, not what came later."""
        at, kind = event.time, event.type
        if kind.startswith("consent"):
            yes = kind == "consent.granted"
            if at > self.consent[0] or (at == self.consent[0] and not yes):
                self.consent = (at, yes)
        elif kind == "order.placed":
            self.ordered = max(self.ordered, at)
            self.spent += event.amount
        elif kind == "inquiry.opened":
            known = self.inquiries.get(event.inquiry_id)
            if known is None or known["opened"] <= at:
                self.inquiries[event.inquiry_id] = {"opened": at, "event": event.id, "replied": False}
        elif kind == "inquiry.replied":
            known = self.inquiries.get(event.inquiry_id)
            if known is not None and at >= known["opened"]:
                known["replied"] = True
        elif kind == "inquiry.resolved":
            known = self.inquiries.get(event.inquiry_id)
            if known is not None and at >= known["opened"]:
                del self.inquiries[event.inquiry_id]

    # ---- what follows -----------------------------------------------------------------------------------

    def _go_on(self, now: int, reached: int, event: Any, met: int = 0) -> None:
        kind = event.type if event is not None else ""
        self.runs = [run for run in self.runs if not kind or JOURNEYS[run["journey"]].get("exit") != kind]
        waiting = [run for run in self.runs if run["wait"] == "answer"]
        for run in sorted((run for run in self.runs if run["due"] <= reached), key=lambda run: run["due"]):
            self._resume(run, now)
        if kind == "message.responded":
            # who waits is done: behind the wait there is only what comes when there is no answer
            self.runs = [run for run in self.runs if all(run is not each for each in waiting)]
        self._escalate(now, reached)
        after = max(self.clock, reached) if self.clock else met or now
        if self.ordered and 0 < self.clock < self.ordered + 8 * HOUR <= after:
            deadline = self.ordered + 8 * HOUR
            self._enter("win-back", f"absent:{deadline}", now)
        if kind == "product.viewed" and self._views_are_enough(event.time):
            self._enter("browse", event.id, now)
        elif kind == "order.placed":
            self._enter("receipt", event.id, now, event.order_id)
        elif kind == "customer.signed_up":
            self._enter("welcome", event.id, now)
        self.clock = after
        self.held = 0

    def _escalate(self, now: int, reached: int) -> None:
        """Call for a person where nobody answered, once for each inquiry while it is open."""
        self.escalated &= self.inquiries.keys()
        for inquiry, found in sorted(self.inquiries.items(), key=lambda each: each[1]["opened"]):
            if late(found, reached) and inquiry not in self.escalated:
                self.escalated.add(inquiry)
                self._enter("escalation", found["event"], now, inquiry)

    def _views_are_enough(self, at: int) -> bool:
        """Note a view; tell whether the last three lie within less than two hours."""
        times = sorted([*self.viewed, at])
        times = [each for each in times if each > times[-1] - 2 * HOUR][-3:]
        enough = len(times) == 3
        self.viewed = [] if enough else times[-2:]
        return enough

    def _enter(self, journey: str, cause: str, now: int, key: str = "", version: int = 1) -> None:
        if any(run["journey"] == journey and run["key"] == key for run in self.runs):
            return
        if journey not in ALWAYS:
            last, pause = self.entered.get(journey), JOURNEYS[journey].get("pause", 0)
            if last is not None and (not pause or now - last < pause):
                return
        if journey != "escalation" and len(self.runs) >= LASTING:
            return
        if journey not in ALWAYS:
            self.entered[journey] = now
        run = {"journey": journey, "cause": cause, "key": key, "at": 0, "due": 0, "wait": "", "since": 0}
        run["version"] = version
        if self._walk(run, now):
            self.runs.append(run)

    def _resume(self, run: Run, now: int) -> None:
        """Go on with a run whose instant has come."""
        if run["wait"] == "quiet":
            expires = JOURNEYS[run["journey"]].get("expires", 7 * DAY)
            if now > run["since"] + expires:
                run["at"] += 1
                run["since"] = 0
        else:
            run["at"] += 1
        if not self._walk(run, now):
            self.runs = [each for each in self.runs if each is not run]

    def _walk(self, run: Run, now: int) -> bool:
        """Take steps until something has to be waited for; False when the run is over."""
        steps = JOURNEYS[run["journey"]]["steps"]
        while run["at"] < len(steps):
            step = steps[run["at"]]
            if step[0] != "send":
                run["wait"], run["due"] = step[0], now + step[1]
                return True
            until = self._send(run, step, now)
            if until:
                run["wait"], run["due"], run["since"] = "quiet", until, run["since"] or now
                return True
            run["since"] = 0
            run["at"] += 1
        return False

    def _send(self, run: Run, step: tuple[str, str, str], now: int) -> int:
        """Send, or not; return until when it is put off."""
        name, (_, channel, template) = run["journey"], step
        journey = JOURNEYS[name]
        if name not in ALWAYS:
            if not self.consent[1] or self._capped(name, now):
                return 0
            until = quiet_until(journey["quiet"], now) if "quiet" in journey else 0
            if until:
                too_late = until > (run["since"] or now) + journey.get("expires", 7 * DAY)
                return 0 if too_late else until
            self.contacts.append((now // SECOND, name))
        path = journey.get("paths", {}).get(run["at"], f"steps[{run['at']}]")
        path = f"{path}#{run['key']}" if run["key"] else path
        self.sent.append(
            Sent(
                action_id(name, run["version"], self.name, run["cause"], path),
                self.name,
                name,
                channel,
                template,
                now,
            )
        )
        return 0

    def _capped(self, journey: str, now: int) -> bool:
        count, window = JOURNEYS[journey]["cap"]
        most, over_all = GLOBAL_CAP
        own = [at for at, name in self.contacts if name == journey and at > (now - window) // SECOND]
        every = [at for at, _ in self.contacts if at > (now - over_all) // SECOND]
        return len(own) >= count or len(every) >= most


def late(inquiry: dict[str, Any], now: int) -> bool:
    """Tell whether nobody has answered an inquiry in time."""
    return not inquiry["replied"] and inquiry["opened"] + 30 * MINUTE <= now


def quiet_until(hours: tuple[int, int], now: int) -> int:
    """Return when quiet hours that pass midnight end, UTC; 0 when there are none at this instant."""
    begin, end = hours
    at = datetime.fromtimestamp(now / 1000, UTC)
    if end <= at.hour < begin:
        return 0
    day = at if at.hour < end else at + timedelta(days=1)
    over = int(day.replace(hour=end, minute=0, second=0, microsecond=0).timestamp() * 1000)
    return max(over, now + MINUTE)
