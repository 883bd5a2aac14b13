"""The steps of a journey file."""

from __future__ import annotations

from collections.abc import Callable

from engine.rules.limits import DEFAULT_EXPIRES_MS, MAX_DATA_VALUES, MAX_STEP_DEPTH, MAX_STEPS
from engine.rules.parsed import ParsedLeave, ParsedSend, ParsedSet, ParsedStep, ParsedWait, ParsedWaitUntil
from engine.rules.reader import Fields, Reader, kind_of
from engine.rules.source import Placed, nearest
from engine.rules.yaml_nodes import Mapping, Node, Scalar

_STEP_KEYS = {
    "send": ("send", "template", "data", "priority", "expires"),
    "wait": ("wait",),
    "wait_until": ("wait_until", "then", "otherwise"),
    "set": ("set",),
    "exit": ("exit",),
}
_STEPS_LATER = ("branch", "split", "goal", "table", "sequence")


def parse_steps(node: Node | None, read: Reader) -> tuple[ParsedStep, ...]:
    """Read the list under `steps`; an empty one is an error."""
    steps = _steps(node, "steps", 1, read)
    if node is not None and not steps and not read.errors.errors:
        read.errors.add("E0202", "the journey has no step", node.place, "add a step such as `- send: email`")
    if node is not None and _count(steps) > MAX_STEPS:
        read.errors.add(
            "E0208", f"the journey has {_count(steps)} steps, the limit is {MAX_STEPS}", node.place
        )
    return steps


def _count(steps: tuple[ParsedStep, ...]) -> int:
    nested = (step for step in steps if isinstance(step, ParsedWaitUntil))
    return len(steps) + sum(_count(step.then) + _count(step.otherwise) for step in nested)


def _steps(node: Node | None, path: str, depth: int, read: Reader) -> tuple[ParsedStep, ...]:
    if node is not None and depth > MAX_STEP_DEPTH:
        read.errors.add("E0208", f"steps nested deeper than {MAX_STEP_DEPTH}", node.place)
        return ()
    steps: list[ParsedStep] = []
    for number, item in enumerate(read.listed(node, MAX_STEPS, "steps")):
        if steps and isinstance(steps[-1], ParsedLeave):
            read.errors.add("E0214", "this step can never be reached: it follows `exit`", item.place)
            break
        step = _step(item, f"{path}[{number}]", depth, read)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _step(node: Node, path: str, depth: int, read: Reader) -> ParsedStep | None:
    if isinstance(node, Scalar) and node.text == "exit":
        return ParsedLeave(path, node.place)
    if not isinstance(node, Mapping):
        read.errors.add("E0203", f"a step must be keys with values, not {kind_of(node)}", node.place)
        return None
    names = [key.text for key, _ in node.items]
    kinds = [name for name in names if name in _STEP_KEYS]
    later = [key for key, _ in node.items if key.text in _STEPS_LATER]
    if len(kinds) != 1:
        _unknown_step(node, kinds, later, read)
        return None
    kind = kinds[0]
    fields = read.fields(node, _STEP_KEYS[kind], _STEPS_LATER, f"a `{kind}` step")
    if kind == "wait_until":
        return _wait_until(fields, path, depth, read)
    return _SIMPLE[kind](fields, path, read)


def _unknown_step(node: Mapping, kinds: list[str], later: list[Scalar], read: Reader) -> None:
    if kinds:
        read.errors.add("E0210", f"one step cannot be both `{kinds[0]}` and `{kinds[1]}`", node.place)
    elif later:
        read.errors.add(
            "E0207", f"the step `{later[0].text}` is not supported by this version", later[0].place
        )
    else:
        first = node.items[0][0] if node.items else None
        said = f" by the key {first.text[:40]!r}" if first else ""
        hint = (nearest(first.text, _STEP_KEYS) if first else "") or "steps: " + ", ".join(_STEP_KEYS)
        read.errors.add("E0201", f"no known step{said}", first.place if first else node.place, hint)


def _send(fields: Fields, path: str, read: Reader) -> ParsedSend | None:
    channel = read.name(fields.get("send"), "a channel")
    template = read.name(read.required(fields, "template", "`send`"), "a template")
    priority = read.choice(fields.get("priority"), ("normal", "high"), "normal", "priority")
    expires_ms = read.duration(fields.get("expires"), "expires") or DEFAULT_EXPIRES_MS
    data = _data(fields.get("data"), read)
    if channel is None or template is None:
        return None
    return ParsedSend(path, fields.place, channel, template.value, data, priority, expires_ms)


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


def _wait(fields: Fields, path: str, read: Reader) -> ParsedWait | None:
    wait_ms = read.duration(fields.get("wait"), "wait")
    return ParsedWait(path, fields.place, wait_ms) if wait_ms else None


def _wait_until(fields: Fields, path: str, depth: int, read: Reader) -> ParsedWaitUntil | None:
    node = fields.get("wait_until")
    assert node is not None
    inner = read.fields(node, ("on", "where", "timeout", "then", "otherwise"), (), "wait_until")
    if not isinstance(node, Mapping):
        return None
    event = read.placed_text(read.required(inner, "on", "wait_until"), "the event of wait_until")
    where = read.expression(inner.get("where"), "where")
    timeout_ms = read.duration(read.required(inner, "timeout", "wait_until"), "timeout")
    branches = {}
    for name in ("then", "otherwise"):
        branch = fields.get(name) or inner.get(name)
        branches[name] = _steps(branch, f"{path}.{name}", depth + 1, read)
    if event is None or not timeout_ms:
        return None
    return ParsedWaitUntil(
        path, fields.place, event, where, timeout_ms, branches["then"], branches["otherwise"]
    )


def _set(fields: Fields, path: str, read: Reader) -> ParsedSet | None:
    node = fields.get("set")
    assert node is not None
    inner = read.fields(node, ("trait", "to"), (), "set")
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
    "wait": _wait,
    "set": _set,
    "exit": _leave,
}
