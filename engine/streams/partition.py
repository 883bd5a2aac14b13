"""Which partition a customer is on, by Kafka's own rule."""

from __future__ import annotations

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash as Kafka's default partitioner does (MurmurHash2, 32 bit, seed 0x9747b28c).

    Args:
        data: the record's key.

    Returns:
        The hash, unsigned.
    """
    length = len(data)
    value = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        part = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        part = (part ^ part >> 24) * _MULTIPLIER & _MASK
        value = value * _MULTIPLIER & _MASK ^ part
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a record key.

    Args:
        key: the customer id in UTF-8.
        partitions: the topic's partition count.

    Returns:
        0 to `partitions` - 1.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
