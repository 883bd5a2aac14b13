"""CEL text to tokens that know where they stand."""

from __future__ import annotations

import re

import msgspec

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<float>(?:\d+\.\d+(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+))
    |(?P<uint>(?:0[xX][0-9a-fA-F]+|\d+)[uU])
    |(?P<int>0[xX][0-9a-fA-F]+|\d+)
    |(?P<string>(?:[rR])?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}
        |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])""",
    re.VERBOSE | re.DOTALL,
)


class ExpressionSyntaxError(Exception):
    """An expression that is not CEL, or CEL outside of the supported part.

    Args:
        message: what is wrong.
        offset: where, in characters from the expression's begin.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Token(msgspec.Struct, frozen=True, gc=False):
    """One token: `kind` is `float uint int string name op` or `end`."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.start + len(self.text)


def tokenize(text: str) -> list[Token]:
    """Split an expression; the last token has the kind `end`.

    Raises:
        ExpressionSyntaxError: a character that begins no token.
    """
    tokens = []
    offset = 0
    while offset < len(text):
        found = _TOKEN.match(text, offset)
        if found is None:
            char = text[offset]
            what = "a text without its closing quote" if char in "'\"" else f"unexpected character {char!r}"
            raise ExpressionSyntaxError(what, offset)
        kind = found.lastgroup or ""
        if kind != "space":
            tokens.append(Token(kind, found[0], offset))
        offset = found.end()
    tokens.append(Token("end", "", len(text)))
    return tokens
