"""What must hold of every seed: the laws, each judged on what reached the broker and the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from engine.actions import Action
from engine.events import TIMER_CODE, Event
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import unpack
from engine.settings import Settings
from engine.streams.codec import decode_action
from engine.streams.intake import END_OF_STREAM_MS, watermark_ms
from engine.streams.wiring import definitions_of
from tests.simulation.history import PARTITIONS
from tests.simulation.reference import GLOBAL_CAP, JOURNEYS, RECORDED, Customer, Sent
from tests.simulation.world import Result

Customers = dict[str, Customer]


def check(result: Result) -> int:
    """Judge a run.

    Args:
        result: what came of a seed.

    Returns:
        how many actions reached the broker that the surviving history knows nothing of: they were sent by a
        step that was lost, and on the live clock that step's records came in another order the second time.

    Raises:
        AssertionError: a law does not hold.
    """
    customers = live(result) if not result.plan.replay else replayed(result)
    actions = [decode_action(value) for topic, _, value, _ in result.broker.records if is_action(topic)]
    due = [each for customer in customers.values() for each in customer.sent]
    one_id_for_each(actions)
    orphans = all_appear(result, due, actions)
    in_order(result, customers, actions)
    # who is erased is somebody new, whom no contact is remembered of
    erased = {
        event.customer_id
        for events in result.events.values()
        for event in events
        if event is not None and event.type == "erasure.requested"
    }
    within_caps(each for each in due if each.customer not in erased)
    with_consent(result, customers)
    took_effect_once(result, customers)
    no_timer_lost(result, customers)
    rubbish_set_aside(result)
    return orphans


def is_action(topic: str) -> bool:
    """Tell whether a topic is one of actions."""
    return topic.startswith("engage.actions.")


# ---- the reference, fed -----------------------------------------------------------------------------------


def replayed(result: Result) -> Customers:
    """Feed the log to the reference as the replay clock does: each partition by event time."""
    found: Customers = {}
    for number in range(PARTITIONS):
        clock, seen = 0, set[str]()
        own: Customers = {}
        for at_ms, event in merged(result, number):
            clock = max(clock, at_ms)
            if event is None or event.id in seen:
                continue
            seen.add(event.id)
            customer = own.setdefault(event.customer_id, Customer(event.customer_id))
            customer.pass_to(clock)
            customer.event(event, clock)
        for customer in own.values():
            customer.pass_to(clock)
        found |= own
    return found


def merged(result: Result, number: int) -> Iterator[tuple[int, Event | None]]:
    """Merge the topics of a partition by (time, topic, offset); rubbish has no time and no effect."""
    queues = [
        [
            (watermark_ms(record) or 0 if event is None else event.time, event)
            for record, event in zip(records, result.events[place], strict=True)
        ]
        for place, records in result.log.items()
        if place[1] == number
    ]
    while any(queues):
        queue = min((each for each in queues if each), key=lambda each: each[0][0])
        at_ms, event = queue.pop(0)
        if at_ms != END_OF_STREAM_MS:
            yield at_ms, event


def live(result: Result) -> Customers:
    """Feed the reference with what the store knows of, commit by commit, at the instants it was seen at."""
    found: Customers = {}
    for commits in result.commits.values():
        seen = set[str]()
        for commit in commits:
            rows: dict[str, list[Event]] = {name: [] for name in commit.touched}
            now_ms = dict(commit.touched)
            for event, at_ms in commit.events:
                if event.id not in seen:
                    seen.add(event.id)
                    rows.setdefault(event.customer_id, []).append(event)
                    now_ms[event.customer_id] = at_ms
            for name, events in rows.items():
                customer = found.setdefault(name, Customer(name))
                if 0 < customer.next_due() <= now_ms[name]:
                    customer.tick(now_ms[name])
                for event in events:
                    customer.event(event, now_ms[name])
    return found


# ---- the laws ---------------------------------------------------------------------------------------------


def one_id_for_each(actions: Iterable[Action]) -> None:
    """What a step sends to a customer for a cause always has the same id, and no other has it."""
    ids: dict[tuple[str, ...], str] = {}
    causes: dict[str, tuple[str, ...]] = {}
    for each in actions:
        cause = (each.customer_id, each.journey, each.event_id, each.step, each.template, each.channel)
        assert ids.setdefault(cause, each.id) == each.id, f"a second id: {each}"
        assert causes.setdefault(each.id, cause) == cause, f"an id for two: {each}"


def all_appear(result: Result, due: Sequence[Sent], actions: Sequence[Action]) -> int:
    """Every action appears, at its instant and as it should be; on the replay clock no other does."""
    assert len({each.id for each in due}) == len(due), "the reference sends twice"
    found = {told(each) for each in actions}
    missing = [each for each in due if each not in found]
    assert not missing, f"never sent: {missing}"
    more = {each.id for each in found} - {each.id for each in due}
    if result.plan.replay or not result.happened:
        assert found == set(due), f"sent besides: {sorted(found - set(due))}"
        if not result.happened:
            assert len(actions) == len(due), "sent twice without need"
    return len(more)


def told(action: Action) -> Sent:
    """Return what the reference says of an action, too."""
    return Sent(action.id, action.customer_id, action.journey, action.channel, action.template, action.time)


def in_order(result: Result, customers: Customers, actions: Sequence[Action]) -> None:
    """A customer's actions on a channel keep their order; on the replay clock also without repeats."""
    by_place: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for action in actions:
        by_place[action.customer_id, action.channel].append(told(action))
    for customer in customers.values():
        for channel in ("email", "push", "agent"):
            sent = by_place[customer.name, channel]
            due = [each for each in customer.sent if each.channel == channel]
            rest = iter(sent)
            assert all(each in rest for each in due), f"out of order: {sent}, not {due}"
            if result.plan.replay:
                assert list(dict.fromkeys(sent)) == due, f"out of order without repeats: {sent}, not {due}"


def within_caps(due: Iterable[Sent]) -> None:
    """No window of a cap holds more than the cap; counted anew from what was sent, in whole seconds."""
    by_customer: dict[str, list[Sent]] = defaultdict(list)
    for each in due:
        if "cap" in JOURNEYS[each.journey]:
            by_customer[each.customer].append(each)
    for sent in by_customer.values():
        for last in sent:
            _under(GLOBAL_CAP, last, sent)
            _under(JOURNEYS[last.journey]["cap"], last, [one for one in sent if one.journey == last.journey])


def _under(cap: tuple[int, int], last: Sent, sent: Iterable[Sent]) -> None:
    count, window_ms = cap
    end_s = last.time // 1000
    within = [each for each in sent if end_s - window_ms // 1000 < each.time // 1000 <= end_s]
    assert len(within) <= count, f"over the cap of {cap}: {within}"


def with_consent(result: Result, customers: Customers) -> None:
    """Nothing but transactional messages before a consent has happened, and none to who never gave one."""
    granted: dict[str, int] = {}
    for events in result.events.values():
        for event in events:
            if event is not None and event.type == "consent.granted":
                granted[event.customer_id] = min(granted.get(event.customer_id, event.time), event.time)
    for customer in customers.values():
        for each in customer.sent:
            if "cap" in JOURNEYS[each.journey]:
                assert granted.get(each.customer, 2**62) <= each.time, f"without consent: {each}"


def took_effect_once(result: Result, customers: Customers) -> None:
    """The stored state counts every event once; those of an erased customer are gone."""
    stored = {
        key.decode(): data for part in result.server.dump().values() for key, data in part.states.items()
    }
    assert stored.keys() == {name for name, each in customers.items() if each.known}, "who is known"
    if not stored:
        return
    states = [unpack(name, data) for name, data in stored.items()]
    space = whole_space(result.settings)
    matrix = space.matrix(RowBatch.of(states, [result.now_ms] * len(states), [TIMER_CODE] * len(states)))
    columns = {name: number for number, name in enumerate(space.names)}
    for state, row in zip(states, matrix.tolist(), strict=True):
        customer = customers[state.customer_id]
        counted = {stem: row[columns[f"{stem}_lifetime"]] for stem in RECORDED.values()}
        assert {stem: count for stem, count in counted.items() if count} == customer.counted
        assert row[columns["spend_lifetime"]] == customer.spent


@cache
def _space() -> list[FeatureSpace]:
    return []


def whole_space(settings: Settings) -> FeatureSpace:
    """Return every feature there is; made once."""
    made = _space()
    if not made:
        made.append(definitions_of(settings).space())
    return made[0]


def no_timer_lost(result: Result, customers: Customers) -> None:
    """At the end nothing is due any more, and what is still to come has its timer in the store."""
    timers = {
        key.decode(): due_ms for part in result.server.dump().values() for key, due_ms in part.timers.items()
    }
    for customer in customers.values():
        due_ms = customer.next_due()
        assert not 0 < due_ms <= result.now_ms, f"{customer.name} was due at {due_ms}, before {result.now_ms}"
        if due_ms:
            assert 0 < timers.get(customer.name, 0) <= due_ms, f"no timer for {customer.name} at {due_ms}"


def rubbish_set_aside(result: Result) -> None:
    """Every record that cannot be read is among the dead letters, and nothing else is."""
    rubbish = {
        record.value()
        for place, records in result.log.items()
        for record, event in zip(records, result.events[place], strict=True)
        if event is None and record.value()
    }
    letters = {value for topic, _, value, _ in result.broker.records if topic == result.settings.topics.dlq}
    assert letters == rubbish
