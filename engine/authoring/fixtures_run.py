"""Runs fixture files: finds them and their journeys, runs every case, judges it, and gathers coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.authoring.arms import IdFinder
from engine.authoring.coverage import Coverage, coverage
from engine.authoring.fixtures import Case, FixtureFile
from engine.authoring.fixtures_compare import Line, compare
from engine.authoring.fixtures_parse import Known, read_fixtures
from engine.authoring.simulation import Record, Simulation, TooLong
from engine.errors import RuleError, RuleErrors
from engine.pipeline.core import Pipeline
from engine.rules.journey import Journey, Send
from engine.rules.load import compile_sources, is_fixture_file, journey_files, yaml_files
from engine.rules.scope import Vocabulary
from engine.rules.source import ErrorList, nearest

FAULTS = ("missing", "unexpected", "different")


@dataclass(frozen=True, slots=True)
class Bench:
    """What fixtures are run with.

    Args:
        vocabulary: what journeys are checked against.
        known: what fixtures can name.
        pipeline: builds the pipeline over some journeys.
        shared: files and folders that hold journeys `with` may name, besides the folder of the fixtures.
    """

    vocabulary: Vocabulary
    known: Known
    pipeline: Callable[[Sequence[Journey]], Pipeline]
    shared: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case.

    Args:
        file: the fixture file.
        journey: the journey under test.
        case: the case.
        lines: the timeline.
        problem: why the case could not be run to its end, or empty.
    """

    file: str
    journey: str
    case: Case
    lines: tuple[Line, ...]
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything came as expected."""
        return not self.problem and not any(line.verdict in FAULTS for line in self.lines)


@dataclass(slots=True)
class Report:
    """What became of all cases.

    Args:
        results: of each case, in order.
        coverage: of each journey that has fixtures.
        errors: what is wrong with fixture files and journeys.
        without: journey files that have no fixtures.
    """

    results: list[CaseResult] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    errors: list[RuleError] = field(default_factory=list)
    without: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; also when there was nothing to run."""
        return not self.errors and all(result.passed for result in self.results)


def run_fixtures(paths: Iterable[Path], bench: Bench) -> Report:
    """Run the fixtures of files and folders.

    Args:
        paths: journeys, fixture files, and folders of both.
        bench: what to run them with.
    """
    report = Report()
    files, report.without = fixture_files(paths)
    for file in files:
        _run_file(file, bench, report)
    return report


def fixture_files(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the fixture files of paths in order, and the journeys among the paths that have none."""
    found: dict[Path, None] = {}
    without: list[str] = []
    for path in yaml_files(paths):
        if is_fixture_file(path):
            found[path] = None
            continue
        beside = [path.with_name(f"{path.stem}.test{suffix}") for suffix in (".yaml", ".yml")]
        there = [each for each in beside if each.is_file()]
        found.update(dict.fromkeys(there))
        if not there:
            without.append(str(path))
    return list(found), without


def journey_file(fixtures: Path) -> Path:
    """Return the journey's file beside its fixtures."""
    stem = fixtures.name.removesuffix(fixtures.suffix).removesuffix(".test")
    first, second = (fixtures.with_name(stem + suffix) for suffix in (".yaml", ".yml"))
    return second if second.is_file() and not first.is_file() else first


def _run_file(path: Path, bench: Bench, report: Report) -> None:
    errors = ErrorList(str(path))
    fixtures = _read(path, bench, errors)
    journeys: list[Journey] = []
    if fixtures is not None:
        try:
            journeys = _journeys_under_test(path, fixtures, bench, errors)
        except RuleErrors as error:
            report.errors.extend(error.errors)
    if fixtures is None or errors.errors or not journeys:
        report.errors.extend(errors.in_order())
        return
    runs = _FileRuns(path, fixtures, journeys, bench, errors)
    results = runs.results()
    report.errors.extend(errors.in_order())
    if not errors.errors:
        report.results.extend(results)
        report.coverage.append(coverage(journeys[0], runs.records))


def _read(path: Path, bench: Bench, errors: ErrorList) -> FixtureFile | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        errors.errors.append(RuleError("E0100", f"cannot read the file: {why}", str(path), 1, 1))
        return None
    return read_fixtures(str(path), data, errors, bench.known)


def _journeys_under_test(path: Path, fixtures: FixtureFile, bench: Bench, errors: ErrorList) -> list[Journey]:
    """Compile the journey beside the fixtures.

    Raises:
        RuleErrors: there is something wrong with it.
    """
    file = journey_file(path)
    try:
        data = file.read_bytes()
    except OSError:
        said = f"there is no journey beside these fixtures: {file.name} is missing"
        errors.add("E0513", said, fixtures.place, "fixtures of NAME.yaml are in NAME.test.yaml")
        return []
    journeys = list(compile_sources([(str(file), data)], bench.vocabulary).journeys)
    if journeys and journeys[0].name != fixtures.journey:
        said = f"{file.name} holds the journey {journeys[0].name!r}, not {fixtures.journey!r}"
        errors.add("E0513", said, fixtures.place)
    return journeys


class _FileRuns:
    """Runs the cases of one file."""

    def __init__(
        self, path: Path, fixtures: FixtureFile, journeys: list[Journey], bench: Bench, errors: ErrorList
    ) -> None:
        self._path = path
        self._fixtures = fixtures
        self._journeys = journeys
        self._bench = bench
        self._errors = errors
        self._others: dict[str, Journey] | None = None
        self.records: list[Record] = []

    def results(self) -> list[CaseResult]:
        """Run every case and judge it; those among the same journeys run side by side."""
        by_journeys: dict[tuple[str, ...], list[Case]] = {}
        for case in self._fixtures.cases:
            by_journeys.setdefault(tuple(sorted(case.others)), []).append(case)
        found = {
            result.case.name: result for cases in by_journeys.values() for result in self._results(cases)
        }
        return [found[case.name] for case in self._fixtures.cases]

    def _results(self, cases: Sequence[Case]) -> Iterator[CaseResult]:
        simulation, journeys = self._simulation(cases[0])
        finder = IdFinder(journeys, simulation.settings)
        ids = [finder.ids(case, self._errors) for case in cases]
        templates, name = templates_of(journeys), self._fixtures.journey
        records = simulation.run(list(zip(cases, ids, strict=True)))
        for case, record, names in zip(cases, records, ids, strict=True):
            if isinstance(record, TooLong):
                yield CaseResult(self._fixtures.file, name, case, (), str(record))
                continue
            self.records.append(record)
            lines = compare(case, record, names, templates)
            yield CaseResult(self._fixtures.file, name, case, tuple(lines))

    def _simulation(self, case: Case) -> tuple[Simulation, list[Journey]]:
        names = sorted(set(case.others) - {self._fixtures.journey})
        others = [self._other(name, case) for name in names]
        journeys = [*self._journeys, *(each for each in others if each is not None)]
        return Simulation(self._bench.pipeline(journeys)), journeys

    def _other(self, name: str, case: Case) -> Journey | None:
        if self._others is None:
            self._others = self._load_others()
        if name not in self._others:
            hint = nearest(name, self._others) or "journeys: " + ", ".join(sorted(self._others))[:200]
            self._errors.add("E0514", f"there is no valid journey {name!r} for `with`", case.place, hint)
        return self._others.get(name)

    def _load_others(self) -> dict[str, Journey]:
        """Compile the journeys of the folder, then those of the deployment; the broken are left out."""
        found: dict[str, Journey] = {}
        for file in journey_files([self._path.parent, *self._bench.shared]):
            try:
                rules = compile_sources([(str(file), file.read_bytes())], self._bench.vocabulary)
            except (RuleErrors, OSError):
                continue
            for journey in rules.journeys:
                found.setdefault(journey.name, journey)
        return found


def templates_of(journeys: Iterable[Journey]) -> dict[tuple[str, str], str]:
    """Return the template of each sending step: (journey, step's path) to template."""
    return {
        (journey.name, step.path): step.template
        for journey in journeys
        for step in journey.program
        if isinstance(step, Send)
    }
