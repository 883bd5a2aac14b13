"""What transactions are called in Kafka."""

from __future__ import annotations

#: After this the broker gives up a transaction whose worker is gone; nobody reads past it until then.
TRANSACTION_TIMEOUT_MS = 15_000


def sender_prefix(group: str) -> str:
    """Return how the transactional ids of a group's workers begin."""
    return f"{group}-sender-"


def tokens_group(group: str) -> str:
    """Return the group that tokens are kept under; nobody joins it."""
    return f"{group}-sent"
