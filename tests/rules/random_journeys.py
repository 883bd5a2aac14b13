"""Random valid journeys: every kind of entry, step and guard, in any layout; for laws, fuzzing and histories.

`random_journey` gives a journey as plain data, `random_layout.write_yaml` writes it down in any layout. Both
draw from a `random.Random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.rules.scope import event_fields
from tests.rules.random_layout import Bare

Data = dict[str, Any]

SEGMENTS = ("high_value", "potential", "new", "churn_risk", "regular")
CHANNELS = ("email", "sms", "push", "in_app", "agent")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Shanghai", "UTC")
DURATIONS = ("1s", "90s", "1m", "30m", "1h", "12h", "1d", "3d", "7d")
TIMES = ("00:00", "08:30", "09:00", "12:00", "18:15", "23:59")
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
NUMBERS = ("orders_30d", "spend_30d", "churn_risk", "days_since_order", "visits_7d", "orders_lifetime")
TRAITS = ("tier", "birthday", "trial_ends")
TYPES = (
    "order.placed",
    "order.cancelled",
    "order.delivered",
    "cart.added",
    "product.viewed",
    "page.viewed",
    "inquiry.opened",
    "message.opened",
    "profile.updated",
    "feedback.nps",
)
KINDS = (
    "event",
    "event",
    "several",
    "absent",
    "unanswered",
    "segment_entered",
    "segment_exited",
    "count",
    "schedule",
    "rises",
    "falls",
    "date",
)
_TEXTS = {
    "order_id": ("o1", "o2"),
    "product_id": ("a", "b"),
    "template": ("t0", "t1"),
    "channel": ("email", ""),
}
_MAX_DEPTH = 3
ANY = Bare("any")  # in quotes it would be the text


@dataclass(slots=True)
class Author:
    """Thinks up one journey.

    Args:
        rng: where the choices come from.
        entry_types: event types `entry.event` can be of; none = the entry has no event.
        sequences: sequences that are run, to their steps.
        left: steps that may still be added.
    """

    rng: random.Random
    entry_types: tuple[str, ...] = ()
    sequences: Data = field(default_factory=dict)
    left: int = 14

    def chance(self, share: float) -> bool:
        """Return true that often."""
        return self.rng.random() < share

    def maybe(self, share: float, data: Data, key: str, value: Callable[[], Any]) -> None:
        """Set a key that often."""
        if self.chance(share):
            data[key] = value()

    # --- expressions

    def number_test(self) -> str:
        """Compare a number of the customer's."""
        name, operator = self.rng.choice(NUMBERS), self.rng.choice(("<", "<=", ">", ">=", "==", "!="))
        return f"customer.{name} {operator} {self.rng.choice(('0', '1', '2.5', '0.5', '90'))}"

    def when(self, depth: int = 0, inside: bool = False) -> str:
        """Write a condition on the customer, inside a journey also on its entry."""
        segments = ", ".join(f'"{each}"' for each in self.some(SEGMENTS))
        trait = self.rng.choice(TRAITS)
        choices = [
            *[self.number_test()] * 3,
            f'has(customer.traits.{trait}) && customer.traits.{trait} == "gold"',
            f"customer.segment in [{segments}]",
            "customer.consent_marketing",
        ]
        if inside and self.entry_types:
            choices.append(self.where(self.entry_types, "entry.event"))
        if depth < 2 and self.chance(0.3):
            parts = [self.when(depth + 1, inside) for _ in range(2)]
            choices = [f"({parts[0]} && {parts[1]})", f"({parts[0]} || {parts[1]})", f"!({parts[0]})"]
        return self.rng.choice(choices)

    def where(self, types: Sequence[str], root: str = "event", *, correlated: bool = False) -> str:
        """Write a condition on an event of these types."""
        fields = shared_fields(types)
        both = sorted(
            set(fields) & {"order_id", "product_id", "amount"} & set(shared_fields(self.entry_types))
        )
        if correlated and both and self.chance(0.5):
            return f"event.{both[0]} == entry.event.{both[0]}"
        known = [name for name in ("amount", "price", "sentiment", "score") if fields.get(name) == "double"]
        if known and self.chance(0.6):
            return (
                f"{root}.{known[0]} {self.rng.choice(('<', '>=', '!='))} {self.rng.choice(('0', '1', '200'))}"
            )
        named = sorted(set(fields) & set(_TEXTS))
        if self.chance(0.3):
            return f'has({root}.props.tier) && {root}.props.tier == "gold"'
        name = self.rng.choice(named)
        return f'{root}.{name} == "{self.rng.choice(_TEXTS[name])}"'

    def some(self, choices: Sequence[str], least: int = 1) -> list[str]:
        """Return some of them, in order."""
        chosen = set(self.rng.sample(list(choices), self.rng.randint(least, len(choices))))
        return [each for each in choices if each in chosen]

    def value(self) -> Any:
        """Return a data value: a constant or an expression over the customer."""
        choices = ["HELLO", "", "a: b #c", 7, 0.5, True, "int(customer.days_since_order)", "customer.segment"]
        if self.entry_types:
            choices.append("entry.event.id")
        return self.rng.choice(choices)

    # --- the entry

    def entry(self) -> Data:
        """Write an entry of any kind."""
        kind = self.rng.choice(KINDS)
        if kind in ("event", "several", "count"):
            self.entry_types = tuple(self.rng.sample(TYPES, 2 if kind == "several" else 1))
        elif kind == "unanswered":
            self.entry_types = ()  # only some of the inquiry's fields are kept
        entry: Data = {"on": self.trigger(kind)}
        if self.entry_types:
            self.maybe(0.3, entry, "where", lambda: self.where(self.entry_types))
            if "order_id" in shared_fields(self.entry_types):
                self.maybe(0.4, entry, "per", lambda: "event.order_id")
        self.maybe(0.3, entry, "when", self.when)
        self.maybe(
            0.85,
            entry,
            "reentry",
            lambda: self.rng.choice(("always", "always", "never", "after 1d", "after 30m")),
        )
        return entry

    def trigger(self, kind: str) -> Any:
        """Write what makes customers enter."""
        rng = self.rng
        on: Data = {}
        match kind:
            case "event":
                return self.entry_types[0]
            case "several":
                return list(self.entry_types)
            case "count":
                within = rng.choice(("30m", "1d", "7d"))
                return {"count": self.entry_types[0], "at_least": rng.randint(2, 4), "within": within}
            case "absent":
                on = {"absent": "order.placed", "for": rng.choice(("30m", "1d", "7d", "90d"))}
                self.maybe(0.5, on, "since", lambda: rng.choice(("last", "first", "signup")))
            case "unanswered":
                on = {"unanswered": "inquiry", "for": rng.choice(("5m", "1d"))}
                self.maybe(0.4, on, "at_once_where", lambda: 'event.text.contains("complaint")')
                self.maybe(0.4, on, "at_once_when", self.when)
            case "segment_entered" | "segment_exited":
                on = {kind: rng.choice(SEGMENTS)}
            case "schedule":
                on = {"schedule": rng.choice(("0 9 * * MON", "30 2 * * *", "15 8,20 1,L * *"))}
                self.maybe(0.4, on, "zone", lambda: rng.choice((*ZONES, "customer")))
                self.maybe(0.4, on, "segment", lambda: rng.choice(SEGMENTS))
            case "rises" | "falls":
                bound = "above" if kind == "rises" else "below"
                on = {kind: f"customer.{rng.choice(NUMBERS)}", bound: rng.choice((0.5, 1, 2, 30))}
            case _:
                on = {"date": rng.choice(TRAITS[1:]), "at": rng.choice(TIMES)}
                self.maybe(0.5, on, "before", lambda: rng.choice(("1d", "7d")))
                self.maybe(0.5, on, "yearly", lambda: True)
                self.maybe(0.3, on, "zone", lambda: rng.choice(ZONES))
        return on

    # --- guards, exits, goal

    def guards(self) -> Data:
        """Write some guards."""
        rng = self.rng
        guards: Data = {}
        self.maybe(0.4, guards, "consent", lambda: "marketing")
        self.maybe(0.3, guards, "contact", lambda: rng.choice(("care", "promotion", "service", "survey")))
        self.maybe(
            0.3, guards, "cap", lambda: rng.choice(("1 per 1d", ["1 per 1h", "2 per 7d"], ["3 per 1d"]))
        )
        self.maybe(
            0.35, guards, "quiet_hours", lambda: rng.choice(("21:30-11:00", "22:00-09:00", "12:00-13:30"))
        )
        windows = ("10:00-18:00", ["MON-FRI 09:00-18:00", "SAT 10:00-14:00"], ["SUN,WED 20:00-02:00"])
        self.maybe(0.25, guards, "send_window", lambda: rng.choice(windows))
        self.maybe(0.4, guards, "priority", lambda: rng.choice((0, 20, 60, 100)))
        self.maybe(0.4, guards, "exclusion_group", lambda: rng.choice(("one", "one", "two")))
        self.maybe(0.2, guards, "entry_cap", lambda: rng.choice(("2 per 1h", "3 per 1d", "1 per 7d")))
        self.maybe(0.2, guards, "holdout", lambda: rng.choice(("10%", "50%")))
        return guards

    def exits(self) -> list[Data]:
        """Write what takes customers out."""
        return [self.exit_by_segment() if self.chance(0.3) else self.exit_by_event() for _ in "ab"]

    def exit_by_segment(self) -> Data:
        """Let a change of segment take them out."""
        return {"on": {self.rng.choice(("segment_entered", "segment_exited")): self.rng.choice(SEGMENTS)}}

    def exit_by_event(self) -> Data:
        """Let an event take them out."""
        name = self.rng.choice(TYPES)
        found: Data = {"on": name}
        self.maybe(0.5, found, "where", lambda: self.where((name,), correlated=True))
        return found

    def goal(self) -> Data:
        """Write a goal."""
        goal: Data = {"on": "order.placed", "within": self.rng.choice(("1h", "7d", "30d"))}
        self.maybe(0.4, goal, "where", lambda: self.where(("order.placed",), correlated=True))
        self.maybe(0.5, goal, "value", lambda: self.rng.choice(("event.amount", 3)))
        return goal

    # --- steps

    def steps(self, depth: int = 0, most: int = 4) -> list[Any]:
        """Write a list of steps, at least one."""
        return [self.step(depth) for _ in range(self.rng.randint(1, most))]

    def inner(self, depth: int) -> list[Any]:
        """Write the steps of an arm, perhaps none."""
        return self.steps(depth, most=2) if self.left > 0 and self.chance(0.8) else []

    def step(self, depth: int) -> Any:
        """Write a step of any kind; the deeper and later, the plainer."""
        self.left -= 1
        plain: tuple[Callable[[int], Any], ...] = (self.send, self.send, self.wait, self.trait)
        if depth >= _MAX_DEPTH or self.left <= 0:
            return self.rng.choice(plain)(depth)
        return self.rng.choice((*plain, self.wait_until, self.wait_until, self.branch, self.split, self.run))(
            depth
        )

    def send(self, _: int) -> Data:
        """Write a message or task."""
        send: Data = {"send": self.rng.choice(CHANNELS), "template": f"t{self.rng.randrange(4)}"}
        self.maybe(0.2, send, "priority", lambda: self.rng.choice(("normal", "high")))
        self.maybe(0.4, send, "expires", lambda: self.rng.choice(("1h", "1h", "12h", "2d")))
        self.maybe(0.3, send, "data", lambda: {name: self.value() for name in self.some(("x", "y", "days"))})
        self.maybe(0.15, send, "table", self.table)
        return send

    def table(self) -> Data:
        """Write a decision table in which each row can be chosen."""
        cells = (ANY, ">= 0.8", "0.2..0.8", 1)
        rows = [[each, self.rng.choice(cells), f"C{at}", at] for at, each in enumerate(self.some(SEGMENTS))]
        last = [ANY, ANY, "LAST", 9]
        return {
            "on": ["customer.segment", "customer.churn_risk"],
            "give": ["coupon", "least"],
            "rows": [*rows, last],
        }

    def wait(self, _: int) -> Data:
        """Write a wait for a while or until a time."""
        return {"wait": self.rng.choice(DURATIONS) if self.chance(0.6) else self.until()}

    def trait(self, _: int) -> Data:
        """Write a step that sets a trait."""
        return {"set": {"trait": self.rng.choice(("seen", "tier")), "to": self.value()}}

    def until(self) -> Data:
        """Write until when."""
        until: Data = {"until": self.rng.choice(TIMES)}
        if self.chance(0.3):
            until["weekday"] = self.some(DAYS) if self.chance(0.5) else self.rng.choice(DAYS)
        elif self.chance(0.4):
            until["trait"] = self.rng.choice(TRAITS)
            self.maybe(0.5, until, "before", lambda: self.rng.choice(("1d", "30d")))
            self.maybe(0.5, until, "yearly", lambda: True)
        self.maybe(0.3, until, "zone", lambda: self.rng.choice(ZONES))
        return until

    def wait_until(self, depth: int) -> Data:
        """Write a wait for one or several events."""
        inner: Data = {}
        if self.chance(0.3):
            types = self.rng.sample(TYPES, 2)
            inner["any_of"] = [{"on": each, "where": self.where((each,), correlated=True)} for each in types]
        else:
            types = self.rng.sample(TYPES, self.rng.choice((1, 1, 2)))
            inner["on"] = types if len(types) > 1 else types[0]
            self.maybe(0.4, inner, "where", lambda: self.where(types))
        if self.chance(0.75):
            inner["timeout"] = self.rng.choice(DURATIONS)
        else:
            inner["until"] = self.until() if self.chance(0.7) else self.rng.choice(TIMES)
        step: Data = {"wait_until": inner}
        self.maybe(0.7, step, "then", lambda: self.leaving(self.inner(depth + 1)))
        self.maybe(0.7, step, "otherwise", lambda: self.inner(depth + 1))
        return step

    def leaving(self, steps: list[Any]) -> list[Any]:
        """Let the way end here, sometimes; another way out of the same step goes on."""
        return [*steps, "exit"] if self.chance(0.2) else steps

    def branch(self, depth: int) -> Data:
        """Write a branch."""
        arms = [
            {"when": self.when(inside=True), "steps": self.leaving(self.inner(depth + 1))}
            for _ in range(self.rng.choice((1, 2)))
        ]
        step: Data = {"branch": arms}
        self.maybe(0.6, step, "else", lambda: self.inner(depth + 1))
        return step

    def split(self, depth: int) -> Data:
        """Write a split."""
        weights = self.rng.choice((("50%", "50%"), ("33.3%", "66.7%"), ("20%", "30%", "50%")))
        variants = [
            {"name": "abc"[at], "weight": weight, "steps": self.inner(depth + 1)}
            for at, weight in enumerate(weights)
        ]
        step: Data = {"split": variants}
        self.maybe(0.4, step, "name", lambda: f"s{self.left + 20}")
        return step

    def run(self, _: int) -> Data:
        """Run a sequence, a new one if need be."""
        if not self.sequences:
            self.left -= 3
            self.sequences["offer"] = [self.send(0), self.wait(0)]
            if self.chance(0.5):
                self.sequences["pause"] = [{"wait": "1h"}]
                self.sequences["offer"].append({"run": "pause"})
        return {"run": "offer"}


def shared_fields(types: Sequence[str]) -> dict[str, str]:
    """Return the fields that all of these event types have, of the same kind."""
    found = dict(event_fields(types[0])) if types else {}
    for name in types[1:]:
        theirs = event_fields(name)
        found = {each: kind for each, kind in found.items() if theirs.get(each) == kind}
    return found


def random_journey(rng: random.Random, name: str = "any") -> Data:
    """Return a valid journey as plain data.

    Args:
        rng: where the choices come from.
        name: its name.
    """
    author = Author(rng)
    journey: Data = {"journey": name, "entry": author.entry(), "steps": author.steps()}
    author.maybe(0.3, journey, "exit", author.exits)
    author.maybe(0.3, journey, "goal", author.goal)
    author.maybe(0.2, journey, "description", lambda: 'Says "hello": # 你好')
    if author.chance(0.12):
        journey["transactional"] = True
    else:
        author.maybe(0.8, journey, "guards", author.guards)
    if author.sequences:
        journey["sequences"] = author.sequences
    return journey
