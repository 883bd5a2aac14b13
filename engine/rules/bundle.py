"""A publication's journeys, compiled: only what has changed since the last one, a little at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from engine.errors import RuleError, RuleErrors
from engine.rules.check import find_problems
from engine.rules.compile import compile_journey
from engine.rules.journey import Journey
from engine.rules.parse import read_journey
from engine.rules.publication import Contents, JourneyFile
from engine.rules.scope import Vocabulary
from engine.rules.source import ErrorList

Key = tuple[str, int, str]


class BundleCompiler:
    """Compiles publications one after the other; what is in both is compiled once.

    Args:
        vocabulary: what journeys can talk about; the same for all of them.

    Attributes:
        dropped: older versions of the last publication that this engine can't run (any more).
        compiled_total: how many journeys have been compiled so far.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[Key, Journey] = {}
        self.dropped: list[JourneyFile] = []
        self.compiled_total = 0

    def run(
        self, contents: Contents, journeys: dict[tuple[str, int], Journey], share: float = 1.0
    ) -> Iterator[None]:
        """Compile, with a pause after each journey that had to be compiled.

        Args:
            contents: the publication.
            journeys: filled, by name and version.
            share: share of the customers the publication is for; below 1 the versions before it count, too.

        Raises:
            RuleErrors: a journey that takes entries is wrong; every problem of every one.
        """
        problems: list[RuleError] = []
        self.dropped = []
        known: dict[Key, Journey] = {}
        for file in contents.journeys:
            key = (file.name, file.version, file.text)
            journey = self._known.get(key)
            if journey is None:
                enters = file.live or (file.before and share < 1)
                journey = self._compile(file, problems if enters else None)
                self.compiled_total += 1
                yield
            if journey is not None:
                known[key] = journeys[file.name, file.version] = journey
        if problems:
            raise RuleErrors(problems)
        self._known = known

    def _compile(self, file: JourneyFile, problems: list[RuleError] | None) -> Journey | None:
        """Compile one; if that can't be, None with its problems noted, or a note that it is gone."""
        errors = ErrorList(file.file)
        parsed = read_journey(file.file, file.text.encode(), errors)
        checked = find_problems(parsed, self._vocabulary, errors) if parsed is not None else None
        if checked is not None and not errors.errors:
            return dataclasses.replace(compile_journey(checked, self._vocabulary), version=file.version)
        if problems is not None:
            problems.extend(errors.in_order())
        else:
            self.dropped.append(file)
        return None
