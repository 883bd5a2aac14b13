"""First stage: YAML text to a `ParsedJourney`, or every problem in it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RuleErrors
from engine.rules.flow import check_flow
from engine.rules.limits import MAX_EXITS
from engine.rules.parse_guards import parse_guards
from engine.rules.parse_steps import parse_sequences, parse_steps
from engine.rules.parsed import ParsedEntry, ParsedExit, ParsedJourney, Reentry
from engine.rules.reader import Reader, kind_of
from engine.rules.silence import parse_silence
from engine.rules.source import START, ErrorList, Placed, SourceText
from engine.rules.units import read_duration
from engine.rules.yaml_nodes import Mapping, Node, Scalar, read_text, read_yaml

_KEYS = (
    "journey",
    "description",
    "owner",
    "version",
    "enabled",
    "transactional",
    "entry",
    "exit",
    "guards",
    "steps",
    "silence",
    "sequences",
)
_KEYS_LATER = ("goal", "per")
_ENTRY_KEYS = ("on", "where", "when", "reentry")
_ENTRY_KINDS = {
    "absent": ("absent", "for", "since"),
    "unanswered": ("unanswered", "for", "at_once_where", "at_once_when"),
    "segment_entered": ("segment_entered",),
    "segment_exited": ("segment_exited",),
}
_ENTRY_KINDS_LATER = ("count", "schedule")

_NO_ENTRY = ParsedEntry("event", None, None, 0, "last", None, None, None, None, Reentry("never"), START)


@dataclass(frozen=True, slots=True)
class _Trigger:
    """The `on` of an entry."""

    kind: str
    event: Placed[str] | None = None
    segment: Placed[str] | None = None
    for_ms: int = 0
    since: str = "last"
    at_once_where: Scalar | None = None
    at_once_when: Scalar | None = None


def parse_journey(file: str, data: bytes) -> ParsedJourney:
    """Read one journey file.

    Args:
        file: its path, for error messages.
        data: its bytes.

    Returns:
        the journey, with the place of every value that can still turn out wrong.

    Raises:
        RuleErrors: with every problem found in the file.
    """
    errors = ErrorList(file)
    journey = read_journey(file, data, errors)
    if errors.errors or journey is None:
        raise RuleErrors(errors.in_order())
    return journey


def read_journey(file: str, data: bytes, errors: ErrorList) -> ParsedJourney | None:
    """Read one journey file as far as it can be read.

    Args:
        file: its path.
        data: its bytes.
        errors: takes every problem; the journey is only good for more checks when there are any.

    Returns:
        the journey, or None when not even its entry can be made out.
    """
    source = read_text(file, data, errors)
    node = read_yaml(source, errors) if source is not None else None
    journey = _journey(source, node, Reader(errors)) if source is not None and node is not None else None
    return journey if journey is not None and journey.entry is not _NO_ENTRY else None


def _journey(source: SourceText, node: Node, read: Reader) -> ParsedJourney | None:
    fields = read.fields(node, _KEYS, _KEYS_LATER, "a journey file")
    if not isinstance(node, Mapping):
        return None
    name = read.name(read.required(fields, "journey", "the file"), "a journey")
    entry = _entry(read.required(fields, "entry", "the journey"), read)
    steps_node = read.required(fields, "steps", "the journey")
    steps = parse_steps(steps_node, read)
    sequences = parse_sequences(fields.get("sequences"), read)
    if steps_node is not None:
        check_flow(steps, sequences, steps_node.place, read.errors)
    guards = parse_guards(fields.get("guards"), read)
    exits = _exits(fields.get("exit"), read)
    journey = ParsedJourney(
        source=source,
        name=name or Placed("", START),
        description=read.text(fields.get("description"), "description"),
        owner=read.text(fields.get("owner"), "owner"),
        version=read.integer(fields.get("version"), 1, 1, 1_000_000, "version"),
        enabled=read.boolean(fields.get("enabled"), True, "enabled"),
        transactional=read.boolean(fields.get("transactional"), False, "transactional"),
        entry=entry or _NO_ENTRY,
        exits=exits,
        guards=guards,
        steps=steps,
        silences=parse_silence(fields.get("silence"), read),
        sequences=sequences,
    )
    guards_node = fields.get("guards")
    held_back = guards.caps or guards.quiet_hours or guards.send_windows
    if journey.transactional and guards_node is not None and held_back:
        hint = "a transactional message passes all of them; remove them or `transactional`"
        message = "transactional together with cap, quiet_hours or send_window"
        read.errors.add("E0210", message, guards_node.place, hint)
    return journey


def _entry(node: Node | None, read: Reader) -> ParsedEntry | None:
    if node is None:
        return None
    fields = read.fields(node, _ENTRY_KEYS, (), "entry")
    on_node = read.required(fields, "on", "entry") if isinstance(node, Mapping) else None
    trigger = _trigger(on_node, read)
    where = read.expression(fields.get("where"), "where")
    when = read.expression(fields.get("when"), "when")
    reentry = _reentry(fields.get("reentry"), read)
    if trigger is None:
        return None
    if trigger.kind != "event" and where is not None:
        hint = "use `when` over customer"
        read.errors.add(
            "E0210", f"`where` cannot follow `{trigger.kind}`: no event happens", where.place, hint
        )
    return ParsedEntry(
        kind=trigger.kind,
        event=trigger.event,
        segment=trigger.segment,
        for_ms=trigger.for_ms,
        since=trigger.since,
        where=where,
        when=when,
        at_once_where=trigger.at_once_where,
        at_once_when=trigger.at_once_when,
        reentry=reentry,
        place=node.place,
    )


def _trigger(node: Node | None, read: Reader) -> _Trigger | None:
    if node is None:
        return None
    if not isinstance(node, Mapping):
        event = read.placed_text(node, "the event of entry")
        return _Trigger("event", event=event) if event else None
    kind = _trigger_kind(node, read)
    if not kind:
        return None
    fields = read.fields(node, _ENTRY_KINDS[kind], (), f"an entry by `{kind}`")
    if kind.startswith("segment_"):
        return _Trigger(kind, segment=read.placed_text(fields.get(kind), "the segment"))
    for_ms = read.duration(read.required(fields, "for", f"entry by `{kind}`"), "for")
    if kind == "unanswered":
        read.choice(fields.get(kind), ("inquiry",), "inquiry", "unanswered")
        return _Trigger(
            kind,
            event=Placed("inquiry.opened", node.place),
            for_ms=for_ms,
            at_once_where=read.expression(fields.get("at_once_where"), "at_once_where"),
            at_once_when=read.expression(fields.get("at_once_when"), "at_once_when"),
        )
    since = read.choice(fields.get("since"), ("last", "first", "signup"), "last", "since")
    return _Trigger(kind, event=read.placed_text(fields.get(kind), "the event"), for_ms=for_ms, since=since)


def _trigger_kind(node: Mapping, read: Reader) -> str:
    """Return which of the non-event triggers a mapping is, or an empty text after noting what is wrong."""
    kinds = [key.text for key, _ in node.items if key.text in _ENTRY_KINDS]
    later = [key for key, _ in node.items if key.text in _ENTRY_KINDS_LATER]
    for key in later:
        read.errors.add("E0207", f"entry by `{key.text}` is not supported by this version", key.place)
    if not later and len(kinds) != 1:
        hint = "an event type, or one of: " + ", ".join(_ENTRY_KINDS)
        problem = "more than one entry trigger" if kinds else "no entry trigger here"
        read.errors.add("E0210", problem, node.place, hint)
    return kinds[0] if len(kinds) == 1 and not later else ""


def _reentry(node: Node | None, read: Reader) -> Reentry:
    if node is None:
        return Reentry("never")
    text = node.text.strip() if isinstance(node, Scalar) else ""
    if text in ("never", "always"):
        return Reentry(text)
    word, _, duration = text.partition(" ")
    after_ms = read_duration(duration.strip()) if word == "after" else None
    if not after_ms:
        said = repr(text[:40]) if text else kind_of(node)
        read.errors.add("E0209", f"reentry cannot be {said}", node.place, "never, always, or after 30d")
        return Reentry("never")
    return Reentry("after", after_ms)


def _exits(node: Node | None, read: Reader) -> tuple[ParsedExit, ...]:
    exits = []
    for item in read.listed(node, MAX_EXITS, "exit"):
        fields = read.fields(item, ("on", "where"), (), "exit")
        if not isinstance(item, Mapping):
            continue
        event = read.placed_text(read.required(fields, "on", "exit"), "the event of exit")
        where = read.expression(fields.get("where"), "where")
        if event:
            exits.append(ParsedExit(event, where))
    return tuple(exits)
