"""Runs journeys and fixtures given as text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from engine.authoring.fixtures_run import Bench, Report, run_fixtures
from engine.settings import RuleSettings, Settings
from engine.streams.bench import bench_of


@cache
def bench() -> Bench:
    """Return a bench whose journeys may name any template."""
    return bench_of(Settings(rules=RuleSettings(paths=["it.yaml"])))


def run(folder: Path, journey: str, fixtures: str, **others: str) -> Report:
    """Run the fixtures of a journey.

    Args:
        folder: takes the files.
        journey: a journey file, without its name.
        fixtures: a fixture file, without the journey's name.
        others: further journey files by name, whole.
    """
    (folder / "it.yaml").write_text(f"journey: it\n{journey}", "utf-8")
    (folder / "it.test.yaml").write_text(f"fixtures: it\n{fixtures}", "utf-8")
    for name, text in others.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return run_fixtures([folder / "it.test.yaml"], bench())


def wrong(report: Report) -> list[str]:
    """Return what is wrong with a run in lines, empty when it passed."""
    found = [str(error) for error in report.errors]
    for result in report.results:
        found += [result.problem] if result.problem else []
        found += [
            f"{result.case.name}: {line.verdict}: {line.expected} | {line.got}"
            for line in result.lines
            if line.verdict not in ("", "ok")
        ]
    return found
