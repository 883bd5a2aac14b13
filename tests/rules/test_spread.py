"""Tests of `engine.rules.spread`."""

from __future__ import annotations

import os

import pytest

from engine.errors import RuleError, RuleErrors
from engine.rules.load import compile_sources
from engine.rules.spread import processes_for, spread
from tests.rules.driver import VOCABULARY

GOOD = b"journey: j%d\nentry: {on: order.placed}\nsteps:\n  - send: email\n    template: t\n"
ODD = GOOD + b"  - exit\n  - wait: 1d\n"
WRONG = b"journey: j%d\nentry: {on: order.plced}\nsteps: []\n"


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_items(count: int, processes: int) -> None:
    """However many processes work, the result is that of one."""
    assert spread(lambda item: item * item, range(count), processes) == [each**2 for each in range(count)]


def test_what_a_dying_process_leaves_is_done_here() -> None:
    """A process that is killed (memory, an operator) costs time, no result."""
    here = os.getpid()

    def work(item: int) -> int:
        if os.getpid() != here:
            os._exit(9)
        return -item

    assert spread(work, range(90), 2) == [-each for each in range(90)]


def test_few_files_start_no_process() -> None:
    """A handful of files is checked before another process would have started."""
    assert processes_for(99, worth=100) == 1


def test_many_files_are_checked_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors, warnings and journeys of many files are the same with several processes, in the same order."""
    monkeypatch.setattr("engine.rules.load.processes_for", lambda *_, **__: 2)
    kinds = (GOOD, ODD, WRONG, GOOD)
    sources = [(f"j{n}.yaml", kinds[n % 4] % n) for n in range(20)]

    def plain(problems: list[RuleError]) -> list[tuple[str, str]]:
        return [(problem.code, str(problem)) for problem in problems]

    told = []
    for alone in (True, False):
        warnings: list[RuleError] = []
        with pytest.raises(RuleErrors) as caught:
            compile_sources(sources, VOCABULARY, None, warnings, alone=alone)
        told.append((plain(caught.value.errors), plain(warnings)))
    assert told[0] == told[1]
    assert told[0][0]
    assert told[0][1]
    good = [(f"j{n}.yaml", GOOD % n) for n in range(9)]
    names = [journey.name for journey in compile_sources(good, VOCABULARY, alone=False).journeys]
    assert names == [f"j{n}" for n in range(9)]
