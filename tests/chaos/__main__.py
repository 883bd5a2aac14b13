"""`python -m tests.chaos`: real faults on Apache Kafka and Valkey, and what they cost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.chaos.faults import Incident
from tests.chaos.run import Part, run_live, run_replay

LIVE_SHARE = 0.4
_SHOWN = 20


def main() -> None:
    """Run both clocks, print a table, write a report; exit with 1 when a law is broken."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # and no worker is left behind
    rng = random.Random(options.seed)
    live = {"live": 1.0, "replay": 0.0, "both": LIVE_SHARE}[options.clock]
    started_s = time.monotonic()

    def tell(line: str) -> None:
        _say(f"{time.monotonic() - started_s:6.0f} s  {line}")

    parts: list[Part] = []
    folder = options.folder or Path(tempfile.mkdtemp(prefix="engage-chaos-"))
    tell(f"seed {options.seed}, logs in {folder}")
    for name, run, share in (("replay", run_replay, 1 - live), ("live", run_live, live)):
        if share:
            faults, minutes = round(options.faults * share), options.minutes * share
            part = run(folder / name, faults, minutes, rng, tell, transactions=options.transactions)
            parts.append(part)
            _report(parts[-1:])
    if len(parts) > 1:
        _report(parts)
    tell("end")
    if options.json:
        told = {"seed": options.seed, "parts": [dataclasses.asdict(part) for part in parts]}
        options.json.write_text(json.dumps(told, indent=1, default=sorted), "utf-8")
    sys.exit(any(part.broken for part in parts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many faults (default: 200)")
    parser.add_argument("--minutes", type=float, default=55, help="begin no fault later (default: 55)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and the log (default: 1)")
    parser.add_argument("--clock", choices=("both", "replay", "live"), default="both")
    parser.add_argument("--transactions", action="store_true", help="write actions in transactions")
    parser.add_argument("--json", type=Path, help="write a report here")
    parser.add_argument("--folder", type=Path, help="for data and logs, kept; default: a temporary one")
    return parser.parse_args()


def _report(parts: Sequence[Part]) -> None:
    incidents = [incident for part in parts for incident in part.incidents]
    _say(f"\n{'fault':34} {'times':>5} {'s p50':>6} {'max':>5} {'repeated':>8} {'events, max':>11}")
    for kind in dict.fromkeys(sorted(incident.kind for incident in incidents)):
        _say(_row(kind, [incident for incident in incidents if incident.kind == kind]))
    _say(_row("all", incidents))
    takeovers = [each.takeover_s for each in incidents if each.takeover_s is not None]
    if takeovers:
        p50, p95 = np.percentile(takeovers, (50, 95))
        _say(
            f"\nkill -9 of a worker until every partition it had has an action again, {len(takeovers)} times:"
        )
        _say(f"p50 {p50:.2f} s, p95 {p95:.2f} s, at most {max(takeovers):.2f} s")
    for part in parts:
        _say(
            f"\n{part.clock} clock, {len(part.incidents)} faults:"
            f" {part.events} events, {part.actions} actions"
        )
        _list(part.broken, "laws broken")
        _list(part.surprises, "workers that ended by themselves")


def _row(kind: str, incidents: Sequence[Incident]) -> str:
    took = [incident.took_s for incident in incidents]
    repeated = sum(incident.repeated for incident in incidents)
    most = max((incident.repeated_events for incident in incidents), default=0)
    return f"{kind:34} {len(took):5} {np.median(took):6.1f} {max(took):5.1f} {repeated:8} {most:11}"


def _list(lines: Iterable[str], title: str) -> None:
    found = list(lines)
    _say(f"  {title}: {len(found)}")
    for line in found[:_SHOWN]:
        _say(f"    {line}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
