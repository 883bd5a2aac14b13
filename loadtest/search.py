"""When is a rate sustained, and which rate to try next: the pure part of the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_GROWTH = 0.005  # lag gained per record sent
MIN_SAMPLES = 6
_RESOLUTION = 0.08


@dataclass(frozen=True, slots=True)
class LagSample:
    """One look at the run.

    Args:
        at_s: seconds since the run began.
        sent: records the generator had sent.
        done: records the engine had worked on.
    """

    at_s: float
    sent: int
    done: int

    @property
    def lag(self) -> int:
        """Records sent and not worked on."""
        return self.sent - self.done


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate tried.

    Args:
        rate: records per second.
        duration_s: how long.
        sustained: whether lag did not grow and the generator kept its schedule.
        growth: lag gained per record sent, over the last two thirds.
        why: why it was not sustained; empty when it was.
    """

    rate: float
    duration_s: float
    sustained: bool
    growth: float
    why: str = ""


def lag_growth(samples: Sequence[LagSample], rate: float) -> float:
    """Measure how fast lag grew over the last two thirds of a run.

    Args:
        samples: looks at the run, in time order.
        rate: records per second.

    Returns:
        Slope of the least-squares line through the lag, in records of lag per record sent.
    """
    first_s, last_s = samples[0].at_s, samples[-1].at_s
    late = [sample for sample in samples if sample.at_s >= first_s + (last_s - first_s) / 3]
    mean_s = sum(sample.at_s for sample in late) / len(late)
    mean_lag = sum(sample.lag for sample in late) / len(late)
    spread = sum((sample.at_s - mean_s) ** 2 for sample in late)
    shared = sum((sample.at_s - mean_s) * (sample.lag - mean_lag) for sample in late)
    return shared / spread / rate if spread else 0.0


def judge(samples: Sequence[LagSample], rate: float, duration_s: float, fault: str) -> Trial:
    """Decide whether a rate was sustained.

    Args:
        samples: looks at the run.
        rate: records per second.
        duration_s: how long.
        fault: what was wrong with the generator; empty when nothing.

    Returns:
        The verdict with its reason.
    """
    if fault:
        return Trial(rate, duration_s, sustained=False, growth=0.0, why=fault)
    if len(samples) < MIN_SAMPLES:
        return Trial(
            rate, duration_s, sustained=False, growth=0.0, why=f"only {len(samples)} looks at the lag"
        )
    growth = lag_growth(samples, rate)
    if growth > MAX_GROWTH:
        why = f"lag grew by {growth:.1%} of what was sent"
        return Trial(rate, duration_s, sustained=False, growth=growth, why=why)
    return Trial(rate, duration_s, sustained=True, growth=growth)


def search(
    attempt: Callable[[float], Trial],
    start: float,
    highest: float,
    may_go_on: Callable[[], bool],
) -> list[Trial]:
    """Find the highest sustained rate by doubling, then bisection.

    Args:
        attempt: runs one rate.
        start: first rate.
        highest: never tried beyond.
        may_go_on: whether there is time for another run.

    Returns:
        Every trial in order; the best sustained one is the answer.
    """
    trials: list[Trial] = []
    low, high, rate = 0.0, 0.0, start
    while may_go_on():
        trial = attempt(rate)
        trials.append(trial)
        if trial.sustained:
            low = rate
        else:
            high = rate
        if not high:
            if rate >= highest:
                break
            rate = min(2 * rate, highest)
        elif not low:
            rate = high / 2
        elif high - low <= _RESOLUTION * high:
            break
        else:
            rate = (low + high) / 2
    return trials


def best(trials: Sequence[Trial]) -> float:
    """Return the highest sustained rate of the trials; 0 when there is none."""
    return max((trial.rate for trial in trials if trial.sustained), default=0.0)
