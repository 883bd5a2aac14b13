"""Stock Faust with an empty agent, as its documentation writes it: the yardstick.

It reads a backlog that lies ready in Kafka, so nothing but Faust limits it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import faust

from loadtest.workload import TOPICS


def make_app(bootstrap: str, group: str, data_folder: str, seconds: float) -> faust.App:
    """Build the app: raw bytes, one agent over the five topics, no tables, no web server.

    Args:
        bootstrap: Kafka.
        group: consumer group.
        data_folder: where Faust may write.
        seconds: how long to count after the first event.

    Returns:
        The app; it prints events per second and ends the process.
    """
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        datadir=data_folder,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_partitions=8,
    )
    events = app.topic(*TOPICS.values(), value_type=bytes, key_type=bytes, acks=True)
    state: dict[str, Any] = {"count": 0, "first_s": 0.0}

    async def empty(stream: Any) -> None:
        async for _ in stream:
            state["count"] += 1
            if state["count"] == 1:
                state["first_s"] = time.perf_counter()
            elif state["count"] % 1000 == 0:
                passed_s = time.perf_counter() - state["first_s"]
                if passed_s >= seconds:
                    # Faust takes sys.stdout over for its log.
                    os.write(1, f"\n{state['count'] / passed_s:.1f}\n".encode())
                    os._exit(0)

    app.agent(events)(empty)
    return app


def main() -> None:
    """Run: `python -m loadtest.stock_faust BOOTSTRAP GROUP FOLDER SECONDS`."""
    bootstrap, group, folder, seconds = sys.argv[1:5]
    app = make_app(bootstrap, group, folder, float(seconds))
    sys.argv = [sys.argv[0], "worker", "--loglevel=error", "--without-web"]
    app.main()


if __name__ == "__main__":
    main()
