"""Golden files: what an author reads for each mistake in a fixture file, and for a case that fails.

`python -m tests.authoring.test_golden` writes them anew; look at the difference before committing it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from engine.authoring.fixtures_run import run_fixtures
from engine.authoring.fixtures_show import coverage_lines, plain_lines, summary, title
from engine.rules.render import render_errors
from engine.settings import RuleSettings, Settings
from engine.streams.bench import bench_of

FOLDER = Path(__file__).parent / "golden"
JOURNEY = FOLDER / "ask.yaml"
FILES = sorted(each for each in FOLDER.glob("*.yaml") if each != JOURNEY)
FIXTURES = Path("ask.test.yaml")


def rendered(file: Path) -> str:
    """Return what `engage rules test --coverage` says of a fixture file beside the journey `ask`."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copy(JOURNEY, "ask.yaml")
        shutil.copy(file, FIXTURES)
        settings = Settings(rules=RuleSettings(paths=["ask.yaml"]))
        report = run_fixtures([FIXTURES], bench_of(settings))
    text = file.read_text(encoding="utf-8")
    lines = [render_errors(report.errors, {str(FIXTURES): text})] if report.errors else []
    for result in report.results:
        if not result.passed:
            lines += [title(result), *plain_lines(result), ""]
    lines += [*coverage_lines(report.coverage), summary(report), ""]
    return "\n".join(lines)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_reads_as_before(file: Path) -> None:
    """A mistake, and a case that fails, is shown exactly as in its golden file."""
    assert rendered(file) == file.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "file", [each for each in FILES if each.stem.startswith("E")], ids=lambda file: file.stem
)
def test_the_named_code_is_reported(file: Path) -> None:
    """Each golden file shows the error code it is named after."""
    assert f": {file.stem.partition('_')[0]}: " in rendered(file)


if __name__ == "__main__":
    for path in FILES:
        path.with_suffix(".txt").write_text(rendered(path), encoding="utf-8")
