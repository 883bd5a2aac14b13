"""The load is what the report says: valid events, the stated share of firing ones, journeys that compile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.config import load_settings
from engine.events import Family
from engine.streams.files import definitions_of, rules_of
from engine.streams.wire.codec import Decoder
from loadtest.workload import (
    FIRE_JOURNEY,
    FIRING_TYPES,
    MIX,
    Workload,
    intended_us,
    record_id,
    templates,
    write_journeys,
)

COUNT = 4_000


def test_every_record_is_a_valid_event() -> None:
    """The engine must not spend its time on dead letters: every template decodes, on the live clock too."""
    decoder = Decoder("live")
    for number, template in enumerate(templates(Workload(), COUNT)):
        head = f'{{"id":"{record_id("r1", number, 1_700_000_000_000_000)}","time":1700000000000,'
        event = decoder.decode(
            Family(template.family), head.encode() + template.tail, template.key, 1_700_000_000_000
        )
        assert event.customer_id.encode() == template.key


def test_the_stated_share_fires_and_customers_are_skewed() -> None:
    """Exactly the stated share fires, and the busiest customer is far busier than the median one."""
    pool = templates(Workload(fire_share=0.03), COUNT)
    assert sum(template.fires for template in pool) == round(COUNT * 0.03)
    by_customer = Counter(template.key for template in pool).most_common()
    assert by_customer[0][1] > 20 * by_customer[len(by_customer) // 2][1]


def test_the_load_is_the_same_each_time() -> None:
    """Two runs compare: the same seed draws the same records."""
    assert templates(Workload(), 500) == templates(Workload(), 500)
    assert templates(Workload(seed=2), 500) != templates(Workload(), 500)


def test_the_mix_covers_five_families_and_adds_up() -> None:
    """The shares are shares, over all five families."""
    assert abs(sum(share for _, _, share in MIX) - 1) < 1e-9
    assert {family for family, _, _ in MIX} == {str(family) for family in Family}


def test_an_id_gives_back_its_intended_time() -> None:
    """Whoever sees an id knows when its record should have been sent, to the microsecond."""
    assert intended_us(record_id("r12", 345, 1_700_000_000_123_456).encode()) == 1_700_000_000_123_456


def test_generated_journeys_compile(tmp_path: Path) -> None:
    """As many journeys as asked for, all valid; the firing ones are transactional and always re-enter."""
    assert write_journeys(tmp_path, Workload(rules=60)) == 60
    settings = load_settings({"rules.paths": str(tmp_path)}, environ={})
    rules = rules_of(settings, definitions_of(settings))
    assert len(rules.journeys) == 60
    firing = [journey for journey in rules.journeys if journey.name.startswith(FIRE_JOURNEY)]
    assert len(firing) == len(FIRING_TYPES)
    assert all(journey.transactional for journey in firing)
