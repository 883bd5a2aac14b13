"""Compiled journeys that travel with a publication, so that a worker of the same make need not compile them.

They are data, not code: msgpack that is held to the types of `journey.Journey` when it is read. CEL programs
travel as their text. A worker of another make, or with other features, compiles the texts itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from engine import events
from engine import rules as rules_package
from engine.rules.journey import Journey
from engine.rules.limits import MAX_PUBLICATION_TEXT
from engine.rules.publishing.publication import JourneyFile
from engine.rules.scope import Vocabulary

#: What a compiled journey is found by: its name, its version, its text.
Key = tuple[str, int, str]
_ABSENT = msgspec.Raw(msgspec.msgpack.encode(None))


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """The compiled form of each journey of a publication, in its order; nil for one that has none."""

    make: str
    journeys: tuple[msgspec.Raw, ...]


# the one thing in a journey that is no data is a CEL program's own compiled form
_ENCODER = msgspec.msgpack.Encoder(enc_hook=lambda _: None)
_JOURNEY = msgspec.msgpack.Decoder(Journey)
_PACKED = msgspec.msgpack.Decoder(_Packed)


def key_of(file: JourneyFile) -> Key:
    """Return what a journey's compiled form is found by."""
    return file.name, file.version, file.text


def make_of(vocabulary: Vocabulary) -> str:
    """Return a hash of all that decides what a text compiles to: the compiler itself, and the vocabulary."""
    parts = (
        sorted(vocabulary.features.items()),
        sorted(vocabulary.segments.items()),
        sorted(vocabulary.channels),
        sorted(vocabulary.ranges.items()),
        vocabulary.policy.kinds,
    )
    return blake2b(f"{_compiler()} {parts}".encode(), digest_size=12).hexdigest()


@lru_cache(maxsize=1)
def _compiler() -> str:
    """Return a hash of the compiler's source: a version number would not tell every change of it."""
    digest = blake2b(digest_size=12)
    folder = Path(rules_package.__file__ or "").parent
    for path in (*sorted(folder.rglob("*.py")), Path(events.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pack(files: Sequence[JourneyFile], journeys: Mapping[tuple[str, int], Journey], make: str) -> bytes:
    """Return the compiled form of a publication's journeys.

    Args:
        files: the publication's journeys.
        journeys: those of them that could be compiled, by name and version.
        make: `make_of` the vocabulary they were compiled with.

    Returns:
        Empty when they are more than may travel.
    """
    found = (journeys.get((each.name, each.version)) for each in files)
    data = _ENCODER.encode(_Packed(make, tuple(_ABSENT if each is None else _encode(each) for each in found)))
    return zlib.compress(data) if len(data) <= MAX_PUBLICATION_TEXT else b""


def _encode(journey: Journey) -> msgspec.Raw:
    try:
        return msgspec.Raw(_ENCODER.encode(journey))
    except (OverflowError, UnicodeEncodeError):  # a whole number of more than 64 bits, a lone surrogate
        return _ABSENT


def unpack(packed: bytes, files: Sequence[JourneyFile], make: str) -> dict[Key, msgspec.Raw]:
    """Return the compiled form of each journey that has one this engine can use.

    Args:
        packed: what `pack` returned, or empty.
        files: the publication's journeys.
        make: `make_of` the vocabulary they are to run with.
    """
    try:
        opener = zlib.decompressobj()
        found = _PACKED.decode(opener.decompress(packed, MAX_PUBLICATION_TEXT + 1))
    except (zlib.error, msgspec.MsgspecError):
        return {}
    if found.make != make or len(found.journeys) != len(files):
        return {}
    pairs = zip(files, found.journeys, strict=True)
    return {key_of(file): raw for file, raw in pairs if bytes(raw) != bytes(_ABSENT)}


def decode(raw: msgspec.Raw) -> Journey | None:
    """Return a journey of its compiled form, or None when it is no such thing."""
    try:
        return _JOURNEY.decode(raw)
    except msgspec.MsgspecError:
        return None
