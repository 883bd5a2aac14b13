"""Training rows on the wire."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.errors import StateError
from engine.features.churn.blocks import TrainingBlock, concatenate, customer_keys
from tests.features.churn.samples import block_of


def test_block_round_trip() -> None:
    """What is decoded is what was encoded, bit by bit."""
    block = block_of([(1, 0, True), (2, 3, False), (2**64 - 1, 9, True)])
    again = TrainingBlock.decode(block.encode())
    assert again.encode() == block.encode()
    np.testing.assert_array_equal(again.features, block.features)
    assert again.is_purchase.tolist() == [True, False, True]
    assert again.segments.tolist() == [1, 2, 0]
    assert len(TrainingBlock.decode(TrainingBlock.empty().encode())) == 0


@pytest.mark.parametrize("payload", [b"", b"nonsense", msgspec.msgpack.encode((1, 2, b"", b"", b"", b""))])
def test_malformed_blocks_are_refused(payload: bytes) -> None:
    """Bytes that are no block raise, they are never read as rows."""
    with pytest.raises(StateError, match="training block"):
        TrainingBlock.decode(payload)


def test_a_block_of_another_release_says_so() -> None:
    """What an older worker left on the topic is refused by its version, not by its shape."""
    older = msgspec.msgpack.encode((2, 0, b"", b"", b"", b""))
    with pytest.raises(StateError, match="of another release, version 2"):
        TrainingBlock.decode(older)


def test_rows_that_are_not_finite_are_refused() -> None:
    """One NaN would poison the model for good; it is stopped at the door."""
    block = block_of([(1, 0, True)])
    block.features[0, 3] = np.nan
    with pytest.raises(StateError, match="not finite"):
        TrainingBlock.decode(block.encode())


def test_customer_keys_are_stable_and_hold_no_id() -> None:
    """The same id always has the same key, also in another process."""
    assert customer_keys(["a", "b", "a"]).tolist() == [
        16629034431890738719,
        *customer_keys(["b", "a"]).tolist(),
    ]


def test_joining_keeps_the_order() -> None:
    """Rows follow each other in the order of the blocks."""
    joined = concatenate([block_of([(1, 0, True)]), block_of([(2, 0, True), (3, 0, False)])])
    assert joined.customers.tolist() == [1, 2, 3]
    assert len(concatenate([])) == 0
