"""The actions of a step in one partition, as they are made durable with it until Kafka has them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from engine.streams.producer import Headers, OutRecord

OUTBOX_FIELD = "outbox"

_Packed = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]


class Outbox(msgspec.Struct, frozen=True, array_like=True):
    """Actions of one step in one partition.

    Args:
        token: names this outbox; the transaction that sends it commits the token with it.
        sender: transactional id of the worker that sends it.
        records: topic, key, value and headers of each.
    """

    token: str
    sender: str
    records: list[_Packed]

    @classmethod
    def of(cls, sender: str, records: Sequence[OutRecord]) -> Outbox:
        """Make one with a token of its own.

        Args:
            sender: transactional id of the worker that sends it.
            records: topic, key, value and headers of each.
        """
        packed = [(topic, key, value, _pairs(headers)) for topic, key, value, headers in records]
        return cls(uuid.uuid4().hex, sender, packed)

    @classmethod
    def from_bytes(cls, data: bytes) -> Outbox:
        """Read what `to_bytes` has written."""
        return _decode(data)

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return _encode(self)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outbox).decode


def _pairs(headers: Headers) -> list[tuple[str, bytes]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
