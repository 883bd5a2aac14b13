"""Stock Faust as its documentation writes it: tables in RocksDB with a changelog, uvloop, one agent.

Its windows close by the wall clock, so the windowed count of a backlog is read off the table's changelog
topic, which gets a record for every update. With the job `empty` the agent does nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import faust
import orjson

from loadtest.peers.jobs import ORDERED, VIEWED, WINDOW_MS, Progress, Task, Views, fired, task

PARTITIONS = 2


def make_app(asked: Task) -> faust.App:
    """Build the app."""
    app = faust.App(
        asked.name,
        broker=f"kafka://{asked.bootstrap}",
        store="rocksdb://",
        datadir=asked.folder,
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        web_enabled=False,
    )
    source = app.topic(asked.source, key_type=str, value_type=bytes, value_serializer="raw")
    progress = Progress(asked.seconds, asked.records)
    agents = {"count": _count, "trigger": _trigger, "empty": _empty}
    app.agent(source)(agents[asked.job](app, asked, progress))
    return app


def _empty(_: faust.App, __: Task, progress: Progress) -> Any:
    async def empty(stream: Any) -> None:
        async for _ in stream:
            progress.tick()

    return empty


def _count(app: faust.App, _: Task, progress: Progress) -> Any:
    table = app.Table("counts", default=int, partitions=PARTITIONS, key_type=str, value_type=int)
    window = timedelta(milliseconds=WINDOW_MS)
    counts = table.tumbling(window, expires=timedelta(days=1)).relative_to_stream()

    async def count(stream: Any) -> None:
        async for customer, _ in stream.items():  # noqa: PERF102 - a stream, no dict
            counts[customer] += 1
            progress.tick()

    return count


def _trigger(app: faust.App, asked: Task, progress: Progress) -> Any:
    table = app.Table("views", default=list, partitions=PARTITIONS, key_type=str)
    target = app.topic(asked.target, key_type=str, value_serializer="json", partitions=PARTITIONS)

    async def trigger(stream: Any) -> None:
        async for customer, value in stream.items():
            event = orjson.loads(value)
            if event["type"] in {VIEWED, ORDERED}:
                kept = table[customer]
                views = Views(*kept) if kept else Views()
                if views.fires(event["type"], event["time"]):
                    await target.send(key=customer, value=fired(event))
                table[customer] = [views.times_ms, views.ordered_ms]
            progress.tick()

    return trigger


def main() -> None:
    """Do the task of this process."""
    make_app(task()).main()


if __name__ == "__main__":
    main()
