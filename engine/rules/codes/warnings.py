"""W0401-W0499: what is possible, but hardly meant."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "W0401",
        "a silence that nothing needs",
        "The file silences a warning that the check does not give. Left in, it would hide the warning "
        "should it ever come for another reason.",
        "Remove the line from `silence`.",
        "silence:\n  W0402: our shop asks for consent at the till\nguards: {consent: marketing}\n",
        "guards: {consent: marketing}\n",
    ),
    Code(
        "W0402",
        "messages that ask for no consent",
        "The journey sends messages to customers, is not `transactional`, and names no consent. It would "
        "write to people who never agreed to it.",
        "Name the purpose with `guards: {consent: marketing}`. Receipts and service messages are "
        "`transactional`.",
        "guards:\n  cap: [1 per 7d]\n",
        "guards:\n  consent: marketing\n  cap: [1 per 7d]\n",
    ),
)
