"""`python -m loadtest.keep`: keep the last run's figures in the repository, with machine and versions.

What later runs are held against: `python -m loadtest.regress`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = ("loadtest", "curve", "peers", "ported", "stress")
RESULTS = Path(__file__).with_name("results")
# What a picture needs and a comparison does not.
_BULKY = {"samples", "search_runs", "curve_ms", "per_second_ms", "measured"}


def gather(folder: Path) -> dict[str, Any]:
    """Read what the load tests wrote into a folder, by part; parts that have not run are missing."""
    paths = {part: folder / f"{part}.json" for part in PARTS}
    return {part: json.loads(path.read_text("utf-8")) for part, path in paths.items() if path.is_file()}


def read(path: Path) -> dict[str, Any]:
    """Read a kept file, or a folder that the load tests wrote into."""
    if path.is_dir():
        return gather(path)
    return dict(json.loads(path.read_text("utf-8")))


def compact(value: Any) -> Any:
    """Leave out what only pictures need."""
    if isinstance(value, Mapping):
        return {name: compact(each) for name, each in value.items() if name not in _BULKY}
    if isinstance(value, list):
        return [compact(each) for each in value]
    return value


def name_of(parts: Mapping[str, Any]) -> str:
    """Name a file after the day and the processor of its first part."""
    machine = next(iter(parts.values()))["machine"]
    processor = re.sub(r"[^a-z0-9]+", "-", str(machine["processor"]).lower()).strip("-") or "unknown"
    return f"{machine['taken_at'][:10]}-{processor}-{machine['cores']}-cores.json"


def latest(folder: Path = RESULTS) -> Path | None:
    """Return the file kept last, by its name; None when there is none."""
    return max(folder.glob("*.json"), default=None)


def main() -> int:
    """Write the file and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.keep", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the load tests wrote to (out)")
    parser.add_argument("--name", help="of the file; otherwise day and processor")
    options = parser.parse_args()
    parts = gather(options.out)
    if not parts:
        print(f"error: {options.out} has no results; run `make bench` first", file=sys.stderr)
        return 1
    path = RESULTS / (options.name or name_of(parts))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(compact(parts), indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"wrote {path}: {', '.join(parts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
