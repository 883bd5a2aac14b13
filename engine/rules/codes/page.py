"""The catalogue as text: one code on the terminal, all of them as the page docs/rule-errors.md."""

from __future__ import annotations

import textwrap

from engine.rules.codes import CODES, SECTIONS, Code

_WIDTH = 96
_INTRO = """\
`engage rules check` shows each mistake with its code, place, source line and mostly a hint. This page says
for each code what it means and what to do; `engage rules explain-error E0211` prints the same on the
terminal. Codes keep their meaning across releases.

An error (`E`) stops: a journey with one is not loaded. A warning (`W`) does not: what the file says is
possible, but hardly meant. `check --strict` takes warnings for errors; `silence` in the file takes one back,
with a reason (`docs/journeys.md`, *Warnings*).

"""


def explain(code: Code) -> str:
    """Return what the terminal shows for one code."""
    parts = [f"{code.code}: {code.title} ({code.severity})", _wrapped(code.meaning), _wrapped(code.remedy)]
    if code.wrong:
        parts += [f"Wrong:\n\n{_indented(code.wrong)}", f"Right:\n\n{_indented(code.right)}"]
    return "\n\n".join(parts) + "\n"


def page() -> str:
    """Return the body of docs/rule-errors.md: an overview, then each code."""
    overview = ["| code | what is wrong |\n|---|---|\n"]
    overview += [f"| [{code.code}](#{code.code.lower()}) | {code.title} |\n" for code in CODES.values()]
    sections = [f"\n## {title}\n" + "".join(map(_entry, codes)) for title, codes in SECTIONS.items() if codes]
    return _INTRO + "".join(overview) + "".join(sections)


def _entry(code: Code) -> str:
    text = f"\n### {code.code}\n\n**{_sentence(code.title)}** {code.meaning}\n\n*What to do:* {code.remedy}\n"
    if not code.wrong:
        return text
    return f"{text}\n```yaml\n# wrong\n{code.wrong}```\n\n```yaml\n# right\n{code.right}```\n"


def _sentence(title: str) -> str:
    return title[0].upper() + title[1:] + "."


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _indented(text: str) -> str:
    return textwrap.indent(text.rstrip("\n"), "    ")
