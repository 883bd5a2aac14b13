"""Training rows on their way from the workers to the trainer: one block per batch and partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from engine.errors import StateError
from engine.features.churn.hazard import FEATURE_COUNT

BLOCK_VERSION: Final = 4
MAX_BLOCK_ROWS: Final = 100_000

Columns = tuple[bytes, bytes, bytes, bytes, bytes]


def customer_keys(customer_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hash customer ids to the keys used in training rows: the topic holds no id.

    Args:
        customer_ids: (rows,) ids.

    Returns:
        (rows,) uint64; two of 10 million customers share a key with a chance of 3 in a million.
    """
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(name.encode()) for name in customer_ids), np.uint64, len(customer_ids)
    )


@dataclass(frozen=True, slots=True)
class TrainingBlock:
    """Feature rows frozen when they were scored.

    Args:
        customers: customer keys, (rows,) uint64.
        time_s: time of each row, (rows,) uint32 seconds since the epoch.
        features: (rows, 26) float32, columns as in `HAZARD_FEATURES`.
        is_purchase: which rows are purchases (the others are weekly timers), (rows,) bool. A purchase
            row is taken after its purchase is folded in, at the purchase's own time: the trainer takes
            a recency above zero to mean that the purchase continues an occasion.
        segments: code of the customer's segment as of the row, 0 = none, (rows,) uint8.
    """

    customers: npt.NDArray[np.uint64]
    time_s: npt.NDArray[np.uint32]
    features: npt.NDArray[np.float32]
    is_purchase: npt.NDArray[np.bool_]
    segments: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.customers)

    @classmethod
    def empty(cls) -> TrainingBlock:
        """Return a block without rows."""
        return cls(
            np.empty(0, np.uint64),
            np.empty(0, np.uint32),
            np.empty((0, FEATURE_COUNT), np.float32),
            np.empty(0, np.bool_),
            np.empty(0, np.uint8),
        )

    def take(self, index: npt.NDArray[Any]) -> TrainingBlock:
        """Return the rows an index or mask selects, (rows,)."""
        return TrainingBlock(
            self.customers[index],
            self.time_s[index],
            self.features[index],
            self.is_purchase[index],
            self.segments[index],
        )

    def encode(self) -> bytes:
        """Serialise: msgpack of raw little-endian columns, 118 bytes a row."""
        return msgspec.msgpack.encode((BLOCK_VERSION, len(self), *self.columns()))

    def columns(self) -> Columns:
        """Return each array as little-endian bytes, in the order of the fields."""
        return (
            self.customers.astype("<u8").tobytes(),
            self.time_s.astype("<u4").tobytes(),
            self.features.astype("<f4").tobytes(),
            self.is_purchase.astype(np.uint8).tobytes(),
            self.segments.astype(np.uint8).tobytes(),
        )

    @classmethod
    def of_columns(cls, columns: Columns) -> TrainingBlock:
        """Read what `columns` returned."""
        customers, time_s, features, is_purchase, segments = columns
        return cls(
            np.frombuffer(customers, "<u8"),
            np.frombuffer(time_s, "<u4"),
            np.frombuffer(features, "<f4").reshape(-1, FEATURE_COUNT),
            np.frombuffer(is_purchase, np.uint8).astype(np.bool_),
            np.frombuffer(segments, np.uint8),
        )

    @classmethod
    def decode(cls, payload: bytes) -> TrainingBlock:
        """Read what `encode` wrote.

        Raises:
            StateError: the payload is no block, of another version, too long, or holds values that are
                not finite.
        """
        try:
            version, rows, *rest = msgspec.msgpack.decode(payload, type=list[int | bytes])
            if version != BLOCK_VERSION:
                raise StateError(
                    f"training block: of another release, version {version!r:.20}, not {BLOCK_VERSION}"
                )
            columns = msgspec.convert(rest, Columns)
        except (msgspec.DecodeError, ValueError) as error:
            raise StateError(f"training block: {error}") from error
        if not isinstance(rows, int) or not 0 <= rows <= MAX_BLOCK_ROWS:
            raise StateError(f"training block: {rows!r:.20} rows")
        sizes = tuple(map(len, columns))
        if sizes != (8 * rows, 4 * rows, 4 * FEATURE_COUNT * rows, rows, rows):
            raise StateError(f"training block: columns of {sizes} bytes for {rows} rows")
        block = cls.of_columns(columns)
        if not np.isfinite(block.features).all():
            raise StateError("training block: a feature is not finite")
        return block


def concatenate(blocks: Sequence[TrainingBlock]) -> TrainingBlock:
    """Join blocks into one, rows in the order given."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return TrainingBlock.empty()
    return TrainingBlock(
        np.concatenate([block.customers for block in blocks]),
        np.concatenate([block.time_s for block in blocks]),
        np.concatenate([block.features for block in blocks]),
        np.concatenate([block.is_purchase for block in blocks]),
        np.concatenate([block.segments for block in blocks]),
    )
