"""Writes plain data as YAML as anybody might: keys in any order, blocks and flows mixed, with comments."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_READ_OTHERWISE = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_COMMENTS = ("# why", "#", "#: 'a' {b} [c]", "# 你好 - x: y")


class Bare(str):
    """A text that stands without quotes."""

    __slots__ = ()


def write_yaml(rng: random.Random, data: Any) -> str:
    """Return the data as a file.

    Args:
        rng: where the layout comes from.
        data: mappings, lists, texts, numbers, truth values.
    """
    lines = list(_block(rng, data, 0))
    return "\n".join(lines) + rng.choice(("\n", "", "\n\n", "\n# the end\n"))


def _block(rng: random.Random, node: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a mapping or list that is not empty."""
    pad = " " * indent
    if isinstance(node, dict):
        for key, value in _shuffled(rng, node):
            yield from _between(rng, pad)
            yield from _below(rng, f"{pad}{key}:", value, indent, deeper=rng.choice((2, 4)))
        return
    for value in node:
        yield from _between(rng, pad)
        if isinstance(value, dict) and value and rng.random() < 0.7:
            first, *rest = _block(rng, value, indent + 2)
            if first.strip().startswith("#") or not first.strip():
                yield f"{pad}-"
                yield from (first, *rest)
            else:
                yield f"{pad}- {first[indent + 2 :]}"
                yield from rest
        else:
            yield from _below(rng, f"{pad}-", value, indent, deeper=2)


def _below(rng: random.Random, head: str, value: Any, indent: int, deeper: int) -> Iterator[str]:
    """Yield a key, or the dash of a list, with its value behind or below."""
    if isinstance(value, dict | list) and value and rng.random() < 0.6:
        yield head + rng.choice(("", "", " # note"))
        yield from _block(rng, value, indent + deeper)
    elif isinstance(value, str) and " " in value.strip() and value == value.strip() and rng.random() < 0.2:
        yield f"{head} >-"
        yield " " * (indent + deeper) + value
    else:
        yield f"{head} {_flow(rng, value)}" + rng.choice(("", "", "", "  # note"))


def _between(rng: random.Random, pad: str) -> Iterator[str]:
    if rng.random() < 0.1:
        yield pad + rng.choice(_COMMENTS)
    if rng.random() < 0.1:
        yield ""


def _shuffled(rng: random.Random, node: dict[str, Any]) -> list[tuple[str, Any]]:
    items = list(node.items())
    if rng.random() < 0.5:
        rng.shuffle(items)
    return items


def _flow(rng: random.Random, node: Any) -> str:
    """Return a value on one line."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{key}: {_flow(rng, value)}" for key, value in _shuffled(rng, node)) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(_flow(rng, each) for each in node) + "]"
    if not isinstance(node, str):
        return json.dumps(node)
    bare = _BARE.fullmatch(node) and node.lower() not in _READ_OTHERWISE
    if isinstance(node, Bare) or (bare and rng.random() < 0.7):
        return node
    return json.dumps(node, ensure_ascii=False) if rng.random() < 0.7 else "'" + node.replace("'", "''") + "'"
