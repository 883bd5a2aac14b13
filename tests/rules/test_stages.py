"""Each stage of the rule language has its own type and its own errors."""

from __future__ import annotations

import pytest

from engine.errors import RuleErrors
from engine.rules.checked import CheckedJourney
from engine.rules.checking.check import check_journey
from engine.rules.compile import compile_journey
from engine.rules.journey import Journey, Jump, Send, WaitUntil
from engine.rules.parsing.parse import parse_journey
from engine.rules.parsing.parsed import ParsedJourney
from tests.rules.driver import VOCABULARY, rule_set
from tests.rules.journeys import ASK, SERVICE


def test_stages_follow_each_other() -> None:
    """Text is parsed, then checked, then compiled; the outcome is what loading in one go gives."""
    parsed = parse_journey("ask.yaml", ASK.encode())
    assert isinstance(parsed, ParsedJourney)
    checked = check_journey(parsed, VOCABULARY)
    assert isinstance(checked, CheckedJourney)
    journey = compile_journey(checked, VOCABULARY)
    assert isinstance(journey, Journey)
    at_once = rule_set(ASK).journeys[0]
    assert [type(step) for step in journey.program] == [type(step) for step in at_once.program]


def test_each_stage_reports_its_own_errors() -> None:
    """Parsing knows nothing of events and features; checking does."""
    text = ASK.replace("order.delivered", "order.unheard")
    parsed = parse_journey("ask.yaml", text.encode())
    with pytest.raises(RuleErrors) as caught:
        check_journey(parsed, VOCABULARY)
    assert [error.code for error in caught.value.errors] == ["E0211"]
    with pytest.raises(RuleErrors) as caught:
        parse_journey("ask.yaml", b"journey: a\n")
    assert [error.code for error in caught.value.errors] == ["E0202", "E0202"]


def test_branches_are_laid_out_flat() -> None:
    """`then` and `otherwise` lie one behind the other and lead to what follows; paths name the steps."""
    program = rule_set(ASK).journeys[0].program
    survey, wait, thanks, jump, reminder, after = program
    assert isinstance(wait, WaitUntil)
    assert (wait.then_pc, wait.otherwise_pc) == (2, 4)
    assert jump == Jump(5)
    sends = [step for step in (survey, thanks, reminder, after) if isinstance(step, Send)]
    assert [step.path for step in sends] == [
        "steps[0]",
        "steps[1].then[0]",
        "steps[1].otherwise[0]",
        "steps[2]",
    ]


def test_only_needed_fields_of_the_entry_event_are_kept() -> None:
    """A position keeps just those fields of the entry event that a step or exit asks for."""
    assert rule_set(SERVICE).journeys[0].correlation == ("inquiry_id",)
    assert rule_set(ASK).journeys[0].correlation == ()


def test_a_compiled_journey_knows_its_lines() -> None:
    """Every step a decision can name, and the entry, is found by its line in the file."""
    journey = rule_set(ASK).journeys[0]
    lines = ASK.splitlines()
    assert "entry" in lines[journey.lines["entry"] - 1]
    for step in journey.program:
        if isinstance(step, Send):
            assert step.template in lines[journey.lines[step.path] - 1]
    assert set(journey.lines) == {"entry"} | {
        step.path for step in journey.program if not isinstance(step, Jump)
    }
