"""`engage rules check` and `engage features`: what authors of journeys need."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from engine.commands.base import EXIT_FAILED, AsJson, command, complain, kafka_settings, print_json
from engine.errors import ConfigError, RuleError, RuleErrors
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.features.catalog import Feature
    from engine.rules.ruleset import RuleSet

_MAY_BE_DEFINED = {"E0212", "E0302"}  # unknown segment, unknown name
_NAMED = 20  # journeys by name in the line that says all are valid

app = typer.Typer(
    help="Write, check, read back, test and publish journeys.", no_args_is_help=True, rich_markup_mode=None
)


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    root.add_typer(app, name="rules")
    command(root, "features")(features)


def load_rules(settings: Settings, warnings: list[RuleError] | None = None, *, alone: bool = True) -> RuleSet:
    """Read, check and compile the journeys of the settings.

    Args:
        settings: all settings.
        warnings: takes what is possible, but hardly meant.
        alone: in this process only; False for a command that has no threads yet and may use every core.

    Raises:
        RuleErrors: with every problem of every file, that of segments and features first.
    """
    from engine.streams.files import definitions_of, rules_of  # noqa: PLC0415

    try:
        definitions = definitions_of(settings)
    except RuleErrors as error:
        raise RuleErrors(error.errors + _problems_of_journeys(settings)) from None
    return rules_of(settings, definitions, warnings, alone=alone)


def _problems_of_journeys(settings: Settings) -> list[RuleError]:
    """Return what is wrong with the journeys, whatever segments and features their own file will define."""
    from engine.features.definitions import Definitions  # noqa: PLC0415
    from engine.streams.files import rules_of  # noqa: PLC0415

    try:
        rules_of(settings, Definitions())
    except RuleErrors as error:
        return [each for each in error.errors if each.code not in _MAY_BE_DEFINED]
    return []


@command(app, "check")
def check(
    settings: Settings,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; default: rules.paths of the settings.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check journeys down to the last identifier: file, line, column, a caret and a hint for each error.

    Warnings say what is possible, but hardly meant. `engage rules explain-error CODE` explains each code.

    Exit code 0 when all are valid, 1 when not.
    """
    if paths:
        settings = with_paths(settings, paths)
    warnings: list[RuleError] = []
    errors: list[RuleError] = []
    names: list[str] = []
    try:
        found = load_rules(settings, warnings, alone=False)
        names = [f"{journey.name} v{journey.version}" for journey in found.journeys]
    except RuleErrors as error:
        errors, warnings = error.errors, list(error.warnings)
    if as_json:
        print_json({"journeys": names, "errors": _plain(errors), "warnings": _plain(warnings)})
    else:
        print_problems([*errors, *warnings])
        if not errors:
            valid = "1 journey is valid" if len(names) == 1 else f"{len(names)} journeys are valid"
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            nothing = "no journeys found: they are files that end in .yaml, or folders of such"
            typer.echo(f"{valid}: {', '.join(names[:_NAMED])}{more}" if names else nothing)
    # a wrong path must not pass for a good rule set
    if errors or not names or (strict and warnings):
        raise typer.Exit(EXIT_FAILED)


def running_rules(settings: Settings) -> RuleSet:
    """Return the rules that run: those published, or the files where nothing is."""
    from engine.streams.explain import live_rules  # noqa: PLC0415

    try:
        # what is logged on the way is no part of the answer
        with contextlib.redirect_stdout(sys.stderr):
            found = live_rules(settings, kafka_settings(settings))
        return found if found is not None else load_rules(settings)
    except RuleErrors as error:
        first = error.errors[0]
        where = f"{first.file}:{first.line}:{first.column}"
        raise ConfigError(
            f"the journeys cannot be read; first: {where}: {first.message} (`engage rules check` tells all)"
        ) from None


def with_paths(settings: Settings, paths: list[Path]) -> Settings:
    """Return the settings with other journey files; where the shipped journeys were, their templates stay.

    Args:
        settings: all settings.
        paths: files and folders.
    """
    from engine.resources import shipped  # noqa: PLC0415

    templates = settings.templates
    if not templates.path and not settings.rules.paths:
        templates = msgspec.structs.replace(templates, path=str(shipped("templates")))
    rules = msgspec.structs.replace(settings.rules, paths=[str(path) for path in paths])
    return msgspec.structs.replace(settings, rules=rules, templates=templates)


def _plain(problems: list[RuleError]) -> list[dict[str, str | int]]:
    keys = ("code", "message", "file", "line", "column", "hint")
    return [{key: getattr(problem, key) for key in keys} for problem in problems]


def print_problems(problems: list[RuleError]) -> None:
    """Write errors and warnings with their source lines, and how many of each there are."""
    from engine.rules.text.render import render_errors  # noqa: PLC0415

    if not problems:
        return
    sources: dict[str, str] = {}
    for file in {problem.file for problem in problems}:
        with contextlib.suppress(OSError):
            sources[file] = Path(file).read_text("utf-8", "replace")
    typer.echo(render_errors(problems, sources))
    for word, letter, colour in (("error", "E", "red"), ("warning", "W", "yellow")):
        count = sum(problem.code.startswith(letter) for problem in problems)
        if count:
            typer.secho(f"{count} {word}{'s' if count > 1 else ''}", fg=colour, bold=True)


def features(
    settings: Settings,
    contains: Annotated[
        str | None, typer.Argument(help='Only names that contain this, in full; "" is all of them.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what journeys can ask of a customer: names and windows; with a word also kind and meaning."""
    from engine.features.catalog import TEXTS  # noqa: PLC0415
    from engine.rules.text.source import nearest  # noqa: PLC0415
    from engine.streams.files import definitions_of  # noqa: PLC0415

    part = (contains or "").removeprefix("customer.")
    known = definitions_of(settings).space().features
    found = [feature for feature in known if part in feature.name]
    texts = [text for text in TEXTS if part in text]
    if as_json:
        keys = ("name", "kind", "unit", "default", "window", "meaning", "since")
        print_json([{key: getattr(feature, key) for key in keys} for feature in found])
    elif contains is None:
        _print_families(found, texts)
    else:
        _print_features(found, texts)
    if not found and not texts:
        hint = nearest(part, [*(feature.name for feature in known), *TEXTS]) or "`engage features` lists all"
        raise complain(f"no feature's name contains {part!r}; {hint}", EXIT_FAILED)


def _print_features(found: list[Feature], texts: list[str]) -> None:
    width = max(map(len, (*(feature.name for feature in found), *texts)), default=0)
    for feature in sorted(found, key=_by_stem_and_window):
        unit = f" {feature.unit}" if feature.unit else ""
        typer.echo(f"customer.{feature.name:<{width}}  {feature.kind + unit:<16} ", nl=False)
        typer.secho(feature.meaning, dim=True)
    for text in texts:
        typer.echo(f"customer.{text:<{width}}  text")


def _print_families(found: list[Feature], texts: list[str]) -> None:
    """Print a line for each feature, with the windows it is there for."""
    families: dict[str, list[Feature]] = {}
    for feature in sorted(found, key=_by_stem_and_window):
        families.setdefault(_by_stem_and_window(feature)[0], []).append(feature)
    lines = {
        members[0].name if len(members) == 1 else f"{stem}_…": " ".join(
            each.window for each in members if len(members) > 1
        )
        for stem, members in families.items()
    }
    width = max(map(len, lines), default=0)
    for name, windows in lines.items():
        typer.echo(f"customer.{name:<{width}}  {windows}".rstrip())
    for text in texts:
        typer.echo(f"customer.{text}")
    typer.echo("`engage features WORD` tells kind and meaning of those whose name contains WORD")


def _by_stem_and_window(feature: Feature) -> tuple[str, int, str]:
    """Put the windows of a feature side by side, the shortest first."""
    from engine.features.windows import WINDOWS  # noqa: PLC0415

    windows = list(WINDOWS)
    at = windows.index(feature.window) if feature.window else -1
    return feature.name.removesuffix(f"_{feature.window}"), at, feature.name
