"""The cookbook: every journey is right, tried in all its parts, and says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.authoring.fixtures.run import Report, run_fixtures
from engine.commands.rules import load_rules, with_paths
from engine.errors import RuleError
from engine.resources import shipped
from engine.rules.format import format_text
from engine.rules.load import journey_files, yaml_files
from engine.settings import Settings
from engine.streams.bench import bench_of

FOLDER = shipped("cookbook")
RECIPES = journey_files([FOLDER])


@pytest.fixture(scope="module")
def report() -> Report:
    """Run all cases once."""
    return run_fixtures([FOLDER], bench_of(Settings()))


def test_the_cases_of_the_cookbook_pass(report: Report) -> None:
    """Every case beside a recipe comes out as it says, and each recipe has cases."""
    assert report.passed, [line for each in report.results if not each.passed for line in each.lines]
    assert not report.errors
    assert not report.without
    assert len(report.coverage) == len(RECIPES)


def test_every_step_way_exit_and_guard_is_tried(report: Report) -> None:
    """Nobody begins with a journey of which a part has never run."""
    untested = {(each.journey, part.kind, part.name) for each in report.coverage for part in each.untested}
    assert untested == set()


def test_the_cookbook_gives_no_warning() -> None:
    """All recipes together are valid, held to the shipped templates, without a warning."""
    warnings: list[RuleError] = []
    rules = load_rules(with_paths(Settings(), [FOLDER]), warnings)
    assert warnings == []
    assert {journey.name for journey in rules.journeys} == {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_for_whom_and_what_to_change(path: Path) -> None:
    """Each file begins with a comment on both, has a description, and none of the shipped journeys' names."""
    text = path.read_text("utf-8")
    comment, _ = text.split("journey:", 1)
    assert comment.startswith("# For ")
    assert "\n# Change: " in comment
    assert "\ndescription: " in text
    assert not (shipped("journeys") / path.name).exists()


@pytest.mark.parametrize(
    "path", yaml_files([FOLDER, shipped("templates") / "cookbook"]), ids=lambda path: path.name
)
def test_the_files_are_in_the_common_form(path: Path) -> None:
    """What one copies looks as `engage rules fmt` would leave it."""
    text = path.read_text("utf-8")
    assert format_text(text) == text
