"""`python -m loadtest.regress`: has the engine become slower? Held against a kept run, by ratios alone.

No time is compared with a time of another run: a machine's speed changes by the hour. What is compared is how
the engine's figure stands to the relay's or a peer's in the same run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.keep import latest, read

_TOO_FEW = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio that does not depend on how fast the machine is.

    Args:
        name: what it is.
        value: the ratio.
        higher_is_better: whether more is better.
        tolerance: by which share it may become worse; from the scatter of repeated runs.
    """

    name: str
    value: float
    higher_is_better: bool
    tolerance: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure of two runs.

    Args:
        name: what it is.
        before: in the kept run.
        now: in the new one.
        worse: by which share it became worse; negative when better.
        tolerance: by which share it may.
    """

    name: str
    before: float
    now: float
    worse: float
    tolerance: float

    @property
    def regressed(self) -> bool:
        """Whether it became worse by more than it may."""
        return self.worse > self.tolerance


def figures(parts: Mapping[str, Any]) -> list[Figure]:
    """Return the ratios of a run; what failed in it is left out.

    Args:
        parts: what `keep.gather` or `keep.read` gives.
    """
    return [
        *_latency(parts.get("loadtest", {})),
        *_throughput(parts.get("loadtest", {})),
        *_peers(parts.get("peers", {}).get("peers", {})),
        *_rules(parts.get("curve", {})),
    ]


def _sound(pair: Mapping[str, Any]) -> bool:
    return not pair["relay"]["fault"] and not pair["engine"]["fault"]


def _latency(result: Mapping[str, Any]) -> Iterator[Figure]:
    half = (result.get("sustained_per_s") or 0) / 2
    for pair in result.get("latency", []):
        if not _sound(pair):
            continue
        rate = pair["engine"]["rate"]
        at = "at half of the sustained rate" if half and abs(rate - half) < 1 else f"at {rate:,.0f}/s"
        seen = {subject: pair[subject]["latencies"]["percentiles_ms"] for subject in ("relay", "engine")}
        for share, tolerance in (("50", 0.2), ("99", 0.4)):
            if share in seen["engine"] and seen["relay"].get(share):
                ratio = seen["engine"][share] / seen["relay"][share]
                yield Figure(f"p{share} {at}, times the relay's", ratio, False, tolerance)
        if pair["relay"]["cpu_us_per_event"]:
            ratio = pair["engine"]["cpu_us_per_event"] / pair["relay"]["cpu_us_per_event"]
            yield Figure(f"processor time an event {at}, times the relay's", ratio, False, 0.15)


def _throughput(result: Mapping[str, Any]) -> Iterator[Figure]:
    sound = [pair for pair in result.get("latency", []) if _sound(pair)]
    if not sound or not sound[0]["relay"]["cpu_us_per_event"]:
        return
    # How many events the engine does while the relay's processor time for one of its own goes by.
    relay_s = sound[0]["relay"]["cpu_us_per_event"] / 1e6
    for name, key in (("sustained rate", "sustained_per_s"), ("rate on a backlog", "backlog_per_s")):
        if result.get(key):
            yield Figure(f"{name}, in processor time of the relay", result[key] * relay_s, True, 0.15)


def _peers(found: Mapping[str, Any]) -> Iterator[Figure]:
    for each in found.get("medians", []):
        if each["subject"] != "engine" and each["engine_times"] and not each["fault"]:
            name = f"rate on a backlog, times {each['subject']} {each['job']}"
            yield Figure(name, each["engine_times"], True, 0.2)


def _rules(result: Mapping[str, Any]) -> Iterator[Figure]:
    for batch, costs in result.get("pipeline_us", {}).items():
        one_us = costs.get("1")
        for rules, cost_us in costs.items():
            if one_us and rules in {"1000", "100000"}:
                name = f"{int(rules):,} rules, batch {batch}, times one rule"
                yield Figure(name, cost_us / one_us, False, 0.25)


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Verdict]:
    """Hold a run against a kept one.

    Args:
        before: the kept run's parts.
        now: the new run's parts.

    Returns:
        a verdict for each figure that both have.
    """
    known = {figure.name: figure.value for figure in figures(before)}
    verdicts = []
    for figure in figures(now):
        old = known.get(figure.name)
        if old:
            worse = old / figure.value - 1 if figure.higher_is_better else figure.value / old - 1
            verdicts.append(Verdict(figure.name, old, figure.value, worse, figure.tolerance))
    return verdicts


def print_table(verdicts: list[Verdict]) -> None:
    """Print every figure of both runs."""
    width = max(len(each.name) for each in verdicts)
    print(f"{'':{width}}  {'kept':>8} {'now':>8} {'worse by':>9} {'may be':>7}")
    for each in verdicts:
        mark = "  REGRESSED" if each.regressed else ""
        values = f"{each.before:>8.3g} {each.now:>8.3g} {each.worse:>9.0%} {each.tolerance:>7.0%}"
        print(f"{each.name:{width}}  {values}{mark}")


def main() -> int:
    """Compare; 0 when nothing became slower, 1 when something did, 2 when nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.regress", description=__doc__)
    parser.add_argument(
        "new", type=Path, nargs="?", default=Path("out"), help="a folder or a kept file (out)"
    )
    parser.add_argument("--against", type=Path, help="a kept file; otherwise the last in loadtest/results")
    options = parser.parse_args()
    against = options.against or latest()
    if against is None:
        print("error: loadtest/results is empty; `python -m loadtest.keep` keeps a run", file=sys.stderr)
        return 2
    verdicts = compare(read(against), read(options.new))
    if len(verdicts) < _TOO_FEW:
        print(f"error: {options.new} and {against} have too few figures in common", file=sys.stderr)
        return 2
    print(f"against {against.name}")
    print_table(verdicts)
    return 1 if any(each.regressed for each in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
