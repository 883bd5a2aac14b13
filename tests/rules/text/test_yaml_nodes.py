"""Hostile and odd files are errors, never a hang, and values keep their place."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import RuleErrors
from engine.rules.limits import MAX_FILE_BYTES
from engine.rules.load import compile_sources
from engine.rules.text.placement import place_in
from engine.rules.text.source import ErrorList
from engine.rules.text.yaml_fast import read_fast
from engine.rules.text.yaml_nodes import Mapping, Scalar, read_exactly, read_text, read_yaml
from tests.rules.driver import VOCABULARY
from tests.rules.journeys import ASK, SERVICE

BOMBS = {
    "too large": b"a: " + b"x" * MAX_FILE_BYTES,
    "deep lists": b"[" * 100_000,
    "deep maps": b"{a: " * 50_000,
    "deep indentation": b"".join(b" " * depth + b"a:\n" for depth in range(400)),
    "many nodes": b"- a\n" * 200_000,
    "laughs": b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "merge": b"a: &a {x: 1}\nb: {<<: *a}\n",
    "self": b"a: &a [*a]\n",
    "nul": b"journey: a\x00b\n",
    "tag": b"!!python/object/apply:os.system ['true']\n",
    "a mebibyte of brackets": b"[" * MAX_FILE_BYTES,
    "a mebibyte of both brackets": b"[{" * (MAX_FILE_BYTES // 2),
    "a hundred levels": b"[" * 100 + b"]" * 100,
    "many aliases": b"[" + b"*a," * 300_000 + b"]",
    "many anchors": b"[" + b"&a x," * 170_000 + b"]",
    "many tabs": b"\ta\n" * 300_000,
    "not UTF-8": b"\xff" * MAX_FILE_BYTES,
    "not UTF-8 at its end": b"a" * (MAX_FILE_BYTES - 1) + b"\xff",
    "one key over and over": b"a: 1\n" * 10_000,
    "many keys": b"".join(b"k%d: 1\n" % number for number in range(10_000)),
    "huge plain text": b"journey: " + b"a " * 500_000,
    "huge quoted text": b'journey: "' + b"\\u0041" * 170_000 + b'"',
    "huge block text": b"journey: |\n" + b"  aaaa\n" * 140_000,
    "a mebibyte of tags": b"!" * MAX_FILE_BYTES,
    "blank lines": b"\n" * MAX_FILE_BYTES,
    "comments": b"# a\n" * 260_000,
    "number as key": b"? [a, b]\n: c\n",
    "long number": b"version: " + b"9" * 5000,
    "surrogate": b'journey: a\nentry: {on: x}\nsteps: [{send: a, template: b, data: {x: "\\ud800"}}]',
    "nested expression": b"journey: a\nentry: {on: order.placed, when: '" + b"(" * 900 + b"'}\nsteps: [exit]",
    "not of not": b"journey: a\nentry: {on: order.placed, when: '" + b"!" * 1900 + b"true'}\nsteps: [exit]",
    "chain": b"journey: a\nentry: {on: order.placed, when: '" + b"1+" * 900 + b"1 > 0'}\nsteps: [exit]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_files_are_errors_at_once(name: str) -> None:
    """A file made to exhaust the reader is refused within seconds, with a code and a place."""
    begin = time.process_time()
    with pytest.raises(RuleErrors) as caught:
        compile_sources([("bomb.yaml", BOMBS[name])], VOCABULARY)
    assert time.process_time() - begin < 5
    assert all(error.code.startswith("E") and error.line >= 1 for error in caught.value.errors)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([ASK, SERVICE]), st.data())
def test_mutated_files_never_crash(text: str, data: st.DataObject) -> None:
    """Whatever is cut out, doubled or swapped in a rule file, the outcome is a rule set or placed errors."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 12, len(text))))
    filling = data.draw(
        st.sampled_from(["", "[", "}", ": ", "\n", "'", '"', "x", "- ", "0", "null", "&a ", "é", "\t"])
    )
    with suppress(RuleErrors):
        compile_sources([("mutated.yaml", (text[:start] + filling + text[end:]).encode())], VOCABULARY)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_never_crash(data: bytes) -> None:
    """Random bytes are an error like any other."""
    with pytest.raises(RuleErrors):
        compile_sources([("random.yaml", data)], VOCABULARY)


def scalars(text: str) -> dict[str, Scalar]:
    """Return the scalars of a flat mapping."""
    errors = ErrorList("a.yaml")
    source = read_text("a.yaml", text.encode(), errors)
    assert source is not None
    node = read_yaml(source, errors)
    assert isinstance(node, Mapping), errors.errors
    return {key.text: value for key, value in node.items if isinstance(value, Scalar)}


def test_scalars_mean_what_yaml_1_2_says() -> None:
    """`on`, `yes` and times are texts; numbers, truth values and null are themselves unless quoted."""
    found = scalars(
        'on: on\nb: yes\nc: 22:00\nd: 010\ne: 1.5\nf: true\ng: ~\nh: "true"\ni: 1e3\nj: 10%\nk: 1e999\n'
    )
    values = {key: value.value for key, value in found.items()}
    assert values == {
        "on": "on",
        "b": "yes",
        "c": "22:00",
        "d": 10,
        "e": 1.5,
        "f": True,
        "g": None,
        "h": "true",
        "i": 1000.0,
        "j": "10%",
        "k": "1e999",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: one TARGET",
        'a: "one \\"two\\" TARGET"',
        "a: 'it''s TARGET'",
        "a: |\n  one\n  two TARGET\n",
        "a: >-\n  one\n  two\n  TARGET\n",
        "a: one\n  two\n  TARGET",
        'a: "投诉 TARGET"',
    ],
)
def test_offsets_are_found_in_every_style(text: str) -> None:
    """A place inside a value is right for plain, quoted, literal and folded texts."""
    scalar = scalars(text)["a"]
    place = place_in(scalar, scalar.text.index("TARGET"))
    assert text.splitlines()[place.line - 1][place.column - 1 :].startswith("TARGET")


FILES = [
    path
    for folder in ("tests/rules/golden", "deploy")
    for path in sorted((Path(__file__).parents[3] / folder).rglob("*.yaml"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_fast_way_gives_the_same_tree_or_none(path: Path) -> None:
    """What libyaml is trusted with, ruamel.yaml reads the same: every value, every place, every raw text."""
    errors = ErrorList(path.name)
    source = read_text(path.name, path.read_bytes(), errors)
    fast = read_fast(source.text) if source is not None else None
    exact = read_exactly(source, errors) if source is not None else None
    assert fast is None or (repr(fast) == repr(exact) and not errors.errors)


def test_the_shipped_files_are_read_the_fast_way() -> None:
    """Ordinary journeys and templates hold nothing that needs the slow reader."""
    folders = ("journeys", "templates")
    ours = [p for p in FILES if p.parent.name in folders and p.parent.parent.name == "deploy"]
    shipped = [p for p in ours if not p.name.endswith(".test.yaml")]
    slow = [path.name for path in shipped if read_fast(path.read_text("utf-8")) is None]
    assert len(shipped) > 20
    assert slow == []
