"""Templates: what a message is called, on which channels it may go, which values it takes, and its texts.

One YAML file each; docs/templates.md describes the format. The engine sends a template's name and values; the
texts are for whoever delivers, and for people to read. They are checked here so that a placeholder nobody
fills is found before a customer sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.errors import RuleError
from engine.rules.limits import MAX_CHANNELS, MAX_DATA_VALUES, MAX_TEMPLATE_TEXT, MAX_TEXT_PARTS, MAX_TEXTS
from engine.rules.text.placement import place_in
from engine.rules.text.reader import Reader, kind_of
from engine.rules.text.source import START, ErrorList, Place, Placed
from engine.rules.text.yaml_nodes import Mapping as MappingNode
from engine.rules.text.yaml_nodes import Node, Scalar, read_text, read_yaml

TEMPLATE_KEYS: Final = ("template", "description", "channels", "contact", "fields", "texts")
FIELD_KEYS: Final = ("type", "required", "meaning")
FIELD_TYPES: Final = ("text", "integer", "number", "flag")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Field:
    """A value a template takes: `type` is one of `FIELD_TYPES`, empty where the file names none of them."""

    name: str
    type: str
    required: bool = True
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One template.

    Args:
        name: what `send` steps call it.
        file: where it was written.
        channels: where it may go; empty = anywhere.
        fields: the values it takes, by name.
        texts: language to part (`subject`, `body`, …) to text with `{field}` placeholders.
        description: for people.
        contact: the kind of contact it is meant for, or empty.
    """

    name: str
    file: str
    channels: frozenset[str]
    fields: Mapping[str, Field]
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    description: str = ""
    contact: str = ""


def read_templates(
    sources: Iterable[tuple[str, bytes]], channels: Iterable[str], errors: list[RuleError]
) -> dict[str, Template]:
    """Read template files.

    Args:
        sources: (file name, bytes) in order.
        channels: the deployment's channels; empty = any.
        errors: takes every problem, in file order.

    Returns:
        each template whose name could be read, by name; one with problems is there as far as it was read.
    """
    found: dict[str, Template] = {}
    known = tuple(channels)
    for file, data in sources:
        problems = ErrorList(file)
        source = read_text(file, data, problems)
        node = read_yaml(source, problems) if source is not None else None
        if node is not None:
            placed = _template(file, node, known, Reader(problems))
            if placed is not None and placed.value.name in found:
                first = found[placed.value.name].file
                message = f"template {placed.value.name!r} exists already, in {first}"
                problems.add("E0286", message, placed.place, "give it another name")
            elif placed is not None:
                found[placed.value.name] = placed.value
        errors.extend(problems.in_order())
    return found


def _template(file: str, node: Node, known: tuple[str, ...], read: Reader) -> Placed[Template] | None:
    keys = read.fields(node, TEMPLATE_KEYS, "a template file")
    if not isinstance(node, MappingNode):
        return None
    name = read.name(read.required(keys, "template", "the file"), "a template")
    fields = _fields(keys.get("fields"), read)
    contact = read.name(keys.get("contact"), "a kind of contact")
    template = Template(
        name=name.value if name else "",
        file=file,
        channels=_channels(keys.get("channels"), known, read),
        fields=fields,
        texts=_texts(read.required(keys, "texts", "the template"), fields, read),
        description=read.text(keys.get("description"), "description"),
        contact=contact.value if contact else "",
    )
    return Placed(template, name.place) if name else None


def _channels(node: Node | None, known: tuple[str, ...], read: Reader) -> frozenset[str]:
    found = set()
    for item in read.listed(node, MAX_CHANNELS, "channels"):
        name = read.name(item, "a channel")
        if name and known and name.value not in known:
            read.choice(item, known, "", "a channel")
        elif name:
            found.add(name.value)
    return frozenset(found)


def _fields(node: Node | None, read: Reader) -> dict[str, Field]:
    found: dict[str, Field] = {}
    if node is None:
        return found
    if not isinstance(node, MappingNode):
        read.errors.add("E0203", f"fields must be names with types, not {kind_of(node)}", node.place)
        return found
    if len(node.items) > MAX_DATA_VALUES:
        said = f"the template has {len(node.items)} fields, the limit is {MAX_DATA_VALUES}"
        read.errors.add("E0208", said, node.place)
    for key, value in node.items:
        name = read.name(key, "a field")
        keys = read.fields(value, FIELD_KEYS, f"the field {key.text[:40]!r}")
        if not isinstance(value, MappingNode):
            continue
        kind = read.choice(read.required(keys, "type", "the field"), FIELD_TYPES, "", "type")
        required = read.boolean(keys.get("required"), True, "required")
        meaning = read.text(keys.get("meaning"), "meaning")
        if name is not None:
            found[name.value] = Field(name.value, kind, required, meaning)
    return found


def _texts(node: Node | None, fields: Mapping[str, Field], read: Reader) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if node is None:
        return found
    if not isinstance(node, MappingNode) or not node.items or len(node.items) > MAX_TEXTS:
        hint = "write it as: en: {subject: …, body: …}"
        message = f"texts must be 1 to {MAX_TEXTS} languages with their texts, not {kind_of(node)}"
        read.errors.add("E0203", message, node.place, hint)
        return found
    places: dict[str, Place] = {}
    for key, value in node.items:
        if not _LANGUAGE.fullmatch(key.text):
            read.errors.add(
                "E0205", f"{key.text[:40]!r} is no language", key.place, "such as en, zh or pt-BR"
            )
        elif not isinstance(value, MappingNode) or not 0 < len(value.items) <= MAX_TEXT_PARTS:
            message = f"the texts of {key.text} must be 1 to {MAX_TEXT_PARTS} parts, not {kind_of(value)}"
            read.errors.add("E0203", message, value.place, "such as subject and body")
        else:
            found[key.text] = {part.text: _text(part.text, text, fields, read) for part, text in value.items}
            places[key.text] = key.place
    _alike(found, places, read.errors)
    return found


def _text(part: str, node: Node, fields: Mapping[str, Field], read: Reader) -> str:
    text = read.text(node, f"the text {part[:40]!r}", MAX_TEMPLATE_TEXT)
    for found in _PLACEHOLDER.finditer(text):
        name = found[1]
        if name is None and found[0] in ("{{", "}}"):
            continue
        if name is None or name not in fields:
            hint = f"declare it under `fields`; {{{{ and }}}} stand for {'{ and }'}"
            message = f"{found[0][:40]!r} is no field of the template"
            place = place_in(node, found.start()) if isinstance(node, Scalar) else node.place
            read.errors.add("E0285", message, place, hint)
    return text


def _alike(texts: Mapping[str, Mapping[str, str]], places: Mapping[str, Place], errors: ErrorList) -> None:
    """Every language must have the same parts, or some customers get half a message."""
    first = next(iter(texts), "")
    for language, parts in texts.items():
        missing = [part for part in texts[first] if part not in parts]
        added = [part for part in parts if part not in texts[first]]
        if missing or added:
            said = f"lacks {missing[0]!r}" if missing else f"has {added[0]!r}, which {first} has not"
            errors.add("E0287", f"the text in {language} {said}", places.get(language, START))
