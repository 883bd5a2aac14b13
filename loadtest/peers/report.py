"""The comparison's table and JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.peers.environments import versions
from loadtest.peers.side import PEERS, Measured

_NAMES = {"engine": "Engage", "quixstreams": "Quix Streams", "bytewax": "Bytewax", "faust": "stock Faust"}
_PACKAGES = {"quixstreams": "quixstreams", "bytewax": "bytewax", "faust": "faust-streaming"}
_JOBS = {
    "full": "full job: shipped and generated journeys, features, score, guards",
    "count": "one windowed count",
    "trigger": "one keyed trigger",
    "empty": "empty agent",
}


def summary(
    checked: Sequence[Measured], measured: Sequence[Measured], missing: Mapping[str, str]
) -> dict[str, Any]:
    """Put everything together for the report.

    Args:
        checked: runs on the small backlog.
        measured: runs on the large one.
        missing: peers without an environment, and why.

    Returns:
        plain data; `medians` has the median of the rounds by subject and job, and the engine's rate over it.
    """
    groups: dict[tuple[str, str], list[Measured]] = {}
    for each in measured:
        groups.setdefault((each.subject, each.job), []).append(each)
    rates = {key: statistics.median(each.per_s for each in runs) for key, runs in groups.items()}
    ours = rates.get(("engine", "full"), 0.0)
    return {
        "checked": [asdict(each) for each in checked],
        "measured": [{**asdict(each), "per_s": round(each.per_s, 1)} for each in measured],
        "medians": [
            {
                "subject": subject,
                "job": job,
                "per_s": round(rate, 1),
                "cpu_us_per_event": round(
                    statistics.median(each.cpu_us_per_event for each in groups[subject, job]), 2
                ),
                "engine_times": round(ours / rate, 3) if rate else None,
                "fault": "; ".join(sorted({each.fault for each in groups[subject, job] if each.fault})),
            }
            for (subject, job), rate in rates.items()
        ],
        "missing": dict(missing),
        "versions": {peer: versions(peer)[_PACKAGES[peer]] for peer in PEERS},
    }


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a line for each subject and job: who, what, rate, microseconds, the engine's rate over it."""
    return [
        (
            _name(each["subject"], found["versions"]),
            _JOBS[each["job"]],
            f"{each['per_s']:,.0f}",
            f"{each['cpu_us_per_event']:.1f}",
            f"{each['engine_times']:.2f}" if each["engine_times"] else "-",
            each["fault"],
        )
        for each in found["medians"]
    ]


def print_table(found: Mapping[str, Any]) -> None:
    """Print the figures."""
    head = ("", "", "events/s", "cpu us/event", "engine does", "")
    lines = [head, *rows(found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print("\non a backlog, one process each, the broker on the same cores")
    for line in lines:
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(line[2:-1], widths[2:], strict=False)]
        print("  ".join([*left, *right]), f"FAILED: {line[-1]}" if line[-1] else "")
    for peer, why in found["missing"].items():
        print(f"{_NAMES[peer]}: no figure: {why.splitlines()[0]}")


def write(whole: Mapping[str, Any], folder: Path) -> Path:
    """Write the JSON file; return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "peers.json"
    path.write_text(json.dumps(whole, indent=1), "utf-8")
    return path


def _name(subject: str, known: Mapping[str, str]) -> str:
    version = known.get(subject)
    return f"{_NAMES[subject]} {version}" if version else _NAMES[subject]
