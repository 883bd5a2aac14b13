"""`engage rules show`: a journey read back in words, and as a flow diagram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.commands import rules
from engine.commands.base import EXIT_FAILED, AsJson, command, complain, one_of, print_json
from engine.errors import ConfigError
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.authoring.show.outline import Outline
    from engine.rules.parsing.parsed import ParsedJourney
    from engine.rules.text.source import ErrorList

Language = Literal["en", "zh"]


def register(_: typer.Typer) -> None:
    """Add the command to `engage rules`."""
    command(rules.app, "show")(show)


def show(
    settings: Settings,
    journey: Annotated[str, typer.Argument(metavar="JOURNEY|FILE", help="A journey's name, or its file.")],
    lang: Annotated[
        Language, typer.Option(parser=one_of(Language), help="en (English) or zh (Chinese).")
    ] = "en",
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the flow diagram as an SVG file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a journey back in plain words: who enters, what happens, what holds back; and draw its flow.

    A file is shown as it is written, before any check against features and segments.
    """
    from engine.authoring.show.outline import outline  # noqa: PLC0415

    whole = outline(_parsed(settings, journey), lang)
    if svg is not None:
        _write(whole, svg)
    if as_json:
        print_json(whole)
        return
    _print(whole)
    if svg is not None:
        typer.secho(f"\nwritten: {svg}", dim=True)


def _write(whole: Outline, path: Path) -> None:
    from engine.authoring.show.svg import to_svg  # noqa: PLC0415

    try:
        path.write_text(to_svg(whole), "utf-8")
    except OSError as error:
        why = (error.strerror or "cannot be written").lower()
        raise ConfigError(f"--svg {str(path)!r}: {why}") from None


def _print(whole: Outline) -> None:
    from engine.authoring.show.summary import flow_lines, summary_lines  # noqa: PLC0415

    headings = {section.heading for section in whole.sections}
    title, *rest = summary_lines(whole)
    typer.secho(title, bold=True)
    for line in rest:
        typer.secho(line, bold=line in headings)
    typer.secho(f"\n{whole.steps_heading}", bold=True)
    for line in flow_lines(whole):
        typer.echo(f"  {line}")


def _parsed(settings: Settings, name: str) -> ParsedJourney:
    """Return the newest version of a journey by its name, or the one in a file."""
    from engine.rules.load import journey_files  # noqa: PLC0415
    from engine.rules.text.source import nearest  # noqa: PLC0415
    from engine.streams.files import rule_paths  # noqa: PLC0415

    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return _valid(*_read(path))
    # what is wrong in another file is not this command's business
    found = [(parsed, errors) for parsed, errors in map(_read, journey_files(rule_paths(settings))) if parsed]
    same = [(parsed, errors) for parsed, errors in found if parsed.name.value == name]
    if not same:
        names = sorted({parsed.name.value for parsed, _ in found})
        hint = nearest(name, names) or f"journeys: {', '.join(names) or 'none'}"
        raise complain(f"no journey {name!r}; {hint}", EXIT_FAILED)
    return _valid(*max(same, key=lambda each: each[0].version))


def _read(path: Path) -> tuple[ParsedJourney | None, ErrorList]:
    from engine.rules.parsing.parse import read_journey  # noqa: PLC0415
    from engine.rules.text.source import ErrorList  # noqa: PLC0415

    errors = ErrorList(str(path))
    try:
        return read_journey(str(path), path.read_bytes(), errors), errors
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise ConfigError(f"{str(path)!r}: {why}") from None


def _valid(parsed: ParsedJourney | None, errors: ErrorList) -> ParsedJourney:
    if parsed is not None and not errors.errors:
        return parsed
    first = errors.in_order()[0]
    where = f"{first.file}:{first.line}:{first.column}"
    raise complain(f"{where}: {first.message} ({first.code}); `engage rules check` tells all", EXIT_FAILED)
