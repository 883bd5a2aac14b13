"""Runs `engage top`: looks at every worker every so often and shows what there is to see."""

from __future__ import annotations

import datetime as dt
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.live import Live

from engine.errors import ConfigError, TransientError
from engine.top.figures import Look, TopView, Watch
from engine.top.scrape import read_samples
from engine.top.screen import Screen, plain_line

ANSWER_S = 2.0
MAX_PAGE_BYTES = 16 << 20


def worker_url(text: str) -> str:
    """Return the base address of a worker as given by a person: with or without scheme and path.

    Raises:
        ConfigError: it is none.
    """
    url = text if "//" in text else f"http://{text}"
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or (parts.netloc[-1:] == ":" or port is None)
    ):
        raise ConfigError(f"worker {text!r}: write HOST:PORT or http://HOST:PORT, the worker's http.port")
    return f"{parts.scheme}://{parts.netloc}"


def look_at(url: str) -> Look:
    """Fetch a worker's metrics, and why it is not ready."""
    at_s = time.monotonic()
    try:
        samples = read_samples(_get(f"{url}/metrics")[1])
        status, text = _get(f"{url}/readyz")
    except (OSError, ValueError):
        return Look(at_s, None)
    return Look(at_s, samples, () if status == 200 else tuple(text.split("\n")[:-1]))


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:  # noqa: S310 - http or https: see worker_url
            return int(answer.status), answer.read(MAX_PAGE_BYTES).decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read(MAX_PAGE_BYTES).decode()


def views(
    urls: Sequence[str], every_s: float, count: int | None, *, rates_only: bool = False
) -> Iterator[TopView]:
    """Yield a view every so often.

    Args:
        urls: the workers' base addresses.
        every_s: between two looks.
        count: end after so many; None goes on for ever.
        rates_only: leave the first look out, which has no rates yet; with a count that is so anyway.

    Raises:
        TransientError: no worker answers at the first look.
    """
    watch = Watch([url.removeprefix("http://") for url in urls])
    with ThreadPoolExecutor(min(len(urls), 32)) as pool:
        shown = 0
        while True:
            begun_s = time.monotonic()
            looks = list(pool.map(look_at, urls))
            if not shown and all(look.samples is None for look in looks):
                raise TransientError(
                    f"no worker answers at {', '.join(urls)}: is one running, is that its http.port?"
                )
            view = watch.take(looks)
            if shown or not (rates_only or count is not None):
                yield view
            shown += 1
            if count is not None and shown > count:
                return
            time.sleep(max(0.0, begun_s + every_s - time.monotonic()))


def show(urls: Sequence[str], every_s: float, count: int | None, *, plain: bool) -> None:
    """Show the views until Ctrl-C, on a live screen or as lines.

    Args:
        urls: the workers' base addresses.
        every_s: between two looks.
        count: end after so many; None goes on for ever.
        plain: lines even on a terminal.
    """
    console = Console(highlight=False)
    if plain or not console.is_terminal:
        for view in views(urls, every_s, count, rates_only=True):
            sys.stdout.write(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {plain_line(view)}\n")
            sys.stdout.flush()
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for view in views(urls, every_s, count):
            live.update(Screen(view, _time_of_day()), refresh=True)


def _time_of_day() -> Callable[[float], dt.datetime]:
    """Return what tells the local time of a moment on the monotonic clock."""
    zero = dt.datetime.now().astimezone() - dt.timedelta(seconds=time.monotonic())
    return lambda at_s: zero + dt.timedelta(seconds=at_s)
