"""Quix Streams as its documentation writes it: RocksDB, changelog topics, a checkpoint every 5 s."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count

from loadtest.peers.jobs import COMMIT_S, GRACE_MS, ORDERED, VIEWED, WINDOW_MS, Progress, Views, fired, task


def remind(event: Any, state: Any) -> Any:
    """Return an action for the third view, None for everything else."""
    kept = state.get("views")
    views = Views(*kept) if kept else Views()
    result = fired(event) if views.fires(event["type"], event["time"]) else None
    state.set("views", [views.times_ms, views.ordered_ms])
    return result


def main() -> None:
    """Do the task of this process."""
    asked = task()
    progress = Progress(asked.seconds, asked.records)
    app = Application(
        broker_address=asked.bootstrap,
        consumer_group=asked.name,
        auto_offset_reset="earliest",
        commit_interval=COMMIT_S,
        state_dir=asked.folder,
        on_message_processed=lambda *_: progress.tick(),
        loglevel="ERROR",
    )
    counting = asked.job == "count"
    # Counting looks at key and timestamp alone, so nothing is decoded for it.
    source = app.topic(
        asked.source, key_deserializer="str", value_deserializer="bytes" if counting else "json"
    )
    frame = app.dataframe(source)
    if counting:
        window = frame.tumbling_window(
            timedelta(milliseconds=WINDOW_MS), grace_ms=timedelta(milliseconds=GRACE_MS)
        )
        frame = window.agg(count=Count()).final()
    else:
        frame = frame.filter(lambda event: event["type"] in {VIEWED, ORDERED})
        frame = frame.apply(remind, stateful=True)
        frame = frame.filter(lambda action: action is not None)
    frame.to_topic(app.topic(asked.target, key_serializer="str", value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
