"""A log to be replayed: where each record lies, and in which order a worker would have taken them.

The records stay in files (a log's own, or a spool that topics were copied to) and are decoded a slice at a
time; in memory is an index of some 25 bytes a record. The order is that of the replay clock
(`engine.streams.steps.intake`): the queues of a partition merged by event time.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine.authoring.backtest.replay import Slice
from engine.authoring.backtest.tally import Tally
from engine.errors import ConfigError
from engine.events import EVENT_CLASSES, EVENT_TYPES, LATEST_MS, Event, Family, event_key
from engine.pipeline.waves import EventRow
from engine.streams.steps.intake import MAX_STEP_SPAN_MS, RecentIds
from engine.validation import read_fields

FAMILIES = tuple(Family)
MAX_RECORDS = 2**31 - 1
_CODES = {name: kind.code for name, kind in EVENT_TYPES.items()}
_DECODERS = {family: msgspec.json.Decoder(cls).decode for family, cls in EVENT_CLASSES.items()}

Int64s = npt.NDArray[np.int64]


class LogWriter:
    """Takes note of records as they are read, queue by queue in the queue's order.

    Args:
        files: the files the records lie in.
        sources: how many queues a family has: files, or partitions of its topic.
    """

    def __init__(self, files: Sequence[Path], sources: int) -> None:
        self._files = tuple(files)
        self._sources = sources
        self._columns = tuple(array(code) for code in "qqiHHB")

    def add(self, file: int, at: int, length: int, queue: int, partition: int, time_ms: int) -> None:
        """Note a record.

        Args:
            file: number of its file.
            at: where it begins.
            length: bytes; 0 = a watermark, which only says that stream time is `time_ms`.
            queue: what is merged with what: `family number * sources + source`.
            partition: its partition.
            time_ms: its event time.
        """
        times, places, lengths, queues, partitions, files = self._columns
        times.append(time_ms)
        places.append(at)
        lengths.append(length)
        queues.append(queue)
        partitions.append(partition)
        files.append(file)

    def __len__(self) -> int:
        return len(self._columns[0])

    def close(self, invalid: int, customers: Mapping[int, int]) -> LogIndex:
        """Return the index.

        Args:
            invalid: how many records were left out.
            customers: distinct customers by partition.
        """
        time_ms, at, length, queue, partition, file = (np.array(column) for column in self._columns)
        self._columns = tuple(array(code) for code in "qqiHHB")
        return LogIndex(
            self._files, self._sources, time_ms, at, length, queue, partition, file, invalid, dict(customers)
        )


@dataclass(frozen=True, slots=True)
class LogIndex:
    """Where the records of a log lie; arrays of one element a record, each queue in its own order.

    Args:
        files: the files.
        sources: how many queues a family has.
        time_ms: event times.
        at: where each begins in its file.
        length: bytes; 0 = a watermark.
        queue: which queue.
        partition: which partition.
        file: which file.
        invalid: how many records are no valid event.
        customers: distinct customers by partition.
    """

    files: tuple[Path, ...]
    sources: int
    time_ms: npt.NDArray[Any]
    at: npt.NDArray[Any]
    length: npt.NDArray[Any]
    queue: npt.NDArray[Any]
    partition: npt.NDArray[Any]
    file: npt.NDArray[Any]
    invalid: int
    customers: dict[int, int]

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def events(self) -> int:
        """How many records are events."""
        return int(np.count_nonzero(self.length))

    def span_ms(self) -> tuple[int, int]:
        """Return the instants of the first and the last event.

        Raises:
            ConfigError: there is none.
        """
        times = self.time_ms[self.length > 0]
        if not len(times):
            raise ConfigError("the log holds no event")
        return int(times.min()), int(times.max())

    def of(self, partitions: Iterable[int], to_ms: int) -> OrderedLog:
        """Return the records of some partitions in the order a worker would take them, up to an instant."""
        chosen = np.flatnonzero(np.isin(self.partition, list(partitions)))
        rows, now_ms = _merged(chosen, self.partition[chosen], self.queue[chosen], self.time_ms[chosen])
        keep = (self.length[rows] > 0) & (now_ms <= to_ms)
        rows, now_ms = rows[keep], now_ms[keep]
        families = self.queue[rows] // self.sources
        return OrderedLog(
            self.files,
            now_ms,
            self.at[rows],
            self.length[rows],
            families,
            self.partition[rows],
            self.file[rows],
        )


def _merged(
    rows: Int64s, partition: npt.NDArray[Any], queue: npt.NDArray[Any], time_ms: npt.NDArray[Any]
) -> tuple[Int64s, Int64s]:
    """Put records into merge order; return their numbers and the stream time at each.

    A late record comes right behind the one before it in its queue: it counts as if it had that one's time.
    """
    by_queue = np.lexsort((rows, queue, partition))
    heads = _running_max(time_ms[by_queue], partition[by_queue].astype(np.int64) << 16 | queue[by_queue])
    order = by_queue[np.lexsort((np.arange(len(by_queue)), queue[by_queue], heads, partition[by_queue]))]
    now_ms = _running_max(time_ms[order], partition[order])
    across = np.lexsort((np.arange(len(order)), partition[order], now_ms))
    return rows[order[across]], now_ms[across]


def _running_max(values: npt.NDArray[Any], groups: npt.NDArray[Any]) -> Int64s:
    """Return the highest value so far within each group; groups lie together."""
    highest = np.array(values, np.int64)
    edges = np.flatnonzero(np.diff(groups)) + 1
    for part in np.split(highest, edges):
        np.maximum.accumulate(part, out=part)
    return highest


@dataclass(slots=True)
class OrderedLog:
    """Records in the order in which they are worked on; sent to another process, it opens the files there.

    Args:
        files: the files.
        now_ms: stream time at each record.
        at: where each begins.
        length: bytes.
        family: number of the family.
        partition: partition number.
        file: number of the file.
    """

    files: tuple[Path, ...]
    now_ms: Int64s
    at: npt.NDArray[Any]
    length: npt.NDArray[Any]
    family: npt.NDArray[Any]
    partition: npt.NDArray[Any]
    file: npt.NDArray[Any]
    _ids: dict[int, RecentIds] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.now_ms)

    def slices(self, most: int, until_ms: int, ids_remembered: int, tally: Tally) -> Iterator[Slice]:
        """Decode the log a slice at a time.

        Args:
            most: most events in a slice.
            until_ms: timers go on up to here behind the last event.
            ids_remembered: how many event ids a partition remembers at least.
            tally: takes repeats and late events.
        """
        remembered = {number: RecentIds(b"", b"", ids_remembered) for number in set(self.partition.tolist())}
        maps = [_map(path) for path in self.files]
        first, clock_ms = 0, int(self.now_ms[0]) if len(self) else until_ms
        while first < len(self):
            latest_ms = clock_ms + MAX_STEP_SPAN_MS
            last = min(first + most, int(np.searchsorted(self.now_ms, latest_ms, "right")))
            if last == first:  # a long silence: the timers in it go first, a span at a time
                clock_ms = latest_ms
                yield Slice((), clock_ms)
                continue
            rows = self._rows(first, last, maps, remembered, tally)
            clock_ms, first = int(self.now_ms[last - 1]), last
            yield Slice(rows, clock_ms)
        while clock_ms < until_ms:
            clock_ms = min(clock_ms + MAX_STEP_SPAN_MS, until_ms)
            yield Slice((), clock_ms)

    def _rows(
        self,
        first: int,
        last: int,
        maps: Sequence[mmap.mmap | bytes],
        remembered: Mapping[int, RecentIds],
        tally: Tally,
    ) -> list[EventRow]:
        """Decode some records; drop repeats."""
        columns = (self.now_ms, self.at, self.length, self.family, self.partition, self.file)
        found: list[EventRow] = []
        decoders = [(family, _DECODERS[family]) for family in FAMILIES]
        for now_ms, at, length, number, partition, file in zip(
            *(column[first:last].tolist() for column in columns), strict=True
        ):
            family, decode = decoders[number]
            value = maps[file][at : at + length]
            try:
                event: Event = decode(value)
            except msgspec.DecodeError:  # valid all the same, as the index found: a time in words, a null
                event = read_fields(family, msgspec.json.decode(value), LATEST_MS)
            key = event_key(event)
            ids = remembered[partition]
            if not ids.add(key):
                tally.duplicates += 1
                continue
            if ids.full:
                ids.rotate()
            tally.late += event.time < now_ms
            found.append(EventRow(partition, event, _CODES[event.type], now_ms, key))
        return found


def _map(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
