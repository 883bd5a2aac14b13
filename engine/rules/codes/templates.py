"""E0280-E0289: templates."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0280",
        "unknown template",
        "No file under `templates.path` declares a template of this name, so nobody could deliver the "
        "message.",
        "Take the name the hint suggests, or write the template (`docs/templates.md`).",
    ),
    Code(
        "E0281",
        "a template on a channel it is not for",
        "The template lists the channels it was written for, and this is none of them: a text for e-mail "
        "does not fit a push message.",
        "Send it on one of its channels, or take another template.",
    ),
    Code(
        "E0282",
        "a value the template does not take",
        "`data` gives a value that is no field of the template; nobody would ever see it.",
        "Take the name the hint suggests, remove the value, or declare the field in the template.",
    ),
    Code(
        "E0283",
        "a value the template needs is missing",
        "The template has a required field that `data` does not give; the message would go out with a hole.",
        "Give it under `data`, or mark the field `required: false` in the template.",
    ),
    Code(
        "E0284",
        "a value of another type than the template wants",
        "The field is declared as `text`, `integer`, `number` or `flag`, and the value is something else. "
        "A whole number is also a number.",
        "Convert it with `string(…)`, `int(…)` or `double(…)`; a constant meant as a text needs quotes.",
    ),
    Code(
        "E0285",
        "a placeholder that is no field",
        "A text of the template has a placeholder in braces that is not declared under `fields`; it would "
        "never be filled.",
        "Declare the field. Write `{{` and `}}` for braces that are meant as they stand.",
    ),
    Code(
        "E0286",
        "a template of that name exists already",
        "Two files declare the same template; nobody could say which one counts.",
        "Give one of them another name.",
    ),
    Code(
        "E0287",
        "languages with different parts",
        "One language of the template has a subject, body or other part that another one lacks: some "
        "customers would get half a message.",
        "Give every language the same parts.",
    ),
)
