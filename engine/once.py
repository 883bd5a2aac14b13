"""For services that consume actions: take each one once, though the engine may send it twice.

After a crash the engine repeats actions, always with the same id (`docs/events.md`). A service drops the
repeats when it remembers the ids *together with what it did*: in one transaction, so that neither can be
there without the other. `SqlOnce` does it in the service's database, `RedisOnce` in its Redis.

    once = SqlOnce()
    with connection:                                   # the service's own transaction
        new = once.first_time(connection.cursor(), [action["id"] for action in batch], time.time())
        for action in batch:
            if action["id"] in new:
                new.remove(action["id"])               # the same batch may hold it twice
                queue_email(connection, action)
    consumer.commit(asynchronous=False)                # only now

An effect that lies in neither (a call of somebody's API) can't be in a transaction: give the action's id
along as the API's idempotency key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import redis
from redis.client import Pipeline
from redis.exceptions import WatchError

KEEP_S = 7 * 86_400
_ATTEMPTS = 10


class Cursor(Protocol):
    """A cursor of a DB-API connection to SQLite or PostgreSQL."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement touched."""

    def execute(self, statement: str, parameters: Any = ..., /) -> object:
        """Run a statement."""


class SqlOnce:
    """Remembers ids in a table of the service's own database (SQLite, PostgreSQL), in its own transaction.

    Args:
        table: its name; letters, digits and underscores.
        keep_s: how long an id is remembered, s. A repeat must come sooner: longer than the longest outage,
            and than the age of the oldest backup that the engine's Redis may be restored from.
        mark: how the driver writes a parameter: `?` (sqlite3) or `%s` (psycopg).

    Raises:
        ValueError: the name or the mark is none of these.
    """

    def __init__(self, table: str = "engage_taken", keep_s: float = KEEP_S, mark: str = "?") -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", table):
            raise ValueError(f"table: {table!r} is no name of letters, digits and underscores")
        if mark not in ("?", "%s"):
            raise ValueError(f"mark: {mark!r} is neither '?' nor '%s'")
        self._keep_s = keep_s
        self._create = (
            f"CREATE TABLE IF NOT EXISTS {table} (id VARCHAR(64) PRIMARY KEY, taken_s FLOAT(53) NOT NULL)",
            f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} (taken_s)",
        )
        self._insert = (  # the name is checked above
            f"INSERT INTO {table} (id, taken_s)"  # noqa: S608
            f" VALUES ({mark}, {mark}) ON CONFLICT (id) DO NOTHING"
        )
        self._delete = f"DELETE FROM {table} WHERE taken_s < {mark}"  # noqa: S608

    def create(self, cursor: Cursor) -> None:
        """Create the table, if it is not there.

        Args:
            cursor: of the service's connection.
        """
        for statement in self._create:
            cursor.execute(statement)

    def first_time(self, cursor: Cursor, ids: Iterable[str], now_s: float) -> set[str]:
        """Remember ids; return those never seen before. Call it in the transaction of the effects.

        Another consumer that takes the same id at the same time waits for the end of this transaction.

        Args:
            cursor: of the service's connection.
            ids: ids of actions; each may be there several times.
            now_s: the wall clock, s.

        Returns:
            The ids whose effects are to be made in this transaction, each once.
        """
        new: set[str] = set()
        for each in ids:
            cursor.execute(self._insert, (each, now_s))
            if cursor.rowcount == 1:
                new.add(each)
        return new

    def forget(self, cursor: Cursor, now_s: float) -> int:
        """Delete what is older than `keep_s`; call it now and then, once an hour perhaps.

        Args:
            cursor: of the service's connection.
            now_s: the wall clock, s.

        Returns:
            How many ids were deleted.
        """
        cursor.execute(self._delete, (now_s - self._keep_s,))
        return cursor.rowcount


class RedisOnce:
    """Remembers ids in the Redis that takes the effects: id and effect are one `MULTI`.

    On a cluster the keys of the effect must have the hash tag of `prefix`. A Redis that loses its last second
    loses ids and effects together, while Kafka's offset stays where it was committed: keep
    `appendfsync always`, or commit offsets a few seconds late.

    Args:
        client: the service's Redis.
        prefix: start of the keys, a hash tag included if need be.
        keep_s: how long an id is remembered, whole seconds; see `SqlOnce`.
    """

    def __init__(self, client: redis.Redis, prefix: str = "engage-taken:", keep_s: int = KEEP_S) -> None:
        self._client = client
        self._prefix = prefix
        self._keep_s = keep_s

    def take(self, action_id: str, effect: Callable[[Pipeline], object]) -> bool:
        """Make an effect unless it was made before.

        Args:
            action_id: id of the action.
            effect: puts its commands on the pipeline it is given; they are carried out together with the note
                of the id, or not at all. It may be called more than once.

        Returns:
            Whether the effect was made now.

        Raises:
            RedisError: the server does not answer; call again, it is then found out whether it was made.
        """
        key = self._prefix + action_id
        with self._client.pipeline() as pipe:
            for _ in range(_ATTEMPTS):
                try:
                    pipe.watch(key)  # type: ignore[no-untyped-call]
                    if pipe.exists(key):
                        return False
                    pipe.multi()
                    pipe.set(key, 1, ex=self._keep_s)
                    effect(pipe)
                    pipe.execute()
                except WatchError:
                    continue  # somebody else took it, or it expired, just now
                return True
        raise WatchError(f"{key}: changed by others {_ATTEMPTS} times in a row")
