"""What one setting is: its annotation and its row in the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_origin, get_type_hints

import msgspec


def about(
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    pattern: str | None = None,
    form: str = "",
    secret: bool = False,
    multiple_of: int | None = None,
) -> msgspec.Meta:
    """Describe a setting.

    Args:
        meaning: one sentence for the person who sets it.
        unit: `ms`, `s`, `records`, …; empty for names.
        low: smallest allowed number.
        high: largest allowed number.
        pattern: regular expression a string must match.
        form: the pattern in words.
        secret: whether the value must never be shown.
        multiple_of: numbers must be a multiple of this.

    Returns:
        The annotation msgspec checks and `SETTINGS` is built from.
    """
    extra = {"unit": unit, "form": form, "secret": secret}
    bounds: dict[str, Any] = {"ge": low, "le": high, "pattern": pattern, "multiple_of": multiple_of}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return msgspec.Meta(description=meaning, extra=extra, **given)


class Setting(msgspec.Struct, frozen=True):
    """One row of the table.

    Args:
        name: dotted name, as in the file.
        kind: its type with bounds, as msgspec checks it.
        default: value when nobody says otherwise.
        meta: the annotation `about()` made.
    """

    name: str
    kind: Any
    default: Any
    meta: msgspec.Meta

    @property
    def meaning(self) -> str:
        """What it does, in a sentence."""
        return self.meta.description or ""

    @property
    def unit(self) -> str:
        """Unit of a number, or empty."""
        return str((self.meta.extra or {}).get("unit", ""))

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return bool((self.meta.extra or {}).get("secret", False))

    @property
    def environment(self) -> str:
        """Name of the environment variable that sets it."""
        return "ENGAGE_" + self.name.replace(".", "_").upper()

    @property
    def base(self) -> Any:
        """The plain type: `int`, `float`, `str`, `list`, `dict`, or a `Literal`."""
        inner = self.kind.__origin__
        origin = get_origin(inner)
        return origin if origin in {list, dict} else inner

    @property
    def allowed(self) -> str:
        """The allowed range in words."""
        if get_origin(self.base) is Literal:
            return " or ".join(self.base.__args__)
        if form := str((self.meta.extra or {}).get("form", "")):
            return form
        if self.base is dict:
            return "a table of strings"
        low, high = self.meta.ge, self.meta.le
        step = f", a multiple of {self.meta.multiple_of}" if self.meta.multiple_of else ""
        kind = "a whole number" if self.base is int else "a number"
        return f"{kind} from {low} to {high}{step}"


def setting_rows(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[Setting]:
    """Yield a row for each annotated field of a struct, sections flattened to dotted names."""
    hints = get_type_hints(struct, include_extras=True)
    for info in msgspec.structs.fields(struct):
        kind = hints[info.name]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from setting_rows(kind, f"{prefix}{info.name}.")
        elif hasattr(kind, "__metadata__"):
            factory = info.default_factory
            default = info.default if factory is msgspec.NODEFAULT else factory()
            yield Setting(prefix + info.name, kind, default, kind.__metadata__[0])
