"""Watermarks: records without a value by which a sender promises that nothing older comes on a partition."""

from __future__ import annotations

import structlog
from confluent_kafka import Message

log = structlog.get_logger(__name__)

WATERMARK_HEADER = "engage-watermark"
END_OF_STREAM_MS = 2**63 - 1


def watermark_ms(record: Message) -> int | None:
    """Return the instant a control record promises, or None when it is no watermark.

    Args:
        record: a record without a value.
    """
    for name, value in record.headers() or ():
        if name == WATERMARK_HEADER:
            try:
                return int(value)
            except ValueError:
                log.warning("unreadable watermark", topic=record.topic(), partition=record.partition())
                return None
    return None
