"""Reads the customers of a case: who they are before it begins, and which values are pinned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import tzinfo

from engine.authoring.fixtures import ALWAYS_MS, MAX_SPAN_MS, CaseCustomer, Pin
from engine.authoring.instants import read_instant
from engine.events import PURPOSES
from engine.events import Scalar as Value
from engine.features.profile import MAX_CONTACTS, MAX_TRAITS, Contact
from engine.features.zones import is_zone
from engine.rules.local_time import zone_of
from engine.rules.parsed import DEFAULT_CONTACT
from engine.rules.reader import Reader, kind_of
from engine.rules.source import Place, nearest
from engine.rules.yaml_nodes import Mapping as Keys
from engine.rules.yaml_nodes import Node, Scalar, Sequence

CUSTOMER_KEYS = (
    "id",
    "time_zone",
    "locale",
    "last_channel",
    "consent",
    "traits",
    "suppressed",
    "signed_up",
    "contacts",
    "entered",
    "given",
    "arm",
    "split",
)
ARMS = ("treated", "holdout", "control")
MAX_PINS = 200

Values = Mapping[str, Node | None]


class CustomerReader:
    """Reads customers.

    Args:
        read: reads nodes, notes what is wrong.
        features: feature to `double`, `bool` or `string`.
        segments: names of the segments.
        default_zone: of customers without one.
    """

    def __init__(
        self, read: Reader, features: Mapping[str, str], segments: Collection[str], default_zone: str
    ) -> None:
        self._read = read
        self._features = features
        self._segments = segments
        self._default_zone = default_zone

    def keys(self, node: Node | None) -> dict[str, Node]:
        """Return the keys of a customer's block; none when it is left out or empty."""
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return {}
        return self._read.fields(node, CUSTOMER_KEYS, "customer").by_name

    def zone(self, values: Values) -> tzinfo:
        """Return the zone in which a customer's times of day are meant."""
        node = values.get("time_zone")
        return zone_of(node.text if isinstance(node, Scalar) else "", self._default_zone)

    def customer(self, label: str, values: Values, place: Place, start_ms: int) -> CaseCustomer:
        """Read one customer.

        Args:
            label: what the case calls them.
            values: the keys, those of the case among them.
            place: where they stand.
            start_ms: the start of the case.
        """
        read, zone = self._read, self.zone(values)

        def instant(node: Node | None, what: str) -> int:
            return self._instant(node, what, start_ms, zone)

        def later(node: Node, what: str) -> int:
            return self._instant(node, what, start_ms, zone, start_ms + MAX_SPAN_MS)

        return CaseCustomer(
            label=label,
            place=place,
            zone=zone,
            customer_id=read.text(values.get("id"), "id", 128),
            time_zone=self._time_zone(values.get("time_zone")),
            locale=read.text(values.get("locale"), "locale", 128),
            last_channel=read.text(values.get("last_channel"), "last_channel", 128),
            consents=self._consents(values.get("consent")),
            traits=self._scalars(values.get("traits"), "traits"),
            suppressed={
                name: str(value)
                for name, value in self._scalars(values.get("suppressed"), "suppressed").items()
            },
            signup_ms=instant(values.get("signed_up"), "signed_up"),
            contacts=self._contacts(values.get("contacts"), instant),
            entered={key.text: instant(value, "entered") for key, value in self._items(values, "entered")},
            pins=self._pins(values.get("given"), later),
            arm=read.choice(values.get("arm"), ("", *ARMS), "", "arm"),
            split={key.text: read.text(value, "a variant") for key, value in self._items(values, "split")},
        )

    def _instant(
        self, node: Node | None, what: str, start_ms: int, zone: tzinfo, latest_ms: int | None = None
    ) -> int:
        """Return an instant, by default one before the start; 0 when it is missing or wrong."""
        if node is None:
            return 0
        found = read_instant(node.text, start_ms, zone) if isinstance(node, Scalar) else None
        if found is None or not 0 <= found <= (start_ms if latest_ms is None else latest_ms):
            which = "an instant before the start" if latest_ms is None else "an instant"
            hint = "write a span such as -200d, or a date-time"
            self._read.errors.add("E0503", f"{what} must be {which}", node.place, hint)
            return 0
        return found

    def _items(self, values: Values, name: str) -> tuple[tuple[Scalar, Node], ...]:
        node = values.get(name)
        if node is None or isinstance(node, Keys):
            return node.items if node is not None else ()
        self._read.errors.add("E0203", f"{name} must be keys with values, not {kind_of(node)}", node.place)
        return ()

    def _scalars(self, node: Node | None, what: str) -> dict[str, Value]:
        found: dict[str, Value] = {}
        items = self._items({what: node}, what)
        if len(items) > MAX_TRAITS and node is not None:
            self._read.errors.add(
                "E0208", f"{what} has {len(items)} elements, the limit is {MAX_TRAITS}", node.place
            )
        for key, value in items:
            if isinstance(value, Scalar) and value.value is not None:
                found[key.text] = value.value
            else:
                said = f"{what}: {key.text[:40]!r} must be a text, number or truth value"
                self._read.errors.add("E0203", f"{said}, not {kind_of(value)}", value.place)
        return found

    def _time_zone(self, node: Node | None) -> str:
        name = self._read.text(node, "time_zone", 128)
        if node is not None and name and not is_zone(name):
            self._read.errors.add(
                "E0505", f"unknown time zone {name[:40]!r}", node.place, "an IANA name such as Asia/Shanghai"
            )
            return ""
        return name

    def _consents(self, node: Node | None) -> dict[str, bool]:
        """Read `[marketing, marketing/email]` or `{marketing: true, marketing/sms: false}`."""
        if isinstance(node, Sequence):
            given = [(item, True) for item in node.items]
        else:
            given = [
                (key, self._read.boolean(value, True, "a consent"))
                for key, value in self._items({"consent": node}, "consent")
            ]
        found: dict[str, bool] = {}
        for item, yes in given:
            name = item.text if isinstance(item, Scalar) else ""
            purpose = name.partition("/")[0]
            if purpose not in PURPOSES:
                hint = nearest(purpose, PURPOSES) or "purposes: " + ", ".join(PURPOSES)
                self._read.errors.add("E0505", f"unknown purpose {purpose[:40]!r}", item.place, hint)
            found[name] = yes
        return found

    def _contacts(self, node: Node | None, instant: Callable[[Node | None, str], int]) -> tuple[Contact, ...]:
        found = []
        for item in self._read.listed(node, MAX_CONTACTS, "contacts"):
            fields = self._read.fields(item, ("at", "journey", "channel", "kind"), "a contact")
            at_ms = instant(self._read.required(fields, "at", "a contact"), "at")
            journey = self._read.name(self._read.required(fields, "journey", "a contact"), "a journey")
            channel = self._read.name(self._read.required(fields, "channel", "a contact"), "a channel")
            if at_ms and journey is not None and channel is not None:
                kind = self._read.name(fields.get("kind"), "a kind of contact")
                known = kind.value if kind is not None else DEFAULT_CONTACT
                found.append(Contact(at_ms // 1000, journey.value, channel.value, known))
        return tuple(sorted(found, key=lambda each: each.time_s))

    def _pins(self, node: Node | None, instant: Callable[[Node, str], int]) -> tuple[Pin, ...]:
        """Read `{churn_risk: 0.9}`, or a list of such with `at` each."""
        if node is None:
            return ()
        if isinstance(node, Keys):
            return (Pin(ALWAYS_MS, self._features_of(node.items)),)
        pins = []
        for item in self._read.listed(node, MAX_PINS, "given"):
            if not isinstance(item, Keys):
                self._read.errors.add(
                    "E0203", f"given: each must be keys with values, not {kind_of(item)}", item.place
                )
                continue
            at = next((value for key, value in item.items if key.text == "at"), None)
            rest = tuple((key, value) for key, value in item.items if key.text != "at")
            pins.append(Pin(instant(at, "at") if at is not None else ALWAYS_MS, self._features_of(rest)))
        return tuple(sorted(pins, key=lambda pin: pin.from_ms))

    def _features_of(self, items: tuple[tuple[Scalar, Node], ...]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, value in items:
            kind = self._features.get(key.text)
            if key.text == "segment":
                kind = "segment"
            if kind is None:
                hint = nearest(key.text, self._features) or "`engage features` lists all"
                self._read.errors.add("E0506", f"unknown feature {key.text[:40]!r}", key.place, hint)
            elif kind == "string":
                said = f"{key.text!r} is no number: it belongs under `customer`"
                self._read.errors.add("E0506", said, key.place)
            elif isinstance(value, Scalar) and self._fits(value, kind):
                assert value.value is not None
                found[key.text] = value.value
            else:
                self._wrong_value(key.text, kind, value)
        return found

    def _fits(self, value: Scalar, kind: str) -> bool:
        if kind == "segment":
            return value.text in self._segments
        if kind == "bool":
            return isinstance(value.value, bool)
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)

    def _wrong_value(self, name: str, kind: str, value: Node) -> None:
        if kind == "segment":
            hint = nearest(value.text if isinstance(value, Scalar) else "", self._segments)
            hint = hint or "segments: " + ", ".join(sorted(self._segments))
            self._read.errors.add("E0507", f"no segment, but {kind_of(value)}", value.place, hint)
        else:
            what = "true or false" if kind == "bool" else "a number"
            said = f"{name!r} must be {what}, not {kind_of(value)}"
            self._read.errors.add("E0507", said, value.place)
