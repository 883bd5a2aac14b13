"""Reads `entry` and `goal` of a journey file."""

from __future__ import annotations

from dataclasses import replace

from engine.rules.limits import MAX_AWAITED, MAX_COUNT, MAX_COUNT_WINDOW_MS, MAX_SCHEDULE_PER_DAY, MIN_COUNT
from engine.rules.parsing.parsed import NEVER_AGAIN, ParsedEntry, ParsedGoal, Reentry
from engine.rules.parsing.waits import read_before, read_minute, read_zone
from engine.rules.text.reader import Fields, Reader, kind_of
from engine.rules.text.source import Placed, nearest
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence
from engine.rules.times.cron import Cron, read_cron
from engine.rules.times.units import read_duration, write_duration
from engine.rules.times.until import Until

NO_ENTRY = ParsedEntry("unknown")  # stands for one that cannot be made out
CUSTOMER_ZONE = "customer"
ENTRY_KEYS = ("on", "where", "when", "per", "reentry")
GOAL_KEYS = ("on", "where", "within", "value")
ENTRY_KINDS = {
    "absent": ("absent", "for", "since"),
    "unanswered": ("unanswered", "for", "at_once_where", "at_once_when"),
    "segment_entered": ("segment_entered",),
    "segment_exited": ("segment_exited",),
    "count": ("count", "at_least", "within"),
    "schedule": ("schedule", "zone", "segment"),
    "rises": ("rises", "above"),
    "falls": ("falls", "below"),
    "date": ("date", "at", "before", "yearly", "zone"),
}
_WITH_EVENT = ("event", "count")
_CRON_HINT = 'minute, hour, day, month, weekday, such as "0 9 * * MON"'


def parse_entry(node: Node | None, read: Reader) -> ParsedEntry | None:
    """Read `entry`.

    Args:
        node: its value, or None when the author left it out.
        read: takes what is wrong.

    Returns:
        the entry, or None when not even its trigger can be made out.
    """
    if node is None:
        return None
    fields = read.fields(node, ENTRY_KEYS, "entry")
    on_node = read.required(fields, "on", "entry") if isinstance(node, Mapping) else None
    trigger = _trigger(on_node, read)
    where = read.expression(fields.get("where"), "where")
    when = read.expression(fields.get("when"), "when")
    per = read.placed_text(fields.get("per"), "per")
    reentry, given = _reentry(fields.get("reentry"), read), fields.get("reentry") is not None
    if trigger is None:
        return replace(NO_ENTRY, when=when, reentry=reentry, place=node.place)
    if trigger.kind not in _WITH_EVENT:
        _without_event(trigger.kind, where, per, read)
    return replace(
        trigger, where=where, when=when, per=per, reentry=reentry, reentry_given=given, place=node.place
    )


def _without_event(kind: str, where: Scalar | None, per: Placed[str] | None, read: Reader) -> None:
    """Complain about keys that ask about the event of an entry that has none."""
    if where is not None:
        hint = "use `when` over customer"
        read.errors.add("E0210", f"`where` cannot follow `{kind}`: no event happens", where.place, hint)
    if per is not None:
        hint = "each inquiry is a run of its own already" if kind == "unanswered" else "leave it out"
        read.errors.add("E0243", f"`per` cannot follow `{kind}`: no event happens", per.place, hint)


def parse_goal(node: Node | None, read: Reader) -> ParsedGoal | None:
    """Read `goal`.

    Args:
        node: its value, or None when the author left it out.
        read: takes what is wrong.
    """
    if node is None:
        return None
    fields = read.fields(node, GOAL_KEYS, "goal")
    if not isinstance(node, Mapping):
        return None
    event = read.placed_text(read.required(fields, "on", "goal"), "the event of goal")
    within_ms = read.duration(read.required(fields, "within", "goal"), "within")
    where = read.expression(fields.get("where"), "where")
    value = read.expression(fields.get("value"), "value")
    return ParsedGoal(event, where, within_ms, value) if event is not None else None


def _trigger(node: Node | None, read: Reader) -> ParsedEntry | None:
    if node is None:
        return None
    if isinstance(node, Sequence):
        return _any_of(node, read)
    if not isinstance(node, Mapping):
        event = read.placed_text(node, "the event of entry")
        return ParsedEntry("event", event=event) if event else None
    return _other_trigger(node, read)


def _any_of(node: Sequence, read: Reader) -> ParsedEntry | None:
    """Read several event types, any of which lets customers in."""
    found = [read.placed_text(each, "an event of entry") for each in read.listed(node, MAX_AWAITED, "on")]
    events = tuple(each for each in found if each is not None)
    if not node.items:
        read.errors.add("E0202", "the entry names no event", node.place, "such as order.placed")
    return ParsedEntry("event", event=events[0], events=events) if events else None


def _other_trigger(node: Mapping, read: Reader) -> ParsedEntry | None:
    kind = _trigger_kind(node, read)
    if not kind:
        return None
    fields = read.fields(node, ENTRY_KINDS[kind], f"an entry by `{kind}`")
    if kind.startswith("segment_"):
        return ParsedEntry(kind, segment=read.placed_text(fields.get(kind), "the segment"))
    if kind in _READERS:
        return _READERS[kind](fields, read)
    return _absence(kind, fields, read)


def _trigger_kind(node: Mapping, read: Reader) -> str:
    """Return which of the non-event triggers a mapping is, or an empty text after noting what is wrong."""
    kinds = [key.text for key, _ in node.items if key.text in ENTRY_KINDS]
    if len(kinds) == 1:
        return kinds[0]
    hint = "an event type, or one of: " + ", ".join(ENTRY_KINDS)
    problem = "more than one entry trigger" if kinds else "no entry trigger here"
    read.errors.add("E0210", problem, node.place, hint)
    return ""


def _absence(kind: str, fields: Fields, read: Reader) -> ParsedEntry:
    for_ms = read.duration(read.required(fields, "for", f"entry by `{kind}`"), "for")
    if kind == "unanswered":
        read.choice(fields.get(kind), ("inquiry",), "inquiry", "unanswered")
        return ParsedEntry(
            kind,
            event=Placed("inquiry.opened", fields.place),
            for_ms=for_ms,
            at_once_where=read.expression(fields.get("at_once_where"), "at_once_where"),
            at_once_when=read.expression(fields.get("at_once_when"), "at_once_when"),
        )
    since = read.choice(fields.get("since"), ("last", "first", "signup"), "last", "since")
    event = read.placed_text(fields.get(kind), "the event")
    return ParsedEntry(kind, event=event, for_ms=for_ms, since=since)


def _count(fields: Fields, read: Reader) -> ParsedEntry:
    at_least = read.required(fields, "at_least", "entry by `count`")
    within = read.required(fields, "within", "entry by `count`")
    within_ms = read.duration(within, "within")
    if within is not None and within_ms > MAX_COUNT_WINDOW_MS:
        most = write_duration(MAX_COUNT_WINDOW_MS)
        read.errors.add(
            "E0206", f"within is {write_duration(within_ms)}, it must be at most {most}", within.place
        )
    return ParsedEntry(
        "count",
        event=read.placed_text(fields.get("count"), "the event"),
        for_ms=within_ms,
        at_least=read.integer(at_least, MIN_COUNT, MIN_COUNT, MAX_COUNT, "at_least"),
    )


def _schedule(fields: Fields, read: Reader) -> ParsedEntry:
    return ParsedEntry(
        "schedule",
        segment=read.placed_text(fields.get("segment"), "the segment"),
        schedule=_cron(fields.get("schedule"), read),
        zone=_zone(fields.get("zone"), read),
    )


def _crossing(fields: Fields, read: Reader) -> ParsedEntry:
    kind, bound = ("rises", "above") if fields.get("rises") is not None else ("falls", "below")
    node = read.required(fields, bound, f"entry by `{kind}`")
    value = node.value if isinstance(node, Scalar) else None
    if node is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        read.errors.add("E0203", f"{bound} must be a number, not {kind_of(node)}", node.place)
        value = None
    return ParsedEntry(
        kind,
        feature=read.placed_text(fields.get(kind), "the feature"),
        level=float(value) if isinstance(value, int | float) else 0.0,
    )


def _date(fields: Fields, read: Reader) -> ParsedEntry:
    trait = read.name(fields.get("date"), "a trait")
    minute = read_minute(read.required(fields, "at", "entry by `date`"), "at", read)
    before_days = read_before(fields.get("before"), read)
    yearly = read.boolean(fields.get("yearly"), False, "yearly")
    zone = _zone(fields.get("zone"), read)
    until = Until(minute or 0, (), trait.value if trait else "", before_days, yearly, zone)
    return ParsedEntry("date", until=until if trait is not None and minute is not None else None)


_READERS = {"count": _count, "schedule": _schedule, "rises": _crossing, "falls": _crossing, "date": _date}


def _cron(node: Node | None, read: Reader) -> Cron | None:
    placed = read.placed_text(node, "the schedule")
    if placed is None:
        return None
    cron = read_cron(placed.value)
    if isinstance(cron, str):
        read.errors.add("E0240", cron, placed.place, _CRON_HINT)
        return None
    if cron.per_day > MAX_SCHEDULE_PER_DAY:
        message = f"the schedule comes {cron.per_day} times a day, the limit is {MAX_SCHEDULE_PER_DAY}"
        read.errors.add("E0241", message, placed.place, "name fewer hours or minutes")
    return cron


def _zone(node: Node | None, read: Reader) -> str:
    """Return the zone's name, or an empty text for each customer's own."""
    text = node.text if isinstance(node, Scalar) else ""
    if text == CUSTOMER_ZONE:
        return ""
    hint = nearest(text, (CUSTOMER_ZONE,)) or "customer, or an IANA name such as Europe/Berlin"
    return read_zone(node, read, "E0242", hint)


def _reentry(node: Node | None, read: Reader) -> Reentry:
    if node is None:
        return NEVER_AGAIN
    text = node.text.strip() if isinstance(node, Scalar) else ""
    if text in ("never", "always"):
        return Reentry(text)
    word, _, duration = text.partition(" ")
    after_ms = read_duration(duration.strip()) if word == "after" else None
    if not after_ms:
        said = repr(text[:40]) if text else kind_of(node)
        read.errors.add("E0209", f"reentry cannot be {said}", node.place, "never, always, or after 30d")
        return NEVER_AGAIN
    return Reentry("after", after_ms)
