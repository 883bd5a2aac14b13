"""`engage demo`: starts everything, shows what happens, ends everything."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from engine.demo.cdnow import find_log
from engine.demo.data import DEFAULT_SEED
from engine.demo.screen import Screen, action_line, plain_line, summary
from engine.demo.stack import DemoStack
from engine.demo.view import Phase, View
from engine.demo.watch import StatusPoller, TopicWatcher
from engine.errors import EngineError
from engine.streams.local.server import HOST

FULL_DURATION_S = 50.0  # of the whole log at speed 1, if the worker keeps up
MIN_SPEED = 0.05
REFRESH_S = 0.25
PLAIN_EVERY_S = 3.0
QUIET_S = 2.0  # without a new action or decision, once all is read: the demo is over
STUCK_S = 60.0


def run_demo(
    *,
    customers: int | None = None,
    seed: int | None = None,
    speed: float = 1.0,
    plain: bool = False,
    keep: bool = False,
) -> None:
    """Run the demo until the log has been worked through.

    Args:
        customers: about how many customers; None takes all 26,170.
        seed: seed of what is generated around the purchases; None takes the default.
        speed: 1 is about a minute for the whole log, 2 half of that; 0 as fast as the machine can.
        plain: print lines even on a terminal.
        keep: leave everything running at the end, until Ctrl-C.

    Raises:
        EngineError: something the demo needs is missing, or one of its processes ended.
        KeyboardInterrupt: the person pressed Ctrl-C; nothing is left behind.
    """
    find_log()
    started_s = time.monotonic()
    console = Console(highlight=False)
    is_plain = plain or not console.is_terminal
    stack = DemoStack(DEFAULT_SEED if seed is None else seed, customers, _duration_s(speed))
    with _termination_as_interrupt():
        try:
            stack.start()
            run = _DemoRun(stack, started_s)
            with run.watching():
                view = run.show_plain() if is_plain else run.show_live(console)
            sys.stdout.write(
                f"\n{summary(view)}\n\n{_next_commands(view, stack.worker.settings_path, keep=keep)}"
            )
            sys.stdout.flush()
            if keep:
                while stack.casualty() is None:
                    time.sleep(REFRESH_S)
        finally:
            # A second Ctrl-C while things end would leave them behind.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.stop()
            signal.signal(signal.SIGINT, before)


class _DemoRun:
    """Watches a started stack until it has worked through the log."""

    def __init__(self, stack: DemoStack, started_s: float) -> None:
        self._stack = stack
        self._started_s = started_s
        self._topics = TopicWatcher(stack.bootstrap, stack.watched)
        self._status = StatusPoller(HOST, stack.worker.port)
        self._last_settled = -1
        self._moved_at_s = started_s

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch topics and status meanwhile."""
        with closing(self._topics):
            self._topics.open()
            self._status.start()
            try:
                yield
            finally:
                self._status.stop()

    def show_live(self, console: Console) -> View:
        """Draw the screen until the end; return the last view."""
        with Live(Screen(self._view()), console=console, screen=True, auto_refresh=False) as live:
            return self._follow(lambda view: live.update(Screen(view), refresh=True))

    def show_plain(self) -> View:
        """Print a line every few seconds until the end; return the last view."""
        shown_until_s = 0.0
        is_first = True

        def show(view: View) -> None:
            nonlocal shown_until_s, is_first
            if is_first and view.shown:
                is_first = False
                _print(f"first action after {view.first_action_s:.1f} s: {action_line(view.shown[0])}")
            if view.elapsed_s >= shown_until_s or view.phase is Phase.DONE:
                shown_until_s = view.elapsed_s + PLAIN_EVERY_S
                _print(plain_line(view))
                if view.shown and view.phase is Phase.RUNNING:
                    _print(f"    {action_line(view.shown[0])}")

        return self._follow(show)

    def _follow(self, show: Callable[[View], None]) -> View:
        while True:
            self._topics.poll(REFRESH_S)
            view = self._view()
            show(view)
            if view.phase is Phase.DONE:
                return view
            self._check(view)

    def _view(self) -> View:
        topics, now_s = self._topics, time.monotonic()
        first_s = topics.first_action_at_s
        view = View(
            phase=Phase.STARTING,
            elapsed_s=now_s - self._started_s,
            status=self._status.latest,
            feed=self._stack.feeder.progress,
            actions=dict(topics.actions),
            decisions=dict(topics.decisions),
            shown=topics.shown.items(now_s),
            kept_back=topics.kept_back.items(now_s),
            first_action_s=None if first_s is None else first_s - self._started_s,
            model=topics.model,
        )
        return self._with_phase(view, now_s)

    def _with_phase(self, view: View, now_s: float) -> View:
        if view.status.settled != self._last_settled:
            self._last_settled, self._moved_at_s = view.status.settled, now_s
        if not view.status.events_total:
            return view
        is_fed = view.feed is not None and view.feed.is_done and view.status.settled >= view.feed.sent
        is_quiet = now_s - max(self._moved_at_s, self._topics.last_read_at_s) > QUIET_S
        phase = Phase.DONE if is_fed and is_quiet and not view.status.lag else Phase.RUNNING
        return replace(view, phase=phase)

    def _check(self, view: View) -> None:
        """Refuse to wait for ever.

        Raises:
            EngineError: a process ended, or nothing has moved for a minute.
        """
        dead = self._stack.casualty()
        if dead is not None:
            raise EngineError(f"the demo's {dead.name} ended; its log ends:\n{dead.log_tail()}")
        if time.monotonic() - max(self._moved_at_s, self._topics.last_read_at_s) > STUCK_S:
            waits = "; ".join(view.status.obstacles) or f"{view.status.lag} records behind"
            tail = self._stack.worker.log_tail()
            raise EngineError(
                f"nothing has moved for {STUCK_S:.0f} s ({waits}); the worker's log ends:\n{tail}"
            )


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _duration_s(speed: float) -> float:
    """Return the shortest time the log may take, s; 0 = no limit."""
    return FULL_DURATION_S / max(speed, MIN_SPEED) if speed > 0 else 0.0


def _next_commands(view: View, settings_path: Path, *, keep: bool) -> str:
    if not keep:
        return (
            "Try next:\n"
            "  engage demo --keep        the same, and everything stays up to look around in\n"
            "  engage rules check        the journeys that just ran, checked\n"
            "  engage features           what a journey can ask about a customer\n"
        )
    customer = view.shown[0].customer_id if view.shown else "00001"
    furious = (
        f'engage send inquiry.opened -c {customer} -f inquiry_id=mine -f "text=I am furious" '
        "-f time=1998-07-01T10:00:00Z"
    )
    return (
        "Everything is still running; Ctrl-C ends it. In another terminal:\n"
        f"{_activation()}"
        f"  export ENGAGE_CONFIG={settings_path}\n"
        f"  engage customer show {customer}     what the engine knows of this customer\n"
        "  engage tail actions             the actions, each with its reason\n"
        "  engage tail decisions           also what was held back, and by which guard\n"
        "  engage results --from 1997-01-01\n"
        "                                  what the journeys brought about, beside the holdout\n"
        "  engage doctor                   checks broker, topics, store and rules\n"
        f"  {furious}\n"
        "                                  a customer loses patience: watch the actions\n"
    )


def _activation() -> str:
    """Return the line that makes `engage` known to another shell; empty where no environment is in use."""
    script = Path(sys.prefix, "bin", "activate")
    return f"  . {shlex.quote(str(script))}\n" if script.is_file() else ""


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demo the way Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
