"""How two rule sets differ, journey by journey; layout and comments make no difference."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.errors import RuleErrors
from engine.rules.text import yaml_nodes
from engine.rules.text.source import ErrorList

ABSENT = "—"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs in a journey.

    Args:
        where: its place, such as `guards.cap` or `steps[1].template`.
        before: what it was, as one line; `—` when it was not there.
        after: what it is; `—` when it is not there any more.
    """

    where: str
    before: str
    after: str


class JourneyDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One journey that differs.

    Args:
        journey: its name.
        kind: `added`, `removed` or `changed`.
        changes: what differs in a changed one.
    """

    journey: str
    kind: str
    changes: list[Change] = []


def diff_rules(before: Sequence[tuple[str, bytes]], after: Sequence[tuple[str, bytes]]) -> list[JourneyDiff]:
    """Compare two rule sets.

    Args:
        before: file name and content of each journey.
        after: the same of the other one.

    Returns:
        The journeys that differ, by name. Of several versions of a journey each is one of its own.

    Raises:
        RuleErrors: a file is no YAML.
    """
    old, new = _by_name(before), _by_name(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found.append(JourneyDiff(journey=name, kind="added"))
        elif name not in new:
            found.append(JourneyDiff(journey=name, kind="removed"))
        elif changes := list(_changes(old[name], new[name], "")):
            found.append(JourneyDiff(journey=name, kind="changed", changes=changes))
    return found


def _by_name(sources: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    read = [_read(file, data) for file, data in sources]
    names = [str(tree.get("journey", "")) if isinstance(tree, dict) else "" for tree in read]
    found: dict[str, Any] = {}
    for name, tree in zip(names, read, strict=True):
        several = names.count(name) > 1
        found[f"{name} v{tree.get('version', 1)}" if several else name] = tree
    return found


def _read(file: str, data: bytes) -> Any:
    errors = ErrorList(file)
    source = yaml_nodes.read_text(file, data, errors)
    tree = yaml_nodes.read_yaml(source, errors) if source is not None else None
    if tree is None:
        raise RuleErrors(errors.in_order())
    return _plain(tree)


def _plain(node: yaml_nodes.Node) -> Any:
    if isinstance(node, yaml_nodes.Scalar):
        return node.value
    if isinstance(node, yaml_nodes.Mapping):
        return {key.text: _plain(value) for key, value in node.items}
    return [_plain(item) for item in node.items]


def _changes(old: Any, new: Any, where: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{where}.{key}" if where else key
            if key not in old or key not in new:
                yield Change(where=place, before=_say(old, key), after=_say(new, key))
            else:
                yield from _changes(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and _nested(old, new):
        yield from _list_changes(old, new, where)
    elif old != new or type(old) is not type(new):
        yield Change(where=where, before=_line(old), after=_line(new))


def _nested(old: list[Any], new: list[Any]) -> bool:
    """Whether lists are of steps or the like, whose items are worth a comparison of their own."""
    return any(isinstance(item, dict) for item in (*old, *new))


def _list_changes(old: list[Any], new: list[Any], where: str) -> Iterator[Change]:
    """Compare lists of steps: those that stayed are found by what they are, not by where they stand."""
    left, right = [_line(item) for item in old], [_line(item) for item in new]
    matcher = difflib.SequenceMatcher(a=left, b=right, autojunk=False)
    for tag, start, end, begin, stop in matcher.get_opcodes():
        if tag == "equal":
            continue
        paired = min(end - start, stop - begin)
        for at in range(paired):
            yield from _changes(old[start + at], new[begin + at], f"{where}[{begin + at}]")
        for at in range(start + paired, end):
            yield Change(where=f"{where}[{at}]", before=left[at], after=ABSENT)
        for at in range(begin + paired, stop):
            yield Change(where=f"{where}[{at}]", before=ABSENT, after=right[at])


def _say(tree: Mapping[str, Any], key: str) -> str:
    return _line(tree[key]) if key in tree else ABSENT


def _line(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
