"""Golden files: what an author reads for each mistake.

`CODE_what.yaml` is a rule file, a folder `CODE_what/` several that are checked together; `CODE_what.txt` is
what an author reads then. `python -m tests.rules.test_golden` writes the texts anew; look at the difference
before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import RuleError, RuleErrors
from engine.features.definitions import load_definitions
from engine.rules.limits import MAX_FILE_BYTES
from engine.rules.load import compile_sources, load_journeys
from engine.rules.policy_file import load_policy
from engine.rules.scope import Vocabulary
from engine.rules.templates import read_templates
from engine.rules.text.render import render_errors
from tests.rules.driver import VOCABULARY

FOLDER = Path(__file__).parent / "golden"


def journeys(sources: list[tuple[str, bytes]], vocabulary: Vocabulary = VOCABULARY) -> list[RuleError]:
    """Return what is wrong with journey files checked together."""
    warnings: list[RuleError] = []
    try:
        compile_sources(sources, vocabulary, warnings=warnings)
    except RuleErrors as error:
        return [*error.errors, *error.warnings]
    return warnings


def with_templates(sources: list[tuple[str, bytes]]) -> list[RuleError]:
    """Return what is wrong with templates (`*.template.yaml`) and journeys that use them."""
    own = [source for source in sources if source[0].endswith(".template.yaml")]
    errors: list[RuleError] = []
    vocabulary = replace(VOCABULARY, templates=read_templates(own, VOCABULARY.channels, errors))
    return errors + journeys([source for source in sources if source not in own], vocabulary)


def definitions(sources: list[tuple[str, bytes]]) -> list[RuleError]:
    """Return what is wrong with a segments file."""
    ((file, data),) = sources
    try:
        load_definitions(data.decode(), file)
    except RuleErrors as error:
        return error.errors
    return []


def policy(sources: list[tuple[str, bytes]]) -> list[RuleError]:
    """Return what is wrong with a policy file."""
    ((file, data),) = sources
    try:
        load_policy(file, data, VOCABULARY)
    except RuleErrors as error:
        return error.errors
    return []


def missing() -> list[RuleError]:
    """Return what is said of a file that is not there."""
    try:
        load_journeys([Path("no-such-file.yaml")], VOCABULARY)
    except RuleErrors as error:
        return error.errors
    return []


# Which of the language's files a golden file is, by the first letters of its name; else a journey.
READERS: dict[str, Callable[[list[tuple[str, bytes]]], list[RuleError]]] = {
    "E028": with_templates,
    "temp": with_templates,
    "E080": definitions,
    "E0263": policy,
    "poli": policy,
}
# What cannot be shown by a file of the repository.
MADE: dict[str, Callable[[], list[RuleError]]] = {
    "E0100_missing": missing,
    "E0102_too_large": lambda: journeys([("big.yaml", b"x" * (MAX_FILE_BYTES + 1))]),
    "E0801_too_large": lambda: definitions([("segments.yaml", b"x" * MAX_FILE_BYTES)]),
}


def rendered(name: str) -> str:
    """Return the errors of a golden file or folder as an author reads them."""
    if name in MADE:
        return render_errors(MADE[name](), {})
    path = FOLDER / name
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path.with_suffix(".yaml")]
    sources = [(file.name, file.read_bytes()) for file in files]
    found = READERS.get(name[:4], READERS.get(name[:5], journeys))(sources)
    texts = {file: data.decode("utf-8", "replace") for file, data in sources}
    return render_errors(found, texts) if found else "no error\n"


NAMES = sorted({*MADE, *(path.stem for path in FOLDER.iterdir() if path.suffix == ".yaml" or path.is_dir())})


def text_of(name: str) -> Path:
    """Return where the golden text of a name is."""
    return FOLDER / f"{name}.txt"


@pytest.mark.parametrize("name", NAMES)
def test_errors_read_as_before(name: str) -> None:
    """A mistake is shown with place, line, caret and hint exactly as in its golden file."""
    assert rendered(name) == text_of(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [each for each in NAMES if each[0] in "EW" and each[1:5].isdigit()])
def test_the_named_code_is_reported(name: str) -> None:
    """Each golden file shows the code it is named after."""
    assert f": {name.partition('_')[0]}: " in rendered(name)


if __name__ == "__main__":
    for each in NAMES:
        text_of(each).write_text(rendered(each), encoding="utf-8")
