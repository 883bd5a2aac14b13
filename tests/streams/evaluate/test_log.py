"""Reading a purchase log: formats, columns, times, refunds, repeats, and errors that say the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.errors import ConfigError
from engine.streams.evaluate.columns import Cells, Wanted
from engine.streams.evaluate.log import PurchaseLog, read_log

JAN_1_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
DAY_MS = 86_400_000


def log_of(folder: Path, text: str, name: str = "orders.csv", wanted: Wanted | None = None) -> PurchaseLog:
    """Write a file and read it."""
    path = folder / name
    path.write_text(text, "utf-8")
    return read_log([path], wanted)


def test_formats_say_the_same(tmp_path: Path) -> None:
    """CSV with any delimiter, JSON Lines and Parquet give one and the same log."""
    comma = log_of(tmp_path, "Customer ID,Order Date,Total\na,2026-01-01,5\nb,2026-01-02,7.5\n")
    semicolon = log_of(tmp_path, "user;timestamp;amount\na;20260101;5\nb;20260102;7.5\n")
    lines = '{"client":"a","time":1767225600,"value":5}\n\n{"client":"b","time":1767312000000,"value":7.5}\n'
    objects = log_of(tmp_path, lines, "orders.jsonl")
    path = tmp_path / "orders.parquet"
    stamps = pa.array([JAN_1_MS, JAN_1_MS + DAY_MS], pa.timestamp("ms"))
    parquet.write_table(pa.table({"customer": ["a", "b"], "date": stamps, "sales": [5.0, 7.5]}), path)
    for log in (comma, semicolon, objects, read_log([path])):
        assert log.names == ["a", "b"]
        assert log.time_ms.tolist() == [JAN_1_MS, JAN_1_MS + DAY_MS]
        assert log.amount.tolist() == [5.0, 7.5]


def test_times_have_the_zone_that_is_said(tmp_path: Path) -> None:
    """A time without a zone is taken in --time-zone, one with a zone as it stands."""
    text = "customer,time,amount\na,2026-01-01T01:00:00,1\na,2026-01-01T00:00:00Z,1\n"
    log = log_of(tmp_path, text, wanted=Wanted(time_zone="Europe/Berlin"))
    assert log.time_ms.tolist() == [JAN_1_MS, JAN_1_MS]
    own = log_of(tmp_path, "customer,time\na,31.01.2026\n", wanted=Wanted(time_format="%d.%m.%Y"))
    assert own.time_ms.tolist() == [JAN_1_MS + 30 * DAY_MS]
    with pytest.raises(ConfigError, match="no such zone"):
        Cells(Wanted(time_zone="Mars/Phobos"))


def test_unsorted_rows_repeats_and_refunds(tmp_path: Path) -> None:
    """Rows are put into time order, a repeated id counts once, a negative amount is a refund."""
    text = (
        "order_id,customer,time,amount\n"
        "1,a,2026-01-03,5\n2,b,2026-01-01,7\n2,b,2026-01-01,7\n3,a,2026-01-04,-5\n4,a,2026-01-05,1e15\n"
    )
    log = log_of(tmp_path, text)
    assert log.time_ms.tolist() == [JAN_1_MS + day * DAY_MS for day in (0, 2, 3, 4)]
    assert log.amount.tolist() == [7.0, 5.0, -5.0, 1e12]
    notes = log.notes
    assert (notes.rows, notes.purchases, notes.refunds, notes.repeated, notes.unsorted) == (4, 3, 1, 1, 1)


def test_other_events_come_along(tmp_path: Path) -> None:
    """Rows of other types are the engine's events; an unknown type is an error."""
    text = "customer_id,time,type,amount\na,2026-01-01,purchase,5\na,2026-01-02,page.viewed,\n"
    log = log_of(tmp_path, text)
    assert {row: event.type for row, event in log.other.items()} == {1: "page.viewed"}
    with pytest.raises(ConfigError, match=r"orders.csv:2: type 'chat' is no event type"):
        log_of(tmp_path, "customer_id,time,type,amount\na,2026-01-01,chat,5\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,soon,5", "time 'soon' cannot be read; write 2026-01-31"),
        ("a,1066-10-14,5", "lies outside 1990 to 2106"),
        ("a,2026-01-01,5 EUR", "amount '5 EUR' is no number; write it as 1234.5"),
        ("a,2026-01-01,", "amount is missing"),
        ("a,2026-01-01,inf", "is not finite"),
        (",2026-01-01,5", "customer is missing"),
        ("a,,5", "time is missing"),
    ],
)
def test_bad_rows_say_line_and_remedy(tmp_path: Path, row: str, said: str) -> None:
    """A bad row refuses the log, naming its line; --skip-bad leaves it out and counts it."""
    text = f"customer,time,amount\nb,2026-01-01,1\n{row}\n"
    with pytest.raises(ConfigError) as error:
        log_of(tmp_path, text)
    assert str(error.value).startswith("orders.csv:3: ")
    assert said in str(error.value)
    log = read_log([tmp_path / "orders.csv"], skip_bad=True)
    assert (len(log), log.notes.bad) == (1, 1)


def test_columns_that_cannot_be_told(tmp_path: Path) -> None:
    """The error names the columns there are and the flag that says which."""
    with pytest.raises(
        ConfigError, match=r"which column is the customer.*it has who, time; say --customer NAME"
    ):
        log_of(tmp_path, "who,time\na,2026-01-01\n")
    with pytest.raises(ConfigError, match="there is no column 'paid'"):
        log_of(tmp_path, "customer,time\na,2026-01-01\n", wanted=Wanted(amount="paid"))


def test_empty_logs(tmp_path: Path) -> None:
    """A log without a purchase is refused, whatever it lacks."""
    for text in ("", "customer,time,amount\n", "customer,time,amount\na,2026-01-01,-5\n"):
        with pytest.raises(ConfigError, match="there is no purchase in it"):
            log_of(tmp_path, text)
    with pytest.raises(ConfigError, match="name it by what it holds"):
        log_of(tmp_path, "x", "orders.xlsx")


def test_what_has_not_come_yet_is_refused(tmp_path: Path) -> None:
    """One wrong year would lengthen the log by years in which nobody buys."""
    with pytest.raises(ConfigError, match=r"orders\.csv:3: time '2095-01-01' has not come yet.*--skip-bad"):
        log_of(tmp_path, "customer,time,amount\na,2026-01-01,5\nb,2095-01-01,7\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("orders.csv", gzip.compress(b"customer,time\n", mtime=0), "is compressed; unpack it"),
        ("orders.csv.gz", gzip.compress(b"customer,time\n", mtime=0), "is compressed; unpack it"),
        ("orders.csv", b"PK\x03\x04....", "is a zip archive or a spreadsheet; save it"),
        ("orders.csv", "customer,time\n".encode("utf-16"), "is UTF-16; convert it"),
        ("orders.csv", "customer,time\n王,2026-01-01\n".encode("gb18030"), "iconv -f gb18030"),
        ("orders.csv", b'{"customer": "a"}\n', r"looks like JSON Lines; name it \.jsonl"),
        ("orders.csv", b"PAR1....", "is a Parquet file; name it by what it holds"),
        ("orders.parquet", b"customer,time\n", "is not a Parquet file; name it by what it holds"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """Its beginning says so, and the error what to do."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_log([tmp_path / name])


def test_rows_that_may_be_copies_are_counted(tmp_path: Path) -> None:
    """Only where no column of ids tells copies from purchases; amounts beyond the bound are counted, too."""
    rows = "a,2026-01-01,5,1\na,2026-01-01,5,2\na,2026-01-01,6,3\nb,2026-01-01,5e15,4\n"
    notes = log_of(tmp_path, f"customer,time,amount,number\n{rows}").notes
    assert (notes.alike, notes.cut) == (1, 1)
    assert log_of(tmp_path, f"customer,time,amount,id\n{rows}").notes.alike == 0
    views = "a,2026-01-01,page.viewed,\n" * 3
    assert log_of(tmp_path, f"customer,time,type,amount\na,2026-01-01,order,5\n{views}").notes.alike == 0
