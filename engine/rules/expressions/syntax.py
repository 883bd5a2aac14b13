"""The shape of a CEL expression, for what the CEL library does not tell: names, atoms, sentences.

CEL itself (cel-expr-python) type-checks and evaluates; this tree only says which names occur where, which
parts compare a column with a constant, and how to say a condition in words. It covers the part of CEL the
rule language allows: no comprehensions, no message or map construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from engine.rules.expressions.tokens import ExpressionSyntaxError, Token, tokenize
from engine.rules.limits import MAX_CACHED_EXPRESSIONS, MAX_EXPRESSION_CHARS, MAX_EXPRESSION_DEPTH

__all__ = [
    "Binary",
    "Call",
    "ExpressionSyntaxError",
    "Index",
    "ListOf",
    "Literal",
    "Name",
    "Node",
    "Select",
    "Ternary",
    "Unary",
    "parse_expression",
    "walk",
]

_COMPREHENSIONS = ("all", "exists", "exists_one", "filter", "map")
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("<", "<=", ">", ">=", "==", "!=", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)
_LEVEL_OF = {operator: level for level, operators in enumerate(_LEVELS) for operator in operators}


class Literal(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """A constant: `kind` is `float uint int string bool null`; `value` is None when only CEL can read it."""

    kind: str
    value: str | int | float | bool | None
    start: int
    end: int


class Name(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """A dotted name such as `customer.churn_risk`."""

    path: tuple[str, ...]
    start: int
    end: int

    @property
    def dotted(self) -> str:
        """The name as written."""
        return ".".join(self.path)


class Select(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """A field of something that is not a name."""

    target: Node
    field: str
    start: int
    end: int


class Index(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`target[key]`."""

    target: Node
    key: Node
    start: int
    end: int


class Call(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`function(arguments)` or `target.function(arguments)`."""

    target: Node | None
    function: str
    arguments: tuple[Node, ...]
    start: int
    end: int


class Unary(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`!x` or `-x`."""

    operator: str
    operand: Node
    start: int
    end: int


class Binary(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`left operator right`."""

    operator: str
    left: Node
    right: Node
    start: int
    end: int


class Ternary(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`condition ? then : otherwise`."""

    condition: Node
    then: Node
    otherwise: Node
    start: int
    end: int


class ListOf(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`[a, b]`."""

    elements: tuple[Node, ...]
    start: int
    end: int


Node = Literal | Name | Select | Index | Call | Unary | Binary | Ternary | ListOf


@lru_cache(maxsize=MAX_CACHED_EXPRESSIONS)
def parse_expression(text: str) -> Node:
    """Read an expression; the same text gives the same tree.

    Raises:
        ExpressionSyntaxError: it is no expression, too long, too deep, or uses what the language leaves out.
    """
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ExpressionSyntaxError(
            f"an expression of {len(text)} characters, the limit is {MAX_EXPRESSION_CHARS}", 0
        )
    parser = _Parser(tokenize(text))
    node = parser.expression()
    parser.finish()
    return node


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all below it, left to right."""
    left = [node]
    while left:
        part = left.pop()
        yield part
        left.extend(reversed(children(part)))


_CHILDREN: dict[type, Callable[[Any], tuple[Node, ...]]] = {
    Literal: lambda _: (),
    Name: lambda _: (),
    Select: lambda node: (node.target,),
    Index: lambda node: (node.target, node.key),
    Call: lambda node: node.arguments if node.target is None else (node.target, *node.arguments),
    Unary: lambda node: (node.operand,),
    Binary: lambda node: (node.left, node.right),
    Ternary: lambda node: (node.condition, node.then, node.otherwise),
    ListOf: lambda node: node.elements,
}


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct parts of a node, left to right."""
    return _CHILDREN[type(node)](node)


class _Parser:
    """Recursive descent over the tokens, bounded in depth."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, *texts: str) -> Token | None:
        token = self._token
        if token.kind in ("op", "name") and token.text in texts:
            return self._take()
        return None

    def _expect(self, text: str) -> Token:
        token = self._accept(text)
        if token is None:
            raise ExpressionSyntaxError(f"expected `{text}` before {self._found()}", self._token.start)
        return token

    def _found(self) -> str:
        return f"`{self._token.text[:20]}`" if self._token.kind != "end" else "the end"

    def finish(self) -> None:
        """Insist that nothing follows."""
        if self._token.kind != "end":
            raise ExpressionSyntaxError(f"expected an operator before {self._found()}", self._token.start)

    def expression(self) -> Node:
        """Read a ternary or anything that binds tighter."""
        self._depth += 1
        if self._depth > MAX_EXPRESSION_DEPTH:
            raise ExpressionSyntaxError(f"nested deeper than {MAX_EXPRESSION_DEPTH}", self._token.start)
        node = self._binary(0)
        if self._accept("?"):
            then = self.expression()
            self._expect(":")
            otherwise = self.expression()
            node = Ternary(node, then, otherwise, node.start, otherwise.end)
        self._depth -= 1
        return node

    def _binary(self, lowest: int) -> Node:
        """Read operands joined by operators that bind as tightly as `lowest` says, or tighter."""
        left = self._unary()
        chain, before = 0, len(_LEVELS)
        while (level := self._level()) >= lowest:
            operator = self._take()
            chain, before = (chain + 1 if level == before else 1), level
            if chain > MAX_EXPRESSION_DEPTH * 2:
                raise ExpressionSyntaxError(f"more than {MAX_EXPRESSION_DEPTH * 2} operands", operator.start)
            right = self._binary(level + 1)
            left = Binary(operator.text, left, right, left.start, right.end)
        return left

    def _level(self) -> int:
        """Return how tightly the operator that comes next binds; -1 when none does."""
        token = self._token
        return _LEVEL_OF.get(token.text, -1) if token.kind in ("op", "name") else -1

    def _unary(self) -> Node:
        operators = []
        while operator := self._accept("!", "-"):
            operators.append(operator)
            if len(operators) > MAX_EXPRESSION_DEPTH:
                raise ExpressionSyntaxError(f"nested deeper than {MAX_EXPRESSION_DEPTH}", operator.start)
        node = self._postfix()
        for operator in reversed(operators):
            if operator.text == "-" and isinstance(node, Literal) and isinstance(node.value, int | float):
                node = Literal(node.kind, -node.value, operator.start, node.end)
            else:
                node = Unary(operator.text, node, operator.start, node.end)
        return node

    def _postfix(self) -> Node:
        node = self._primary()
        for _ in range(MAX_EXPRESSION_DEPTH):
            if self._accept("."):
                field = self._take()
                if field.kind != "name":
                    raise ExpressionSyntaxError("expected a name after `.`", field.start)
                if self._token.text == "(" and self._token.kind == "op":
                    node = self._call(node, field)
                elif isinstance(node, Name):
                    node = Name((*node.path, field.text), node.start, field.end)
                else:
                    node = Select(node, field.text, node.start, field.end)
            elif self._accept("["):
                key = self.expression()
                node = Index(node, key, node.start, self._expect("]").end)
            else:
                return node
        raise ExpressionSyntaxError(f"nested deeper than {MAX_EXPRESSION_DEPTH}", node.start)

    def _call(self, target: Node | None, function: Token) -> Call:
        if target is not None and function.text in _COMPREHENSIONS:
            raise ExpressionSyntaxError(
                f"`{function.text}(…)` is not part of the rule language", function.start
            )
        self._expect("(")
        arguments = []
        while not self._accept(")"):
            arguments.append(self.expression())
            if not self._accept(","):
                self._expect(")")
                break
        end = self._tokens[self._at - 1].end
        return Call(target, function.text, tuple(arguments), target.start if target else function.start, end)

    def _primary(self) -> Node:
        token = self._take()
        if token.kind in ("int", "uint", "float", "string"):
            return Literal(token.kind, _value(token), token.start, token.end)
        if token.kind == "name":
            return self._word(token)
        if token.text == "(" and token.kind == "op":
            node = self.expression()
            # The parentheses belong to the extent: a slice of the text stays a whole expression.
            return msgspec.structs.replace(node, start=token.start, end=self._expect(")").end)
        if token.text == "[" and token.kind == "op":
            return self._list(token)
        self._at -= 1
        raise ExpressionSyntaxError(f"expected a value before {self._found()}", token.start)

    def _word(self, token: Token) -> Node:
        if token.text in ("true", "false"):
            return Literal("bool", token.text == "true", token.start, token.end)
        if token.text == "null":
            return Literal("null", None, token.start, token.end)
        if self._token.text == "(" and self._token.kind == "op":
            return self._call(None, token)
        return Name((token.text,), token.start, token.end)

    def _list(self, opening: Token) -> ListOf:
        elements = []
        while not self._accept("]"):
            elements.append(self.expression())
            if not self._accept(","):
                self._expect("]")
                break
        return ListOf(tuple(elements), opening.start, self._tokens[self._at - 1].end)


def _value(token: Token) -> str | int | float | None:
    """Return a literal's meaning; texts with escapes have none here, CEL reads them itself."""
    text = token.text
    if token.kind == "float":
        return float(text)
    if token.kind in ("int", "uint"):
        return int(text.rstrip("uU"), 0) if text[:2].lower() == "0x" else int(text.rstrip("uU"))
    raw = text[0] in "rR"
    body = text[1:] if raw else text
    body = body[3:-3] if body[:3] in ('"""', "'''") and len(body) >= 6 else body[1:-1]
    return None if "\\" in body and not raw else body
