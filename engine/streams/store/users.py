"""Users of Redis: for each role the commands and keys that suffice, as the lines of an ACL file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

_ALIVE = ("ping", "info", "time")


#: Off: nobody can be it. Its rights count all the same: by them many servers (redis/redis#14541; seen on
#: 7.0.15) judge their own append-only file at a restart; what they do not cover of transactions is left out.
_DEFAULT = "user default off resetpass resetchannels ~* +@all"


@dataclass(frozen=True, slots=True)
class User:
    """What one role may do.

    Args:
        name: the role's name.
        meaning: who that is.
        keys: patterns, `%R~` for those only read; `PREFIX` stands for `redis.prefix`.
        commands: what may be called, each by its name or `@category`; `-…` takes away.
    """

    name: str
    meaning: str
    keys: tuple[str, ...]
    commands: tuple[str, ...]


_PARTITIONS = "{PREFIX:*}:*"
#: What the worker's two scripts call, and what it calls itself; SCAN for arming after new rules.
_WORKER = (
    *("evalsha", "eval", "mget", "zrange", "scan"),
    *("get", "set", "mset", "del", "exists", "append", "rename", "hget", "hset", "hgetall", "zadd", "zrem"),
)
USERS = (
    User("worker", "`engage worker`", (f"~{_PARTITIONS}",), (*_ALIVE, *_WORKER)),
    User(
        "trainer",
        "`engage trainer`",
        ("~PREFIX:trainer", "~PREFIX:trainer:lock"),
        ("info", "get", "set", "del"),
    ),
    User(
        "viewer",
        "operators who look: `engage customer show`, `explain`, `doctor`, `partitions check`",
        (f"%R~{_PARTITIONS}",),
        (*_ALIVE, "get", "hget", "hgetall"),
    ),
    User(
        "operator",
        "operators who act: `engage partitions widen`, `doctor` with the server's settings",
        (f"~{_PARTITIONS}", "~PREFIX:*"),
        (*_ALIVE, *_WORKER, "copy", "zscan", "zmscore", "config|get", "acl|dryrun"),
    ),
    User("admin", "who changes users and settings of the server", ("~*",), ("@all",)),
)


def acl_file(prefix: str, passwords: Mapping[str, str], *, cluster: bool = False) -> str:
    """Write the file that the server's setting `aclfile` names.

    A role without a password can't log in; nobody can without one, for the user `default` is off. Passwords
    are written as their SHA-256: choose long random ones.

    Args:
        prefix: the setting `redis.prefix`.
        passwords: by role.
        cluster: also what clients of a Redis Cluster ask before anything else.
    """
    lines = [_DEFAULT]
    for user in USERS:
        allowed = [*user.commands, *(("cluster|slots", "cluster|shards", "command") if cluster else ())]
        words = [
            *("user", f"engage-{user.name}", "on", "resetpass"),
            *([f"#{_digest(passwords[user.name])}"] if user.name in passwords else []),
            *("resetkeys", *(key.replace("PREFIX", prefix) for key in user.keys)),
            "allchannels" if user.name == "admin" else "resetchannels",
            *("-@all", *(f"+{command}" for command in allowed)),
        ]
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
