"""What an author reads when a publication is refused: a golden file for each code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.rules.publishing.publication import Contents, Pause, Stage
from engine.rules.publishing.refused import Refused
from engine.rules.publishing.requests import (
    approve_request,
    pause_request,
    plan_migrations,
    require_earlier,
    require_fixtures,
    require_live,
    require_place,
    require_seen,
    require_version,
    resume_request,
    stage_request,
)
from tests.rules.publishing.desk import Desk
from tests.rules.publishing.test_publication import BYE, CHANGED, HELLO

GOLDEN = Path(__file__).parent / "golden"


def _desk(*texts: str, **more: object) -> Desk:
    desk = Desk()
    desk.publish(HELLO)
    if texts:
        desk.publish(*texts, **more)
    return desk


def _second_place() -> None:
    desk = _desk()
    blind = desk.compose([BYE])
    desk.publish(CHANGED)
    require_place(desk.found, desk.append(*blind))


def _too_large() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.rules.publishing.publication.MAX_PUBLICATION_TEXT", 1000)
        _desk(*(HELLO.replace("hello", f"hello{number}") for number in range(9)))


def _paused_twice() -> None:
    desk = _desk()
    desk.append(Pause(journey="hello", author="a", time_ms=0))
    pause_request(desk.found, "hello", "a", 0, "")


def _stage_back() -> None:
    desk = _desk(CHANGED, share=0.05)
    desk.append(Stage(version=2, share=0.5, author="a", time_ms=0))
    stage_request(desk.found, 0.05, "a", 0)


def _migrate() -> None:
    desk = _desk()
    waits = HELLO + "  - {wait: 1d}\n  - {send: email, template: bye}\n"
    desk.publish(waits)
    other = HELLO + "  - {send: email, template: bye, data: {id: entry.event.order_id}}\n"
    desk.compose([other], migrate={"hello": {"steps[9]": "exit"}, "unknown": {}})


def _undo(*theirs: str, over: int | None = None) -> None:
    desk = _desk(HELLO, BYE)
    desk.publish(*theirs, author="otto")
    publish, _ = desk.compose([HELLO, BYE])
    require_seen(desk.found, publish, over)


CASES: dict[str, Callable[[], object]] = {
    "E0601_fixtures": lambda: require_fixtures(3),
    "E0602_second_place": _second_place,
    "E0603_too_large": _too_large,
    "E0604_not_finished": lambda: _desk(CHANGED, share=0.05).compose([BYE]),
    "E0605_nothing_changed": lambda: _desk().compose([HELLO]),
    "E0606_twice": lambda: _desk().compose([HELLO, CHANGED]),
    "E0607_no_such_version": lambda: require_version(_desk().found, 41),
    "E0607_the_first": lambda: require_earlier(_desk().found),
    "E0608_nothing_published": lambda: require_live(Desk().found),
    "E0609_not_waiting": lambda: approve_request(_desk().found, 1, "otto", 0),
    "E0609_own": lambda: approve_request(_desk(CHANGED, approvals=1).found, 2, "anna", 0),
    "E0610_migration": _migrate,
    "E0611_unknown": lambda: pause_request(_desk().found, "helo", "a", 0, ""),
    "E0611_twice": _paused_twice,
    "E0611_not_paused": lambda: resume_request(_desk().found, "hello", "a", 0, ""),
    "E0612_back": _stage_back,
    "E0614_changed": lambda: _undo(CHANGED, BYE),
    "E0614_removed": lambda: _undo(HELLO),
    "E0614_not_there": lambda: _undo(CHANGED, BYE, over=41),
    "E0613_stage": lambda: plan_migrations(Contents(()), {}, {"hello": {}}, share=0.05),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_reads_as_in_its_golden_file(name: str) -> None:
    """Each refusal names its code, what is wrong and what to do, word by word as it was looked at."""
    with pytest.raises(Refused) as refused:
        CASES[name]()
    assert refused.value.code == name[:5]
    assert f"{refused.value}\n" == (GOLDEN / f"{name}.txt").read_text("utf-8")
