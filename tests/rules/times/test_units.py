"""Durations, caps, quiet hours and shares as marketers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.times.units import (
    Cap,
    QuietHours,
    read_cap,
    read_duration,
    read_quiet_hours,
    read_share,
    say_duration,
    write_duration,
)


@given(st.integers(1, 500_000))
def test_durations_survive_writing(seconds: int) -> None:
    """Reading what was written gives the same whole seconds."""
    assert read_duration(write_duration(seconds * 1000)) == seconds * 1000


@pytest.mark.parametrize("text", ["7", "7 d", "-7d", "7D", "7w", "", "d", "1.5h", "９d"])
def test_other_spellings_are_no_durations(text: str) -> None:
    """A duration is a whole number and a unit, nothing else."""
    assert read_duration(text) is None


def test_durations_are_said_in_words() -> None:
    """Sentences name the largest unit that fits, in the right number."""
    said = [say_duration(each * 1000) for each in (1, 30, 60, 300, 3600, 86_400, 90 * 86_400)]
    assert said == ["1 second", "30 seconds", "1 minute", "5 minutes", "1 hour", "1 day", "90 days"]


def test_caps() -> None:
    """A cap is a count per window and is written back as it was read."""
    assert read_cap("4 per 30d") == Cap(4, 30 * 86_400_000)
    assert str(Cap(4, 30 * 86_400_000)) == "4 per 30d"
    assert [read_cap(text) for text in ("4", "4 per month", "per 30d", "x per 30d")] == [None] * 4


def test_quiet_hours() -> None:
    """Quiet hours are two times of the day and are written back as they were read."""
    assert read_quiet_hours("22:00-09:30") == QuietHours(1320, 570)
    assert str(QuietHours(1320, 570)) == "22:00-09:30"
    assert [read_quiet_hours(text) for text in ("22-9", "24:00-09:00", "22:60-09:00", "22:00")] == [None] * 4


def test_shares() -> None:
    """A share is a percentage up to a hundred."""
    assert [read_share(text) for text in ("10%", "0.5%", "100%", "0%")] == [0.1, 0.005, 1.0, 0.0]
    assert [read_share(text) for text in ("10", "101%", "-1%", "%", "1.234%")] == [None] * 5
