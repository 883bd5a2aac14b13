"""Bytewax as its documentation writes it, run by `python -m bytewax.run` a snapshot every 5 s."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing

from loadtest.peers.jobs import GRACE_MS, ORDERED, VIEWED, WINDOW_MS, Progress, Task, Views, fired, task


def event_time(message: Any) -> datetime:
    """Return the record's timestamp."""
    return datetime.fromtimestamp(message.timestamp[1] / 1000, UTC)


def never(_: datetime) -> None:
    """Leave closing windows to the events: the backlog's time is not the clock's."""


def windowed_count(asked: Task, messages: Any, progress: Progress) -> Any:
    """Count by customer and window."""

    def customer(message: Any) -> str:
        progress.tick()
        return str(message.key, "ascii")

    clock = windowing.EventClock(
        ts_getter=event_time, wait_for_system_duration=timedelta(milliseconds=GRACE_MS), to_system_utc=never
    )
    windower = windowing.TumblingWindower(
        align_to=datetime.fromtimestamp(0, UTC), length=timedelta(milliseconds=WINDOW_MS)
    )
    counted = windowing.count_window(asked.job, messages, clock, windower, customer)

    def result(item: Any) -> KafkaSinkMessage[bytes, bytes]:
        key, (window, count) = item
        return KafkaSinkMessage(key.encode(), orjson.dumps({"start": window * WINDOW_MS, "count": count}))

    return op.map("result", counted.down, result)


def trigger(messages: Any, progress: Progress) -> Any:
    """Return an action for the third view within 30 minutes without an order."""

    def decode(message: Any) -> tuple[str, Any] | None:
        progress.tick()
        event = orjson.loads(message.value)
        return (event["customer_id"], event) if event["type"] in {VIEWED, ORDERED} else None

    def remind(views: Views | None, event: Any) -> tuple[Views, list[dict[str, object]]]:
        views = views or Views()
        actions = [fired(event)] if views.fires(event["type"], event["time"]) else []
        return views, actions

    keyed = op.filter_map("decode", messages, decode)
    actions = op.stateful_flat_map("remind", keyed, remind)
    return op.map("result", actions, lambda item: KafkaSinkMessage(item[0].encode(), orjson.dumps(item[1])))


def build() -> Dataflow:
    """Return the dataflow of this process's task."""
    asked = task()
    progress = Progress(asked.seconds, asked.records)
    flow = Dataflow(asked.job)
    source = kafka.input("source", flow, brokers=[asked.bootstrap], topics=[asked.source])
    op.inspect("errors", source.errs).then(op.raises, "fail")
    counting = asked.job == "count"
    results = windowed_count(asked, source.oks, progress) if counting else trigger(source.oks, progress)
    kafka.output("target", results, brokers=[asked.bootstrap], topic=asked.target)
    return flow


flow = build()
