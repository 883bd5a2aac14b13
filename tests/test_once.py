"""Services that consume actions: a repeat has no second effect, and no effect is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
import redis
from redis.client import Pipeline

from engine.once import RedisOnce, SqlOnce
from engine.streams.local.stack import ValkeyServer


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Provide a database with the table."""
    connection = sqlite3.connect(":memory:")
    SqlOnce().create(connection.cursor())
    connection.commit()
    yield connection
    connection.close()


@pytest.fixture
def client(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """Provide an empty Valkey."""
    with redis.Redis.from_url(valkey.url) as found:
        yield found


def test_sql_takes_an_id_once(database: sqlite3.Connection) -> None:
    """An id is new once, within a batch and afterwards."""
    once, cursor = SqlOnce(), database.cursor()
    assert once.first_time(cursor, ["a", "b", "a"], 1.0) == {"a", "b"}
    database.commit()
    assert once.first_time(cursor, ["b", "c"], 2.0) == {"c"}


def test_sql_forgets_with_the_transaction(database: sqlite3.Connection) -> None:
    """When the effect fails, the id is new again."""
    once = SqlOnce()
    assert once.first_time(database.cursor(), ["a"], 1.0) == {"a"}
    database.rollback()
    assert once.first_time(database.cursor(), ["a"], 2.0) == {"a"}


def test_sql_window_is_bounded(database: sqlite3.Connection) -> None:
    """Ids older than the window go, younger ones stay."""
    once, cursor = SqlOnce(keep_s=10), database.cursor()
    once.first_time(cursor, ["old"], 1.0)
    once.first_time(cursor, ["young"], 8.0)
    assert once.forget(cursor, 12.0) == 1
    assert once.first_time(cursor, ["old", "young"], 12.0) == {"old"}


@pytest.mark.parametrize("wrong", [{"table": "a; DROP TABLE b"}, {"mark": ":id"}])
def test_sql_refuses_what_is_no_name(wrong: dict[str, str]) -> None:
    """A table's name is never anything else than a name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SqlOnce(**wrong)  # type: ignore[arg-type]


def test_redis_takes_an_id_once(client: redis.Redis) -> None:
    """The effect of an id is made once, and the id is remembered for the window."""
    once = RedisOnce(client, keep_s=60)
    taken = [once.take(each, lambda pipe: pipe.rpush("effects", "x")) for each in ("a", "b", "a")]
    assert taken == [True, True, False]
    assert client.llen("effects") == 2
    assert 0 < client.ttl("engage-taken:a") <= 60


def test_redis_makes_no_effect_when_another_was_quicker(client: redis.Redis) -> None:
    """Of two consumers that take the same action at the same time one makes the effect."""
    once, other = RedisOnce(client), RedisOnce(client)

    def effect(pipe: Pipeline) -> None:
        other.take("a", lambda theirs: theirs.rpush("effects", "theirs"))
        pipe.rpush("effects", "ours")

    assert not once.take("a", effect)
    assert client.lrange("effects", 0, -1) == [b"theirs"]


def test_redis_forgets_when_the_effect_fails(client: redis.Redis) -> None:
    """When the effect raises, nothing is noted."""

    def fail(_: Pipeline) -> None:
        raise RuntimeError

    once = RedisOnce(client)
    with pytest.raises(RuntimeError):
        once.take("a", fail)
    assert once.take("a", lambda pipe: pipe.rpush("effects", "x"))
