"""The steps `wait` and `wait_until`."""

from __future__ import annotations

from engine.rules.limits import MAX_AWAITED, MAX_BEFORE_DAYS
from engine.rules.parsing.parsed import Nested, ParsedAwaited, ParsedWait, ParsedWaitUntil
from engine.rules.text.reader import Fields, Reader, kind_of
from engine.rules.text.source import nearest
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence
from engine.rules.times.local_time import is_zone
from engine.rules.times.units import UNIT_MS, read_time
from engine.rules.times.until import Until
from engine.rules.times.windows import WEEKDAYS

UNTIL_KEYS = ("until", "weekday", "trait", "before", "yearly", "zone")
AWAITED_KEYS = ("on", "where")
AWAIT_KEYS = ("on", "where", "any_of", "timeout", "until", "then", "otherwise")
_ZONE_HINT = "an IANA name, such as Europe/Berlin; left out, it is the customer's own"


def parse_wait(fields: Fields, path: str, read: Reader) -> ParsedWait | None:
    """Read `wait: 3d` or `wait: {until: …}`."""
    node = fields.get("wait")
    if isinstance(node, Mapping):
        until = _until(node, read)
        return ParsedWait(path, fields.place, 0, until) if until else None
    wait_ms = read.duration(node, "wait")
    return ParsedWait(path, fields.place, wait_ms) if wait_ms else None


def parse_wait_until(fields: Fields, path: str, read: Reader, nested: Nested) -> ParsedWaitUntil | None:
    """Read `wait_until` with what follows in `then` and `otherwise`."""
    node = fields.get("wait_until")
    assert node is not None
    inner = read.fields(node, AWAIT_KEYS, "wait_until")
    if not isinstance(node, Mapping):
        return None
    awaited = _awaited(inner, read)
    timeout_ms, until = _timeout(inner, read)
    then, otherwise = (
        nested(fields.get(name) or inner.get(name), f"{path}.{name}") for name in ("then", "otherwise")
    )
    if not awaited or not (timeout_ms or until):
        return None
    return ParsedWaitUntil(path, fields.place, awaited, timeout_ms, until, then, otherwise)


def _awaited(inner: Fields, read: Reader) -> tuple[ParsedAwaited, ...]:
    """Read what is waited for: `on` one event or any of several, or `any_of` with a `where` each."""
    listed = inner.get("any_of")
    if listed is None:
        on = read.required(inner, "on", "wait_until")
        where = read.expression(inner.get("where"), "where")
        nodes = read.listed(on, MAX_AWAITED, "on") if isinstance(on, Sequence) else (on,)
        if isinstance(on, Sequence) and not on.items:
            read.errors.add("E0202", "wait_until waits for no event", on.place)
        events = (read.placed_text(each, "the event of wait_until") for each in nodes)
        return tuple(ParsedAwaited(event, where) for event in events if event)
    if inner.get("on") is not None or inner.get("where") is not None:
        hint = "put each event with its own `where` into `any_of`"
        read.errors.add("E0210", "`any_of` together with `on` or `where`", inner.place, hint)
    awaited = []
    for item in read.listed(listed, MAX_AWAITED, "any_of"):
        each = read.fields(item, AWAITED_KEYS, "an event of any_of")
        if isinstance(item, Mapping):
            event = read.placed_text(read.required(each, "on", "an event of any_of"), "the event")
            where = read.expression(each.get("where"), "where")
            awaited += [ParsedAwaited(event, where)] if event else []
    if isinstance(listed, Sequence) and not listed.items:
        read.errors.add("E0202", "wait_until waits for no event", listed.place)
    return tuple(awaited)


def _timeout(inner: Fields, read: Reader) -> tuple[int, Until | None]:
    """Read how long a `wait_until` waits: a duration, or until when."""
    node = inner.get("until")
    if node is None:
        return read.duration(read.required(inner, "timeout", "wait_until"), "timeout"), None
    if inner.get("timeout") is not None:
        read.errors.add("E0210", "`timeout` together with `until`", inner.place, "keep one of them")
        return 0, None
    if isinstance(node, Mapping):
        return 0, _until(node, read)
    minute = read_minute(node, "until", read)
    return 0, Until(minute) if minute is not None else None


def _until(node: Mapping, read: Reader) -> Until | None:
    fields = read.fields(node, UNTIL_KEYS, "a wait until a time of day")
    minute = read_minute(read.required(fields, "until", "the wait"), "until", read)
    weekdays = _weekdays(fields.get("weekday"), read)
    trait = read.name(fields.get("trait"), "a trait")
    before_days = read_before(fields.get("before"), read)
    yearly = read.boolean(fields.get("yearly"), False, "yearly")
    zone = read_zone(fields.get("zone"), read, "E0222", _ZONE_HINT)
    if fields.get("trait") is not None and fields.get("weekday") is not None:
        read.errors.add("E0210", "`trait` together with `weekday`", node.place, "keep one of them")
    for name in ("before", "yearly"):
        if fields.get("trait") is None and fields.get(name) is not None:
            hint = "name the trait that holds the date: `trait: NAME`"
            read.errors.add("E0202", f"`{name}` needs a date", fields.by_name[name].place, hint)
    if minute is None:
        return None
    return Until(minute, weekdays, trait.value if trait else "", before_days, yearly, zone)


def read_minute(node: Node | None, what: str, read: Reader) -> int | None:
    """Return the minute of the day of a text such as `09:00`, or None."""
    if node is None:
        return None
    minute = read_time(node.text) if isinstance(node, Scalar) else None
    if minute is None:
        hint = 'hours and minutes, 00:00 to 23:59, such as "09:00"'
        read.errors.add("E0220", f"{what} cannot be {kind_of(node)}", node.place, hint)
    return minute


def _weekdays(node: Node | None, read: Reader) -> tuple[int, ...]:
    if node is None:
        return ()
    nodes = read.listed(node, len(WEEKDAYS), "weekday") if isinstance(node, Sequence) else (node,)
    days = set()
    for each in nodes:
        text = each.text if isinstance(each, Scalar) else ""
        if text in WEEKDAYS:
            days.add(WEEKDAYS.index(text))
        else:
            hint = nearest(text[:3].upper(), WEEKDAYS) or "one of: " + ", ".join(WEEKDAYS)
            read.errors.add("E0221", f"{kind_of(each)} is not a weekday", each.place, hint)
    if isinstance(node, Sequence) and not node.items:
        read.errors.add("E0221", "no weekday at all", node.place, "one of: " + ", ".join(WEEKDAYS))
    return tuple(sorted(days))


def read_before(node: Node | None, read: Reader) -> int:
    """Return whole days, 0 when there are none."""
    before_ms = read.duration(node, "before")
    if not before_ms or node is None:
        return 0
    days, rest = divmod(before_ms, UNIT_MS["d"])
    if rest or days > MAX_BEFORE_DAYS:
        said = f"before must be whole days, 1d to {MAX_BEFORE_DAYS}d"
        read.errors.add("E0206", said, node.place)
        return 0
    return days


def read_zone(node: Node | None, read: Reader, code: str, hint: str) -> str:
    """Read an IANA name of a time zone; empty is the customer's own.

    Args:
        node: where it stands, or None.
        read: takes the error.
        code: of an unknown zone.
        hint: what may stand there.
    """
    name = read.text(node, "zone")
    if node is not None and name and not is_zone(name):
        read.errors.add(code, f"unknown time zone {name[:60]!r}", node.place, hint)
        return ""
    return name
