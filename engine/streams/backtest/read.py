"""From topics or files to the index of a log; what is no JSON line already is copied to a spool first."""

from __future__ import annotations

import contextlib
import datetime as dt
import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import fastavro
import msgspec

from engine.errors import ConfigError, InvalidEvent
from engine.events import EVENT_TYPES, LATEST_MS, Event, Family
from engine.streams.backtest.log import FAMILIES, LogIndex, LogWriter
from engine.streams.kafka import KafkaSettings
from engine.streams.partition import partition_of
from engine.streams.reader import TopicReader
from engine.streams.wire.avro import Registry
from engine.streams.wire.codec import Decoder, encode_json
from engine.streams.wire.file_kind import file_kind
from engine.streams.wire.parquet import parquet_rows
from engine.streams.wire.watermark import END_OF_STREAM_MS, watermark_ms
from engine.validation import read_fields

MAX_REPORTED = 5
SUFFIXES = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".avro": "avro",
    ".parquet": "parquet",
}
_NUMBERS = {family: number for number, family in enumerate(FAMILIES)}

Progress = Callable[[int], None]


class _Head(msgspec.Struct):
    """What tells where an event belongs."""

    type: str
    customer_id: str


_head = msgspec.json.Decoder(_Head).decode


class LogReader:
    """Reads a log once, checks every record and notes where it lies.

    Args:
        partitions: how many partitions customers of files are laid out on.
        progress: told of every few thousand records read.

    Attributes:
        wrong: the first records that are no valid event, in words.
    """

    def __init__(self, partitions: int, progress: Progress = lambda _: None) -> None:
        self._count = partitions
        self._progress = progress
        self._places: dict[str, int] = {}
        self._decoder = Decoder("replay")
        self.invalid = 0
        self.wrong: list[str] = []

    def files(self, paths: Sequence[Path], spool: Path) -> LogIndex:
        """Index files of events.

        Args:
            paths: JSON Lines, Avro object container files, Parquet; by their suffix.
            spool: a file that may be written; takes the events of what is not JSON Lines.

        Raises:
            ConfigError: a file cannot be read, or is of no kind known.
        """
        kinds = [file_kind(path, SUFFIXES) for path in paths]
        writer = LogWriter(
            [path if kind == "json" else spool for path, kind in zip(paths, kinds, strict=True)], len(paths)
        )
        with spool.open("wb") as out:
            for number, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
                if kind == "json":
                    self._json_file(number, path, len(paths), writer)
                else:
                    rows = _avro_rows(path) if kind == "avro" else parquet_rows(path)
                    self._table(number, path, rows, len(paths), writer, out)
        return self._close(writer)

    def topics(
        self, kafka: KafkaSettings, topics: dict[str, Family], spool: Path, registry: Registry | None = None
    ) -> LogIndex:
        """Copy topics to a spool and index it; the reader has no group and commits nothing.

        A customer is where the key says, wherever records lie: before a widening, some lay elsewhere.

        Args:
            kafka: how to reach Kafka.
            topics: event topics and their families.
            spool: a file that may be written.
            registry: where writer schemas come from.

        Raises:
            TransientError: Kafka does not answer.
            ConfigError: a topic does not exist.
        """
        decoder = Decoder("replay", registry)
        at = 0
        with spool.open("wb") as out, TopicReader(kafka, list(topics), last=None) as reader:
            self._count = reader.partitions
            writer = LogWriter([spool], self._count)
            for number, message in enumerate(reader.until_end()):
                if number % 5_000 == 0:
                    self._progress(number)
                family, value = topics[message.topic()], message.value()
                queue = _NUMBERS[family] * self._count + message.partition()
                if not value and (mark_ms := watermark_ms(message)) is not None:
                    if mark_ms < END_OF_STREAM_MS:
                        writer.add(0, 0, 0, queue, message.partition(), mark_ms)
                    continue
                try:
                    event = decoder.decode(family, value, message.key(), 0, message.headers())
                except InvalidEvent as error:
                    self._refuse(f"{message.topic()}/{message.partition()}/{message.offset()}", error)
                    continue
                data = encode_json(event)
                out.write(data)
                writer.add(0, at, len(data), queue, self._place(event.customer_id), event.time)
                at += len(data)
        return self._close(writer)

    def _json_file(self, number: int, path: Path, files: int, writer: LogWriter) -> None:
        decode = self._decoder.decode
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                data: mmap.mmap | bytes = (
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                )
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        at = line = 0
        while at < size:
            end = data.find(b"\n", at)
            end = size if end < 0 else end
            value, start, at = data[at:end], at, end + 1
            line += 1
            if line % 5_000 == 0:
                self._progress(len(writer))
            if not value.strip():
                continue
            try:
                family, customer = _family_of(value)
                event = decode(family, value, customer, 0)
            except InvalidEvent as error:
                self._refuse(f"{path.name}:{line}", error)
                continue
            queue = _NUMBERS[family] * files + number
            writer.add(number, start, end - start, queue, self._place(event.customer_id), event.time)

    def _table(
        self,
        number: int,
        path: Path,
        rows: Iterator[dict[str, Any]],
        files: int,
        writer: LogWriter,
        out: IO[bytes],
    ) -> None:
        for count, fields in enumerate(rows, 1):
            if count % 5_000 == 0:
                self._progress(len(writer))
            try:
                event = _event_of(fields)
            except InvalidEvent as error:
                self._refuse(f"{path.name}, row {count}", error)
                continue
            data, at = encode_json(event), out.tell()
            out.write(data)
            queue = _NUMBERS[EVENT_TYPES[event.type].family] * files + number
            writer.add(number, at, len(data), queue, self._place(event.customer_id), event.time)

    def _place(self, customer: str) -> int:
        place = self._places.get(customer)
        if place is None:
            place = self._places[customer] = partition_of(customer.encode(), self._count)
        return place

    def _refuse(self, where: str, error: InvalidEvent) -> None:
        self.invalid += 1
        if len(self.wrong) < MAX_REPORTED:
            self.wrong.append(f"{where}: {error}")

    def _close(self, writer: LogWriter) -> LogIndex:
        self._progress(len(writer))
        counts: dict[int, int] = {}
        for place in self._places.values():
            counts[place] = counts.get(place, 0) + 1
        self._places = {}
        return writer.close(self.invalid, counts)


def _family_of(value: bytes) -> tuple[Family, bytes]:
    """Return the family and the customer of a line; what cannot be told is the decoder's to say."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        head = _head(value)
        known = EVENT_TYPES.get(head.type)
        if known is not None:
            return known.family, head.customer_id.encode()
    return Family.CLICK, b""


def _event_of(fields: dict[str, Any]) -> Event:
    """Make an event of a row; columns of other families, which are null, say nothing."""
    given = {name: _plain(value) for name, value in fields.items() if value is not None}
    known = EVENT_TYPES.get(str(given.get("type")))
    return read_fields(known.family if known is not None else Family.CLICK, given, LATEST_MS)


def _plain(value: Any) -> Any:
    """Turn what tables have of their own into what events have."""
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        return (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    if isinstance(value, list) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return dict(value)  # a Parquet map
    return value


def _avro_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for row in fastavro.reader(file):
                if not isinstance(row, dict):
                    raise ConfigError(f"{path}: its schema is not a record")
                yield row
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, EOFError, TypeError) as error:
        raise ConfigError(f"{path}: not an Avro object container file: {type(error).__name__}") from None
