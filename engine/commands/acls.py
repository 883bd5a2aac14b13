"""`engage topics acls`: what each role may do in Kafka, printed, as commands, or made at once."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.base import AsJson, command, kafka_settings, print_json
from engine.errors import ConfigError
from engine.settings import Settings
from engine.streams.security.rights import Role, commands_of, roles_of

_HELP_PRINCIPAL = "Kafka's user of a role, as in worker=User:CN=w1; default User:engage-ROLE."


def register(topics: typer.Typer) -> None:
    """Add the command to the group `topics`."""
    command(topics, "acls")(acls)


def acls(
    settings: Settings,
    role: Annotated[list[str] | None, typer.Option(help="Only these roles; default: all.")] = None,
    principal: Annotated[list[str] | None, typer.Option(metavar="ROLE=USER", help=_HELP_PRINCIPAL)] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Write lines for kafka-acls.sh.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make the ACLs; those that exist stay.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rights each role needs in Kafka, with the reason of each; --apply makes them.

    Roles: worker, trainer, author, producer, consumer, viewer, operator, admin. Kafka must have an
    authorizer, and --apply needs a user who may alter the cluster. No ACL is ever removed.
    """
    roles = _chosen(roles_of(settings), role or [])
    users = _users(roles, principal or [])
    if apply:
        _apply(settings, roles, users)
    if as_json:
        print_json({"roles": [{"principal": users[each.name], "role": each} for each in roles]})
    elif commands:
        typer.echo('KAFKA="--bootstrap-server HOST:PORT --command-config admin.properties"')
        for each in roles:
            typer.echo(f"# {each.name}: {each.meaning}")
            typer.echo("\n".join(commands_of(each, users[each.name])))
    elif apply:
        for each in roles:
            typer.echo(f"{each.name}: {users[each.name]} has {len(each.rights)} rights")
    else:
        for each in roles:
            _show(each, users[each.name])


def _chosen(roles: dict[str, Role], names: list[str]) -> list[Role]:
    unknown = [name for name in names if name not in roles]
    if unknown:
        raise ConfigError(f"--role {unknown[0]}: no such role; there are {', '.join(roles)}")
    return [each for name, each in roles.items() if not names or name in names]


def _users(roles: list[Role], given: list[str]) -> dict[str, str]:
    users = {each.name: each.principal for each in roles}
    for text in given:
        name, _, user = text.partition("=")
        if name not in users or not user.startswith("User:"):
            known = ", ".join(users)
            raise ConfigError(f"--principal {text!r}: write ROLE=User:NAME, where ROLE is one of {known}")
        users[name] = user
    return users


def _apply(settings: Settings, roles: list[Role], users: dict[str, str]) -> None:
    from engine.streams.security.acls import apply_acls, bindings_of  # noqa: PLC0415 - help must be fast

    wanted = [binding for each in roles for binding in bindings_of(each, users[each.name])]
    apply_acls(kafka_settings(settings), wanted)


def _show(role: Role, user: str) -> None:
    typer.secho(f"{role.name}", bold=True, nl=False)
    typer.echo(f"  {user}  {role.meaning}")
    for right in role.rights:
        name = f"{right.name}*" if right.prefixed else right.name
        does = ", ".join(operation.lower().replace("_", " ") for operation in right.operations)
        typer.echo(f"  {right.kind:<8}{name:<28}{does:<44}{right.why}")
