"""`engage redis acl|size`: users for the server, and how much memory it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from engine.commands.base import AsJson, command, print_json
from engine.errors import ConfigError, EngineError
from engine.settings import Settings

_app = typer.Typer(help="Users and memory of Redis.", no_args_is_help=True, rich_markup_mode=None)

#: A customer of the load test in Redis, key, timer and overhead included: many are inside several journeys.
MEASURED_BYTES = 473
#: With fewer keys than this the server's own overhead would count as the customers'.
FEWEST_KEYS = 10_000
ROOM = 1.25
COPIES = 2.0
FILES = 3.0


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_app, name="redis")


@command(_app, "acl")
def acl(
    settings: Settings,
    password_file: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=FILE", help="A role's password, as in worker=/run/secrets/redis."),
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="For a Redis Cluster.")] = False,
) -> None:
    """Write a file for Redis' setting `aclfile`: a user for each role, with the least rights that suffice.

    Roles: worker, trainer, viewer, operator, admin. Passwords are read from files and written as SHA-256. A
    role without one can't log in, and the user `default` is off: give at least `admin` and `worker` one
    before you start a server with it.
    """
    from engine.streams.store.users import USERS, acl_file  # noqa: PLC0415 - help must be fast

    passwords = {}
    for text in password_file or []:
        role, _, path = text.partition("=")
        if role not in {user.name for user in USERS}:
            known = ", ".join(user.name for user in USERS)
            raise ConfigError(f"--password-file {text!r}: write ROLE=FILE, where ROLE is one of {known}")
        passwords[role] = _password(path)
    typer.echo(acl_file(settings.redis.prefix, passwords, cluster=cluster), nl=False)


def _password(path: str) -> str:
    try:
        password = Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the password from {path!r}: {error}") from None
    if not password:
        raise ConfigError(f"{path!r} is empty; write the password into it")
    return password


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """How much memory and disk Redis needs.

    Args:
        customers: how many there will be.
        bytes_each: memory of one, all in.
        measured_on: what that was measured on.
        data_bytes: memory of all.
        max_memory_bytes: what to set `maxmemory` to.
        machine_bytes: memory of the machine, or limit of the container.
        disk_bytes: room for the append-only file.
    """

    customers: int
    bytes_each: int
    measured_on: str
    data_bytes: int
    max_memory_bytes: int
    machine_bytes: int
    disk_bytes: int


def size_for(customers: int, bytes_each: int, measured_on: str) -> Sizing:
    """Compute what so many customers need; arguments as in `Sizing`."""
    data = customers * bytes_each
    most = round(data * ROOM)
    return Sizing(
        customers=customers,
        bytes_each=bytes_each,
        measured_on=measured_on,
        data_bytes=data,
        max_memory_bytes=most,
        machine_bytes=round(most * COPIES),
        disk_bytes=round(data * FILES),
    )


@command(_app, "size")
def size(
    settings: Settings,
    customers: Annotated[int, typer.Option(min=1, help="How many there will be.")],
    bytes_each: Annotated[
        int | None, typer.Option(min=1, help="Memory of one; default: measured on this server.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how much memory and disk Redis needs for so many customers.

    Bytes a customer are measured on the server of the settings once it holds 10,000 keys; before that the
    figure of the load test counts.
    """
    if bytes_each is not None:
        found = size_for(customers, bytes_each, "as told")
    else:
        found = size_for(customers, *asyncio.run(_measured(settings)))
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found.customers:,} customers of {found.bytes_each:,} bytes ({found.measured_on})")
    for name, value, why in (
        ("data", found.data_bytes, "customers times bytes"),
        (
            "maxmemory",
            found.max_memory_bytes,
            "a quarter more: customers who get active, buffers, fragmentation",
        ),
        (
            "machine",
            found.machine_bytes,
            "twice that: pages that change while the append-only file is rewritten",
        ),
        ("disk", found.disk_bytes, "the append-only file doubles before it is rewritten beside itself"),
    ):
        typer.echo(f"  {name:<10}{value / 1e9:>9,.2f} GB   {why}")


async def _measured(settings: Settings) -> tuple[int, str]:
    from engine.streams.store.redis import RedisStore  # noqa: PLC0415 - help must be fast

    store = RedisStore.of(settings.redis)
    try:
        health = await store.health()
    except EngineError as error:
        typer.echo(f"nothing measured here: {error}", err=True)
        return MEASURED_BYTES, "the load test's"
    finally:
        await store.close()
    if health.keys < FEWEST_KEYS:
        return MEASURED_BYTES, f"the load test's; this server holds only {health.keys:,} keys"
    return round(health.dataset_bytes / health.keys), f"measured here, {health.keys:,} keys"
