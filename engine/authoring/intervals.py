"""Shares and means with their 95 % intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

Z_95 = 1.959964


class Sample(NamedTuple):
    """Values of one arm, summed up.

    Args:
        size: how many there are.
        total: their sum.
        squares: the sum of their squares.
    """

    size: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """Their mean; 0 when there are none."""
        return self.total / self.size if self.size else 0.0

    @property
    def variance(self) -> float:
        """The variance of what they were drawn from."""
        spread = self.squares - self.total * self.mean
        return max(0.0, spread / (self.size - 1)) if self.size > 1 else 0.0


class Difference(NamedTuple):
    """A difference and its interval.

    Args:
        value: first less second.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def share_interval(share: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of an observed share (Wilson, "Probable inference", 1927).

    Args:
        share: observed, 0-1.
        count: of how many; at least one.
        z: how wide, in standard deviations.
    """
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_difference(first: tuple[int, int], second: tuple[int, int], z: float = Z_95) -> Difference:
    """Return how much higher the first of two independent shares is (Newcombe's method 10, 1998).

    Args:
        first: successes and trials; at least one trial.
        second: the same of the other.
        z: how wide, in standard deviations.
    """
    one, other = first[0] / first[1], second[0] / second[1]
    one_low, one_high = share_interval(one, first[1], z)
    other_low, other_high = share_interval(other, second[1], z)
    value = one - other
    return Difference(
        value,
        value - math.hypot(one - one_low, other_high - other),
        value + math.hypot(one_high - one, other - other_low),
    )


def mean_difference(first: Sample, second: Sample, z: float = Z_95) -> Difference | None:
    """Return how much higher the first of two means is (Welch's interval), or None without two values each.

    Args:
        first: values of one arm.
        second: those of the other.
        z: how wide, in standard deviations of many values.
    """
    from scipy.special import ndtr, stdtrit  # noqa: PLC0415 - takes its time to load

    if min(first.size, second.size) < 2:
        return None
    parts = first.variance / first.size, second.variance / second.size
    value, variance = first.mean - second.mean, sum(parts)
    if not variance:
        return Difference(value, value, value)
    freedom = variance**2 / (parts[0] ** 2 / (first.size - 1) + parts[1] ** 2 / (second.size - 1))
    half = float(stdtrit(freedom, ndtr(z))) * math.sqrt(variance)
    return Difference(value, value - half, value + half)
