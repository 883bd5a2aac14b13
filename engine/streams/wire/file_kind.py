"""Tells what a file holds, by its name and by how it begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.errors import ConfigError

_COMPRESSED: Final = "is compressed; unpack it first, as in gunzip"
_UTF_16: Final = "is UTF-16; convert it, as in iconv -f utf-16 -t utf-8"
_REFUSED: Final = {
    b"\x1f\x8b": _COMPRESSED,
    b"BZh": _COMPRESSED,
    b"\x28\xb5\x2f\xfd": _COMPRESSED,
    b"PK\x03\x04": "is a zip archive or a spreadsheet; save it as a text file",
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
}
#: How the kinds begin that always begin alike, and what they are called.
_MARKED: Final = {
    "parquet": (b"PAR1", "a Parquet file"),
    "avro": (b"Obj\x01", "an Avro object container file"),
}


def beginning_of(path: Path) -> bytes:
    """Return the first four bytes of a file.

    Args:
        path: the file.

    Raises:
        ConfigError: there is no such file, it cannot be read, or is packed or UTF-16; what to do.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    for beginning, what in _REFUSED.items():
        if begins.startswith(beginning):
            raise ConfigError(f"{path} {what}")
    return begins


def file_kind(path: Path, kinds: Mapping[str, str]) -> str:
    """Return what a file is by its suffix, unless its beginning says otherwise.

    Args:
        path: the file.
        kinds: suffix to `csv`, `json`, `avro` or `parquet`: those that can be read.

    Raises:
        ConfigError: it cannot be read, has no such suffix, or holds something else; what to do.
    """
    begins = beginning_of(path)
    kind = kinds.get(path.suffix.lower())
    name_it = f"name it by what it holds: {', '.join(kinds)}"
    if kind is None:
        raise ConfigError(f"{path}: {name_it}")
    for marked, (beginning, called) in _MARKED.items():
        if begins and (kind == marked) != (begins == beginning):
            raise ConfigError(f"{path} {'is not' if kind == marked else 'is'} {called}; {name_it}")
    if kind == "csv" and begins.startswith(b"{"):
        raise ConfigError(f"{path} looks like JSON Lines; name it .jsonl then")
    return kind
