"""What the list of the cookbook says of each of its journeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML

# What a reader may look for, in the order of docs/journeys.md.
_SHOWN: Final = (
    *("absent", "unanswered", "segment_entered", "segment_exited", "rises", "falls", "date", "count"),
    *("schedule", "per", "goal", "until", "weekday", "trait", "wait_until", "any_of"),
    *("branch", "split", "table", "run", "set", "transactional", "contact", "send_window"),
    *("exclusion_group", "entry_cap", "holdout"),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A journey of the cookbook.

    Args:
        name: its name, also its file's.
        description: who gets what, in a sentence.
        shows: keys of the language it is an example of.
    """

    name: str
    description: str
    shows: tuple[str, ...]


def recipe(text: str) -> Recipe:
    """Return what the list says of a journey.

    Args:
        text: its file, which has passed the check.
    """
    journey = YAML(typ="safe", pure=True).load(text)
    keys = set(_keys(journey))
    return Recipe(journey["journey"], journey["description"], tuple(key for key in _SHOWN if key in keys))


def _keys(value: Any) -> Iterator[str]:
    """Yield every key of the language in a YAML value; what `data` holds are names of the author's own."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key != "data":
                yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
