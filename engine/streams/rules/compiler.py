"""Compiles many journeys in a process of its own, so that the worker's interpreter stays free for batches.

As a program (`python -m engine.streams.rules.compiler`) it reads a vocabulary and journey files from its
standard input and writes what became of each to its standard output, both pickled: it is started by a worker
for one publication and talks to nobody else.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence

import structlog

from engine.rules.publishing.bundle import Compiled, compile_here
from engine.rules.publishing.publication import JourneyFile
from engine.rules.scope import Vocabulary

log = structlog.get_logger(__name__)

#: Up to so many are compiled in the worker's own thread: starting a process takes longer.
HERE_UP_TO = 20
_AT_ONCE = 50  # come back in one piece: each makes the worker's thread wait for the interpreter
_NICE = 10  # batches go first on a machine whose cores are all busy
_STOP_S = 5.0


def compile_aside(files: Sequence[JourneyFile], vocabulary: Vocabulary) -> Iterator[Compiled]:
    """Compile in this thread if there are few, else in a process of their own.

    Args:
        files: what to compile.
        vocabulary: what journeys can talk about.

    Yields:
        What became of each, in order.
    """
    done = 0
    if len(files) > HERE_UP_TO:
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            for compiled in _in_process(files, vocabulary):
                done += 1
                yield compiled
        if done < len(files):
            log.warning("compiling here: the compiling process ended", compiled=done, files=len(files))
    yield from compile_here(files[done:], vocabulary)


def _in_process(files: Sequence[JourneyFile], vocabulary: Vocabulary) -> Iterator[Compiled]:
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.streams.rules.compiler"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as request:
            pickle.dump((vocabulary, list(files)), request)
        for _ in range(0, len(files), _AT_ONCE):
            yield from pickle.load(process.stdout)  # noqa: S301 - our own process wrote it
    finally:
        process.stdout.close()
        process.kill()
        process.wait(_STOP_S)


def main() -> None:
    """Compile what comes in."""
    os.nice(_NICE)
    vocabulary, files = pickle.load(sys.stdin.buffer)  # noqa: S301 - the worker that started us wrote it
    for first in range(0, len(files), _AT_ONCE):
        compiled = list(compile_here(files[first : first + _AT_ONCE], vocabulary))
        pickle.dump(compiled, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
