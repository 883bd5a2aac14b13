"""What must hold of every seed: the laws, each judged on what reached the broker and the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from engine.actions import Action
from engine.events import TIMER_CODE, DeadLetterReason, Event, event_key
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import unpack
from engine.settings import Settings
from engine.streams.files import definitions_of
from engine.streams.wire.codec import decode_action
from engine.streams.wire.letters import PREFIX
from engine.streams.wire.watermark import END_OF_STREAM_MS, watermark_ms
from tests.simulation.history import HOUR_MS, PARTITIONS, Arrival
from tests.simulation.reference import GLOBAL_CAP, JOURNEYS, RECORDED, Customer, Remembered, Sent
from tests.simulation.servers import is_action
from tests.simulation.world import Result

Customers = dict[str, Customer]
LATE_MS = 15_000  # a batch in hand, each of whose calls takes as long as a call can take


def check(result: Result) -> Counter[str]:
    """Judge a run.

    Args:
        result: what came of a seed.

    Returns:
        what there was besides. Actions that reached the broker although the surviving history knows nothing
        of them: they were sent by a step that was lost, and on the live clock its records came in another
        order the second time. Events that counted twice because their ids had been forgotten.

    Raises:
        AssertionError: a law does not hold.
    """
    found = Counter[str]()
    if result.plan.replay:
        customers = replayed(result, found)
    else:
        took_each_once(result, found)
        no_deadline_too_soon(result)
        customers = live(result, found)
    actions = [decode_action(value) for topic, _, value, _ in result.broker.records if is_action(topic)]
    due = [each for customer in customers.values() for each in customer.sent]
    found["a second id, without transactions"] = one_id_for_each(result, actions)
    if result.plan.transactions and not result.happened["roll back"]:
        as_often_as_due(due, actions)
    found["sent by lost steps only"] = all_appear(result, due, actions)
    in_order(result, customers, actions)
    # who is erased is somebody new, whom no contact is remembered of
    erased = {event.customer_id for event in effective(result) if event.type == "erasure.requested"}
    within_caps(each for each in due if each.customer not in erased)
    with_consent(result, customers)
    took_effect_once(result, customers)
    no_timer_lost(result, customers)
    set_aside(result)
    return found


def effective(result: Result) -> Iterator[Event]:
    """Go through the events that are to take effect, each as often as it came."""
    for came in result.came.values():
        for each in came:
            if each is not None and each.event is not None and not each.reason:
                yield each.event


# ---- the reference, fed -----------------------------------------------------------------------------------


def replayed(result: Result, found: Counter[str]) -> Customers:
    """Feed the log to the reference as the replay clock does: each partition by event time."""
    customers: Customers = {}
    for number in range(PARTITIONS):
        clock, ids, seen = 0, Remembered(result.plan.remembered), set[str]()
        own: Customers = {}
        for at_ms, arrival in merged(result, number):
            clock = max(clock, at_ms)
            event = arrival.event if arrival is not None else None
            if event is None or not ids.add(event.id) or (arrival is not None and arrival.reason):
                continue
            found["counted again, forgotten"] += event.id in seen
            seen.add(event.id)
            customer = own.setdefault(event.customer_id, Customer(event.customer_id))
            customer.pass_to(clock)
            customer.event(event, clock, clock)
        for customer in own.values():
            customer.pass_to(clock)
        customers |= own
    return customers


def merged(result: Result, number: int) -> Iterator[tuple[int, Arrival | None]]:
    """Merge the topics of a partition by (time, topic, offset); what is refused has no time."""
    queues = [
        [
            (each.event.time, each)
            if each is not None and each.event is not None
            else (watermark_ms(record) or 0, each)
            for record, each in zip(records, result.came[place], strict=True)
        ]
        for place, records in result.log.items()
        if place[1] == number
    ]
    while any(queues):
        queue = min((each for each in queues if each), key=lambda each: each[0][0])
        at_ms, arrival = queue.pop(0)
        if at_ms != END_OF_STREAM_MS:
            yield at_ms, arrival


def live(result: Result, counts: Counter[str]) -> Customers:
    """Feed the reference with what the store knows of, commit by commit, at the instants it was seen at."""
    found: Customers = {}
    seen_ms: dict[str, int] = {}
    events = {event_key(event): event for event in effective(result)}
    for commits in result.commits.values():
        for commit in commits:
            rows: dict[str, list[Event]] = {name: [] for name in commit.touched}
            for event in (events[key] for key in commit.ids if key in events):
                rows.setdefault(event.customer_id, []).append(event)
            for name, own in rows.items():
                customer = found.setdefault(name, Customer(name))
                counts["deadlines held back"] += commit.reached_ms < customer.next_due() <= commit.now_ms
                if 0 < (due_ms := customer.next_due()) <= commit.reached_ms:
                    late_ms = commit.now_ms - max(due_ms, seen_ms[name])  # what comes late is due at once
                    assert result.plan.faults or late_ms <= LATE_MS, f"{late_ms} ms late without need"
                    customer.tick(commit.now_ms, commit.reached_ms)
                for event in own:
                    since_ms = commit.met_from_ms or commit.now_ms
                    counts["met late"] += customer.clock == 0 and since_ms < commit.now_ms - 60_000
                    customer.event(
                        event,
                        commit.now_ms,
                        commit.reached_ms,
                        met_from=commit.met_from_ms,
                        published=commit.published,
                    )
                seen_ms[name] = commit.now_ms
    return found


# ---- the laws ---------------------------------------------------------------------------------------------


def took_each_once(result: Result, found: Counter[str]) -> None:
    """Every event counts, and a repeat does only when its id may have been forgotten (live clock)."""
    wanted: dict[int, Counter[int]] = {number: Counter() for number in range(PARTITIONS)}
    for (_, number), came in result.came.items():
        events = (each.event for each in came if each is not None and not each.reason)
        wanted[number].update(event_key(event) for event in events if event is not None)
    for number, commits in result.commits.items():
        ids, counted = Remembered(result.plan.remembered), Counter[int]()
        for key in (key for commit in commits for key in commit.ids):
            fresh = ids.add(key)
            assert fresh or key not in wanted[number], "a repeat counted that was remembered"
            counted[key] += 1
        for key, times in wanted[number].items():
            assert 1 <= counted[key] <= times, f"came {times} times, counted {counted[key]} times"
            found["counted again, forgotten"] += counted[key] - 1


def counted_again(result: Result) -> set[str]:
    """Return the ids of events that counted more than once: they came again when they had been forgotten."""
    counted = Counter(key for commits in result.commits.values() for commit in commits for key in commit.ids)
    return {event.id for event in effective(result) if counted[event_key(event)] > 1}


def no_deadline_too_soon(result: Result) -> None:
    """Deadlines are judged no further than all is worked on that had come by then (live clock)."""
    if result.happened["clock jump"]:
        return
    for number, commits in result.commits.items():
        done, known = Counter[str](), False
        for commit in commits:
            assert commit.met_from_ms or not known, f"{number} forgot how far it had been worked on: {commit}"
            known |= commit.reached_ms > 0
            until_ms = max(commit.reached_ms, commit.met_from_ms)
            for topic in result.settings.event_topics().values():
                came = sum(at_ms < until_ms for at_ms in result.appended_ms[topic, number])
                assert came <= done[topic], f"{topic} {number} is not worked on so far: {commit}"
            done.update({topic: offset - done[topic] for topic, offset in commit.offsets.items()})


def as_often_as_due(due: Iterable[Sent], actions: Iterable[Action]) -> None:
    """In transactions an action is there as often as the history that survives says."""
    more = Counter(told(each) for each in actions) - Counter(due)
    assert not more, f"too often, though in transactions: {sorted(more)}"


def one_id_for_each(result: Result, actions: Iterable[Action]) -> int:
    """What a step sends to a customer for a cause always has the same id, and no other has it.

    Two exceptions. Rules were published while a worker died whose actions had been sent; in transactions
    these are never seen, unless the store goes back in time. And rules were published between an event and
    its repeat, whose id had been forgotten: that counts as another event.

    Returns:
        How often a cause has a second id for the first of these.
    """
    repeated = counted_again(result)
    ids: dict[tuple[str, ...], str] = {}
    may_differ = not result.plan.transactions or result.happened["roll back"]
    seconds = 0
    causes: dict[str, tuple[str, ...]] = {}
    for each in actions:
        cause = (each.customer_id, each.journey, each.event_id, each.step, each.template, each.channel)
        if ids.setdefault(cause, each.id) != each.id:
            assert may_differ or each.event_id in repeated, f"a second id: {each}"
            assert each.journey == "ticket", f"a second id without another version: {each}"
            seconds += each.event_id not in repeated
        assert causes.setdefault(each.id, cause) == cause, f"an id for two: {each}"
    return seconds


def all_appear(result: Result, due: Sequence[Sent], actions: Sequence[Action]) -> int:
    """Every action appears, at its instant and as it should be; on the replay clock no other does."""
    found = {told(each) for each in actions}
    missing = set(due) - found - not_taken(result)
    assert not missing, f"never sent: {sorted(missing)}"
    more = {each.id for each in found} - {each.id for each in due}
    if result.plan.replay or not result.plan.faults:
        assert found <= set(due), f"sent besides: {sorted(found - set(due))}"
        if not result.plan.faults:
            assert len(actions) == len(due), "sent twice without need"
    return len(more)


def not_taken(result: Result) -> set[Sent]:
    """Return the actions that the broker refused for good; each of them is among the dead letters."""
    letters = {(own["topic"], key, value) for own, key, value in dead_letters(result)}
    found = set()
    for topic, key, value, _ in result.broker.refused:
        if (topic, key, value) in letters:
            found.add(told(decode_action(value)))
    return found


def told(action: Action) -> Sent:
    """Return what the reference says of an action, too."""
    return Sent(action.id, action.customer_id, action.journey, action.channel, action.template, action.time)


def in_order(result: Result, customers: Customers, actions: Sequence[Action]) -> None:
    """A customer's actions on a channel keep their order; on the replay clock also without repeats."""
    refused = not_taken(result)
    by_place: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for action in actions:
        by_place[action.customer_id, action.channel].append(told(action))
    for customer in customers.values():
        for channel in ("email", "push", "agent"):
            sent = by_place[customer.name, channel]
            due = [each for each in customer.sent if each.channel == channel and each not in refused]
            rest = iter(sent)
            assert all(each in rest for each in due), f"out of order: {sent}, not {due}"
            if result.plan.replay:
                first = [each for each in dict.fromkeys(sent) if each not in refused]
                assert first == list(dict.fromkeys(due)), f"out of order without repeats: {first}, not {due}"


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
    wrong_ms = HOUR_MS if result.happened["clock jump"] else 0
    granted: dict[str, int] = {}
    for event in effective(result):
        if event.type == "consent.granted":
            granted[event.customer_id] = min(granted.get(event.customer_id, event.time), event.time)
    for customer in customers.values():
        for each in customer.sent:
            if "cap" in JOURNEYS[each.journey]:
                assert granted.get(each.customer, 2**62) <= each.time + wrong_ms, f"without consent: {each}"


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


def set_aside(result: Result) -> None:
    """What is refused, and events at which a rule raises, are among the dead letters; no other event is."""
    wanted = {
        (*record.where, each.reason, record.key(), record.value())
        for place, records in result.log.items()
        for record, each in zip(records, result.came[place], strict=True)
        if each is not None and each.reason
    }
    found = set()
    for own, key, value in dead_letters(result):
        if not is_action(own["topic"]):
            where = own["topic"], int(own["partition"]), int(own["offset"])
            found.add((*where, own["reason"], key, value))
        else:
            assert own["reason"] == DeadLetterReason.PROCESSING_FAILED
    assert found == wanted, f"dead letters: missing {wanted - found}, besides {found - wanted}"


def dead_letters(result: Result) -> Iterator[tuple[dict[str, str], bytes | None, bytes | None]]:
    """Go through the dead letters: why and from where, key and value."""
    for topic, key, value, headers in result.broker.records:
        if topic == result.settings.topics.dlq:
            own = dict(headers or ())
            yield {name.removeprefix(PREFIX): text.decode() for name, text in own.items()}, key, value
