"""The catalogue of every error and warning code: `engage rules explain-error`, docs/rule-errors.md.

One module for each range of codes, in the order of the documentation. A test holds the catalogue to the
source: every code used has an entry, every entry is used and has a golden file.
"""

from __future__ import annotations

from typing import Final

from engine.rules.codes import (
    definitions,
    entries,
    expressions,
    files,
    fixtures,
    guards,
    publish,
    steps,
    structure,
    templates,
    warnings,
)
from engine.rules.codes.code import Code

SECTIONS: Final[dict[str, tuple[Code, ...]]] = {
    "The file": files.CODES,
    "Structure": structure.CODES,
    "Steps": steps.CODES,
    "Entries and goals": entries.CODES,
    "Guards and policy": guards.CODES,
    "Templates": templates.CODES,
    "Expressions": expressions.CODES,
    "Warnings": warnings.CODES,
    "Fixtures": fixtures.CODES,
    "Publishing": publish.CODES,
    "Segments and features": definitions.CODES,
}
CODES: Final[dict[str, Code]] = {code.code: code for section in SECTIONS.values() for code in section}

__all__ = ["CODES", "SECTIONS", "Code"]
