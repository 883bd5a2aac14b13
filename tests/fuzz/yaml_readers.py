"""Mutated YAML: what the fast reader takes, the exact one reads the same, down to the last column."""

from __future__ import annotations

import random
from collections import Counter

from engine.events import EVENT_TYPES
from engine.rules.text.source import ErrorList
from engine.rules.text.yaml_fast import read_fast
from engine.rules.text.yaml_nodes import read_exactly, read_text
from tests.fuzz.mutate import mutate_text
from tests.fuzz.rule_files import corpus

_ODD = (
    "\n", "\n\n", " ", "  ", "- ", "-", ": ", ":", ",", "[", "]", "{", "}", "#", " #", "|", ">", "|+",
    ">-", "|2", ">1", '"', "'", "?", "? ", "!", "!!str ", "%", "@", "`", "\\", "\\n", "\\x", "\\u00e9",
    "\\ud800", "\\/", "é", "💌", "\u0085", "\u2028", "\u2029", "\ufeff", "\x00", "\x07", "\x7f", "\x9f",
    "\r", "\t", "---", "--- ", "...", "&a ", "*a", "<<", "~", "a:b", ":a", "a:", "''", '""', "a#b", "=",
    "a,b", "?a", "-a", ":,", "[a]:", "\xa0", "\u3000", "\ufffe", "a: b: c", '"a":b', "1e3", "x" * 130,
    ' "q"', " 's'", "key", "a b", "k: v", "\n- x", "{a: b}", "[1, 2]", "|\n  text\n  more\n",
    ">\n  fold\n\n  more\n", "\nk: ",
)  # fmt: skip


def fuzz(seed: int, count: int) -> Counter[str]:
    """Read so many texts in both ways; return how many were taken by the fast one.

    Args:
        seed: the same seed mutates the same way.
        count: how many.

    Raises:
        AssertionError: the exact reader refuses what the fast one takes, or reads it in another way.
    """
    rng = random.Random(seed)
    texts = corpus()
    results: Counter[str] = Counter()
    for number in range(count):
        text = _short(rng) if rng.random() < 0.5 else _changed(rng, texts)
        source = read_text("fuzzed.yaml", text.encode("utf-8", "surrogatepass"), ErrorList("fuzzed.yaml"))
        fast = read_fast(source.text) if source is not None else None
        results["left to the exact reader" if fast is None else "taken"] += 1
        if source is None or fast is None:
            continue
        errors = ErrorList("fuzzed.yaml")
        exact = read_exactly(source, errors)
        # repr: 1, 1.0 and true are equal
        same = not errors.errors and repr(exact) == repr(fast)
        assert same, f"seed {seed}, text {number}: {errors.errors}\n{exact}\n{fast}\n{source.text!r}"
    return results


def _short(rng: random.Random) -> str:
    """Return a few odd pieces in a mapping: a document that is none is left to the exact reader anyway."""
    pieces = rng.choices(_ODD, k=rng.randint(1, 10))
    return rng.choice(("", "k: ", "k: {a: ", "a:\n  - ", "k: [", "a: b\n")) + "".join(pieces)


def _changed(rng: random.Random, texts: list[str]) -> str:
    """Return a mutated file, or a few lines of one, with up to three odd pieces put in."""
    text = mutate_text(rng, texts, tuple(EVENT_TYPES))
    if rng.random() < 0.4:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        text = "\n".join(lines[max(0, at - 4) : at + 5])
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(_ODD) + text[at + rng.choice((0, 0, 0, 1)) :]
    return text
