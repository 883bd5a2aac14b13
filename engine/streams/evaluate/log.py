"""A purchase log from files: CSV, JSON Lines or Parquet, checked row by row and put into time order."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError, InvalidEvent
from engine.events import EVENT_TYPES, LATEST_MS, MAX_AMOUNT, MAX_ID_BYTES, Event
from engine.streams.evaluate.columns import Cells, Wanted, find_columns
from engine.streams.wire.file_kind import file_kind
from engine.streams.wire.parquet import parquet_rows
from engine.validation import read_fields

SUFFIXES: Final = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
}  # fmt: skip
MAX_ROWS: Final = 50_000_000
MAX_REPORTED: Final = 20
PURCHASE: Final = "order.placed"
REFUND: Final = "order.refunded"
_PURCHASES: Final = frozenset({PURCHASE, "order", "purchase", "transaction", "sale"})
_REFUNDS: Final = frozenset({REFUND, "refund", "return"})
_EVERY: Final = 20_000
_ZONES_MS: Final = 86_400_000  # a time without a zone may be this far ahead of ours
Numbered = Iterator[tuple[int, dict[str, Any]]]


class LogNotes(msgspec.Struct):
    """What was noticed while a log was read.

    Args:
        rows: rows read, bad ones not counted.
        purchases: of them.
        refunds: rows of a negative amount, or of a refund's type; they are no purchase.
        others: further events.
        repeated: rows whose id came before; they count once and are not among the rows.
        unsorted: rows older than the one before them.
        bad: rows left out (`--skip-bad`).
        cut: rows whose amount is the engine's largest; it may have been more.
        alike: purchases of a log without ids that have customer, time and amount of another.
        columns: role to the column it was read from.
    """

    rows: int = 0
    purchases: int = 0
    refunds: int = 0
    others: int = 0
    repeated: int = 0
    unsorted: int = 0
    bad: int = 0
    cut: int = 0
    alike: int = 0
    columns: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class PurchaseLog:
    """A log in time order; rows of one instant in the file's order.

    Args:
        names: customers' ids, by number.
        customers: customer's number of each row, (rows,) int64.
        time_ms: of each row, (rows,) int64.
        amount: of each row, (rows,) float64; negative for a refund.
        other: the event of a row that is neither purchase nor refund.
        notes: what was noticed.
    """

    names: list[str]
    customers: npt.NDArray[np.int64]
    time_ms: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]
    other: dict[int, Event] = field(default_factory=dict)
    notes: LogNotes = field(default_factory=LogNotes)

    def __len__(self) -> int:
        return len(self.time_ms)

    def of(self, chosen: npt.NDArray[np.bool_]) -> PurchaseLog:
        """Return the rows of some customers.

        Args:
            chosen: which, by number, (customers,).
        """
        kept = np.flatnonzero(chosen[self.customers])
        place = {int(old): new for new, old in enumerate(kept.tolist())} if self.other else {}
        other = {place[row]: event for row, event in self.other.items() if row in place}
        return PurchaseLog(
            self.names, self.customers[kept], self.time_ms[kept], self.amount[kept], other, self.notes
        )


class _Reader:
    """Takes rows, keeps what is good and notes what is not."""

    def __init__(self, wanted: Wanted, progress: Callable[[int], None], *, skip_bad: bool) -> None:
        self.wanted = wanted
        self.cells = Cells(wanted, time.time_ns() // 10**6 + _ZONES_MS)
        self.skip_bad = skip_bad
        self.progress = progress
        self.notes = LogNotes()
        self.wrong: list[str] = []
        self.names: dict[str, int] = {}
        self.customers: list[int] = []
        self.time_ms: list[int] = []
        self.amount: list[float] = []
        self.other: dict[int, Event] = {}
        self.ids: set[str] = set()

    def read(self, path: Path) -> None:
        columns: dict[str, str] = {}
        for line, row in _ROWS[file_kind(path, SUFFIXES)](path):
            if not columns:
                columns = find_columns([name for name in row if name], self.wanted, path.name)
                self.notes.columns = columns
            try:
                self._take(row, columns, f"{path.name}:{line}")
            except (ValueError, InvalidEvent) as error:
                self.notes.bad += 1
                if len(self.wrong) < MAX_REPORTED:
                    self.wrong.append(f"{path.name}:{line}: {error}")
            if len(self.time_ms) > MAX_ROWS:
                raise ConfigError(
                    f"{path.name}: more than {MAX_ROWS:,} rows; evaluate a part of the customers"
                )
            if line % _EVERY == 0:
                self.progress(len(self.time_ms))

    def _take(self, row: dict[str, Any], columns: dict[str, str], where: str) -> None:
        customer = _text(row.get(columns["customer"]))
        if not customer or len(customer.encode()) > MAX_ID_BYTES:
            raise ValueError(
                f"customer is {'missing' if not customer else 'too long'}; every row needs one of 1 to "
                f"{MAX_ID_BYTES} bytes, or leave such rows out with --skip-bad"
            )
        time_ms = self.cells.time_ms(row.get(columns["time"]))
        kind = _text(row.get(columns["type"])) if "type" in columns else PURCHASE
        plain = kind.lower()
        event, amount = None, 0.0
        if plain in _PURCHASES or plain in _REFUNDS:
            amount = self.cells.amount(row.get(columns["amount"])) if "amount" in columns else 0.0
            if plain in _REFUNDS:
                amount = -abs(amount) or -0.0
        else:
            event = _event(kind, row, customer, time_ms, where)
        if "id" in columns and (name := _text(row.get(columns["id"]))):
            if name in self.ids:
                self.notes.repeated += 1
                return
            self.ids.add(name)
        self._keep(customer, time_ms, amount, event)

    def _keep(self, customer: str, time_ms: int, amount: float, event: Event | None) -> None:
        notes = self.notes
        if self.time_ms and time_ms < self.time_ms[-1]:
            notes.unsorted += 1
        notes.rows += 1
        if event is not None:
            self.other[len(self.time_ms)] = event
            notes.others += 1
        elif is_refund(amount):
            notes.refunds += 1
            notes.cut += amount == -MAX_AMOUNT
        else:
            notes.cut += amount == MAX_AMOUNT
            notes.purchases += 1
        self.customers.append(self.names.setdefault(customer, len(self.names)))
        self.time_ms.append(time_ms)
        self.amount.append(amount)

    def close(self) -> PurchaseLog:
        time_ms, amount = np.array(self.time_ms, np.int64), np.array(self.amount, np.float64)
        customers = np.array(self.customers, np.int64)
        if "id" not in self.notes.columns:
            orders = np.ones(len(time_ms), np.bool_)
            orders[list(self.other)] = False
            self.notes.alike = _alike(customers[orders], time_ms[orders], amount[orders])
        order = np.argsort(time_ms, kind="stable")
        place = {int(old): new for new, old in enumerate(order.tolist())} if self.other else {}
        return PurchaseLog(
            list(self.names),
            customers[order],
            time_ms[order],
            amount[order],
            {place[row]: event for row, event in self.other.items()},
            self.notes,
        )


def _alike(*columns: npt.NDArray[Any]) -> int:
    """Count rows that are like another one before them."""
    order = np.lexsort(columns)
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for column in columns:
        same &= np.diff(column[order]) == 0
    return int(np.count_nonzero(same))


def is_refund(amount: float) -> bool:
    """Tell a refund, also one of nothing (-0.0), from a purchase."""
    return bool(np.signbit(amount))


def read_log(
    paths: Sequence[Path],
    wanted: Wanted | None = None,
    *,
    skip_bad: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> PurchaseLog:
    """Read a purchase log.

    Args:
        paths: files; rows of all are one log.
        wanted: what is known about the columns.
        skip_bad: leave rows out that cannot be read, instead of refusing the log.
        progress: told how many rows have been read.

    Raises:
        ConfigError: a file or column is missing, rows cannot be read, or there is no purchase.
    """
    reader = _Reader(wanted or Wanted(), progress, skip_bad=skip_bad)
    for path in paths:
        reader.read(path)
    if reader.wrong and not skip_bad:
        more = reader.notes.bad - len(reader.wrong)
        raise ConfigError("\n".join([*reader.wrong, *([f"and {more:,} more rows"] if more else [])]))
    if not reader.notes.purchases:
        names = ", ".join(path.name for path in paths)
        raise ConfigError(f"{names}: there is no purchase in it" + _hint(reader.notes))
    return reader.close()


def _hint(notes: LogNotes) -> str:
    if notes.bad:
        return f"; {notes.bad:,} rows cannot be read"
    return "; a purchase has an amount of 0 or more" if notes.refunds else ""


def _event(kind: str, row: dict[str, Any], customer: str, time_ms: int, where: str) -> Event:
    known = EVENT_TYPES.get(kind)
    if known is None:
        raise ValueError(
            f"type {kind[:40]!r} is no event type; purchases are {PURCHASE!r} or 'purchase', "
            "docs/events.md lists the others"
        )
    fields = {name: value for name, value in row.items() if name and value not in (None, "")}
    fields |= {"id": _text(row.get("id")) or where, "type": kind, "customer_id": customer, "time": time_ms}
    return read_fields(known.family, fields, LATEST_MS)


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if cell is None else str(cell).strip()


def _csv_rows(path: Path) -> Numbered:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(",;\t|", key=head.count)
            reader = csv.DictReader(file, delimiter=delimiter)
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError:
        how = "iconv -f gb18030 -t utf-8, or -f latin1: whatever it was written in"
        raise ConfigError(f"{path}: not UTF-8; convert it: {how}") from None
    except (OSError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None


def _json_rows(path: Path) -> Numbered:
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    row = msgspec.json.decode(text)
                except msgspec.DecodeError:
                    row = None
                if not isinstance(row, dict):
                    raise ConfigError(f"{path.name}:{line}: not a JSON object; one to a line, please")
                yield line, row
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _parquet_rows(path: Path) -> Numbered:
    return enumerate(parquet_rows(path), 1)


_ROWS: Final[dict[str, Callable[[Path], Numbered]]] = {
    "csv": _csv_rows,
    "json": _json_rows,
    "parquet": _parquet_rows,
}
