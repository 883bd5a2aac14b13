"""`engage rules new`, `fmt`, `explain-error`: what helps while a journey is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands import rules
from engine.commands.base import EXIT_FAILED, EXIT_USAGE, AsJson, command, complain, print_json
from engine.errors import RuleError, RuleErrors
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.authoring.starters import Starter, Wishes

_BLANK = "blank"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


def register(_: typer.Typer) -> None:
    """Add the commands to `engage rules`."""
    command(rules.app, "new")(new)
    command(rules.app, "fmt")(fmt)
    command(rules.app, "schema")(schema)
    command(rules.app, "explain-error")(explain_error)


def explain_error(
    code: Annotated[str, typer.Argument(help="The code, such as E0211.")], as_json: AsJson = False
) -> None:
    """Explain a code of `engage rules check`: what it means, what to do, an example and its mended form.

    Exit code 1 when there is no such code.
    """
    from engine.rules.codes import CODES  # noqa: PLC0415 - help must be fast
    from engine.rules.codes.page import explain  # noqa: PLC0415
    from engine.rules.text.source import nearest  # noqa: PLC0415

    found = CODES.get(code.upper())
    if found is None:
        hint = nearest(code.upper(), CODES) or "docs/rule-errors.md lists all"
        raise complain(f"no code {code[:40]!r}; {hint}", EXIT_FAILED)
    if as_json:
        keys = ("code", "severity", "title", "meaning", "remedy", "wrong", "right")
        print_json({key: getattr(found, key) for key in keys})
    else:
        typer.echo(explain(found), nl=False)


def schema(
    what: Annotated[str, typer.Argument(help="journey, template, policy or fixtures.")] = "journey",
) -> None:
    """Write the JSON Schema of a kind of rule file, for completion and checks in an editor.

    With yaml-language-server, put this line at the top of a file:
    # yaml-language-server: $schema=PATH/journey.schema.json
    """
    from engine.docs import SCHEMAS, schema_text  # noqa: PLC0415 - help must be fast

    if what not in SCHEMAS:
        raise complain(f"no schema of {what[:40]!r}; one of {', '.join(SCHEMAS)}", EXIT_USAGE)
    typer.echo(schema_text(what), nl=False)


def fmt(
    paths: Annotated[list[Path], typer.Argument(help="Journeys, fixtures, templates, or folders of them.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 when a file is not in its form.")
    ] = False,
) -> None:
    """Bring rule files into the common form: the order of keys, indentation, blank lines. Comments stay.

    What a file says never changes. A file that cannot be read as YAML is left alone, exit code 1.
    """
    from engine.rules.format import format_text  # noqa: PLC0415 - help must be fast

    errors: list[RuleError] = []
    changed = 0
    for path in _yaml_files(paths):
        text = _readable(path, errors)
        formed = format_text(text)
        if formed != text:
            changed += 1
            typer.echo(f"{'not in its form: ' if check else 'wrote '}{path}")
            if not check:
                path.write_text(formed, "utf-8")
    rules.print_problems(errors)
    if errors or (check and changed):
        raise typer.Exit(EXIT_FAILED)


def _yaml_files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml"))
        found += inside if path.is_dir() else [path]
    return found


def _readable(path: Path, errors: list[RuleError]) -> str:
    """Return a file's text, or an empty one after noting why it cannot be read."""
    from engine.rules.load import read_sources  # noqa: PLC0415 - help must be fast
    from engine.rules.text.source import ErrorList  # noqa: PLC0415
    from engine.rules.text.yaml_nodes import read_text, read_yaml  # noqa: PLC0415

    problems = ErrorList(str(path))
    for _, data in read_sources([path], errors):
        source = read_text(str(path), data, problems)
        if source is not None and read_yaml(source, problems) is not None:
            return source.text
    errors.extend(problems.in_order())
    return ""


def new(
    settings: Settings,
    name: Annotated[str | None, typer.Option("--name", help="Its name; asked for if left out.")] = None,
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="NAME", help="A journey of docs/cookbook.md to begin with, or blank."
        ),
    ] = _BLANK,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")] = "marketing@example.com",
    event: Annotated[str, typer.Option("--event", help="For a blank one: the event it begins with.")] = (
        "order.delivered"
    ),
    channel: Annotated[str, typer.Option("--channel", help="For a blank one: the channel.")] = "email",
    message: Annotated[
        str, typer.Option("--message", help="For a blank one: the template of its message.")
    ] = "",
    folder: Annotated[Path, typer.Option("--folder", help="Where to write the files.")] = Path(),
) -> None:
    """Write a new journey and its first test cases: blank, or after one of docs/cookbook.md.

    Left without --name it asks. Never writes over a file. Exit code 1 when it would, or when the result would
    not pass `check`.
    """
    from engine.authoring.starters import Wishes  # noqa: PLC0415 - help must be fast
    from engine.rules.text.source import nearest  # noqa: PLC0415

    if name is None:
        name = typer.prompt("Name of the journey")
        template = typer.prompt("Begin with (blank, or a journey of docs/cookbook.md)", default=template)
        if template == _BLANK:
            event = typer.prompt("Event it begins with", default=event)
            channel = typer.prompt("Channel of its message", default=channel)
    assert name is not None
    if not _NAME.fullmatch(name):
        raise complain(f"{name[:80]!r} is not a name: lower case letters, digits, - and _", EXIT_USAGE)
    if template not in (known := (_BLANK, *_models())):
        hint = nearest(template, known) or f"one of {', '.join(known)}"
        raise complain(f"no journey {template[:80]!r} to begin with; {hint}", EXIT_USAGE)
    if template == _BLANK:
        message = message or _a_template(settings, name, channel)
    starter = _starter(template, Wishes(name, owner, event, channel, message), settings)
    _write(starter, name, folder, settings)


def _models() -> dict[str, Path]:
    """Return the journeys one can begin with, by name: the shipped ones, then those of the cookbook."""
    from engine.resources import shipped  # noqa: PLC0415 - help must be fast
    from engine.rules.load import journey_files  # noqa: PLC0415

    files = (*journey_files([shipped("journeys")]), *journey_files([shipped("cookbook")]))
    return {path.stem: path for path in files}


def _a_template(settings: Settings, name: str, channel: str) -> str:
    """Return a template for a first message: of the deployment's that need no values the one most like it.

    One of the journey's name comes first, then those that take no values at all.
    """
    from engine.streams.files import templates_of  # noqa: PLC0415 - help must be fast

    fitting = [
        each
        for each in templates_of(rules.with_paths(settings, []), []).values()
        if (not each.channels or channel in each.channels)
        and not any(field.required for field in each.fields.values())
    ]
    best = min(fitting, key=lambda each: (each.name != name, len(each.fields), each.name), default=None)
    if best is None:
        return name
    if best.name != name:
        given = ", ".join(f"`{field}`" for field in best.fields)
        more = f"; it takes {given} under `data`" if given else ""
        typer.echo(f"its message is the template {best.name}, to begin with: put your own in its place{more}")
    return best.name


def _starter(template: str, wishes: Wishes, settings: Settings) -> Starter:
    from engine.authoring.starters import after, blank, without_others  # noqa: PLC0415 - help must be fast
    from engine.rules.load import journey_files  # noqa: PLC0415
    from engine.streams.files import rule_paths  # noqa: PLC0415

    if template == _BLANK:
        return blank(wishes)
    model = _models()[template]
    cases = model.with_name(f"{template}.test.yaml").read_text("utf-8")
    starter = after(model.read_text("utf-8"), cases, template, wishes)
    present = {file.stem for file in journey_files(rule_paths(settings))}
    starter, missing = without_others(starter, present)
    if missing:
        typer.echo(f"its cases beside {', '.join(missing)} are left out: your rules have no such journey")
    return starter


def _bring_templates(starter: Starter, settings: Settings) -> None:
    """Write the shipped templates a journey sends into the deployment's folder, if it has none so named."""
    from engine.resources import shipped  # noqa: PLC0415 - help must be fast
    from engine.streams.files import templates_of  # noqa: PLC0415

    folder = Path(settings.templates.path)
    if not settings.templates.path or not folder.is_dir():
        return
    present = templates_of(settings, [])
    for name in dict.fromkeys(re.findall(r"\btemplate: ([a-z][a-z0-9_-]*)", starter.journey)):
        path, models = folder / f"{name}.yaml", shipped("templates")
        found = (each for each in (models, models / "cookbook") if (each / f"{name}.yaml").is_file())
        if name not in present and not path.exists() and (model := next(found, None)) is not None:
            path.write_text((model / f"{name}.yaml").read_text("utf-8"), "utf-8")
            typer.echo(f"wrote {path}: its message, in the engine's words; put your own in their place")


def _write(starter: Starter, name: str, folder: Path, settings: Settings) -> None:
    journey, cases = folder / f"{name}.yaml", folder / f"{name}.test.yaml"
    for path in (journey, cases):
        if path.exists():
            raise complain(f"{path} exists already; nothing written", EXIT_FAILED)
    folder.mkdir(parents=True, exist_ok=True)
    journey.write_text(starter.journey, "utf-8")
    cases.write_text(starter.cases, "utf-8")
    typer.echo(f"wrote {journey} and {cases}")
    _bring_templates(starter, settings)
    try:
        rules.load_rules(rules.with_paths(settings, [journey]))
    except RuleErrors as error:
        rules.print_problems(error.errors)
        raise typer.Exit(EXIT_FAILED) from None
    typer.echo(f"next: engage rules check {journey}; engage rules test {cases}")
