"""The reader of CEL's conformance cases, on cases of our own."""

from __future__ import annotations

from pathlib import Path

from tests.rules.expressions.cel_conformance import Case, read_cases, run

_CASES = r"""
name: "ours"  # a comment
section {
  name: "some"
  test { name: "sum" expr: "1 + 2" value: { int64_value: 3 } }
  test { name: "wrong" expr: "1 + 2" value: { int64_value: 4 } }
  test {
    name: "text"
    expr: '"caf\\u00e9"'
    value: { string_value: 'caf\u00e9' }
  }
  test {
    name: "bound"
    expr: "x / 0 > 1"
    bindings { key: "x" value { value { int64_value: 7 } } }
    eval_error { }
  }
  test { name: "map" expr: "{'a': 1}" value { bool_value: true } }
}
"""


def test_cases_are_read_run_and_told_apart(tmp_path: Path) -> None:
    """A case passes, differs, must fail, or lies outside the language; each is told as what it is."""
    path = tmp_path / "ours.textproto"
    path.write_text(_CASES, "utf-8")
    cases = list(read_cases(path))
    assert [run(case) for case in cases if isinstance(case, Case)] == ["", "gave 3", "", ""]
    assert cases[-1] == "syntax the rule language leaves out"
