"""`python -m loadtest.ported`: standard workloads as far as the engine can express them, results checked.

Nexmark q11, q12 and q17, the Yahoo streaming benchmark, ShuffleBench's matching. These are ports, not the
benchmarks: each says what it leaves out or does otherwise, and what cannot be said in features and rules is
not run. Results are the engine's actions, held against a count written apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from loadtest.bench import Bench
from loadtest.page import write as write_page
from loadtest.peers.backlog import produce
from loadtest.peers.outputs import records
from loadtest.processes import LoadTestError, cpu_s, running_engine
from loadtest.report import machine
from loadtest.workload import ACTION_PREFIX, TOPICS, Template
from loadtest.workload import Workload as Load

_SPAN_MS = 600_000  # well within the shortest window: nothing may leave it meanwhile
_LIMIT_S = 300.0
_SETTLE_S = 30.0
_PRECISION = 1e-9
_SHUFFLE_RULES = 1_000
_SHUFFLE_WIDTH = 0.0002  # share of the records that a rule matches: 0.2 matches a record

Row = tuple[str, str, float]
"""Key, kind, price of an event."""
Result = dict[tuple[str, str], dict[str, float]]
"""What an action says, by journey and id of the event that caused it."""


@dataclass(frozen=True, slots=True)
class Ported:
    """A workload.

    Args:
        name: of the original.
        what: what is done of it, and what is not.
        channel: where its actions go.
        draw: draws so many events.
        rules: journey files by name.
        features: the features it declares, as YAML.
        expect: the actions that must come out, from ids and events.
    """

    name: str
    what: str
    channel: str
    draw: Callable[[int], list[Row]]
    rules: Mapping[str, str]
    features: str
    expect: Callable[[Iterator[tuple[str, Row]]], Result]

    def segments(self) -> str:
        """Return a segments file that has the features."""
        listed = f"features:\n{self.features}" if self.features else "features: []\n"
        return f"segments:\n  - {{name: everybody, code: 1, description: All., otherwise: true}}\n{listed}"


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it.

    Args:
        name: of the original.
        what: what is done of it, and what is not.
        events: how many.
        actions: how many came out.
        per_s: events per second on a backlog, one worker; 0 when it was not run.
        cpu_us: the worker's processor time of an event, Valkey's not counted.
        verdict: whether the results are right.
        right: the same, for programs.
    """

    name: str
    what: str
    events: int = 0
    actions: int = 0
    per_s: float = 0.0
    cpu_us: float = 0.0
    verdict: str = "not run"
    right: bool = True


def _feature(code: int, name: str, aggregate: str, window: str, *rest: str) -> str:
    lines = [f"name: {name}", f"code: {code}", "event: product.viewed", f"aggregate: {aggregate}"]
    lines += [f"window: {window}", "since: 2026-01-01", *rest]
    return "  - " + "\n    ".join(lines) + "\n"


def _journey(name: str, channel: str, data: Mapping[str, str], where: str = "") -> str:
    condition = f"  where: {json.dumps(where)}\n" if where else ""
    told = f"    data: {{{', '.join(f'{key}: {value}' for key, value in data.items())}}}\n" if data else ""
    return (
        f"journey: {name}\ndescription: Ported.\nentry:\n  on: product.viewed\n{condition}  reentry: always\n"
        f"transactional: true\nsteps:\n  - send: {channel}\n    template: {name}\n{told}"
    )


def _bids(count: int) -> list[Row]:
    """Draw bids: some keys are hot, prices as Nexmark draws them."""
    rng = np.random.default_rng(17)
    hot = rng.random(count) < 0.5
    keys = np.where(hot, rng.integers(0, 20, count), rng.integers(20, 5_000, count))
    prices = np.round(10 ** (rng.random(count) * 6) * 100)
    return [(f"key-{key:05d}", "bid", float(price)) for key, price in zip(keys, prices, strict=True)]


def _ads(count: int) -> list[Row]:
    """Draw ad events of a hundred campaigns: views, clicks, purchases alike."""
    rng = np.random.default_rng(18)
    campaigns, kinds = rng.integers(0, 100, count), rng.integers(0, 3, count)
    names = ("view", "click", "purchase")
    return [(f"campaign-{key:03d}", names[kind], 0.0) for key, kind in zip(campaigns, kinds, strict=True)]


def _shuffled(count: int) -> list[Row]:
    """Draw records whose content, a number, decides which rules match."""
    rng = np.random.default_rng(19)
    keys, content = rng.integers(0, 10_000, count), np.round(rng.random(count), 9)
    return [(f"record-{key:05d}", "record", float(value)) for key, value in zip(keys, content, strict=True)]


def _statistics(events: Iterator[tuple[str, Row]]) -> Result:
    """Keep q17's statistics of every auction, one bid at a time."""
    found: Result = {}
    kept: dict[str, list[float]] = {}
    for identifier, (key, _, price) in events:
        bids = kept.setdefault(key, [0, 0, 0, 0, 0.0])
        bids[0] += 1
        bids[1 if price < 10_000 else 2 if price < 1_000_000 else 3] += 1
        bids[4] += price
        names = ("total", "low", "middle", "high", "sum")
        said = {**dict(zip(names, bids, strict=True)), "mean": bids[4] / bids[0]}
        found["ported-q17", identifier] = said
    return found


def _running(journey: str, kind: str) -> Callable[[Iterator[tuple[str, Row]]], Result]:
    """Count events of a kind by key, one at a time."""

    def expect(events: Iterator[tuple[str, Row]]) -> Result:
        found: Result = {}
        kept: dict[str, int] = {}
        for identifier, (key, each, _) in events:
            if each == kind:
                kept[key] = kept.get(key, 0) + 1
                found[journey, identifier] = {"total": kept[key]}
        return found

    return expect


def _edges(rule: int) -> tuple[float, float]:
    start = (rule * 0.6180339887) % (1 - _SHUFFLE_WIDTH)
    return round(start, 9), round(start + _SHUFFLE_WIDTH, 9)


def _matches(events: Iterator[tuple[str, Row]]) -> Result:
    """Try every rule on every record."""
    known = list(events)
    content = np.array([price for _, (_, _, price) in known])
    found: Result = {}
    for rule in range(_SHUFFLE_RULES):
        low, high = _edges(rule)
        for index in np.flatnonzero((content >= low) & (content < high)):
            found[f"ported-shuffle-{rule:04d}", known[index][0]] = {}
    return found


def _shuffle_rules() -> dict[str, str]:
    rules = {}
    for rule in range(_SHUFFLE_RULES):
        low, high = _edges(rule)
        name = f"ported-shuffle-{rule:04d}"
        rules[name] = _journey(name, "in_app", {}, f"event.price >= {low:.9f} && event.price < {high:.9f}")
    return rules


_Q17_DATA = {
    "total": "int(customer.bids_24h)",
    "low": "int(customer.bids_low_24h)",
    "middle": "int(customer.bids_middle_24h)",
    "high": "int(customer.bids_high_24h)",
    "sum": "customer.bids_sum_24h",
    "mean": "customer.bids_mean_24h",
}
_Q17_FEATURES = "".join(
    (
        _feature(64, "bids_24h", "count", "24h"),
        _feature(65, "bids_low_24h", "count", "24h", 'where: ["price < 10000"]'),
        _feature(66, "bids_middle_24h", "count", "24h", 'where: ["price >= 10000", "price < 1000000"]'),
        _feature(67, "bids_high_24h", "count", "24h", 'where: ["price >= 1000000"]'),
        _feature(68, "bids_sum_24h", "sum", "24h", "field: price"),
        _feature(69, "bids_mean_24h", "mean", "24h", "field: price"),
    )
)
WORKLOADS = (
    Ported(
        "Nexmark q17",
        "bids of an auction by price band, sum, mean, told at every bid; the last 24 hours in place of the "
        "calendar day, no minimum and maximum (there are no such aggregates)",
        "email",
        _bids,
        {"ported-q17": _journey("ported-q17", "email", _Q17_DATA)},
        _Q17_FEATURES,
        _statistics,
    ),
    Ported(
        "Nexmark q12, nearest",
        "bids of a bidder in the hour before, told at every bid; the query counts in windows of ten seconds "
        "of processing time and tells at their end, which cannot be expressed: windows slide, and the "
        "shortest is an hour",
        "sms",
        _bids,
        {"ported-q12": _journey("ported-q12", "sms", {"total": "int(customer.bids_1h)"})},
        _feature(64, "bids_1h", "count", "1h"),
        _running("ported-q12", "bid"),
    ),
    Ported(
        "Yahoo streaming benchmark, nearest",
        "views of a campaign in the hour before, told at every view; the ad's campaign is in the record (no "
        "join with a table), and its windows of ten seconds cannot be expressed",
        "push",
        _ads,
        {
            "ported-ysb": _journey(
                "ported-ysb",
                "push",
                {"total": "int(customer.ad_views_1h)"},
                'has(event.props.kind) && event.props.kind == "view"',
            )
        },
        _feature(64, "ad_views_1h", "count", "1h", 'where: ["props.kind == view"]'),
        _running("ported-ysb", "view"),
    ),
    Ported(
        "ShuffleBench, matching",
        f"{_SHUFFLE_RULES:,} rules, 0.2 of which match a record, an action for every match; not the regroup"
        "ing by rule and its counts: state belongs to the customer, never to the rule",
        "in_app",
        _shuffled,
        _shuffle_rules(),
        "",
        _matches,
    ),
)
NOT_EXPRESSED = (
    Done(
        "Nexmark q11",
        "cannot be expressed: a count ends with a window of fixed length, never with a gap of silence. An "
        "absence trigger finds the end of a session but cannot say how many events it had",
    ),
)


def wrong(found: Result, expected: Result) -> str:
    """Say what is wrong with actions; empty when nothing is.

    Args:
        found: what came out.
        expected: what should have.
    """
    missing, surplus = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
    other = sum(1 for key in expected.keys() & found.keys() if not _equal(found[key], expected[key]))
    told = ((missing, "missing"), (surplus, "not expected"), (other, "with other values"))
    return ", ".join(f"{count} actions {how}" for count, how in told if count)


def _equal(found: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    return found.keys() == expected.keys() and all(
        abs(found[name] - value) <= _PRECISION * max(1.0, abs(value)) for name, value in expected.items()
    )


class Runner:
    """Runs workloads on one broker and store, a fresh worker each.

    Args:
        bench: broker and store, running.
        events: of each workload.
    """

    def __init__(self, bench: Bench, events: int) -> None:
        self._bench = bench
        self._events = events

    def run(self, ported: Ported) -> Done:
        """Work off a workload's events and check what came out."""
        rows = ported.draw(self._events)
        prefix = ported.channel
        start_ms = int(time.time() * 1000) - _SPAN_MS
        produce(self._bench.broker.bootstrap, sent(prefix, rows, start_ms), TOPICS, stamped=False)
        with running_engine(1, self._environment(ported), self._bench.folder) as engine:
            began_s, used_s = time.monotonic(), sum(map(cpu_s, engine.pids()))
            while engine.events_total() < len(rows):
                if time.monotonic() - began_s > _LIMIT_S:
                    raise LoadTestError(f"{ported.name}: not done within {_LIMIT_S:.0f} s")
                time.sleep(0.05)
            passed_s = time.monotonic() - began_s
            used_s = sum(map(cpu_s, engine.pids())) - used_s
            expected = ported.expect((f"{prefix}-{number}", row) for number, row in enumerate(rows))
            found = self._actions(ported.channel, len(expected))
        fault = wrong(found, expected)
        return Done(
            ported.name,
            ported.what,
            len(rows),
            len(found),
            round(len(rows) / passed_s, 1),
            round(used_s * 1e6 / len(rows), 2),
            fault or f"all {len(expected):,} actions as counted apart",
            not fault,
        )

    def _environment(self, ported: Ported) -> dict[str, str]:
        folder = self._bench.folder / ported.channel
        folder.mkdir()
        for name, text in ported.rules.items():
            (folder / f"{name}.yaml").write_text(text, "utf-8")
        segments = self._bench.folder / f"{ported.channel}-segments.yaml"
        segments.write_text(ported.segments(), "utf-8")
        own = {"ENGAGE_RULES_PATHS": str(folder), "ENGAGE_SEGMENTS_PATH": str(segments)}
        return {**self._bench.environment, **own}

    def _actions(self, channel: str, expected: int) -> Result:
        """Read the actions; those of the last batch may still be on their way."""
        limit_s = time.monotonic() + _SETTLE_S
        while True:
            found: Result = {}
            for _, value in records(self._bench.broker.bootstrap, ACTION_PREFIX + channel):
                action = orjson.loads(value)
                found[action["journey"], action["event_id"]] = action.get("data") or {}
            if len(found) >= expected or time.monotonic() > limit_s:
                return found
            time.sleep(0.5)


def sent(prefix: str, rows: list[Row], start_ms: int) -> Iterator[tuple[Template, str, int]]:
    """Yield the events of rows as they are sent: template, id, time."""
    for number, (key, kind, price) in enumerate(rows):
        fields = {"type": "product.viewed", "customer_id": f"{prefix}-{key}", "source": "ported"}
        tail = orjson.dumps({**fields, "price": price, "props": {"kind": kind}})[1:]
        time_ms = start_ms + number * _SPAN_MS // len(rows) // 2
        yield (
            Template("click", fields["customer_id"].encode(), tail, fires=True),
            f"{prefix}-{number}",
            time_ms,
        )


def main() -> int:
    """Run all; 0 when every result was right."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.ported", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="of each workload (100000)")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of our own in it
    options = parser.parse_args()
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:6.1f} s] {text}", flush=True)

    done = []
    scratch = options.scratch if options.scratch.is_dir() else None
    try:
        with Bench(Load(rules=0), scratch, say) as bench:
            for ported in WORKLOADS:
                each = Runner(bench, options.events).run(ported)
                say(f"{each.name}: {each.per_s:,.0f} events/s, {each.cpu_us:.1f} us an event; {each.verdict}")
                done.append(each)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for each in NOT_EXPRESSED:
        print(f"{each.name}: {each.what}")
    result = {
        "machine": machine(options.scratch),
        "took_s": round(time.monotonic() - began_s, 1),
        "workloads": [dataclasses.asdict(each) for each in (*done, *NOT_EXPRESSED)],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ported.json").write_text(json.dumps(result, indent=1), "utf-8")
    for path in write_page(options.out):
        print(f"wrote {path}")
    return 0 if all(each.right for each in done) else 1


if __name__ == "__main__":
    sys.exit(main())
