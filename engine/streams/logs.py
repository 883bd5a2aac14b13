"""Logs: one line for each thing worth knowing, for people or for machines."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from engine.errors import EngineError
from engine.settings import LogSettings, Settings

# Faust and its parts tell every rebalance and every step of their start in many lines of their own.
_QUIET = (
    "faust",
    "mode",
    "aiokafka",
    "asyncio",
    "engine.streams.transport",
    "engine.streams.faust_parts",
    "engine.streams.faust_producer",
)


MAX_MESSAGES = 1_000  # that are counted apart; the table begins anew beyond
_WINDOW_S = 60.0
_KEY_BYTES = 64  # the longest key of BLAKE2b


def pseudonym(settings: LogSettings, customer_id: str) -> str:
    """Return what logs call a customer: the same for the same id and key.

    Args:
        settings: the section `log`.
        customer_id: whom.
    """
    if settings.customer_ids == "plain":
        return customer_id
    key = settings.pseudonym_key.encode()
    if len(key) > _KEY_BYTES:
        key = hashlib.blake2b(key).digest()
    return "~" + hashlib.blake2b(customer_id.encode(), digest_size=8, key=key).hexdigest()


class Pseudonyms:
    """A processor that names customers by their pseudonym: fields `customer`, `customer_id` and `customers`.

    Args:
        settings: the section `log`.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        """Process a line of structlog's."""
        for name in ("customer", "customer_id", "customers"):
            value = event.get(name)
            if isinstance(value, str):
                event[name] = pseudonym(self._settings, value)
            elif isinstance(value, list | tuple):
                event[name] = [pseudonym(self._settings, each) for each in value]
        return event


class MessageLimit:
    """Lets so many lines of one message through a minute; what is held back is told with the next one.

    Args:
        most: lines a minute of each message; critical ones always come through.
        clock: seconds, monotonic.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def admit(self, message: str) -> int | None:
        """Count a line.

        Args:
            message: what it says, without what changes from line to line.

        Returns:
            How many were held back since the last one that came through; None: this one is held back.
        """
        now_s = self._clock()
        since_s, count = self._seen.get(message, (now_s, 0))
        held = 0
        if now_s - since_s >= _WINDOW_S:
            held, since_s, count = max(0, count - self._most), now_s, 0
        if message not in self._seen and len(self._seen) >= MAX_MESSAGES:
            self._seen.clear()
        self._seen[message] = (since_s, count + 1)
        return held if count < self._most else None

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> Any:
        """Process a line of structlog's."""
        held = 0 if method == "critical" else self.admit(str(event.get("event")))
        if held is None:
            raise structlog.DropEvent
        if held:
            event["held_back"] = held
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Judge a line of the standard library's."""
        held = 0 if record.levelno >= logging.CRITICAL else self.admit(f"{record.name}: {record.msg}")
        if held:
            record.msg, record.args = f"{record.getMessage()} (held back before: {held})", None
        return held is not None


def without_stack(record: logging.LogRecord) -> bool:
    """Say in a line why the worker ends, where that is known: Faust tells it with the way it came."""
    reason = record.args[0] if isinstance(record.args, tuple) and record.args else None
    if str(record.msg).endswith("Crashed reason=%r") and isinstance(reason, EngineError):
        record.msg, record.args, record.exc_info = f"the worker ends: {reason}", None, None
    return True


class LossyStream:
    """Standard error; what cannot be written is dropped, for a full disk under a log must stop no worker."""

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):  # full, gone; closed
            return sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(settings: Settings) -> None:
    """Send the engine's logs, and those of its libraries, to standard error.

    Args:
        settings: the section `log`.
    """
    level = logging.getLevelNamesMapping()[settings.log.level.upper()]
    stream = LossyStream()
    limit = MessageLimit(settings.log.lines_per_message)
    shared: list[Any] = [
        Pseudonyms(settings.log),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log.format == "json":
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final: list[Any] = [
            structlog.processors.ExceptionRenderer(frames),
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Never with local variables: they hold what customers wrote, and rendering a batch takes seconds.
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[limit, *shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(limit.filter)
    handler.addFilter(without_stack)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # There are no tables: its "Recovery rebalancing again" at the start of a second worker means nothing.
    logging.getLogger("faust.tables.recovery").setLevel(logging.ERROR)
