"""A leak is told from the scatter of a process that is not growing."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.processes import LoadTestError
from loadtest.soak import ALLOWED, Look, verdicts


def _looks(count: int, **growing: float) -> list[Look]:
    """Return looks at a process that fills up first and then grows only as told, by a share a look."""
    looks = []
    for number in range(count):
        full = min(1.0, 0.5 + number / count)
        steady = {"resident_mib": 400.0 * full + number % 3, "descriptors": 40, "threads": 12}
        numbers: dict[str, Any] = {**steady, "redis_keys": 20_000 * full, "redis_mib": 90.0 * full}
        for name, share in growing.items():
            numbers[name] *= 1 + share * number
        looks.append(Look(5.0 * number, 1_000 * number, **numbers))
    return looks


def test_a_flat_run_is_flat() -> None:
    """What fills up in the first half and scatters a little afterwards does not count as growth."""
    assert all(flat for _, flat in verdicts(_looks(360)).values())


@pytest.mark.parametrize("name", ALLOWED)
def test_each_leak_is_found(name: str) -> None:
    """Whatever grows by a tenth in the second half is named, and nothing else."""
    found = verdicts(_looks(360, **{name: 0.001}))
    assert [each for each, (_, flat) in found.items() if not flat] == [name]


def test_too_short_a_run_says_so() -> None:
    """A run with too few looks gives no verdict."""
    with pytest.raises(LoadTestError, match="only 3 looks"):
        verdicts(_looks(3))
