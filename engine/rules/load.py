"""From files to a rule set: parse, check, compile; every error of every file at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import RuleError, RuleErrors
from engine.rules.checking.check import find_problems
from engine.rules.checking.lint import find_oddities
from engine.rules.checking.lint_files import Linted, find_oddities_between
from engine.rules.compile import compile_journey
from engine.rules.expressions.ranges import Range
from engine.rules.limits import MAX_FILES
from engine.rules.parsing.parse import read_journey
from engine.rules.parsing.parsed import ParsedJourney
from engine.rules.parsing.silence import unsilenced
from engine.rules.policy import Policy
from engine.rules.ruleset import RuleSet
from engine.rules.scope import Vocabulary
from engine.rules.spread import processes_for, spread
from engine.rules.templates import Template, read_templates
from engine.rules.text.source import ErrorList

_KINDS = {"number": "double", "bool": "bool", "code": "string"}
_SUFFIXES = (".yaml", ".yml")
_FIXTURES = (".test.yaml", ".test.yml")
_WORTH_A_PROCESS = 100
"""Files; checking so many takes longer than starting a process and taking over what it found."""


def vocabulary_of(
    kinds: Mapping[str, str],
    names: Sequence[str],
    segments: Sequence[str],
    texts: Iterable[str] = (),
    channels: Iterable[str] = (),
    templates: Mapping[str, Template] | None = None,
    ranges: Mapping[str, Range] | None = None,
    policy: Policy | None = None,
) -> Vocabulary:
    """Return what rules can talk about, from a feature space and segments.

    Args:
        kinds: `FeatureSpace.kinds`: name to `number`, `bool` or `code`.
        names: `FeatureSpace.names`: the matrix's columns in order.
        segments: `Segments.names`: the name of each code, empty for 0.
        texts: names of texts of the profile (`catalog.TEXTS`).
        channels: the deployment's channels; empty = any.
        templates: templates by name; none = any.
        ranges: feature name to its lowest and highest value, of those that are known.
        policy: the contact policy; by default one that allows everything.
    """
    features = {name: _KINDS[kind] for name, kind in kinds.items()}
    features.update(dict.fromkeys(texts, "string"))
    return Vocabulary(
        features=features,
        columns={name: column for column, name in enumerate(names)},
        segments={name: code for code, name in enumerate(segments) if name},
        channels=frozenset(channels),
        templates=templates or {},
        ranges=ranges or {},
        policy=policy or Policy(),
    )


def is_fixture_file(path: Path) -> bool:
    """Tell whether a file holds the fixtures of a journey (`NAME.test.yaml`) and no journey itself."""
    return path.name.endswith(_FIXTURES)


def journey_files(paths: Iterable[Path]) -> list[Path]:
    """Return the rule files: the paths given, and of folders every YAML file but fixtures, by name."""
    return [path for path in yaml_files(paths) if not is_fixture_file(path)]


def yaml_files(paths: Iterable[Path]) -> list[Path]:
    """Return the paths given, and of folders every YAML file in them, by name."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(
                sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
            )
        else:
            files.append(path)
    return files


def load_journeys(
    paths: Iterable[Path],
    vocabulary: Vocabulary,
    warnings: list[RuleError] | None = None,
    errors: Iterable[RuleError] = (),
    *,
    alone: bool = True,
) -> RuleSet:
    """Read, check and compile every journey.

    Args:
        paths: files and folders.
        vocabulary: features, segments, channels.
        warnings: takes the warnings of every file, in file order.
        errors: problems found before.
        alone: in this process only; False for a command that has no threads yet and may use every core.

    Raises:
        RuleErrors: with every error of every file, in file order.
    """
    found = list(errors)
    return compile_sources(read_sources(paths, found), vocabulary, found, warnings, alone=alone)


def load_templates(
    paths: Iterable[Path], channels: Iterable[str], errors: list[RuleError]
) -> dict[str, Template]:
    """Read every template file.

    Args:
        paths: files and folders.
        channels: the deployment's channels; empty = any.
        errors: takes every problem, in file order.
    """
    return read_templates(read_sources(paths, errors), channels, errors)


def read_sources(paths: Iterable[Path], errors: list[RuleError]) -> list[tuple[str, bytes]]:
    """Return the bytes of each YAML file of files and folders.

    Args:
        paths: files and folders.
        errors: takes what cannot be read.

    Raises:
        RuleErrors: there are more than `MAX_FILES`.
    """
    sources: list[tuple[str, bytes]] = []
    files = journey_files(paths)
    if len(files) > MAX_FILES:
        message = f"{len(files)} rule files, the limit is {MAX_FILES}"
        raise RuleErrors([RuleError("E0208", message, str(files[MAX_FILES]), 1, 1)])
    for file in files:
        try:
            sources.append((str(file), file.read_bytes()))
        except OSError as error:
            why = (error.strerror or "unreadable").lower()
            hint = "see who may read it: ls -l" if isinstance(error, PermissionError) else ""
            errors.append(RuleError("E0100", f"cannot read the file: {why}", str(file), 1, 1, hint))
    return sources


@dataclass(frozen=True, slots=True)
class _File:
    """One file as far as it could be read; `linted` is its journey when it has no errors of its own."""

    problems: ErrorList
    parsed: ParsedJourney | None
    linted: Linted | None


def compile_sources(
    sources: Sequence[tuple[str, bytes]],
    vocabulary: Vocabulary,
    errors: list[RuleError] | None = None,
    warnings: list[RuleError] | None = None,
    *,
    alone: bool = True,
) -> RuleSet:
    """Compile journeys given as (file name, bytes).

    Args:
        sources: in order.
        vocabulary: features, segments, channels.
        errors: problems found before.
        warnings: takes the warnings of every file that were not silenced, in file order.
        alone: as for `load_journeys`.

    Raises:
        RuleErrors: with every error of every file, in file order.
    """
    processes = 1 if alone else processes_for(len(sources), worth=_WORTH_A_PROCESS)
    files = spread(lambda source: _compile(*source, vocabulary), sources, processes)
    _find_twins(files)
    compiled = [each.linted for each in files if each.linted is not None and not each.problems.errors]
    find_oddities_between(compiled)
    found = list(errors or ())
    heard = [] if warnings is None else warnings
    for each in files:
        found.extend(each.problems.in_order())
        heard.extend(unsilenced(each.problems, each.parsed.silences if each.parsed else ()))
    if found:
        raise RuleErrors(found, heard)
    return RuleSet([each.journey for each in compiled], vocabulary)


def _compile(file: str, data: bytes, vocabulary: Vocabulary) -> _File:
    """Take one file through all stages: what it has read of expressions is still at hand then."""
    problems = ErrorList(file)
    parsed = read_journey(file, data, problems)
    checked = find_problems(parsed, vocabulary, problems) if parsed is not None else None
    if parsed is None or checked is None or problems.errors:
        return _File(problems, parsed, None)
    journey = compile_journey(checked, vocabulary)
    find_oddities(parsed, journey, vocabulary, problems)
    return _File(problems, parsed, Linted(parsed, journey, problems))


def _find_twins(files: Iterable[_File]) -> None:
    """Note files that give the same version of the same journey."""
    seen: dict[tuple[str, int], ParsedJourney] = {}
    for each in files:
        parsed = each.parsed
        if parsed is None or not parsed.name.value:
            continue
        name = parsed.name.value
        first = seen.setdefault((name, parsed.version), parsed)
        if first is not parsed:
            message = f"journey {name!r} version {parsed.version} exists already, in {first.source.file}"
            hint = "give it another name, or raise `version`"
            each.problems.add("E0213", message, parsed.name.place, hint)
