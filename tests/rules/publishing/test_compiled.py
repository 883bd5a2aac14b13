"""Compiled journeys that travel: they are what the text compiles to, or they are not used."""

from __future__ import annotations

import dataclasses
import random

import msgspec
import pytest

from engine.resources import shipped
from engine.rules.journey import Journey
from engine.rules.load import compile_sources, journey_files
from engine.rules.publishing import compiled
from engine.rules.publishing.bundle import BundleCompiler
from engine.rules.publishing.compiled import decode, key_of, make_of, pack, unpack
from engine.rules.publishing.publication import (
    Contents,
    JourneyFile,
    Publish,
    decode_record,
    encode_record,
    open_contents,
)
from tests.rules.driver import VOCABULARY
from tests.rules.random_journeys import random_journey
from tests.rules.random_layout import write_yaml

MAKE = make_of(VOCABULARY)
PUBLISH = Publish(version=1, parent=0, base=0, author="anna", message="", time_ms=0, digest="")


def _files(*texts: str) -> tuple[list[JourneyFile], dict[tuple[str, int], Journey]]:
    """Compile texts; return them as a publication has them, and their journeys."""
    files, journeys = [], {}
    for number, text in enumerate(texts):
        (journey,) = compile_sources([(f"{number}.yaml", text.encode())], VOCABULARY).journeys
        journey = msgspec.structs.replace(journey, name=f"{journey.name}-{number}", version=7)
        journeys[journey.name, 7] = journey
        files.append(JourneyFile(journey.name, 7, f"{number}.yaml", text, str(number)))
    return files, journeys


def _plain(journey: Journey | None) -> str:
    """Say everything about a journey but whether its programs have been compiled by CEL yet."""
    assert journey is not None
    return repr(msgspec.to_builtins(journey, enc_hook=lambda _: None))


def _texts() -> list[str]:
    rng = random.Random(5)
    thought_up = [write_yaml(rng, random_journey(rng)) for _ in range(100)]
    return [path.read_text("utf-8") for path in journey_files([shipped("journeys")])] + thought_up


def test_a_journey_comes_back_as_it_was_compiled() -> None:
    """Every journey that travels compiled is, to the last constant, what its text compiles to."""
    files, journeys = _files(*_texts())
    found = unpack(pack(files, journeys, MAKE), files, MAKE)
    assert len(found) == len(files)
    for file in files:
        assert _plain(decode(found[key_of(file)])) == _plain(journeys[file.name, 7])


@pytest.mark.parametrize("packed", [b"", b"rubbish", pack([], {}, MAKE), pack([], {}, "another make")])
def test_what_does_not_fit_is_not_used(packed: bytes) -> None:
    """Nothing compiled, rubbish, another publication's journeys: the texts are compiled instead."""
    files, _ = _files("journey: a\nentry: {on: order.placed}\nsteps: [exit]\n")
    assert unpack(packed, files, MAKE) == {}


def test_another_compiler_or_vocabulary_is_another_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with other segments or other code does not take what was compiled elsewhere."""
    fewer = dataclasses.replace(VOCABULARY, segments={"new": 1})
    assert make_of(fewer) != MAKE
    monkeypatch.setattr(compiled, "_compiler", lambda: "later")
    assert make_of(VOCABULARY) != MAKE


def test_a_form_that_is_no_journey_is_compiled_from_its_text() -> None:
    """One journey whose compiled form cannot be read does not keep the others from being used."""
    texts = [f"journey: {name}\nentry: {{on: order.placed}}\nsteps: [exit]\n" for name in "ab"]
    files = [JourneyFile(name, 7, f"{name}.yaml", text, name) for name, text in zip("ab", texts, strict=True)]
    compiler, journeys = BundleCompiler(VOCABULARY), dict[tuple[str, int], Journey]()
    list(compiler.run(Contents(tuple(files)), journeys))
    ready = unpack(pack(files, journeys, MAKE), files, MAKE)
    ready[key_of(files[1])] = msgspec.Raw(msgspec.msgpack.encode(["b"]))
    worker, taken = BundleCompiler(VOCABULARY), dict[tuple[str, int], Journey]()
    list(worker.run(Contents(tuple(files)), taken, ready=ready))
    assert {key: _plain(each) for key, each in taken.items()} == {k: _plain(v) for k, v in journeys.items()}
    assert (worker.new_total, worker.compiled_total) == (2, 1)


def test_a_record_holds_both_and_an_engine_that_knows_of_one_reads_it() -> None:
    """What is behind the contents is found, and does not disturb an engine that takes all for contents."""
    files, journeys = _files("journey: a\nentry: {on: order.placed}\nsteps: [exit]\n")
    contents, packed = Contents(tuple(files)), pack(files, journeys, MAKE)
    record = decode_record(1, "k", encode_record(PUBLISH, contents, packed))
    assert record.compiled == packed
    assert open_contents(record) == contents
    older = dataclasses.replace(record, body=record.body + record.compiled)
    assert open_contents(older) == contents


def test_what_is_too_large_travels_as_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication is not refused because its journeys do not fit in twice."""
    files, journeys = _files("journey: a\nentry: {on: order.placed}\nsteps: [exit]\n")
    contents, packed = Contents(tuple(files)), pack(files, journeys, MAKE)
    alone = decode_record(1, "k", encode_record(PUBLISH, contents))
    monkeypatch.setattr("engine.rules.publishing.publication.MAX_PUBLICATION_BYTES", len(alone.body))
    record = decode_record(1, "k", encode_record(PUBLISH, contents, packed))
    assert (record.body, record.compiled) == (alone.body, b"")
