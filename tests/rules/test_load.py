"""From files to a rule set."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import RuleErrors
from engine.rules.limits import MAX_ERRORS_PER_FILE
from engine.rules.load import compile_sources, journey_files, load_journeys
from engine.rules.text.render import render_errors
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, VOCABULARY, Driver, rule_set
from tests.rules.journeys import ABSENT, TRIGGER

SHIPPED = Path(__file__).parents[2] / "deploy" / "journeys"


def test_every_file_of_a_folder_is_read(tmp_path: Path) -> None:
    """Folders are read with all below them, by name; other files are left alone."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_text(TRIGGER)
    (tmp_path / "b.yml").write_text(ABSENT)
    (tmp_path / "notes.txt").write_text("not a rule")
    found = load_journeys([tmp_path], VOCABULARY)
    assert [each.name for each in found.journeys] == ["absent", "trigger"]


def test_errors_of_all_files_come_together(tmp_path: Path) -> None:
    """A broken file, a missing one and a doubled journey are all reported in one go."""
    (tmp_path / "a.yaml").write_text(TRIGGER)
    (tmp_path / "b.yaml").write_text(TRIGGER)
    (tmp_path / "c.yaml").write_text("journey: c\nentry: {on: x}\nsteps: [exit]\n")
    with pytest.raises(RuleErrors) as caught:
        load_journeys([tmp_path, tmp_path / "gone.yaml"], VOCABULARY)
    assert sorted(error.code for error in caught.value.errors) == ["E0100", "E0211", "E0213"]


def test_a_file_nobody_may_read_is_told_with_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder the one file without the right to read it is named, and how to see who has it."""
    (tmp_path / "a.yaml").write_text(TRIGGER)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RuleErrors) as caught:
        load_journeys([tmp_path], VOCABULARY)
    (error,) = caught.value.errors
    assert (error.code, error.message) == ("E0100", "cannot read the file: permission denied")
    assert error.hint == "see who may read it: ls -l"


def test_too_large_a_file_is_named() -> None:
    """A file over the limit is refused by its size alone."""
    with pytest.raises(RuleErrors) as caught:
        compile_sources([("big.yaml", b"x" * (1024 * 1024 + 1))], VOCABULARY)
    text = render_errors(caught.value.errors, {})
    assert text == "big.yaml:1:1: E0102: the file has 1048577 bytes, the limit is 1048576\n"


def test_errors_of_a_long_line_keep_the_caret_in_sight() -> None:
    """A long source line is cut around the place of the error."""
    text = TRIGGER.replace("reentry: always", f'where: event.coupon == "{"x" * 400}" && event.oops == 1')
    with pytest.raises(RuleErrors) as caught:
        compile_sources([("long.yaml", text.encode())], VOCABULARY)
    lines = render_errors(caught.value.errors, {"long.yaml": text}).splitlines()
    caret = lines[2].index("^")
    assert lines[1][caret:].startswith("event.oops")
    assert max(map(len, lines)) < 200


def shipped() -> Driver:
    """Return a customer under the shipped journeys."""
    texts = [path.read_text(encoding="utf-8") for path in journey_files([SHIPPED])]
    return Driver(rule_set(*texts), customer_id="c1")


def test_the_shipped_welcome() -> None:
    """A new customer who consents gets coupon, guide and invitation; after the first order nothing more."""
    driver = shipped()
    driver.send("customer.signed_up", NOON)
    driver.send("consent.granted", NOON + 1000, purpose="marketing")
    driver.until(NOON + 30 * DAY)
    assert driver.templates() == ["welcome-coupon", "welcome-guide", "welcome-community"]
    buyer = shipped()
    buyer.send("customer.signed_up", NOON)
    buyer.send("consent.granted", NOON + 1000, purpose="marketing")
    buyer.send("order.placed", NOON + 2 * DAY, amount=10.0)
    buyer.until(NOON + 30 * DAY)
    assert buyer.templates() == ["welcome-coupon"]


def test_the_shipped_win_back() -> None:
    """A lapsing buyer is asked, offered, then called; a purchase ends it, a low risk does not begin it."""
    for risk, order_day, expected in (
        (0.71, 0, ["winback-survey", "winback-big-coupon", "winback-call"]),
        (0.71, 95, ["winback-survey"]),
        (0.2, 0, []),
    ):
        driver = shipped()
        driver.columns = {"churn_risk": risk}
        driver.send("consent.granted", NOON, purpose="marketing")
        driver.send("order.placed", NOON + HOUR, amount=50.0)
        if order_day:
            driver.send("order.placed", NOON + order_day * DAY, amount=50.0)
        driver.until(NOON + 150 * DAY)
        assert driver.templates() == expected
    assert shipped().rules.min_delay_ms == MINUTE


def test_the_shipped_escalation_speaks_two_languages() -> None:
    """Complaint words in English and Chinese escalate at once; a calm inquiry after five minutes."""
    for text, wait in (("I want a REFUND", 0), ("我要投诉", 0), ("where is my parcel?", 5 * MINUTE)):
        driver = shipped()
        driver.send("inquiry.opened", NOON, text=text)
        driver.until(NOON + DAY)
        assert [each.time for each in driver.actions] == [NOON + wait]
        assert driver.actions[0].priority == "high"


def test_beyond_the_bound_errors_still_count() -> None:
    """After a hundred errors none is added, but what is wrong further down is still not taken as right."""
    row = "        - [nobody, soon, BACK50]\n"
    text = (
        "journey: many\nentry: {on: order.placed}\nsteps:\n"
        "  - send: email\n    template: offer\n    table:\n"
        "      on: [customer.segment, customer.churn_risk]\n      give: [coupon]\n      rows:\n"
        f"{row * 60}"
        "  - send: email\n    template: offer\n    table:\n"
        "      on: [customer.nonsense]\n      give: [coupon]\n      rows: [[any, BACK10]]\n"
    )
    with pytest.raises(RuleErrors) as caught:
        rule_set(text)
    assert len(caught.value.errors) == MAX_ERRORS_PER_FILE
