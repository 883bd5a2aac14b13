"""What the logs tell, and what they must not."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from engine.settings import LogSettings, Settings
from engine.streams.logs import configure_logs

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
