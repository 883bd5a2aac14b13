"""Checks a `send` step against the template it names: channel, values, types."""

from __future__ import annotations

from collections.abc import Iterable

from engine.rules.checked import CheckedExpression, DataValue
from engine.rules.templates import Field, Template
from engine.rules.text.source import ErrorList, Place, Placed, nearest

_TYPE_OF_KIND = {"string": "text", "int": "integer", "uint": "integer", "double": "number", "bool": "flag"}


def check_template(
    template: Template,
    channel: Placed[str] | None,
    place: Place,
    data: Iterable[tuple[str, DataValue, Place]],
    errors: ErrorList,
) -> None:
    """Note what a step gives that its template does not take, and what it takes that the step does not give.

    Args:
        template: the template the step names.
        channel: where the step sends it; None when there is no such channel.
        place: where the step names the template.
        data: name, value and place of each value of the step.
        errors: takes every problem.
    """
    if channel is not None and template.channels and channel.value not in template.channels:
        hint = f"{template.name} is for " + ", ".join(sorted(template.channels))
        errors.add("E0281", f"template {template.name!r} is not for {channel.value}", channel.place, hint)
    given = set()
    for name, value, at in data:
        given.add(name)
        wanted = template.fields.get(name)
        if wanted is None:
            fields = template.fields
            hint = nearest(name, fields) or "fields: " + (", ".join(sorted(fields)) or "none")
            errors.add("E0282", f"template {template.name!r} has no field {name[:60]!r}", at, hint)
        else:
            _check_type(wanted, value, at, errors)
    missing = [name for name, each in template.fields.items() if each.required and name not in given]
    if missing:
        types = ((name, template.fields[name].type) for name in missing)
        needed = ", ".join(f"{name} ({kind})" if kind else name for name, kind in types)
        errors.add("E0283", f"template {template.name!r} needs {needed}", place, "give it under `data`")


def _check_type(wanted: Field, value: DataValue, place: Place, errors: ErrorList) -> None:
    found = _type_of(value)
    if not wanted.type or found in ("", wanted.type) or (found, wanted.type) == ("integer", "number"):
        return
    hint = ""
    if wanted.type == "text":
        hint = "put it in quotes, or write string(…)"
    elif (found, wanted.type) == ("number", "integer"):
        hint = "write int(…)"
    errors.add("E0284", f"`{wanted.name}` is of type {found}, the template wants {wanted.type}", place, hint)


def _type_of(value: DataValue) -> str:
    """Return the type of a value, or an empty text when only a run can tell."""
    if isinstance(value, CheckedExpression):
        return _TYPE_OF_KIND.get(value.program.kind, "")
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    return "integer" if isinstance(value, int) else "number"
