"""Golden files: what an author reads for each mistake.

`python -m tests.rules.test_golden` writes them anew; look at the difference before committing it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import RuleErrors
from engine.rules.load import compile_sources
from engine.rules.render import render_errors
from tests.rules.driver import VOCABULARY

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.yaml"))
DOCS = Path(__file__).parents[2] / "docs" / "journeys.md"


def rendered(file: Path) -> str:
    """Return the rendered errors of a rule file."""
    data = file.read_bytes()
    try:
        compile_sources([(file.name, data)], VOCABULARY)
    except RuleErrors as error:
        return render_errors(error.errors, {file.name: data.decode("utf-8", "replace")})
    return "no error\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_errors_read_as_before(file: Path) -> None:
    """A mistake is shown with place, line, caret and hint exactly as in its golden file."""
    assert rendered(file) == file.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "file", [each for each in FILES if each.stem.startswith("E")], ids=lambda file: file.stem
)
def test_the_named_code_is_reported(file: Path) -> None:
    """Each golden file shows the error code it is named after."""
    assert file.stem.partition("_")[0] in rendered(file)


def test_every_code_is_documented() -> None:
    """Every error code of the source has a row in the docs, and no row is left over."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in (DOCS.parents[1] / "engine" / "rules").glob("*.py")
    )
    used = set(re.findall(r'"(E\d{4})"', source))
    documented = set(re.findall(r"^\| (E\d{4}) ", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert used == documented


if __name__ == "__main__":
    for path in FILES:
        path.with_suffix(".txt").write_text(rendered(path), encoding="utf-8")
