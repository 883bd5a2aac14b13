"""Reads Parquet files, with the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

_BATCH_ROWS = 10_000


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, some thousands in memory at a time.

    Args:
        path: the file.

    Raises:
        ConfigError: the extra is not installed, or this is no such file.
    """
    try:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            f"{path}: reading Parquet needs the extra `parquet`: pip install 'engage[parquet]'"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from batch.to_pylist()
    except (OSError, ArrowInvalid) as error:
        raise ConfigError(f"{path}: not a Parquet file: {type(error).__name__}") from None
