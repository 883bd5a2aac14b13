"""The catalogue of codes says what the checks do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import RuleError, RuleErrors
from engine.rules.codes import CODES, SECTIONS, Code
from engine.rules.codes.page import explain
from engine.rules.load import compile_sources
from tests.rules.driver import VOCABULARY

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "engine" / "rules" / "codes"
DEFAULTS = {
    "journey": "journey: example\n",
    "entry": "entry: {on: order.placed}\n",
    "guards": "guards: {consent: marketing}\n",
    "steps": "steps:\n  - send: email\n    template: hello\n",
}
WITH_EXAMPLE = [code for code in CODES.values() if code.wrong]


def used() -> set[str]:
    """Return every code the source can report."""
    files = [path for path in (ROOT / "engine").rglob("*.py") if CATALOGUE not in path.parents]
    return {code for path in files for code in re.findall(r'"([EW]\d{4})"', path.read_text("utf-8"))}


def whole(part: str) -> bytes:
    """Return a journey file of which an example shows the interesting keys."""
    present = set(re.findall(r"^(\w+):", part, re.MULTILINE))
    return "".join([*(text for key, text in DEFAULTS.items() if key not in present), part]).encode()


def reported(part: str) -> set[str]:
    """Return the codes reported for an example."""
    warnings: list[RuleError] = []
    try:
        compile_sources([("example.yaml", whole(part))], VOCABULARY, warnings=warnings)
    except RuleErrors as error:
        return {each.code for each in error.errors}
    return {each.code for each in warnings}


def test_every_code_of_the_source_is_catalogued_and_none_is_left_over() -> None:
    """Whoever reads a code finds it explained; no explanation outlives its code."""
    assert used() == set(CODES)


def test_every_code_has_a_golden_file() -> None:
    """What an author reads for each code stands in a file `golden/CODE_what.txt` and was looked at."""
    shown = {path.name[:5] for path in (ROOT / "tests").rglob("golden/*.txt")}
    assert sorted(set(CODES) - shown) == []


def test_codes_are_unique_and_in_order() -> None:
    """No code stands twice; each section lists its codes in rising order."""
    listed = [code.code for section in SECTIONS.values() for code in section]
    assert len(listed) == len(CODES)
    for section in SECTIONS.values():
        codes = [code.code for code in section]
        assert codes == sorted(codes)


@pytest.mark.parametrize("code", WITH_EXAMPLE, ids=lambda code: code.code)
def test_the_examples_are_true(code: Code) -> None:
    """The wrong example reports its code, the right one nothing."""
    assert code.code in reported(code.wrong)
    # Only the example of consent is about consent; the others are shorter without it.
    assert reported(code.right) <= ({"W0402"} - {code.code})


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_every_code_says_what_it_means_and_what_to_do(code: Code) -> None:
    """An explanation has a title, a meaning and a remedy in whole sentences, and both examples or none."""
    assert code.title == code.title.strip().rstrip(".")
    assert code.meaning.endswith(".")
    assert code.remedy.endswith(".")
    assert bool(code.wrong) == bool(code.right)
    assert code.title in explain(code)
