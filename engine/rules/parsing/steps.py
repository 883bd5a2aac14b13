"""The steps of a journey file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.rules.limits import (
    DEFAULT_EXPIRES_MS,
    MAX_DATA_VALUES,
    MAX_SEQUENCES,
    MAX_STEP_DEPTH,
    MAX_STEPS,
)
from engine.rules.parsing.branches import parse_branch, parse_run, parse_split
from engine.rules.parsing.parsed import Nested, ParsedLeave, ParsedSend, ParsedSequence, ParsedSet, ParsedStep
from engine.rules.parsing.table import parse_table
from engine.rules.parsing.waits import parse_wait, parse_wait_until
from engine.rules.text.reader import Fields, Reader, kind_of, slip_in
from engine.rules.text.source import Placed, nearest
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar

SET_KEYS = ("trait", "to")
STEP_KEYS = {
    "send": ("send", "template", "priority", "expires", "data", "table"),
    "wait": ("wait",),
    "wait_until": ("wait_until", "then", "otherwise"),
    "branch": ("branch", "else"),
    "split": ("split", "name"),
    "run": ("run",),
    "set": ("set",),
    "exit": ("exit",),
}


def parse_steps(node: Node | None, read: Reader) -> tuple[ParsedStep, ...]:
    """Read the list under `steps`; an empty one is an error."""
    steps = _steps(node, "steps", 1, read)
    if node is not None and not steps and not read.errors.errors:
        read.errors.add("E0202", "the journey has no step", node.place, "add a step such as `- send: email`")
    return steps


def parse_sequences(node: Node | None, read: Reader) -> tuple[ParsedSequence, ...]:
    """Read the lists of steps under `sequences`."""
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        read.errors.add("E0203", f"sequences must be names with steps, not {kind_of(node)}", node.place)
        return ()
    if len(node.items) > MAX_SEQUENCES:
        said = f"{len(node.items)} sequences, the limit is {MAX_SEQUENCES}"
        read.errors.add("E0208", said, node.place)
        return ()
    sequences = []
    for key, value in node.items:
        name = read.name(key, "a sequence")
        before = read.errors.count
        steps = _steps(value, key.text, 1, read)
        if not steps and read.errors.count == before:
            read.errors.add("E0202", f"the sequence {key.text[:40]!r} has no step", key.place)
        if name is not None:
            sequences.append(ParsedSequence(name, steps))
    return tuple(sequences)


def _steps(node: Node | None, path: str, depth: int, read: Reader) -> tuple[ParsedStep, ...]:
    if node is not None and depth > MAX_STEP_DEPTH:
        read.errors.add("E0208", f"steps nested deeper than {MAX_STEP_DEPTH}", node.place)
        return ()
    steps: list[ParsedStep] = []
    for number, item in enumerate(read.listed(node, MAX_STEPS, "steps")):
        step = _step(item, f"{path}[{number}]", depth, read)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _nested(node: Node | None, path: str, *, depth: int, read: Reader) -> tuple[ParsedStep, ...]:
    return _steps(node, path, depth, read)


def _step(node: Node, path: str, depth: int, read: Reader) -> ParsedStep | None:
    if isinstance(node, Scalar) and node.text == "exit":
        return ParsedLeave(path, node.place)
    if not isinstance(node, Mapping):
        word = node.text.partition(" ")[0] if isinstance(node, Scalar) else ""
        hint = f"write it as `{word}: …`" if word in STEP_KEYS else slip_in(node)
        read.errors.add("E0203", f"a step must be keys with values, not {kind_of(node)}", node.place, hint)
        return None
    kinds = [key.text for key, _ in node.items if key.text in STEP_KEYS]
    if len(kinds) != 1:
        _unknown_step(node, kinds, read)
        return None
    kind = kinds[0]
    fields = read.fields(node, STEP_KEYS[kind], f"a `{kind}` step")
    if kind in _NESTING:
        return _NESTING[kind](fields, path, read, partial(_nested, depth=depth + 1, read=read))
    return _SIMPLE[kind](fields, path, read)


def _unknown_step(node: Mapping, kinds: list[str], read: Reader) -> None:
    if kinds:
        second = next(key for key, _ in node.items if key.text == kinds[1])
        said = f"one step cannot be both `{kinds[0]}` and `{kinds[1]}`"
        read.errors.add("E0210", said, second.place, f"begin the next step with `- `: `- {kinds[1]}: …`")
    else:
        first = node.items[0][0] if node.items else None
        said = f" by the key {first.text[:40]!r}" if first else ""
        hint = (nearest(first.text, STEP_KEYS) if first else "") or "steps: " + ", ".join(STEP_KEYS)
        read.errors.add("E0201", f"no known step{said}", first.place if first else node.place, hint)


def _send(fields: Fields, path: str, read: Reader) -> ParsedSend | None:
    channel = read.name(fields.get("send"), "a channel")
    template = read.name(read.required(fields, "template", "`send`"), "a template")
    priority = read.choice(fields.get("priority"), ("normal", "high"), "normal", "priority")
    expires_ms = read.duration(fields.get("expires"), "expires") or DEFAULT_EXPIRES_MS
    data = _data(fields.get("data"), read)
    table = parse_table(fields.get("table"), read)
    if channel is None or template is None:
        return None
    place = template.place
    return ParsedSend(path, fields.place, channel, template.value, data, priority, expires_ms, table, place)


def _data(node: Node | None, read: Reader) -> tuple[tuple[str, Scalar], ...]:
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        read.errors.add("E0203", f"data must be keys with values, not {kind_of(node)}", node.place)
        return ()
    if len(node.items) > MAX_DATA_VALUES:
        said = f"data has {len(node.items)} values, the limit is {MAX_DATA_VALUES}"
        read.errors.add("E0208", said, node.place)
    values: list[tuple[str, Scalar]] = []
    for key, value in node.items:
        name = read.name(key, "a data value")
        if not isinstance(value, Scalar) or value.value is None:
            said = f"a data value must be one text, number or truth value, not {kind_of(value)}"
            read.errors.add("E0203", said, value.place)
        elif name is not None:
            values.append((name.value, value))
    return tuple(values)


def _set(fields: Fields, path: str, read: Reader) -> ParsedSet | None:
    node = fields.get("set")
    assert node is not None
    inner = read.fields(node, SET_KEYS, "set")
    if not isinstance(node, Mapping):
        return None
    trait: Placed[str] | None = read.name(read.required(inner, "trait", "set"), "a trait")
    to = read.required(inner, "to", "set")
    if to is not None and (not isinstance(to, Scalar) or to.value is None):
        read.errors.add(
            "E0203", f"a trait must be a text, number or truth value, not {kind_of(to)}", to.place
        )
        return None
    if trait is None or to is None:
        return None
    return ParsedSet(path, fields.place, trait.value, to)


def _leave(fields: Fields, path: str, read: Reader) -> ParsedLeave | None:
    node = fields.get("exit")
    if isinstance(node, Scalar) and node.value in (None, True):
        return ParsedLeave(path, fields.place)
    read.errors.add("E0203", "`exit` takes no value", fields.place, "write `- exit`")
    return None


_SIMPLE: dict[str, Callable[[Fields, str, Reader], ParsedStep | None]] = {
    "send": _send,
    "wait": parse_wait,
    "run": parse_run,
    "set": _set,
    "exit": _leave,
}
_NESTING: dict[str, Callable[[Fields, str, Reader, Nested], ParsedStep | None]] = {
    "wait_until": parse_wait_until,
    "branch": parse_branch,
    "split": parse_split,
}
