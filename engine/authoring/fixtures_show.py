"""What a person and a program read of a run of fixtures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Any

from engine.authoring.coverage import KINDS, Coverage
from engine.authoring.fixtures_compare import Line
from engine.authoring.fixtures_run import FAULTS, CaseResult, Report
from engine.authoring.instants import say_instant, say_span

_MARKS = {"ok": "ok", "missing": "MISSING", "unexpected": "UNEXPECTED", "different": "DIFFERENT"}
HEADINGS = ("time", "after", "", "event", "expected", "got")
_PLURALS = {
    "entry": "entry",
    "step": "steps",
    "branch": "branches",
    "exit": "exits",
    "goal": "goal",
    "guard": "guards",
}


def rows_of(result: CaseResult) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the timeline of a case as rows of cells under `HEADINGS`, each with its verdict."""
    several = len(result.case.customers) > 1
    zones: dict[str, tzinfo] = {each.label: each.zone for each in result.case.customers}
    before = ""
    for line in result.lines:
        when = say_instant(line.time_ms, zones[line.label])
        after = "+" + say_span(line.time_ms - result.case.start_ms)
        who = f"{line.label}: " if several else ""
        cells = [f"{who}{cell}" if cell else "" for cell in (line.happened, line.expected, line.got)]
        mark = _MARKS.get(line.verdict, "")
        yield (when if when != before else "", after.replace("+-", "-"), mark, *cells), line.verdict
        before = when


def plain_lines(result: CaseResult) -> Iterator[str]:
    """Yield the timeline of a case as lines of text, the columns side by side."""
    rows = [cells for cells, _ in rows_of(result)]
    widths = [
        max((min(len(row[at]), 60) for row in [HEADINGS, *rows]), default=0) for at in range(len(HEADINGS))
    ]
    for row in [HEADINGS, *rows]:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def title(result: CaseResult) -> str:
    """Return the line above the timeline of a case."""
    faults = sum(line.verdict in FAULTS for line in result.lines)
    why = result.problem or f"{faults} {'difference' if faults == 1 else 'differences'}"
    return f"{result.file}:{result.case.place.line}: {result.journey}: {result.case.name}: {why}"


def summary(report: Report) -> str:
    """Return the last line: how many cases passed and failed."""
    failed = sum(not result.passed for result in report.results)
    passed = len(report.results) - failed
    journeys = len({result.journey for result in report.results})
    parts = [f"{passed} passed"] + ([f"{failed} failed"] if failed else [])
    if report.errors:
        parts.append(f"{len(report.errors)} error{'s' if len(report.errors) > 1 else ''}")
    of = f" of {journeys} journey{'s' if journeys != 1 else ''}" if journeys else ""
    return f"{len(report.results)} case{'s' if len(report.results) != 1 else ''}{of}: {', '.join(parts)}"


def coverage_lines(coverages: Sequence[Coverage]) -> Iterator[str]:
    """Yield the coverage of each journey, with every part no case went through."""
    for each in coverages:
        counts = ", ".join(
            f"{_PLURALS[kind]} {sum(part.covered for part in parts)}/{len(parts)}"
            for kind in KINDS
            if (parts := each.of(kind))
        )
        yield f"{each.journey}: {each.percent:.0f} % ({counts})"
        for part in each.untested:
            yield f"  {each.file}:{part.line}: no case for {part.kind} {part.name}"


def as_json(report: Report, *, with_coverage: bool) -> dict[str, Any]:
    """Return a report for programs.

    Args:
        report: what became of the cases.
        with_coverage: whether to add the coverage of each journey.
    """
    keys = ("code", "message", "file", "line", "column", "hint")
    found: dict[str, Any] = {
        "passed": sum(result.passed for result in report.results),
        "failed": sum(not result.passed for result in report.results),
        "cases": [_case(result) for result in report.results],
        "without_fixtures": report.without,
        "errors": [{key: getattr(error, key) for key in keys} for error in report.errors],
    }
    if with_coverage:
        found["coverage"] = [_coverage(each) for each in report.coverage]
    return found


def _case(result: CaseResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "file": result.file,
        "line": result.case.place.line,
        "journey": result.journey,
        "name": result.case.name,
        "passed": result.passed,
    }
    if not result.passed:
        found["problem"] = result.problem
        found["timeline"] = [_line(line, result.case.start_ms) for line in result.lines]
    return found


def _line(line: Line, start_ms: int) -> dict[str, Any]:
    return {
        "time": line.time_ms,
        "after_ms": line.time_ms - start_ms,
        "customer": line.label,
        "event": line.happened,
        "expected": line.expected,
        "got": line.got,
        "verdict": line.verdict,
        "line": line.expectation.place.line if line.expectation is not None else 0,
    }


def _coverage(each: Coverage) -> dict[str, Any]:
    return {
        "journey": each.journey,
        "file": each.file,
        "percent": round(each.percent, 1),
        "parts": {
            kind: {"covered": sum(part.covered for part in parts), "total": len(parts)}
            for kind in KINDS
            if (parts := each.of(kind))
        },
        "untested": [{"kind": part.kind, "name": part.name, "line": part.line} for part in each.untested],
    }
