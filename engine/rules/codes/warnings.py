"""W0401-W0499: what is allowed, but hardly meant."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = ()
