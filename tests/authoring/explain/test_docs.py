"""What docs/explain.md shows is what is said; made by `python -m tests.authoring.explain.test_docs`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from engine.authoring.explain.checks import Person
from engine.authoring.explain.explanation import Period, explain, trace
from engine.authoring.explain.text import Line, Look, explanation_lines, origin_lines
from engine.rules.context import MachineSettings
from engine.rules.load import compile_sources
from tests.authoring.explain.test_explain import person
from tests.rules.driver import DAY, HOUR, VOCABULARY, Driver

DOCS = Path(__file__).parents[3] / "docs" / "explain.md"
BEGIN = int(datetime(2026, 11, 20, 9, 30, tzinfo=UTC).timestamp() * 1000)
RULE = """\
journey: big-order
entry:
  on: order.placed
  where: event.amount > 100
  when: customer.orders_lifetime >= 2
  reentry: after 30d
exit:
  - on: order.cancelled
guards:
  consent: marketing
  cap: [1 per 7d]
steps:
  - send: email
    template: thanks
  - wait_until: {on: message.responded, timeout: 7d}
    otherwise:
      - {send: email, template: reminder}
"""


def shown() -> list[str]:
    """Return the two outputs of the page: three orders, and the message of the second."""
    rules = compile_sources([("journeys/big-order.yaml", RULE.encode())], VOCABULARY)
    settings = MachineSettings(not_matched_sample=1.0)
    driver = Driver(rules, settings, "c1042")
    driver.send("consent.granted", BEGIN - DAY, purpose="marketing")
    for number, (after_h, amount) in enumerate(((0, 50.0), (2, 120.0), (20, 130.0)), 1):
        driver.columns["orders_lifetime"] = number
        driver.send("order.placed", BEGIN + after_h * HOUR, amount=amount, id=f"o-{number}")
    profile = driver.state.profile
    who = Person("c1042", profile, person(profile, orders_lifetime=3.0).values, BEGIN + DAY)
    period = Period(BEGIN - 29 * DAY, BEGIN - 9 * DAY)
    whole = explain(rules, settings, who, driver.decisions, period, ["big-order"])
    fired = next(each for each in driver.decisions if each.action_id)
    origin = trace(fired, driver.decisions, rules)
    return [_text(explanation_lines(whole, Look(alone=True))), _text(origin_lines(origin))]


def _text(lines: list[Line]) -> str:
    return "\n".join(text for text, _ in lines)


def test_the_page_shows_what_the_command_says() -> None:
    """The examples of the page are made by the code; they change only together."""
    assert re.findall(r"```text\n(.*?)\n```", DOCS.read_text("utf-8"), re.DOTALL) == shown()


if __name__ == "__main__":
    outputs = iter(shown())
    written = DOCS.read_text("utf-8")
    DOCS.write_text(
        re.sub(r"```text\n.*?\n```", lambda _: f"```text\n{next(outputs)}\n```", written, flags=re.DOTALL),
        "utf-8",
    )
