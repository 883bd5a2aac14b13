"""Templates: their files, and the `send` steps held to them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import RuleError
from engine.features.catalog import TEXTS
from engine.resources import shipped
from engine.rules.load import compile_sources, journey_files, load_templates, vocabulary_of
from engine.rules.templates import read_templates
from engine.settings import RuleSettings, Settings, TemplateSettings
from engine.streams.files import templates_of
from tests.rules.driver import CHANNELS, SEGMENTS, SPACE

DOCS = Path(__file__).parents[2] / "docs" / "templates.md"


def test_the_shipped_templates_have_both_languages() -> None:
    """Every shipped template is right, says what each field means, and speaks English and Chinese."""
    errors: list[RuleError] = []
    found = load_templates([shipped("templates")], CHANNELS, errors)
    assert not errors
    for template in found.values():
        assert set(template.texts) == {"en", "zh"}, template.name
        assert template.description
        assert all(field.meaning for field in template.fields.values())


def test_every_required_field_of_a_message_is_in_every_language() -> None:
    """A shipped message that asks for a value shows it in each of its languages."""
    errors: list[RuleError] = []
    for template in load_templates([shipped("templates")], CHANNELS, errors).values():
        for parts in template.texts.values():
            shown = set(re.findall(r"\{(\w+)\}", " ".join(parts.values())))
            needed = {name for name, field in template.fields.items() if field.required}
            assert needed <= shown, template.name


def test_the_shipped_journeys_keep_to_their_templates() -> None:
    """No shipped journey or recipe names an unknown template or gives a wrong value; none is left over."""
    errors: list[RuleError] = []
    templates = load_templates([shipped("templates")], CHANNELS, errors)
    vocabulary = vocabulary_of(SPACE.kinds, SPACE.names, SEGMENTS, TEXTS, CHANNELS, templates=templates)
    files = journey_files([shipped("journeys"), shipped("cookbook")])
    found = compile_sources([(path.name, path.read_bytes()) for path in files], vocabulary, errors)
    used = {getattr(step, "template", "") for journey in found.journeys for step in journey.program}
    assert used - {""} == set(templates)


def test_the_example_of_the_docs_is_valid() -> None:
    """The template shown in docs/templates.md passes the check."""
    blocks = re.findall(r"```yaml\n(template:.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    errors: list[RuleError] = []
    found = read_templates([("docs.yaml", block.encode()) for block in blocks], CHANNELS, errors)
    assert (list(found), errors) == (["winback-survey"], [])


@pytest.mark.parametrize(
    ("path", "journeys", "known"),
    [("", [], True), ("", ["mine"], False), (str(shipped("templates")), ["mine"], True)],
)
def test_journeys_of_ones_own_need_templates_of_ones_own(path: str, journeys: list[str], known: bool) -> None:
    """The shipped templates hold for the shipped journeys; others are checked when a path is set."""
    settings = Settings(rules=RuleSettings(paths=journeys), templates=TemplateSettings(path=path))
    errors: list[RuleError] = []
    assert bool(templates_of(settings, errors)) == known
    assert errors == []
