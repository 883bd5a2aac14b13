"""Counts what all customers share: entries of capped journeys, messages of limited channels.

Every partition counts on its own: of a limit it has a share, and the shares add up to the limit. What the
limit leaves over when it is divided goes round: each window another partition has one more, so that with a
limit smaller than the number of partitions every customer's turn comes. A window is a fixed span of time (a
minute, a day, a week from Monday on, UTC). All of it is a function of the rows in their order.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.errors import StateError
from engine.rules.limits import MAX_LANES
from engine.rules.times.units import Cap

_MONDAY_MS: Final = 4 * 86_400_000  # windows of whole weeks begin on Mondays


class _Lane(msgspec.Struct, array_like=True):
    """One limit's counts.

    Args:
        window_ms: length of a window; another one than before starts anew.
        first: the first window that has, or may have, room; those before it are over or full.
        counts: used up of the windows from `first` on, by window.
    """

    window_ms: int
    first: int = 0
    counts: dict[int, int] = {}


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(dict[str, _Lane])


class Ledger:
    """A partition's part in the limits over all customers.

    Args:
        partition: its number.
        partitions: how many there are.
    """

    __slots__ = ("_blob", "_lanes", "_partition", "_partitions")

    def __init__(self, partition: int = 0, partitions: int = 1) -> None:
        self._partition = partition
        self._partitions = partitions
        self._lanes: dict[str, _Lane] = {}
        self._blob: bytes | None = b""

    def share(self, limit: Cap, now_ms: int) -> int:
        """Return the partition's share of a limit in the window of an instant.

        Args:
            limit: so many over all partitions in a window.
            now_ms: the instant.
        """
        return self._share(limit, _window(limit, now_ms))

    def take(self, name: str, limit: Cap, now_ms: int) -> bool:
        """Count one more now, if there is room.

        Args:
            name: the limit's name.
            limit: so many over all partitions in a window.
            now_ms: the instant.
        """
        lane = self._lane(name, limit, now_ms)
        window = _window(limit, now_ms)
        if not self._has_room(lane, limit, window):
            return False
        self._count(lane, limit, window)
        return True

    def reserve(self, name: str, limit: Cap, from_ms: int, now_ms: int, until_ms: int) -> int:
        """Count one more in the first window with room.

        Args:
            name: the limit's name.
            limit: so many over all partitions in a window.
            from_ms: not before this instant.
            now_ms: the instant of the row.
            until_ms: not after this instant.

        Returns:
            when the place may be used, ms: within its window, not before `from_ms`; 0 = there is no room.
        """
        lane = self._lane(name, limit, now_ms)
        window = max(_window(limit, from_ms), lane.first)
        while not self._has_room(lane, limit, window):
            window += 1
        at_ms = max(_MONDAY_MS + window * limit.window_ms, from_ms)
        if at_ms > until_ms:
            return 0
        self._count(lane, limit, window)
        return at_ms

    def to_bytes(self) -> bytes:
        """Serialise; the same object again while nothing was counted, empty before the first."""
        if self._blob is None:
            # in one order, so that the same counts are the same bytes
            lanes = {
                name: _Lane(lane.window_ms, lane.first, dict(sorted(lane.counts.items())))
                for name, lane in sorted(self._lanes.items())
            }
            self._blob = _ENCODER.encode(lanes)
        return self._blob

    @staticmethod
    def split(blob: bytes, parts: int) -> bytes:
        """Divide a partition's counts among those that take over its customers; the limits are kept.

        Their shares add up to the partition's own share (the number of partitions being a multiple of what it
        was) and differ by one at most. So a count rounded up for each leaves no more room than there was, and
        at most `parts - 1` places of a window unused.

        Args:
            blob: what `to_bytes` wrote.
            parts: among how many partitions.

        Returns:
            What each of them begins with.
        """
        if not blob:
            return b""
        lanes = _DECODER.decode(blob)
        for lane in lanes.values():
            lane.counts = {window: -(-count // parts) for window, count in lane.counts.items()}
        return _ENCODER.encode(lanes)

    @classmethod
    def from_bytes(cls, blob: bytes, partition: int, partitions: int) -> Ledger:
        """Restore what `to_bytes` wrote.

        Raises:
            StateError: the bytes are no ledger.
        """
        ledger = cls(partition, partitions)
        if blob:
            try:
                ledger._lanes = _DECODER.decode(blob)
            except msgspec.DecodeError as error:
                raise StateError(f"limits: {len(blob)} bytes cannot be read") from error
            ledger._blob = blob
        return ledger

    def _lane(self, name: str, limit: Cap, now_ms: int) -> _Lane:
        """Return the lane with nothing in it that is over."""
        lane = self._lanes.get(name)
        if lane is None or lane.window_ms != limit.window_ms:
            if len(self._lanes) >= MAX_LANES:
                self._forget(now_ms)
            lane = self._lanes[name] = _Lane(limit.window_ms)
            self._blob = None
        window = _window(limit, now_ms)
        if window > lane.first:
            self._blob = None
            lane.first = window
            lane.counts = {each: count for each, count in lane.counts.items() if each >= window}
        return lane

    def _forget(self, now_ms: int) -> None:
        """Drop the lanes of which every window is over."""
        self._lanes = {
            name: lane
            for name, lane in self._lanes.items()
            if (now_ms - _MONDAY_MS) // lane.window_ms <= max(lane.first, *lane.counts, 0)
        }

    def _share(self, limit: Cap, window: int) -> int:
        each, over = divmod(limit.count, self._partitions)
        return each + ((self._partition + window * over) % self._partitions < over)

    def _has_room(self, lane: _Lane, limit: Cap, window: int) -> bool:
        return window >= lane.first and lane.counts.get(window, 0) < self._share(limit, window)

    def _count(self, lane: _Lane, limit: Cap, window: int) -> None:
        self._blob = None
        lane.counts[window] = lane.counts.get(window, 0) + 1
        while lane.counts.get(lane.first, 0) >= (share := self._share(limit, lane.first)) and (
            share or lane.first < window
        ):
            lane.counts.pop(lane.first, None)
            lane.first += 1


def _window(limit: Cap, at_ms: int) -> int:
    return (at_ms - _MONDAY_MS) // limit.window_ms


def same_window(limit: Cap, one_ms: int, other_ms: int) -> bool:
    """Tell whether two instants lie in the same window of a limit."""
    return _window(limit, one_ms) == _window(limit, other_ms)
