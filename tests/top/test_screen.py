"""The screen of `engage top`, and the addresses it takes."""

from __future__ import annotations

import datetime as dt
import re
from io import StringIO

import pytest
from rich.console import Console

from engine.errors import ConfigError, TransientError
from engine.top.figures import Look, Watch
from engine.top.run import views, worker_url
from engine.top.screen import Screen, plain_line, sparkline
from tests.top.test_figures import page

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 50)])
def test_the_screen_fits_and_shows_the_figures(width: int, height: int) -> None:
    """On a small and on a large terminal every panel is there and no line is too long."""
    watch = Watch(["10.0.0.7:6066"])
    watch.take([Look(0.0, page(1000))])
    view = watch.take([Look(2.0, page(3000, lag=70, rules=2))])
    out = StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(Screen(view, lambda at_s: NOON + dt.timedelta(seconds=at_s)))
    shown = out.getvalue()
    figures = ("1,000", "70 behind in 4 of 8 partitions owned", "welcome", "consent")
    for text in (*figures, "10.0.0.7:6066", "ready", "12:00:02", "rules version 2"):
        assert text in shown
    assert max(map(len, shown.splitlines())) <= width
    assert "1 of 1 workers ready | 1,000 events/s" in plain_line(view)
    assert plain_line(view).endswith("| 70 behind in 4 of 8 partitions owned")


def test_deadlines_that_wait_and_dead_letters_are_told() -> None:
    """Of all workers the longest wait; in a line of text the dead letters, too."""
    watch = Watch(["10.0.0.7:6066", "10.0.0.8:6066"])
    calm = watch.take([Look(0.0, page(1000)), Look(0.0, page(1000, held_s=0.2))])
    assert "held" not in plain_line(calm)
    assert "dead" not in plain_line(calm)
    view = watch.take([Look(2.0, page(3000, held_s=75, dead=4)), Look(2.0, page(3000))])
    assert plain_line(view).endswith("behind in 8 of 8, deadlines held 75 s | 4 dead letters")
    out = StringIO()
    console = Console(file=out, width=80, height=40, force_terminal=True, color_system=None)
    console.print(Screen(view, lambda at_s: NOON + dt.timedelta(seconds=at_s)))
    assert "deadlines held 75 s" in out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_a_long_obstacle_leaves_room_for_the_figures(width: int) -> None:
    """What a worker that is not ready says is cut off, not how far behind it is."""
    watch = Watch(["10.0.0.7:6066"])
    why = ("redis at '10.0.0.9:6379' does not answer: no reply in time", "kafka: no partitions assigned yet")
    watch.take([Look(0.0, page(1000))])
    view = watch.take([Look(2.0, page(3000, lag=12_345), why)])
    out = StringIO()
    console = Console(file=out, width=width, height=40, force_terminal=True, color_system=None)
    console.print(Screen(view, lambda at_s: NOON + dt.timedelta(seconds=at_s)))
    shown = out.getvalue()
    for text in ("Events/s", "p50 ms", "p99 ms", "Behind", "redis at", "12,345\n"):
        assert text in re.sub(r" +\n", "\n", shown)
    assert plain_line(view).endswith(f"owned | 10.0.0.7:6066: {'; '.join(why)}")


def test_of_silent_workers_nothing_is_said() -> None:
    """A zero would say that nothing is behind; nobody knows."""
    watch = Watch(["10.0.0.7:6066"])
    watch.take([Look(0.0, page(1000))])
    view = watch.take([Look(2.0, None)])
    out = StringIO()
    console = Console(file=out, width=140, height=40, force_terminal=True, color_system=None)
    console.print(Screen(view, lambda at_s: NOON + dt.timedelta(seconds=at_s)))
    shown = out.getvalue()
    assert "no worker answers" in shown
    assert "none is behind" not in shown
    assert "partitions owned" not in shown
    (line,) = [each for each in shown.splitlines() if "does not answer" in each and "6066" in each][:1]
    assert line.count("–") == 5
    assert plain_line(view) == "0 of 1 workers ready | 10.0.0.7:6066: does not answer"


def test_sparklines_go_from_nothing_to_the_highest() -> None:
    """The newest values at the right end; no values, no bars."""
    assert sparkline([0, 1, 2, 4, 8], 4) == "▂▃▅█"
    assert sparkline([0.0, 0.0], 10) == "▁▁"
    assert sparkline([], 10) == ""


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:6066", "http://localhost:6066"),
        ("http://10.0.0.7:6066/metrics", "http://10.0.0.7:6066"),
        ("https://w.example:443", "https://w.example:443"),
        ("[::1]:6066", "http://[::1]:6066"),
    ],
)
def test_addresses_of_workers(text: str, url: str) -> None:
    """As people write them."""
    assert worker_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "localhost", ":6066", "host:", "host:port", "ftp://host:1", "host:99999"]
)
def test_wrong_addresses_are_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        worker_url(text)


def test_in_a_pipe_the_first_line_has_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look has nothing to compare with: a screen shows it at once, a file does without."""
    for rates_only, expected in ((True, 1000), (False, 0)):
        looks = iter([Look(0.0, page(1000)), Look(2.0, page(3000))])
        monkeypatch.setattr("engine.top.run.look_at", lambda _, looks=looks: next(looks))
        first = next(views(["http://127.0.0.1:1"], 0.0, None, rates_only=rates_only))
        assert first.events_per_s == expected


def test_no_worker_at_all_is_an_error() -> None:
    """A person who mistyped the port is told so, not shown an empty screen."""
    with pytest.raises(TransientError, match="no worker answers"):
        next(views(["http://127.0.0.1:1"], 1.0, None))
