"""Alerts fire when they should and only then; their metrics, runbook sections and commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from engine.cli import app
from engine.metrics import METRICS

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "engage.rules.yaml"
CASES = sorted(FOLDER.glob("*.test.yaml"))
RUNBOOK = ROOT / "docs" / "runbook.md"

_GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
_RULES: list[dict[str, Any]] = [rule for group in _GROUPS for rule in group["rules"]]
_ALERTS = {rule["alert"]: rule for rule in _RULES if "alert" in rule}
_RECORDED = {rule["record"] for rule in _RULES if "record" in rule}
_SCRAPED = {metric.name for metric in METRICS} | {
    f"{metric.name}_{part}"
    for metric in METRICS
    if metric.kind == "histogram"
    for part in ("bucket", "count", "sum")
}


def _promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_prometheus_takes_the_configuration() -> None:
    """The example configuration with its rules is valid."""
    assert f"{len(_RULES)} rules found" in _promtool("check", "config", str(FOLDER / "prometheus.yaml"))


@pytest.mark.prometheus
def test_every_alert_fires_and_keeps_still() -> None:
    """Each alert has a case in which it fires and one in which it does not; all hold."""
    cases = [case for path in CASES for case in yaml.safe_load(path.read_text("utf-8"))["tests"]]
    fires: set[str] = set()
    still: set[str] = set()
    for case in cases:
        name = case["name"].partition(":")[0]
        (check,) = case["promql_expr_test"]
        assert check["expr"] == f'ALERTS{{alertname="{name}", alertstate="firing"}}'
        (fires if check["exp_samples"] else still).add(name)
    assert fires == set(_ALERTS)
    assert still == set(_ALERTS)
    _promtool("test", "rules", *map(str, CASES))


@pytest.mark.parametrize("name", list(_ALERTS))
def test_an_alert_says_what_to_do(name: str) -> None:
    """Severity, summary, meaning, a first step that is a command, and a section of the runbook."""
    rule = _ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    notes = rule["annotations"]
    assert set(notes) == {"summary", "meaning", "first_step", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert f"\n## {name}\n" in RUNBOOK.read_text("utf-8")
    check_command(notes["first_step"])


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_metrics_that_exist(rule: dict[str, Any]) -> None:
    """Every name in an expression is in the table of metrics or recorded by another rule."""
    found = set(re.findall(r"\bengage[a-z0-9_:]+", rule["expr"]))
    assert found
    assert found <= _SCRAPED | _RECORDED


def test_the_runbook_has_no_section_too_many() -> None:
    """Each section is one alert's."""
    assert re.findall(r"^## (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE) == list(_ALERTS)


def test_the_runbook_names_metrics_and_sections_that_exist() -> None:
    """A metric that was renamed, or a link that leads nowhere, is found."""
    text = RUNBOOK.read_text("utf-8")
    assert set(re.findall(r"\bengage_[a-z_]+", text)) <= _SCRAPED
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {name.lower() for name in _ALERTS}


def _commands() -> list[str]:
    return sorted(set(re.findall(r"`(engage [^`]+)`", RUNBOOK.read_text("utf-8"))))


@pytest.mark.parametrize("line", _commands())
def test_a_command_of_the_runbook_exists(line: str) -> None:
    """Command and options are those of the command line."""
    check_command(line)


def check_command(line: str) -> None:
    """Check that a command line names a command and options that exist.

    Args:
        line: as one types it, `engage` first.
    """
    words = shlex.split(line)
    assert words.pop(0) == "engage"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, line
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    asked = {word for word in words if word.startswith("-")}
    assert asked <= known, line
