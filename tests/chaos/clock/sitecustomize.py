"""A wall clock that is off by what a file says: for workers started with this folder on PYTHONPATH.

libfaketime can't do it for them: of the calls by which librdkafka asks for the time and waits, it changes
only the first.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_EVERY_S = 0.2
_time_ns, _monotonic = time.time_ns, time.monotonic


class _Offset:
    """Reads the file now and then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._look_s = 0.0
        self._offset_ns = 0

    def time_ns(self) -> int:
        """Stand in for `time.time_ns`."""
        now_s = _monotonic()
        if now_s >= self._look_s:
            self._look_s = now_s + LOOK_EVERY_S
            self._offset_ns = int(self._file.read_text("utf-8") or 0) * 1_000_000_000
        return _time_ns() + self._offset_ns

    def time(self) -> float:
        """Stand in for `time.time`."""
        return self.time_ns() / 1e9


if "CHAOS_CLOCK" in os.environ:
    _offset = _Offset(Path(os.environ["CHAOS_CLOCK"]))
    time.time_ns, time.time = _offset.time_ns, _offset.time
