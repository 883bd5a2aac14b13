"""What the logs tell, and what they must not."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from engine.errors import StateError
from engine.settings import LogSettings, Settings
from engine.streams.logs import MAX_MESSAGES, MessageLimit, configure_logs, pseudonym, without_stack

_QUIET = ("faust", "mode", "aiokafka", "asyncio")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in _QUIET}
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_tell_no_local_variables(form: Literal["console", "json"]) -> None:
    """A logged exception shows where it was raised, never what the variables held."""
    configure_logs(Settings(log=LogSettings(format=form)))
    written = io.StringIO()
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    parts = ("told", "in", "confidence")
    try:
        secret = "-".join(parts)
        raise ValueError(len(secret))
    except ValueError:
        logging.getLogger("somebody").exception("it broke")
    assert "it broke" in written.getvalue()
    assert "ValueError" in written.getvalue()
    assert "test_tracebacks_tell_no_local_variables" in written.getvalue()
    assert "told-in-confidence" not in written.getvalue()


def _written(settings: Settings) -> io.StringIO:
    """Configure logs; what goes out by either library goes into the text returned."""
    written = io.StringIO()
    configure_logs(settings)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(written))
    return written


def test_customers_have_pseudonyms_unless_told() -> None:
    """A line names a customer by a pseudonym that stays the same; numbers of customers stay numbers."""
    written = _written(Settings(log=LogSettings(format="json")))
    log = structlog.get_logger()
    log.info("one", customer="anna@example.org")
    log.info("many", customers=["anna@example.org", "bob"])
    log.info("counted", customers=3)
    one, many, counted = map(json.loads, written.getvalue().splitlines())
    anna = pseudonym(LogSettings(), "anna@example.org")
    assert one["customer"] == anna
    assert many["customers"] == [anna, pseudonym(LogSettings(), "bob")]
    assert counted["customers"] == 3
    assert "anna@" not in written.getvalue()
    plain = _written(Settings(log=LogSettings(format="json", customer_ids="plain")))
    structlog.get_logger().info("one", customer="anna@example.org")
    assert "anna@example.org" in plain.getvalue()


def test_a_key_makes_other_pseudonyms() -> None:
    """Without the key nobody can tell whose a pseudonym is by trying ids; any length of key will do."""
    keys = ("", "short", "k" * 200)
    assert len({pseudonym(LogSettings(pseudonym_key=key), "anna") for key in keys}) == 3


def test_a_message_that_repeats_is_held_back_and_counted() -> None:
    """So many lines a minute of one message; the next minute's first tells how many there were more."""
    now_s = [0.0]
    limit = MessageLimit(2, clock=lambda: now_s[0])
    assert [limit.admit("a") for _ in range(5)] == [0, 0, None, None, None]
    assert limit.admit("b") == 0, "each message is counted by itself"
    now_s[0] = 61.0
    assert [limit.admit("a"), limit.admit("a"), limit.admit("a")] == [3, 0, None]
    for number in range(3 * MAX_MESSAGES):
        limit.admit(f"message {number}")
    assert len(limit._seen) <= MAX_MESSAGES


def test_both_libraries_are_limited_and_critical_lines_are_not() -> None:
    """What the engine and what its libraries say a thousand times is in the log a few times."""
    written = _written(Settings(log=LogSettings(format="json", lines_per_message=2)))
    for number in range(1000):
        structlog.get_logger().warning("redis is away", number=number)
        logging.getLogger("library").warning("try %s", number)
        logging.getLogger("library").critical("the end of %s", number)
    lines = [json.loads(line)["event"] for line in written.getvalue().splitlines()]
    assert lines.count("redis is away") == 2
    assert [line for line in lines if line.startswith("try")] == ["try 0", "try 1"]
    assert sum(line.startswith("the end") for line in lines) == 1000


def test_a_full_disk_under_the_log_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that cannot be written are lost, the engine's and its libraries', and nothing is raised."""
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        configure_logs(Settings())
        structlog.get_logger("full").warning("said to nobody", much="x" * 20_000)
        logging.getLogger("library").warning("nor this")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_a_known_end_is_told_in_a_line() -> None:
    """Of an error that says what to do the way it came is of no use; of any other it is."""
    for reason, told in (
        (StateError("redis is empty"), "the worker ends: redis is empty"),
        (KeyError("x"), None),
    ):
        try:
            raise reason
        except Exception:  # noqa: BLE001
            info = sys.exc_info()
        message, args = "[^-Consumer]: Crashed reason=%r", (reason,)
        record = logging.LogRecord("faust", logging.ERROR, "x", 1, message, args, info)
        assert without_stack(record)
        assert (record.exc_info is None) is (told is not None)
        assert told is None or record.getMessage() == told
