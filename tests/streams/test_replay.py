"""On the replay clock the outcome is a function of the log, whatever happens to the worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.demo.data import build_log
from engine.resources import shipped
from engine.settings import CacheSettings, IdSettings, RuleSettings, Settings, TopicSettings
from engine.streams.store.memory import MemoryServer
from tests.streams.replay import Log, Tap, replay, write_log

# One journey of each kind of entry, beside the shipped ones. Transactional, so that none waits for consent.
KINDS = {
    "browse": "{count: product.viewed, at_least: 2, within: 1d}",
    "monthly": '{schedule: "30 9 15 * *"}',
    "payday": '{schedule: "0 2 1,L * *", zone: Europe/Berlin, segment: churn_risk}',
    "in": "{segment_entered: churn_risk}",
    "out": "{segment_exited: new}",
    "away": "{absent: order.placed, for: 30d}",
    "unanswered": "{unanswered: inquiry, for: 10m}",
    "each-order": "order.placed",
}
PER = {"each-order": "event.order_id"}
KIND = """
journey: kind-NAME
transactional: true
entry: {on: ON, reentry: always}
goal: {on: order.placed, within: 20d, value: event.amount}
guards: {holdout: 30%}
steps:
  - wait: 12h
  - {send: email, template: kind-NAME}
"""

# Few remembered ids, so that their generations turn over many times within the log.
SETTINGS = Settings(clock="replay", ids=IdSettings(remembered=300))
PARTITIONS = 2
DAY_MS = 86_400_000


# Guards for which customers compete, tight enough that most of what happens is held back by one of them.
COMPETING = """
journey: thanks
entry: {on: order.placed, reentry: always}
guards: {entry_cap: 3 per 7d, exclusion_group: post, priority: 40}
steps:
  - {send: email, template: thanks, expires: 20d}
  - wait: 1d
  - {send: email, template: more, expires: 20d}
---
journey: review
entry: {on: order.placed, when: customer.orders_lifetime >= 2, reentry: always}
guards: {exclusion_group: post, priority: 60, contact: survey, send_window: MON-FRI 09:00-18:00}
steps:
  - wait: 2d
  - {send: email, template: review, expires: 9d}
---
journey: miss-you
entry: {on: {absent: order.placed, for: 30d}, reentry: always}
guards: {entry_cap: 1 per 1d, cap: [1 per 7d], quiet_hours: 22:00-09:00, holdout: 10%}
steps:
  - {send: email, template: miss-you, expires: 3d}
  - wait_until: {on: order.placed, timeout: 30m}
    otherwise:
      - {send: sms, template: nudge, expires: 2d}
"""
LIMITS = {"email": "5 per 7d", "sms": "1 per 1d"}


def competing(folder: Path) -> Settings:
    """Return settings under which customers compete for entries and messages."""
    for number, text in enumerate(COMPETING.split("---\n")):
        (folder / f"{number}.yaml").write_text(text, "utf-8")
    return msgspec.structs.replace(
        SETTINGS,
        rules=RuleSettings(paths=[str(folder)]),
        topics=TopicSettings(partitions=PARTITIONS),
        control_group="5%",
        rate_limits=LIMITS,
    )


def most_in_a_window(times: Iterable[int], window_ms: int) -> int:
    """Return how many lie in the fullest window; weeks begin on Mondays."""
    monday_ms = 4 * DAY_MS
    return max(Counter((time - monday_ms) // window_ms for time in times).values(), default=0)


def outcome(server: MemoryServer, tap: Tap) -> tuple[dict[int, Any], dict[str, bytes]]:
    """Return everything stored, and every action and decision by id."""
    sent: dict[str, bytes] = {}
    for topic, _, value, _ in tap.records:
        if topic.startswith("engage.actions.") or topic == "engage.decisions":
            assert value is not None
            name = msgspec.json.decode(value)["id"]
            assert sent.setdefault(name, value) == value, "a repeated id must be the same to the byte"
    stored = {
        number: (part.states, part.timers, part.offsets, part.clock_ms, part.fields, part.current_ids)
        for number, part in server.dump().items()
    }
    return stored, sent


@pytest.fixture(scope="module")
def log() -> Log:
    """A year and a half of some customers."""
    events = list(build_log(seed=7, customers=36).events())
    assert len(events) > 450
    return write_log(SETTINGS, events, PARTITIONS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shipped journeys and one for each kind of entry."""
    folder = tmp_path_factory.mktemp("journeys")
    for name, trigger in KINDS.items():
        per = f"per: {PER[name]}, " if name in PER else ""
        text = KIND.replace("NAME", name).replace("{on: ON,", f"{{on: {trigger}, {per}")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    rules = RuleSettings(paths=[str(shipped("journeys")), str(folder)])
    return msgspec.structs.replace(SETTINGS, rules=rules)


def begun(sent: dict[str, bytes]) -> set[tuple[str, str]]:
    """Return journey and outcome of every decision."""
    found = [msgspec.json.decode(value) for value in sent.values()]
    return {(each["journey"].removeprefix("kind-"), each["outcome"]) for each in found if "outcome" in each}


async def test_every_kind_of_entry_goes_through_the_pipeline(settings: Settings, log: Log) -> None:
    """Each kind lets customers in, sends after its wait, and tells conversions of both arms."""
    _, sent = outcome(*await replay(settings, log, seed=0, most=10_000))
    seen = begun(sent)
    for name in KINDS:
        assert {(name, each) for each in ("entered", "fired")} <= seen, name
    arms = {
        decision["reason"]["values"]["arm"]
        for decision in map(msgspec.json.decode, sent.values())
        if decision.get("outcome") == "converted"
    }
    assert arms == {"treated", "holdout"}


async def test_batches_and_crashes_change_nothing(settings: Settings, log: Log) -> None:
    """Batch sizes, interleavings and lost memories leave the same state bytes and the same action ids."""
    expected = outcome(*await replay(settings, log, seed=0, most=10_000))
    assert len(expected[1]) > 100
    for seed, most, crashes in ((1, 3, 0), (2, 40, 12), (3, 400, 5)):
        found = outcome(*await replay(settings, log, seed=seed, most=most, crashes=crashes))
        assert found[1].keys() == expected[1].keys()
        assert found == expected


@pytest.mark.parametrize("customers", [200_000, 2], ids=["all cached", "hardly any cached"])
async def test_working_ahead_changes_nothing(settings: Settings, log: Log, customers: int) -> None:
    """Deciding the next step while the last becomes durable, through kills and a Redis that forgets."""
    settings = msgspec.structs.replace(settings, cache=CacheSettings(customers=customers))
    expected = outcome(*await replay(settings, log, seed=0, most=10_000))
    for seed, most, crashes, rollbacks in ((1, 5, 0, 0), (2, 40, 12, 0), (12, 5, 0, 12), (8, 5, 12, 12)):
        found = outcome(
            *await replay(
                settings, log, seed=seed, most=most, crashes=crashes, rollbacks=rollbacks, ahead=True
            )
        )
        assert found == expected


async def test_competition_between_customers_is_decided_by_the_log(log: Log, tmp_path: Path) -> None:
    """Entry caps and rate limits hold over all partitions, and who gets the places is the log's to say.

    Neither batch sizes nor kills, nor working ahead on a Redis that forgets change an action or a byte.
    """
    settings = competing(tmp_path)
    expected = outcome(*await replay(settings, log, seed=0, most=10_000))
    sent = [msgspec.json.decode(each) for each in expected[1].values()]
    actions = [each for each in sent if "channel" in each]
    decisions = [each for each in sent if "outcome" in each]
    for channel, count, days in (("email", 5, 7), ("sms", 1, 1)):
        times = [each["time"] for each in actions if each["channel"] == channel]
        assert most_in_a_window(times, days * DAY_MS) == count
    for journey, count, days in (("thanks", 3, 7), ("miss-you", 1, 1)):
        entered = [each for each in decisions if each["outcome"] in ("entered", "held_out")]
        times = [each["time"] for each in entered if each["journey"] == journey and each["step"] == "entry"]
        assert most_in_a_window(times, days * DAY_MS) == count
    guards = Counter(each["reason"].get("guard", "") for each in decisions)
    assert min(guards[name] for name in ("entry_cap", "rate_limit", "exclusion_group", "send_window")) > 5
    for seed, most, crashes in ((1, 3, 0), (2, 40, 12), (3, 400, 5)):
        assert outcome(*await replay(settings, log, seed=seed, most=most, crashes=crashes)) == expected
    for seed, most, crashes, rollbacks in ((4, 5, 0, 0), (5, 40, 12, 12)):
        found = await replay(
            settings, log, seed=seed, most=most, crashes=crashes, rollbacks=rollbacks, ahead=True
        )
        assert outcome(*found) == expected
