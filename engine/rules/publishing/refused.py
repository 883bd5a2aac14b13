"""Why a publication, or an operation on one, is refused."""

from __future__ import annotations

from engine.errors import EngineError


class Refused(EngineError):  # noqa: N818 - named for what happened
    """Nothing was written, or what was written has no effect.

    Args:
        code: `E06..`, explained by `engage rules explain-error`.
        message: what is wrong.
        hint: what to do, or empty.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{code}: {message}" + (f"\nhint: {hint}" if hint else ""))
        self.code = code
        self.message = message
        self.hint = hint
