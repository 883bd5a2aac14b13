"""Warnings taken back in the file they are about, each with its reason.

```yaml
silence:
  W0402: only staff are in this segment
```
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RuleError
from engine.rules.codes import CODES
from engine.rules.text.reader import Reader, kind_of
from engine.rules.text.source import ErrorList, Place, nearest
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar

UNNEEDED = "W0401"


@dataclass(frozen=True, slots=True)
class Silence:
    """One code taken back.

    Args:
        code: of a warning.
        reason: why, for who reads the file.
        place: where it stands.
    """

    code: str
    reason: str
    place: Place


def parse_silence(node: Node | None, read: Reader) -> tuple[Silence, ...]:
    """Read the top-level key `silence`.

    Args:
        node: codes with reasons.
        read: takes every problem.
    """
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        hint = "write it as: W0402: the reason"
        read.errors.add("E0203", f"silence must be codes with reasons, not {kind_of(node)}", node.place, hint)
        return ()
    found = []
    for key, value in node.items:
        empty = isinstance(value, Scalar) and value.value is None
        reason = "" if empty else read.text(value, f"the reason for {key.text[:40]!r}").strip()
        if not _can_be_silenced(key.text):
            hint = nearest(key.text, filter(_can_be_silenced, CODES)) or "only warnings can be silenced"
            read.errors.add("E0206", f"silence cannot be of {key.text[:40]!r}", key.place, hint)
        elif not reason:
            read.errors.add(
                "E0202", f"silence of {key.text} lacks its reason", key.place, "say why it is meant"
            )
        else:
            found.append(Silence(key.text, reason, key.place))
    return tuple(found)


def _can_be_silenced(code: str) -> bool:
    return code in CODES and CODES[code].severity == "warning" and code != UNNEEDED


def unsilenced(problems: ErrorList, silences: tuple[Silence, ...]) -> list[RuleError]:
    """Return the warnings of a file that were not taken back, and one for each silence nothing needs.

    Args:
        problems: all of the file's.
        silences: what its author takes back.
    """
    codes = {each.code for each in silences}
    heard = {warning.code for warning in problems.warnings}
    for silence in silences:
        # With errors in the file not all checks were made: the silence may be needed yet.
        if silence.code not in heard and not problems.errors:
            problems.warn(UNNEEDED, f"nothing here needs the silence of {silence.code}", silence.place)
    return [warning for warning in problems.warnings_in_order() if warning.code not in codes]
