"""The curve of cost by number of rules can be drawn."""

from __future__ import annotations

from loadtest.curve import compiled, curve, pipelines


def test_every_size_has_a_cost() -> None:
    """Pipelines with more rules than were compiled repeat them, and each is timed."""
    journeys, seconds = compiled(3)
    assert seconds > 0
    costs = curve(pipelines([1, 8], journeys), batch=16, events=16, rounds=1, warm_up=16)
    assert sorted(costs) == [1, 8]
    assert all(cost > 0 for cost in costs.values())
