"""First stage: YAML text to a `ParsedJourney`, or every problem in it."""

from __future__ import annotations

from engine.errors import RuleErrors
from engine.rules.limits import MAX_EXITS
from engine.rules.parsing.entry import NO_ENTRY, parse_entry, parse_goal
from engine.rules.parsing.flow import check_flow
from engine.rules.parsing.guards import parse_guards
from engine.rules.parsing.parsed import ParsedExit, ParsedJourney
from engine.rules.parsing.silence import parse_silence
from engine.rules.parsing.steps import parse_sequences, parse_steps
from engine.rules.text.reader import Reader
from engine.rules.text.source import START, ErrorList, Placed, SourceText
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence, read_text, read_yaml

JOURNEY_KEYS = (
    "journey",
    "description",
    "owner",
    "version",
    "enabled",
    "transactional",
    "entry",
    "exit",
    "goal",
    "guards",
    "steps",
    "sequences",
    "silence",
)
EXIT_KEYS = ("on", "where")
EXIT_KINDS = ("segment_entered", "segment_exited")  # besides an event


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
        the journey, or None when it is no mapping; an entry that cannot be made out is of kind `unknown`.
    """
    source = read_text(file, data, errors)
    node = read_yaml(source, errors) if source is not None else None
    return _journey(source, node, Reader(errors)) if source is not None and node is not None else None


def _journey(source: SourceText, node: Node, read: Reader) -> ParsedJourney | None:
    fields = read.fields(node, JOURNEY_KEYS, "a journey file")
    if not isinstance(node, Mapping):
        return None
    name = read.name(read.required(fields, "journey", "the file"), "a journey")
    entry = parse_entry(read.required(fields, "entry", "the journey"), read)
    steps_node = read.required(fields, "steps", "the journey")
    steps = parse_steps(steps_node, read)
    sequences = parse_sequences(fields.get("sequences"), read)
    if steps_node is not None:
        check_flow(steps, sequences, steps_node.place, read.errors)
    guards = parse_guards(fields.get("guards"), read)
    exits = _exits(fields.get("exit"), read)
    goal = parse_goal(fields.get("goal"), read)
    journey = ParsedJourney(
        source=source,
        name=name or Placed("", START),
        description=read.text(fields.get("description"), "description"),
        owner=read.text(fields.get("owner"), "owner"),
        version=read.integer(fields.get("version"), 1, 1, 1_000_000, "version"),
        enabled=read.boolean(fields.get("enabled"), True, "enabled"),
        transactional=read.boolean(fields.get("transactional"), False, "transactional"),
        entry=entry or NO_ENTRY,
        exits=exits,
        guards=guards,
        steps=steps,
        silences=parse_silence(fields.get("silence"), read),
        sequences=sequences,
        goal=goal,
    )
    guards_node = fields.get("guards")
    held_back = guards.caps or guards.quiet_hours or guards.send_windows
    if journey.transactional and guards_node is not None and held_back:
        hint = "a transactional message passes all of them; remove them or `transactional`"
        message = "transactional together with cap, quiet_hours or send_window"
        read.errors.add("E0210", message, guards_node.place, hint)
    return journey


def _exits(node: Node | None, read: Reader) -> tuple[ParsedExit, ...]:
    exits = []
    for item in read.listed(node, MAX_EXITS, "exit"):
        fields = read.fields(item, EXIT_KEYS, "exit")
        if not isinstance(item, Mapping):
            continue
        on = read.required(fields, "on", "exit")
        where = read.expression(fields.get("where"), "where")
        if isinstance(on, Mapping):
            exits += _exit_by_segment(on, where, read)
        elif isinstance(on, Sequence):
            hint = "write `- on: EVENT` for each of them, each with its `where`"
            read.errors.add("E0203", "an exit has one event, not a list", on.place, hint)
        elif event := read.placed_text(on, "the event of exit"):
            exits.append(ParsedExit(event, where))
    return tuple(exits)


def _exit_by_segment(node: Mapping, where: Scalar | None, read: Reader) -> list[ParsedExit]:
    fields = read.fields(node, EXIT_KINDS, "exit")
    kinds = [key for key, _ in node.items if key.text in EXIT_KINDS]
    if len(kinds) != 1:
        hint = "an event type, {segment_entered: NAME} or {segment_exited: NAME}"
        read.errors.add("E0210", "an exit has one event or one change of segment", node.place, hint)
        return []
    if where is not None:
        message = f"`where` cannot follow `{kinds[0].text}`: no event happens"
        read.errors.add("E0210", message, where.place, "leave it out")
    segment = read.placed_text(fields.get(kinds[0].text), "the segment")
    return [ParsedExit(Placed(kinds[0].text, kinds[0].place), None, segment)] if segment else []
