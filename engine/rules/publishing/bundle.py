"""A publication's journeys, compiled: only what has changed since the last one, a little at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from engine.errors import RuleError, RuleErrors
from engine.rules.checking.check import find_problems
from engine.rules.compile import compile_journey
from engine.rules.journey import Journey
from engine.rules.parsing.parse import read_journey
from engine.rules.publishing.compiled import Key, decode, key_of
from engine.rules.publishing.publication import Contents, JourneyFile
from engine.rules.scope import Vocabulary
from engine.rules.text.source import ErrorList

Problem = tuple[str, str, str, int, int, str]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a journey file.

    Args:
        journey: the journey, or None when something is wrong.
        problems: what, as the arguments of `RuleError`.
    """

    journey: Journey | None
    problems: tuple[Problem, ...] = ()


#: Compiles files in order.
Many = Callable[[Sequence[JourneyFile], Vocabulary], Iterable[Compiled]]


def compile_file(file: JourneyFile, vocabulary: Vocabulary) -> Compiled:
    """Compile one journey file, in the version it was published as."""
    errors = ErrorList(file.file)
    parsed = read_journey(file.file, file.text.encode(), errors)
    checked = find_problems(parsed, vocabulary, errors) if parsed is not None else None
    if checked is None or errors.errors:
        problems = [(e.code, e.message, e.file, e.line, e.column, e.hint) for e in errors.in_order()]
        return Compiled(None, tuple(problems))
    return Compiled(msgspec.structs.replace(compile_journey(checked, vocabulary), version=file.version))


def compile_here(files: Sequence[JourneyFile], vocabulary: Vocabulary) -> Iterator[Compiled]:
    """Compile in this thread, one file after the other."""
    for file in files:
        yield compile_file(file, vocabulary)


class BundleCompiler:
    """Compiles publications one after the other; what is in both is compiled once.

    Args:
        vocabulary: what journeys can talk about; the same for all of them.
        many: compiles what has not been compiled before.

    Attributes:
        dropped: older versions of the last publication that this engine can't run (any more).
        new_total: how many journeys were not in the publication before, so far.
        compiled_total: how many of them had to be compiled.
    """

    def __init__(self, vocabulary: Vocabulary, many: Many = compile_here) -> None:
        self._vocabulary = vocabulary
        self._many = many
        self._known: dict[Key, Journey] = {}
        self.dropped: list[JourneyFile] = []
        self.new_total = 0
        self.compiled_total = 0

    def run(
        self,
        contents: Contents,
        journeys: dict[tuple[str, int], Journey],
        share: float = 1.0,
        ready: Mapping[Key, msgspec.Raw] | None = None,
    ) -> Iterator[None]:
        """Compile, with a pause after each journey that was not in the publication before.

        Args:
            contents: the publication.
            journeys: filled, by name and version.
            share: share of the customers the publication is for; below 1 the versions before it count, too.
            ready: compiled forms that came with the publication (`compiled.unpack`).

        Raises:
            RuleErrors: a journey that takes entries is wrong; every problem of every one.
        """
        problems: list[RuleError] = []
        self.dropped = []
        known = {key: self._known[key] for file in contents.journeys if (key := key_of(file)) in self._known}
        self.new_total += len(contents.journeys) - len(known)
        fresh: list[JourneyFile] = []
        for file in contents.journeys:
            if (key := key_of(file)) in known:
                continue
            raw = (ready or {}).get(key)
            journey = decode(raw) if raw is not None else None
            if journey is None:
                fresh.append(file)
            else:
                known[key] = journey
                yield
        for file, compiled in zip(fresh, self._many(fresh, self._vocabulary), strict=True):
            self.compiled_total += 1
            if compiled.journey is not None:
                known[key_of(file)] = compiled.journey
            elif file.live or (file.before and share < 1):
                problems.extend(RuleError(*problem) for problem in compiled.problems)
            else:
                self.dropped.append(file)
            yield
        if problems:
            raise RuleErrors(problems)
        journeys.update({(name, version): journey for (name, version, _), journey in known.items()})
        self._known = known
