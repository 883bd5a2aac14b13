"""Local days and months equal zoneinfo's, for every instant."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.rows import RowBatch
from engine.features.state import CustomerState
from engine.features.zones import (
    half_months_of_days,
    is_zone,
    local_days,
    local_seconds,
    months_of_days,
    zone_index,
)
from tests.features.test_windows import SPACE

NAMES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
)


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(631_152_000, 2_871_763_199)), min_size=1, max_size=50
    )
)
def test_local_time_equals_zoneinfo(instants: list[tuple[str, int]]) -> None:
    """Mixed zones in one call, any second from 1990 to 2060: the wall clock is zoneinfo's."""
    time_s = np.array([second for _, second in instants])
    zones = np.array([zone_index(name) for name, _ in instants])
    walls = [dt.datetime.fromtimestamp(second, zoneinfo.ZoneInfo(name)) for name, second in instants]
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    expected = [int((wall.replace(tzinfo=dt.UTC, fold=0) - epoch).total_seconds()) for wall in walls]
    assert local_seconds(time_s, zones).tolist() == expected
    days = local_days(time_s, zones)
    months = [(wall.year - 1970) * 12 + wall.month - 1 for wall in walls]
    assert months_of_days(days).tolist() == months
    halves = [month * 2 + (wall.day > 15) for month, wall in zip(months, walls, strict=True)]
    assert half_months_of_days(days).tolist() == halves


@pytest.mark.parametrize("name", ["", "No/Where", "../../etc/passwd", "Europe/Berlin\n", "x" * 300, "é"])
def test_names_that_are_no_zone_mean_utc(name: str) -> None:
    """What isn't a zone name is UTC and never reaches the file system."""
    assert not is_zone(name)
    assert zone_index(name) == 0


@pytest.mark.parametrize(
    ("zone", "now", "order", "month_back"),
    [
        ("Asia/Shanghai", "2024-01-01T00:00:00+08:00", "2023-12-31T23:59:59+08:00", 1),
        ("Asia/Shanghai", "2024-01-01T00:00:00+08:00", "2023-12-31T16:00:00+00:00", 0),
        ("America/New_York", "2023-12-31T23:59:59-05:00", "2023-12-01T00:00:00-05:00", 0),
        ("Europe/Berlin", "2024-03-31T03:00:00+02:00", "2024-02-29T23:59:59+01:00", 1),
        ("Europe/Berlin", "2024-11-01T00:30:00+01:00", "2024-10-27T02:30:00+01:00", 1),
        ("Europe/Berlin", "2024-02-10T00:00:00+01:00", "2023-11-01T00:00:00+01:00", 3),
        ("Europe/Berlin", "2024-02-10T00:00:00+01:00", "2023-10-31T23:59:59+01:00", None),
    ],
)
def test_months_turn_at_local_midnight(zone: str, now: str, order: str, month_back: int | None) -> None:
    """An order belongs to the calendar month on the customer's own clock."""
    state = CustomerState("c")
    state.mutate().time_zone = zone
    state.record(8, int(dt.datetime.fromisoformat(order).timestamp()), 12.5)
    now_ms = int(dt.datetime.fromisoformat(now).timestamp() * 1000)
    matrix = SPACE.matrix(RowBatch.of([state], [now_ms], [8]))
    for back in range(4):
        assert matrix[0, SPACE.index[f"orders_month_{back}"]] == (back == month_back)
        assert matrix[0, SPACE.index[f"spend_month_{back}"]] == 12.5 * (back == month_back)
