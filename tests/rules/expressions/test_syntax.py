"""The expression tree, widening of whole numbers, and values that may be missing."""

from __future__ import annotations

import pytest

from engine.rules.expressions.cel import CelProgram, compile_cel
from engine.rules.expressions.presence import unguarded
from engine.rules.expressions.syntax import ExpressionSyntaxError, Name, parse_expression, walk
from engine.rules.expressions.widen import widen

KINDS = {"customer.x": "double", "customer.n": "int", "customer.s": "string", "event.props": "map"}


@pytest.mark.parametrize(
    ("text", "wide"),
    [
        ("customer.x >= 1", "customer.x >= 1.0"),
        ("1 < customer.x", "1.0 < customer.x"),
        ("customer.x > -1", "customer.x > -1.0"),
        ("customer.x + 1 > 2 * 3", "customer.x + 1.0 > 2.0 * 3.0"),
        ("(customer.x) > (5)", "(customer.x) > (5.0)"),
        ("customer.x in [1, 2.5]", "customer.x in [1.0, 2.5]"),
        ("int(customer.x) > 1", "int(customer.x) > 1"),
        ("customer.n > 1", "customer.n > 1"),
        ("customer.x > 1 ? 1 : 2.5", "customer.x > 1.0 ? 1.0 : 2.5"),
        ("customer.s == '1'", "customer.s == '1'"),
        ("double(customer.n) / 2 > customer.x", "double(customer.n) / 2.0 > customer.x"),
    ],
)
def test_whole_numbers_next_to_doubles_are_widened(text: str, wide: str) -> None:
    """A whole number that meets a double gets its `.0`, others stay; CEL accepts the outcome."""
    assert widen(text, walk(parse_expression(text)), KINDS).text == wide
    names = {part.dotted for part in walk(parse_expression(wide)) if isinstance(part, Name)}
    assert isinstance(compile_cel(wide, {name: KINDS[name] for name in names}), CelProgram)


def test_offsets_are_led_back() -> None:
    """An offset behind widened numbers is the author's offset."""
    text = "customer.x > 1 && customer.x < 20 && oops"
    widened = widen(text, walk(parse_expression(text)), KINDS)
    assert widened.author_offset(widened.text.index("oops")) == text.index("oops")
    assert widened.author_offset(widened.text.index("20")) == text.index("20")
    assert widened.author_offset(0) == 0


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("event.props.a == 1", ["event.props.a"]),
        ("has(event.props.a) && event.props.a == 1", []),
        ('"a" in event.props && event.props["a"] == 1', []),
        ("!has(event.props.a) || event.props.a == 1", []),
        ("has(event.props.a) || event.props.a == 1", ["event.props.a"]),
        ("has(event.props.a) ? event.props.a == 1 : false", []),
        ("has(event.props.a) ? true : event.props.a == 1", ["event.props.a"]),
        ("has(event.props.a) && event.props.b == 1", ["event.props.b"]),
        ("!(!has(event.props.a) || event.props.a == 2)", []),
        ("event.props[customer.s] == 1", ["event.props[…]"]),
        ("size(event.props) > 0", []),
    ],
)
def test_missing_values_must_be_asked_for(text: str, missing: list[str]) -> None:
    """A key of a map is only read where `has()` or `in` has made sure of it."""
    assert [each.name for each in unguarded(parse_expression(text), KINDS)] == missing


@pytest.mark.parametrize(
    "text", ["", "a &&", "a b", "(a", "a[", "f(a,", "'a", "a..b", "1 = 2", "{a: 1}", "a ? b"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Broken expressions are refused with an offset inside them."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse_expression(text)
    assert 0 <= caught.value.offset <= len(text)


def test_extents_are_whole_expressions() -> None:
    """The slice of the text a node spans reads as that node again, parentheses included."""
    text = "(customer.x > 1.0 || customer.n > 1) && !(customer.s == 'a') && customer.s.matches('b')"
    for node in walk(parse_expression(text)):
        again = parse_expression(text[node.start : node.end])
        assert type(again) is type(node)
