"""The users of `engage redis acl --cluster` do their work on a real cluster, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from engine.cli import app
from engine.errors import ConfigError, TransientError
from engine.link_settings import RedisSettings
from engine.settings import Settings
from engine.streams.security.links import redis_options
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.link import ClusterLink, Command, checked, open_link
from engine.streams.store.redis import RedisStore
from engine.streams.store.users import USERS
from engine.streams.widening.moving import Moving
from engine.streams.widening.widen import Widening
from tests.redis_cluster import Cluster, redis_cluster, run
from tests.streams.test_widen import AFTER, Topics, check, fill

SECRET = "hunter2"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster whose nodes know the users that the command writes."""
    folder = tmp_path_factory.mktemp("users")
    words = ["redis", "acl", "--cluster"]
    for user in USERS:
        (folder / user.name).write_text(f"{SECRET}-{user.name}")
        words += ["--password-file", f"{user.name}={folder / user.name}"]
    lines = CliRunner().invoke(app, words).output.splitlines()
    with redis_cluster() as cluster:
        for node in cluster.nodes:
            with redis.Redis.from_url(node.url) as client:
                for line in reversed(lines):  # the first one takes every right from whoever types
                    run(client, "ACL", "SETUSER", *line.split()[1:])
        yield cluster


def settings_of(cluster: Cluster, role: str) -> RedisSettings:
    """Return the settings of a role."""
    return RedisSettings(url=cluster.nodes[0].url, user=f"engage-{role}", password=f"{SECRET}-{role}")


class Mortal(ClusterLink):
    """A link that ends the process, as `kill -9` would, at a given call."""

    def __init__(self, url: str, calls: int) -> None:
        super().__init__(url, 5.0, {})
        self.calls = calls

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """See `Link`; of the commands of the last call only half get there."""
        self.calls -= 1
        if self.calls < 0:
            await super().send(commands[: len(commands) // 2])
            raise TransientError("killed")
        return await super().send(commands)


def refused(cluster: Cluster) -> list[str]:
    """Return the commands that any node has refused, and forget them."""
    found = []
    for node in cluster.nodes:
        admin = redis.Redis.from_url(node.url, username="engage-admin", password=f"{SECRET}-admin")
        with admin:
            found += [str(entry["object"]) for entry in admin.acl_log()]
            run(admin, "ACL", "LOG", "RESET")
    return found


async def test_worker_trainer_and_viewer(guarded: Cluster) -> None:
    """What each calls it may call on every node; the viewer writes nothing."""
    refused(guarded)
    store = RedisStore.of(settings_of(guarded, "worker"))
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    await store.commit(
        [
            PartitionWrite(number, epoch, states={b"a": b"1"}, timers={b"a": 5}, ids=b"i" * 8)
            for number, epoch in enumerate(epochs)
        ]
    )
    await store.commit(
        [PartitionWrite(number, epoch, rotate_ids=True) for number, epoch in enumerate(epochs)]
    )
    assert await store.load({number: [b"a"] for number in range(8)}) == {n: [b"1"] for n in range(8)}
    assert await store.due(7, 10, 1) == [(b"a", 5)]
    assert [customer async for customer in store.customers(7)] == [b"a"]
    assert (await store.health()).role == "master"
    await store.check_rights()
    await store.close()
    trainer = settings_of(guarded, "trainer")
    link = await open_link(trainer.url, 5.0, redis_options(trainer))
    for command in (("SET", "engage:trainer", "x"), ("GET", "engage:trainer"), ("DEL", "engage:trainer")):
        checked((await link.send([command]))[0])
    await link.close()
    viewer = RedisStore.of(settings_of(guarded, "viewer"))
    assert await viewer.get(3, b"a") == b"1"
    assert refused(guarded) == []
    with pytest.raises(ConfigError, match="lacks a right"):
        await viewer.acquire(1)
    await viewer.close()


@pytest.mark.parametrize("calls", [7, 13, 25])
async def test_an_operator_widens(guarded: Cluster, calls: int) -> None:
    """Customers change their node along with their partition; ended in the middle, it goes on."""
    refused(guarded)
    for node in guarded.nodes:
        with redis.Redis.from_url(node.url, username="engage-admin", password=f"{SECRET}-admin") as admin:
            admin.flushall()
    own = settings_of(guarded, "operator")
    address = guarded.nodes[0].url.removeprefix("redis://")
    url = f"redis://{own.user}:{own.password}@{address}"
    people, topics = await fill(url), Topics()
    link = Mortal(url, calls)
    ended = Widening(Settings(redis=own), topics, Moving(link, "engage"), AFTER)
    with pytest.raises(TransientError, match="killed"):
        await ended.run(await ended.plan())
    link.calls = 10**9
    again = Widening(Settings(redis=own), topics, Moving(link, "engage"), AFTER)
    assert (await again.run(await again.plan())).customers == len(people)
    await link.close()
    await check(url, people)
    assert set(refused(guarded)) <= {"client|setinfo"}  # redis-py's own, where it is not told to be quiet
