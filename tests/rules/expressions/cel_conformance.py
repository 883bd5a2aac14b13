"""The public conformance cases of CEL, those that lie within the rule language, through our own door to CEL.

`python -m tests.rules.expressions.cel_conformance FOLDER` prints the table of docs/cel-conformance.md. FOLDER
is `tests/simple/testdata` of CEL's specification; `go mod download -json cel.dev/expr@v0.25.3` says where it
puts it.
The cases themselves are not ours and not kept here.
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.rules.expressions.cel import CelFailure, CelProgram, compile_cel
from engine.rules.expressions.syntax import ExpressionSyntaxError, Name, parse_expression, walk

Message = dict[str, list[Any]]

_TOKEN = re.compile(
    r"""\s*(?:\#[^\n]*\n\s*)*"""
    r"""(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>\[[\w./]+\]|[-+.\w]+)|(?P<sign>[{}:<>\[\],;]))"""
)
_KINDS = {
    "int64_value": "int", "double_value": "double", "string_value": "string", "bool_value": "bool",
}  # fmt: skip
_TYPES = {"INT64": "int", "DOUBLE": "double", "STRING": "string", "BOOL": "bool"}
_FILES = (
    "basic", "comparisons", "conversions", "fp_math", "integer_math", "lists", "logic", "macros",
    "parse", "string",
)  # fmt: skip
_LEFT_OUT = re.compile(
    r"\b(timestamp|duration|bytes|type|dyn|google|uint|cel|optional|proto)\b|\b[bB]['\"]|\d[uU]\b"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its name, expression, variables, and the value or error it must give."""

    name: str
    expression: str
    kinds: dict[str, str]
    bindings: dict[str, Any]
    value: Any
    fails: bool


class _Outside(Exception):  # noqa: N818 - not an error: the case asks for what rules do not have
    """Why a case lies outside the rule language."""


def read_cases(path: Path) -> Iterator[Case | str]:
    """Yield the cases of a file within the language, and for each other one the reason it is not."""
    document = _message(_tokens(path.read_text("utf-8")), end="")
    for section in document.get("section", []):
        for test in section.get("test", []):
            try:
                yield _case(f"{path.stem}/{_one(section, 'name')}/{_one(test, 'name')}", test)
            except _Outside as reason:
                yield str(reason)


def run(case: Case) -> str:
    """Run a case; return an empty text when it gives what it must, else what it gave."""
    program = compile_cel(case.expression, case.kinds)
    if not isinstance(program, CelProgram):
        return "" if case.fails else f"refused: {program[0].message}"
    try:
        value = program.value(case.bindings)
    except CelFailure as failure:
        return "" if case.fails else f"no value: {failure}"
    same = type(value) is type(case.value) and value == case.value
    return "" if same and not case.fails else f"gave {value!r}"


def _case(name: str, test: Message) -> Case:
    expression = _one(test, "expr")
    for key in ("container", "disable_macros", "disable_check", "check_only", "any_eval_errors", "unknown"):
        if key in test:
            raise _Outside(f"uses {key}")
    _within(expression)
    kinds: dict[str, str] = {}
    bindings: dict[str, Any] = {}
    value: Any
    for declared in test.get("type_env", []):
        ident = declared.get("ident", [{}])[0]
        kind = _TYPES.get(ident.get("type", [{}])[0].get("primitive", [""])[0])
        if kind is None:
            raise _Outside("variables that are no scalars")
        kinds[_one(declared, "name")] = kind
    for binding in test.get("bindings", []):
        kind, value = _scalar(binding["value"][0].get("value", [{}])[0])
        bindings[_one(binding, "key")] = value
        kinds.setdefault(_one(binding, "key"), kind)
    if "eval_error" in test:
        return Case(name, expression, kinds, bindings, None, fails=True)
    if "value" not in test:
        value = True
    else:
        _, value = _scalar(test["value"][0])
        if isinstance(value, float) and not math.isfinite(value):
            raise _Outside("a value that is not finite: rules take it as none")
    return Case(name, expression, kinds, bindings, value, fails=False)


def _within(expression: str) -> None:
    try:
        node = parse_expression(expression)
    except ExpressionSyntaxError:
        raise _Outside("syntax the rule language leaves out") from None
    if _LEFT_OUT.search(expression):
        raise _Outside("types the rule language leaves out")
    if any(isinstance(part, Name) and part.path[0].startswith(("TestAll", "Global")) for part in walk(node)):
        raise _Outside("messages")


def _scalar(message: Message) -> tuple[str, Any]:
    for field, kind in _KINDS.items():
        if field in message:
            text = message[field][0]
            if kind == "int":
                return kind, int(text, 0)
            if kind == "double":
                return kind, float(text)
            return kind, text == "true" if kind == "bool" else text
    raise _Outside("values that are no scalars")


def _one(message: Message, key: str) -> str:
    found = message.get(key, [""])[0]
    return found if isinstance(found, str) else ""


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        yield match[0].strip() if match["text"] is None else match["text"]
    assert not re.sub(r"#[^\n]*|\s", "", text[at:]), f"cannot read {text[at : at + 40]!r}"


def _message(tokens: Iterator[str], end: str) -> Message:
    """Read `name: value` and `name { … }` up to the closing sign; a repeated name gathers a list."""
    found: Message = {}
    waiting: list[str] = []

    def take() -> str:
        return waiting.pop() if waiting else _plain(next(tokens, ""))

    while (name := take()) != end:
        if name in (",", ";"):
            continue
        sign = take()
        if sign == ":":
            sign = take()
        if sign in ("{", "<"):
            found.setdefault(name, []).append(_message(tokens, "}" if sign == "{" else ">"))
        elif sign == "[":
            found.setdefault(name, []).extend(_listed(tokens))
        else:
            while (more := next(tokens, ""))[:1] in ("'", '"'):  # texts side by side are one
                sign += more
            waiting.append(_plain(more))
            found.setdefault(name, []).append(_text(sign))
    return found


def _listed(tokens: Iterator[str]) -> list[Any]:
    items: list[Any] = []
    while (token := _plain(next(tokens, "]"))) != "]":
        if token == "{":
            items.append(_message(tokens, "}"))
        elif token != ",":
            items.append(_text(token))
    return items


def _plain(token: str) -> str:
    """Drop the comments a token was read with."""
    return token if token[:1] in ("'", '"') else token.rsplit("\n", 1)[-1].strip()


def _text(token: str) -> str:
    """Return what a token stands for: texts without quotes, escapes read as UTF-8 bytes."""
    if token[:1] not in ("'", '"'):
        return token
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', token)
    data = b"".join(ast.literal_eval("b" + _ascii(part)) for part in parts)
    return data.decode("utf-8", "replace")


def _ascii(quoted: str) -> str:
    r"""Write characters and `\u…` escapes as the bytes of their UTF-8."""

    def escaped(match: re.Match[str]) -> str:
        found = match[0]
        if found[:2] in ("\\u", "\\U"):
            found = chr(int(f"0x{found[2:]}", 0))
        return found if found.isascii() and found.isprintable() else _bytes(found)

    return re.sub(r"\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|[^\x00-\x7f]", escaped, quoted)


def _bytes(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def main() -> None:
    """Print the table: for each file how many cases apply, pass and differ, and which differ how."""
    folder = Path(sys.argv[1])
    out = ["| file | cases | within the language | as specified |", "|---|---|---|---|"]
    differ: list[str] = []
    reasons: Counter[str] = Counter()
    for name in _FILES:
        cases = list(read_cases(folder / f"{name}.textproto"))
        ours = [case for case in cases if isinstance(case, Case)]
        reasons.update(case for case in cases if isinstance(case, str))
        results = [(case, run(case)) for case in ours]
        differ.extend(f"- `{case.name}`: `{case.expression}` {what}" for case, what in results if what)
        passed = sum(not what for _, what in results)
        out.append(f"| {name} | {len(cases)} | {len(ours)} | {passed} |")
    out += ["", "Outside the language:", ""]
    out += [f"- {count}: {reason}" for reason, count in reasons.most_common()]
    out += ["", "Different from the specification:", "", *(differ or ["none"])]
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
