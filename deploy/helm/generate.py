"""Writes what the chart takes from elsewhere: the schema of its values, the alerts. `make docs` runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.settings import SETTINGS

CHART = Path(__file__).parent / "engage"
RULES = CHART.parent.parent / "prometheus" / "engage.rules.yaml"
# What the chart sets itself, or takes from a Secret.
_BY_CHART = {"http.host", "http.port", "kafka.bootstrap_servers", "kafka.extra", "worker.id"}
_TEXT = {"type": "string"}
_TRUTH = {"type": "boolean"}
_TABLE = {"type": "object"}
_LIST = {"type": "array"}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"}
_PORTS = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}, "minItems": 1}


def _count(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _part(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _settings() -> dict[str, Any]:
    """Return the schema of `settings`: every setting that is no secret, by its dotted name."""
    known = {
        each.name: msgspec.json.schema(each.kind)
        for each in SETTINGS
        if not each.secret and each.name not in _BY_CHART
    }
    # whatever is a password in librdkafka's properties comes from a Secret
    hidden = r"^kafka\.extra\..*(password|secret|token|jaas|credential)"
    return _part(**known) | {
        "patternProperties": {r"^kafka\.extra\.[a-z0-9.]+$": {"type": ["string", "number", "boolean"]}},
        "propertyNames": {"not": {"pattern": hidden}},
    }


def _secrets() -> dict[str, Any]:
    names = [each.name for each in SETTINGS if each.secret and each.name != "kafka.extra"]
    reference = _part(name=_NAME, key={"type": "string", "minLength": 1}) | {"required": ["name", "key"]}
    known = dict.fromkeys(names, reference)
    return _part(**known) | {"patternProperties": {r"^kafka\.extra\.[a-z0-9.]+$": reference}}


def _pods(**more: Any) -> dict[str, Any]:
    placing = {"nodeSelector": _TABLE, "tolerations": _LIST, "affinity": _TABLE, "priorityClassName": _TEXT}
    return _part(resources=_TABLE, podAnnotations=_TABLE, **placing, **more)


def schema() -> str:
    """Return the schema of the chart's values."""
    whole = _part(
        image=_part(
            repository={"type": "string", "minLength": 1},
            tag=_TEXT,
            digest={"type": "string", "pattern": "^(|sha256:[0-9a-f]{64})$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        ),
        imagePullSecrets=_LIST,
        kafka=_part(
            bootstrapServers={"type": "string", "pattern": r"^(|[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*)$"}
        ),
        secrets=_secrets(),
        certificatesSecret=_TEXT,
        settings=_settings(),
        topics=_part(create=_TRUTH, production=_TRUTH),
        workers=_pods(replicas=_count(0, 1024), terminationGracePeriodSeconds=_count(15, 600)),
        trainer=_pods(enabled=_TRUTH),
        autoscaling=_part(
            enabled=_TRUTH,
            minReplicas=_count(1, 1024),
            maxReplicas=_count(1, 1024),
            prometheusAddress={"type": "string", "pattern": "^(|https?://.+)$"},
            lagRecordsPerWorker=_count(1, 10_000_000),
            cpuUtilization=_count(10, 100),
            scaleInAfterSeconds=_count(0, 3600),
        ),
        podDisruptionBudget=_part(
            enabled=_TRUTH,
            maxUnavailable={"anyOf": [_count(1, 1024), {"type": "string", "pattern": "^[0-9]{1,2}%$"}]},
        ),
        networkPolicy=_part(
            enabled=_TRUTH, metricsFrom=_LIST, kafkaPorts=_PORTS, redisPorts=_PORTS, extraEgress=_LIST
        ),
        monitoring=_part(
            serviceMonitor=_part(
                enabled=_TRUTH, interval={"type": "string", "pattern": "^[0-9]+(s|m)$"}, labels=_TABLE
            ),
            rules=_part(
                enabled=_TRUTH, labels=_TABLE, runbook={"type": "string", "pattern": "^(|https?://.+)$"}
            ),
        ),
    )
    whole["properties"]["global"] = _TABLE  # Helm's own
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#"} | whole, indent=1) + "\n"


def rules() -> str:
    """Return the alerts."""
    return RULES.read_text("utf-8")


FILES: dict[Path, Callable[[], str]] = {
    CHART / "values.schema.json": schema,
    CHART / "files" / "engage.rules.yaml": rules,
}


def main() -> None:
    """Write what is not up to date."""
    for path, text in FILES.items():
        if not path.is_file() or path.read_text("utf-8") != text():
            path.write_text(text(), "utf-8")
            sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
