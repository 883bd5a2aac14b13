"""`engage explain` after a worker has run on a real broker and Valkey: why she got it, and why he did not."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.streams.local.stack import ValkeyServer
from tests.authoring.explain.test_docs import RULE
from tests.faults.harness import Deployment

FAMILIES = ("click", "order", "service", "profile", "engagement")
_TIMEOUT_S = 60.0


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def deployment(request: pytest.FixtureRequest, valkey: ValkeyServer, tmp_path: Path) -> Iterator[Deployment]:
    """Provide topics, a rule file and a running worker."""
    server = request.getfixturevalue("apache_kafka" if request.param == "apache" else "embedded_broker")
    name = f"ex{uuid.uuid4().hex[:8]}"
    rules = tmp_path / "big-order.yaml"
    rules.write_text(RULE, "utf-8")
    config = tmp_path / "engage.toml"
    config.write_text(
        f'rules.paths = ["{rules}"]\ntopics.partitions = 2\ndecisions.not_matched_sample = 1.0\n', "utf-8"
    )
    topics = {f"ENGAGE_TOPICS_{family.upper()}": f"{name}.{family}" for family in (*FAMILIES, "rules")}
    made = Deployment(name, server.bootstrap, valkey.url, tmp_path, {**topics, "ENGAGE_CONFIG": str(config)})
    run(made, "topics", "create")
    with made.worker():
        yield made


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something is so; it must be within a minute."""
    ends_s = time.monotonic() + _TIMEOUT_S
    while not done():
        assert time.monotonic() < ends_s, "the worker took too long"
        time.sleep(0.2)


def decisions(deployment: Deployment, customer: str) -> list[dict[str, Any]]:
    """Return a customer's decisions as they stand on the topic."""
    text = run(
        deployment, "tail", "decisions", "--from-start", "--no-follow", "--json", "--customer", customer
    )
    return [json.loads(line) for line in text.splitlines()]


def consent(deployment: Deployment, customer: str) -> None:
    """Consent to marketing, and wait for it: an order on another topic may come sooner."""
    run(deployment, "send", "consent.granted", "-c", customer, "-f", "purpose=marketing")
    wait_for(lambda: '"marketing"' in invoke(deployment, ("customer", "show", customer, "--json")).output)


def order(deployment: Deployment, customer: str, number: int, amount: float) -> None:
    """Place an order."""
    fields = ("-f", f"order_id={customer}-{number}", "-f", f"amount={amount}")
    run(deployment, "send", "order.placed", "-c", customer, *fields)


def test_why_she_got_it_and_what_is_missing_now(deployment: Deployment) -> None:
    """Every instant with its values, the wait and its ends, contacts, what is missing; a message traced."""
    consent(deployment, "ann")
    for number, (amount, count) in enumerate(((50, 1), (120, 3), (130, 4))):
        order(deployment, "ann", number, amount)
        wait_for(lambda: len(decisions(deployment, "ann")) >= count)  # noqa: B023 - called at once
    explained = json.loads(run(deployment, "explain", "ann", "--json"))
    assert explained["customer_id"] == "ann"
    assert 0 < explained["reaches_ms"] <= explained["now_ms"]
    (journey,) = explained["journeys"]
    first, entered, fired, again = journey["considered"][:4]
    assert (first["outcome"], first["guard"]) == ("not_matched", "where")
    assert first["parts"] == [{"text": "amount is 50, must be > 100", "holds": False}]
    assert (entered["outcome"], entered["line"]) == ("entered", 3)
    assert [part["holds"] for part in entered["parts"]] == [True, True]
    assert entered["parts"][1]["text"] == "orders in total is 2 (>= 2)"
    assert (fired["outcome"], fired["line"]) == ("fired", 13)
    assert (again["outcome"], again["guard"]) == ("not_matched", "reentry")
    (standing,) = journey["standing"]
    assert (standing["step"], standing["line"]) == ("steps[1]", 15)
    assert any(end.startswith("message responded: goes on with `then`") for end in standing["ends"])
    assert "order cancelled: leaves the journey" in standing["ends"]
    assert (journey["contacts"][0]["count"], journey["contacts"][0]["cap"]) == (1, 1)
    assert "an event: order placed where `event.amount > 100`" in journey["missing"]
    assert any("the run must end first" in text for text in journey["missing"])
    assert any("the cap is 1" in text for text in journey["missing"])
    assert len(explained["risk"]["contributions"]) == 7
    for words in (("explain", "ann"), ("customer", "show", "ann")):
        assert "lowers it" in (text := run(deployment, *words))
        assert "time since the last order: 0 days" in text
    text = run(deployment, "explain", "ann", "big-order")
    assert "churn risk 0" not in text, "asked for one journey, it tells of that alone"
    assert "✗ amount is 50, must be > 100" in text
    assert "contacts by this journey in 7 days: 1 of 1; the next from" in text
    origin = json.loads(run(deployment, "explain", "--action", fired["action_id"], "--json"))
    assert (origin["template"], origin["step_line"], origin["entry_line"]) == ("thanks", 13, 3)
    assert origin["event_id"] == fired["event_id"]
    assert [each["outcome"] for each in origin["run"]][:2] == ["entered", "fired"]
    assert "big-order.yaml:13" in run(deployment, "explain", "--action", fired["action_id"])


def test_nothing_of_an_erased_customer_is_shown(deployment: Deployment) -> None:
    """After an erasure the log may still hold decisions: neither they nor a message's origin are shown."""
    consent(deployment, "bob")
    order(deployment, "bob", 1, 500)
    order(deployment, "bob", 2, 500)
    wait_for(lambda: any(each["outcome"] == "fired" for each in decisions(deployment, "bob")))
    fired = next(each for each in decisions(deployment, "bob") if each["outcome"] == "fired")
    run(deployment, "send", "erasure.requested", "-c", "bob")
    wait_for(lambda: fails(deployment, "explain", "bob") != "")
    assert "no customer 'bob'" in fails(deployment, "explain", "bob")
    assert "nothing is shown" in fails(deployment, "explain", "--action", fired["action_id"])
    order(deployment, "bob", 3, 1)  # comes back, and is somebody new
    wait_for(lambda: fails(deployment, "explain", "bob") == "")
    (journey,) = json.loads(run(deployment, "explain", "bob", "--json"))["journeys"]
    assert all(each["time"] > fired["time"] for each in journey["considered"])
    assert "nothing is shown" in fails(deployment, "explain", "--action", fired["action_id"])


def test_what_is_not_there_is_said_with_the_nearest_name(deployment: Deployment) -> None:
    """An unknown customer, journey or message is an error that names one like it."""
    order(deployment, "customer-1", 1, 50)
    wait_for(lambda: bool(decisions(deployment, "customer-1")))
    assert "did you mean customer-1?" in fails(deployment, "explain", "customer-2")
    assert "did you mean big-order?" in fails(deployment, "explain", "customer-1", "big-oder")
    assert "no message 'abc'" in fails(deployment, "explain", "--action", "abc")
    assert "name a customer" in fails(deployment, "explain")
    assert "--since '1x'" in fails(deployment, "explain", "customer-1", "--since", "1x")


def invoke(deployment: Deployment, words: tuple[str, ...]) -> Result:
    """Run a command in this process: many of them in a process each would take their time."""
    return CliRunner().invoke(app, words, env={**dict.fromkeys(os.environ), **deployment.environment})


def run(deployment: Deployment, *words: str) -> str:
    """Run a command that succeeds and return what it prints."""
    result = invoke(deployment, words)
    assert result.exit_code == 0, result.output
    return result.output


def fails(deployment: Deployment, *words: str) -> str:
    """Run a command and return its complaint; an empty text when it has none."""
    result = invoke(deployment, words)
    return result.output if result.exit_code else ""


def test_the_published_rules_are_those_explained(deployment: Deployment) -> None:
    """Once something is published, lines and verdicts are of that, whatever stands in the files by now."""
    order(deployment, "eve", 1, 50)
    wait_for(lambda: bool(decisions(deployment, "eve")))
    run(deployment, "rules", "publish", "-m", "first", "--author", "ann")
    run(deployment, "rules", "pause", "big-order", "-m", "look", "--author", "ann")
    (deployment.folder / "big-order.yaml").write_text(RULE.replace("> 100", "> 40"), "utf-8")
    explained = json.loads(run(deployment, "explain", "eve", "--json"))
    assert explained["rules"] == 1
    (journey,) = explained["journeys"]
    assert journey["missing"][0] == "the journey is paused: nobody enters, messages wait"
    assert "an event: order placed where `event.amount > 100`" in journey["missing"]
