"""A short run of the fuzzers; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

from tests.fuzz import event_records, rule_files, yaml_readers


def test_no_mutated_rule_file_crashes_hangs_or_fails_once_accepted() -> None:
    """A rule file is refused with the places of what is wrong, or runs; and both happen."""
    results = rule_files.fuzz(seed=1, count=800)
    assert results["accepted"] > 50 < results["refused"]
    assert results["run"] > 0
    assert results["without a place"] == 0


def test_no_mutated_event_crashes_or_hangs() -> None:
    """A record is refused with a reason of the closed list, or runs; and both happen."""
    results = event_records.fuzz(seed=1, count=5_000)
    assert results["accepted"] > 100
    assert results["not_decodable"] > 100


def test_the_fast_reader_of_yaml_reads_as_the_exact_one_or_not_at_all() -> None:
    """A file that libyaml is trusted with has the same tree by ruamel.yaml, places and all; many have."""
    results = yaml_readers.fuzz(seed=1, count=2_000)
    assert results["taken"] > 200 < results["left to the exact reader"]
