"""`python -m loadtest.page`: one page, with pictures, of all that the load tests wrote to a folder."""

from __future__ import annotations

import argparse
import base64
import html
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.keep import gather
from loadtest.peers import report as peers
from loadtest.report import on_backlog, rows

_STYLE = (
    "body{font:15px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}td,th{padding:.3em .8em;"
    "text-align:right;border-bottom:1px solid #ddd}td:first-child,.left td:nth-child(2){text-align:left}"
    "img{max-width:100%}pre{background:#f5f5f5;padding:1em;overflow:auto}"
)
_LATENCY_HEAD = (
    "",
    "events/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "in engine p50 / p99 ms",
    "cores",
    "processor, µs/event",
    "fault",
)
_PEERS_HEAD = (
    "",
    "job",
    "events/s",
    "processor, µs/event",
    "the engine's full job does so many times that",
    "",
)


def _draw(paint: Callable[[Any], None], title: str) -> str:
    """Return a picture as an HTML image that needs no file."""
    import matplotlib as mpl  # noqa: PLC0415 - only the page needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(10, 4.2))
    paint(axes)
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.2)
    figure.tight_layout()
    target = io.BytesIO()
    figure.savefig(target, dpi=100, format="png")
    plt.close(figure)
    encoded = base64.b64encode(target.getvalue()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{encoded}">'


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], kind: str = "") -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f'<table class="{kind}"><tr>{cells}</tr>{body}</table>'


def _latencies(result: Mapping[str, Any], axes: Any) -> None:
    for index, pair in enumerate(result["latency"]):
        for subject, style in (("relay", ":"), ("engine", "-")):
            curve = [
                (1 / (1 - share / 100), value)
                for share, value in pair[subject]["latencies"]["curve_ms"]
                if share < 99.999
            ]
            label = f"{subject}, {pair[subject]['rate']:,.0f}/s"
            axes.plot(*zip(*curve, strict=True), style, color=f"C{index}", label=label) if curve else None
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([2, 10, 100, 1000, 10_000], ["p50", "p90", "p99", "p99.9", "p99.99"])
    axes.set_ylabel("ms")
    axes.legend(fontsize=8)


def _lag(result: Mapping[str, Any], axes: Any) -> None:
    for run in result["search_runs"]:
        seen = run["samples"]
        lag = [max(0, sample["sent"] - sample["done"]) for sample in seen]
        axes.plot([sample["at_s"] for sample in seen], lag, label=f"{run['rate']:,.0f}/s")
    axes.set_yscale("symlog", linthresh=1000)
    axes.set_xlabel("seconds")
    axes.set_ylabel("events sent, not yet worked on")
    axes.legend(fontsize=8)


def _throughput(result: Mapping[str, Any], axes: Any) -> None:
    for run in result["search_runs"]:
        pairs = list(itertools.pairwise(run["samples"]))
        rate = [(b["done"] - a["done"]) / (b["at_s"] - a["at_s"]) for a, b in pairs if b["at_s"] > a["at_s"]]
        at_s = [b["at_s"] for a, b in pairs if b["at_s"] > a["at_s"]]
        axes.plot(at_s, rate, label=f"{run['rate']:,.0f}/s sent")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("events/s worked on")
    axes.legend(fontsize=8)


def _loadtest(result: Mapping[str, Any]) -> str:
    facts = [
        f"sustained: {result['sustained_per_s']:,.0f} events/s"
        if result["trials"]
        else "no search in this run",
        on_backlog(result),
        f"store: {result['bytes_per_customer'] or 0:,.0f} bytes per customer",
    ]
    pictures = [
        _draw(lambda axes: _latencies(result, axes), "Intended send to action readable, by percentile")
    ]
    if result["search_runs"]:
        pictures.append(_draw(lambda axes: _throughput(result, axes), "Throughput during the search"))
        pictures.append(_draw(lambda axes: _lag(result, axes), "Lag during the search"))
    listed = "".join(f"<li>{html.escape(fact)}" for fact in facts)
    table = _table(_LATENCY_HEAD, rows(result))
    about = "<p>Intended send to action readable, open loop; the relay (poll, produce) in the same run:</p>"
    return f"<h2>The full job</h2><ul>{listed}</ul>{about}{table}{''.join(pictures)}"


def _peers(result: Mapping[str, Any]) -> str:
    found = result["peers"]
    lines = peers.rows(found)

    def paint(axes: Any) -> None:
        shown = [each for each in found["medians"] if not each["fault"]][::-1]
        labels = [f"{each['subject']}: {each['job']}" for each in shown]
        colours = ["C1" if each["subject"] == "engine" else "C0" for each in shown]
        axes.barh(labels, [each["per_s"] for each in shown], color=colours)
        axes.set_xlabel("events/s, one process")

    picture = _draw(paint, "On a backlog, beside other Python stream processors") if found["medians"] else ""
    wrong = [each for each in found["checked"] if each["fault"]]
    said = "; ".join(f"{each['subject']} {each['job']}: {each['fault']}" for each in wrong)
    verdict = said or "what each peer wrote for a small backlog equals the plain count"
    return f"<h2>Peers</h2><p>{html.escape(verdict)}</p>{_table(_PEERS_HEAD, lines, 'left')}{picture}"


def _curve(result: Mapping[str, Any]) -> str:
    def paint(axes: Any) -> None:
        for batch, costs in result["pipeline_us"].items():
            least_us = costs[min(costs, key=int)]
            known = [(int(rules), max(cost - least_us, 0.01)) for rules, cost in costs.items()]
            axes.plot(*zip(*known, strict=True), "o-", label=f"batches of {batch}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("active rules")
        axes.set_ylabel("µs an event more than with one")
        axes.legend(fontsize=8)

    return f"<h2>Rules</h2>{_draw(paint, 'Cost by number of rules')}"


def _ported(result: Mapping[str, Any]) -> str:
    lines = [
        (each["name"], each["what"], f"{each['per_s']:,.0f}" if each["per_s"] else "-", each["verdict"])
        for each in result["workloads"]
    ]
    head = ("", "as far as the engine can say it", "events/s", "results")
    return f"<h2>Standard workloads, ported</h2>{_table(head, lines, 'left')}"


def _stress(result: Mapping[str, Any]) -> str:
    lines = [(each["name"], each["said"], "yes" if each["held"] else "NO") for each in result["cases"]]
    return f"<h2>Stress</h2>{_table(('', 'what was seen', 'held'), lines, 'left')}"


_SECTIONS = {"loadtest": _loadtest, "peers": _peers, "curve": _curve, "ported": _ported, "stress": _stress}


def page(parts: Mapping[str, Any]) -> str:
    """Return the page of what there is.

    Args:
        parts: what `keep.gather` gives.
    """
    sections = "".join(_SECTIONS[part](result) for part, result in parts.items())
    about = {
        part: {key: result[key] for key in ("machine", "workload", "plan", "took_s") if key in result}
        for part, result in parts.items()
    }
    return (
        f"<!doctype html><meta charset=utf-8><title>Load test</title><style>{_STYLE}</style>"
        "<h1>Load test</h1>"
        f"{sections}<h2>How it was measured</h2><pre>{html.escape(json.dumps(about, indent=2))}</pre>"
    )


def write(folder: Path) -> list[Path]:
    """Write the page and one JSON file of everything that is in a folder; return both."""
    parts = gather(folder)
    paths = [folder / "bench.html", folder / "bench.json"]
    paths[0].write_text(page(parts), "utf-8")
    paths[1].write_text(json.dumps(parts, indent=1), "utf-8")
    return paths


def main() -> int:
    """Write the page and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.page", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the load tests wrote to (out)")
    options = parser.parse_args()
    if not gather(options.out):
        print(f"error: {options.out} has no results; run `make bench` first", file=sys.stderr)
        return 1
    for path in write(options.out):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
