"""Writes the reference pages under docs/ from the tables in the code: `make docs`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.authoring.cookbook import recipe
from engine.authoring.fixtures.schema import fixtures_schema
from engine.features.reference import document
from engine.metrics import METRICS
from engine.resources import shipped
from engine.rules.codes import page as codes_page
from engine.rules.load import journey_files
from engine.rules.schema import journey_schema, policy_schema, template_schema
from engine.settings import SETTINGS

_FOLDER = Path(__file__).resolve().parent.parent / "docs"
_SCHEMA_FOLDER = _FOLDER.parent / "schemas"
_TABLE_START = "<!-- recipes: written by `make docs` from deploy/cookbook/ -->"
_TABLE_END = "<!-- recipes: end -->"
_NOTE = "<!-- Written by `make docs` from {source}. Change it there. -->\n\n"


_SETTINGS_INTRO = """\
A setting comes from, first wins: a flag (`--set NAME=VALUE`, `--kafka`, `--redis`), the
environment, the file `engage.toml` (or the one that `--config` or `ENGAGE_CONFIG` names), its
default. In the environment `kafka.group` is `ENGAGE_KAFKA_GROUP`; lists are separated by commas.
`engage config show` prints every value in force and where it came from. A wrong or unknown setting
stops the process at its start.

```toml
# engage.toml
[kafka]
bootstrap_servers = "kafka-1:9092,kafka-2:9092"
group_protocol = "consumer"          # Kafka 4.0 and later

security_protocol = "sasl_ssl"
ca_file = "/etc/engage/ca.pem"
sasl_username = "engage-worker"
sasl_password_file = "/run/secrets/kafka"

[kafka.extra]                        # further properties of librdkafka, passed through
"socket.keepalive.enable" = true

[redis]
url = "rediss://redis:6379/0"
user = "engage-worker"
password_file = "/run/secrets/redis"
```

Each secret can come from a file: `NAME_file` in place of `NAME` here and with `--set`, `ENGAGE_…_FILE` in the
environment (`ENGAGE_KAFKA_SASL_PASSWORD_FILE=/run/secrets/kafka`; also of `kafka.extra`). No command shows a
secret. More in [security.md](security.md).

"""
_METRICS_INTRO = """\
A worker serves them in Prometheus' text format on `/metrics` of `http.port`. Histograms of latency
have buckets from 0.5 ms to 10 s. Of the process there are `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_open_fds` and the like. A metric has at most 10,000 series;
what comes beyond counts as `other`.

"""


def configuration() -> str:
    """Return the page on settings."""
    rows = [
        (
            f"`{setting.name}`",
            setting.meaning,
            f"`{_default(setting.default)}`" + (f" {setting.unit}" if setting.unit else ""),
            setting.allowed,
        )
        for setting in SETTINGS
    ]
    table = _table(("setting", "meaning", "default", "allowed"), rows)
    return "# Settings\n\n" + _NOTE.format(source="`engine/settings.py`") + _SETTINGS_INTRO + table


def metrics() -> str:
    """Return the page on metrics."""
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            metric.unit,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.meaning,
        )
        for metric in METRICS
    ]
    table = _table(("name", "kind", "unit", "labels", "meaning"), rows)
    return "# Metrics\n\n" + _NOTE.format(source="`engine/metrics.py`") + _METRICS_INTRO + table


def rule_errors() -> str:
    """Return the page on error and warning codes."""
    return (
        "# Errors and warnings of rule files\n\n"
        + _NOTE.format(source="`engine/rules/codes/`")
        + codes_page.page()
    )


def cookbook(present: str) -> str:
    """Return the cookbook's page with its table anew; the rest of the page stays."""
    table = _table(
        ("journey", "who gets what", "shows"),
        (
            (f"[{each.name}](../deploy/cookbook/{each.name}.yaml)", each.description, ", ".join(each.shows))
            for each in (recipe(path.read_text("utf-8")) for path in journey_files([shipped("cookbook")]))
        ),
    )
    head, rest = present.split(_TABLE_START, 1)
    return f"{head}{_TABLE_START}\n\n{table}\n{_TABLE_END}{rest.split(_TABLE_END, 1)[1]}"


PAGES: dict[str, Callable[[str], str]] = {
    "configuration.md": lambda _: configuration(),
    "metrics.md": lambda _: metrics(),
    "rule-errors.md": lambda _: rule_errors(),
    "features.md": document,  # only a part of it is written here, and
    "cookbook.md": cookbook,  # of this
}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "journey": journey_schema,
    "template": template_schema,
    "policy": policy_schema,
    "fixtures": fixtures_schema,
}


def schema_text(name: str) -> str:
    """Return a JSON Schema of `SCHEMAS` as its file under schemas/ holds it."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def _default(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return "none"
    return str(value) if value != "" else "empty"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head)]
    lines.append(tuple("---" for _ in lines[0]))
    lines.extend(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Write the pages; with --check only say whether they are up to date, by the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.docs", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a page is out of date"
    )
    parser.add_argument("--folder", type=Path, default=_FOLDER)
    options = parser.parse_args()
    stale = []
    for name, make in PAGES.items():
        path: Path = options.folder / name
        present = path.read_text("utf-8") if path.is_file() else ""
        text = make(present)
        if text == present:
            continue
        stale.append(name)
        if not options.check:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {path}\n")
    for name in SCHEMAS:
        path = _SCHEMA_FOLDER / f"{name}.schema.json"
        text = schema_text(name)
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale.append(path.name)
        if not options.check:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {path}\n")
    if options.check and stale:
        sys.stderr.write(f"out of date, run `make docs`: {', '.join(stale)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
