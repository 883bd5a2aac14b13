"""YAML text to a tree of nodes that know where they stand.

libyaml reads what is plain (`yaml_fast`). Of all other files ruamel.yaml reads the events, and the tree is
built here in one pass, so that depth, size, duplicate keys and aliases are judged before anything grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.rules.limits import MAX_FILE_BYTES, MAX_YAML_DEPTH, MAX_YAML_LINE, MAX_YAML_NODES
from engine.rules.text.slips import syntax_slip
from engine.rules.text.source import START, ErrorList, Place, SourceText
from engine.rules.text.yaml_fast import read_fast
from engine.rules.text.yaml_tree import Mapping, Node, Plain, Scalar, Sequence, meaning_of

__all__ = ["Mapping", "Node", "Plain", "Scalar", "Sequence", "read_exactly", "read_text", "read_yaml"]

_EMPTY = ("E0108", "the file is empty", START, "begin with `journey: NAME`")
_KEYS_OF_EVENT = ("ScalarEvent", "MappingStartEvent", "SequenceStartEvent")


class _Stop(Exception):  # noqa: N818 - never leaves this module
    """Reading cannot go on; the problem is in the error list."""


@dataclass(slots=True)
class _Frame:
    """An open mapping or list."""

    is_mapping: bool
    place: Place
    items: list[Node]


def read_text(file: str, data: bytes, errors: ErrorList) -> SourceText | None:
    """Decode a rule file; on failure note why and return None."""
    if len(data) > MAX_FILE_BYTES:
        errors.add("E0102", f"the file has {len(data)} bytes, the limit is {MAX_FILE_BYTES}", START)
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        errors.add("E0101", f"byte 0x{data[error.start]:02x} is not UTF-8", place, "save the file as UTF-8")
        return None
    return SourceText(file, text.replace("\r\n", "\n"))


def read_yaml(source: SourceText, errors: ErrorList) -> Node | None:
    """Return the document's tree, or None after noting what is wrong with it."""
    if not source.text.strip(" \n"):  # a million blank lines would take ruamel.yaml more than a second
        errors.add(*_EMPTY)
        return None
    for number, line in enumerate(source.text.split("\n"), start=1):
        if len(line) > MAX_YAML_LINE:
            message = f"a line of {len(line)} characters, the limit is {MAX_YAML_LINE}"
            errors.add("E0107", message, Place(number, 1))
            return None
    tree = read_fast(source.text)
    return tree if tree is not None else read_exactly(source, errors)


def read_exactly(source: SourceText, errors: ErrorList) -> Node | None:
    """Do what `read_yaml` does, without the fast way: every file it gives a tree for has the same here."""
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - few files need it

    before = errors.count
    _check_tabs(source, errors)
    if errors.count > before:
        return None
    try:
        return _build(source, errors)
    except _Stop:
        return None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else START
        problem = str(error.problem or error.context)
        errors.add("E0103", f"not valid YAML: {problem}", place, _syntax_hint(source, place, problem))
    except (YAMLError, ValueError, OverflowError) as error:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        errors.add("E0103", f"not valid YAML: {problem}", START)
    return None


def _syntax_hint(source: SourceText, place: Place, problem: str) -> str:
    lines = source.text.splitlines()
    slip = syntax_slip(lines, place.line, problem)
    if slip:
        return slip
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if line[place.column - 1 : place.column] in ("[", "{") and line[: place.column - 1].count("{"):
        return "put a text that contains [ ] or { } in quotes"
    return "put a text that contains ': ' or ' #' in quotes" if line.count(": ") > 1 else ""


def _check_tabs(source: SourceText, errors: ErrorList) -> None:
    for number, line in enumerate(source.text.split("\n"), start=1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip():
            place = Place(number, indent.index("\t") + 1)
            errors.add("E0104", "a tab in the indentation", place, "indent with spaces")


def _build(source: SourceText, errors: ErrorList) -> Node | None:
    frames: list[_Frame] = []
    root: Node | None = None
    nodes = 0
    documents = 0
    from ruamel.yaml import YAML  # noqa: PLC0415

    for event in YAML(typ="safe", pure=True, plug_ins=[]).parse(source.text):
        kind = type(event).__name__
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        if kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                _stop(errors, "E0108", "a second document in the file", place, "write one journey per file")
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            _stop(errors, "E0106", "anchors and aliases are not allowed", place, "write the value out")
        if kind in _KEYS_OF_EVENT:
            nodes += 1
            if nodes > MAX_YAML_NODES or len(frames) >= MAX_YAML_DEPTH:
                limit = f"{MAX_YAML_NODES} values" if nodes > MAX_YAML_NODES else f"{MAX_YAML_DEPTH} levels"
                _stop(errors, "E0107", f"the file holds more than {limit}", place)
        done = _step(event, kind, place, frames, source, errors)
        if done is not None:
            if frames:
                frames[-1].items.append(done)
            else:
                root = done
    if root is None:
        errors.add(*_EMPTY)
    return root


def _step(
    event: Any, kind: str, place: Place, frames: list[_Frame], source: SourceText, errors: ErrorList
) -> Node | None:
    """Take one YAML event; return the node it completes, if any."""
    if kind == "ScalarEvent":
        if not event.value.isascii() and any("\ud800" <= char <= "\udfff" for char in event.value):
            _stop(errors, "E0101", "half of a character (a lone surrogate)", place)
        raw = source.text[event.start_mark.index : event.end_mark.index]
        value = event.value if event.style is not None else meaning_of(event.value)
        return Scalar(value, event.value, raw, place)
    if kind in ("MappingStartEvent", "SequenceStartEvent"):
        frames.append(_Frame(kind == "MappingStartEvent", place, []))
    elif kind in ("MappingEndEvent", "SequenceEndEvent"):
        frame = frames.pop()
        return _mapping(frame, errors) if frame.is_mapping else Sequence(tuple(frame.items), frame.place)
    return None


def _mapping(frame: _Frame, errors: ErrorList) -> Mapping:
    items: list[tuple[Scalar, Node]] = []
    seen: dict[str, Place] = {}
    for key, value in zip(frame.items[::2], frame.items[1::2], strict=True):
        if not isinstance(key, Scalar):
            errors.add("E0203", "a key must be a plain word", key.place)
            continue
        if key.text in seen:
            first = seen[key.text].line
            errors.add(
                "E0105", f"the key {key.text[:40]!r} stands here twice", key.place, f"first on line {first}"
            )
            continue
        seen[key.text] = key.place
        lost = isinstance(value, Scalar) and not value.raw and value.place.line > key.place.line
        items.append((key, _behind(key) if lost else value))
    return Mapping(tuple(items), frame.place)


def _behind(key: Scalar) -> Scalar:
    """Return a value that is not there, where it would stand; ruamel.yaml has it where the next thing is."""
    return Scalar(None, "", "", Place(key.place.line, key.place.column + len(key.raw) + 1))


def _stop(errors: ErrorList, code: str, message: str, place: Place, hint: str = "") -> None:
    errors.add(code, message, place, hint)
    raise _Stop
