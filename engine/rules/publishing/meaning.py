"""What a rule file means, as a hash: two files that differ in comments, order of keys or layout are one."""

from __future__ import annotations

from hashlib import blake2b

from engine.errors import RuleErrors
from engine.rules.publishing.compose import Authored
from engine.rules.text.source import ErrorList
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, read_text, read_yaml

#: Top-level keys that change nothing for any customer.
SAYS_NOTHING = ("description", "owner", "version", "silence")


def meaning_of(file: str, text: str) -> str:
    """Return a hash of what a file says; equal for files that do the same.

    Args:
        file: its path, for messages.
        text: its text; YAML that can be read, else it is its own meaning.
    """
    errors = ErrorList(file)
    source = read_text(file, text.encode(), errors)
    node = read_yaml(source, errors) if source is not None else None
    return meaning_of_node(node) if node is not None else _digest(text)


def read_authored(file: str, data: bytes) -> Authored:
    """Read what publishing asks of a journey file: its name, its number, what it means.

    Args:
        file: its path.
        data: its bytes; a file that has passed the check.

    Raises:
        RuleErrors: it can't be read.
    """
    errors = ErrorList(file)
    source = read_text(file, data, errors)
    node = read_yaml(source, errors) if source is not None else None
    if source is None or not isinstance(node, Mapping):
        raise RuleErrors(errors.in_order())
    top = {key.text: value for key, value in node.items if isinstance(value, Scalar)}
    name = top["journey"].text if "journey" in top else ""
    version = top["version"].value if "version" in top else 1
    number = version if isinstance(version, int) else 1
    return Authored(name, number, file, source.text, meaning_of_node(node))


def meaning_of_node(node: Node) -> str:
    """Return the hash of a tree that has been read already."""
    kept = node
    if isinstance(node, Mapping):
        kept = Mapping(tuple(item for item in node.items if item[0].text not in SAYS_NOTHING), node.place)
    return _digest(_canonical(kept))


def _canonical(node: Node) -> str:
    match node:
        case Scalar(value=str()):
            return f"s{len(node.text)}:{node.text}"
        case Scalar():
            return f"v{node.value!r}"
        case Mapping():
            items = sorted((key.text, _canonical(value)) for key, value in node.items)
            return "{" + "".join(f"{len(key)}:{key}={value}" for key, value in items) + "}"
        case _:
            return "[" + "".join(_canonical(item) + "," for item in node.items) + "]"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
