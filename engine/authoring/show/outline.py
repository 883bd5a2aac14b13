"""A journey as people think of it: boxes in order, ways that part and meet again, in one language.

The summary, the diagram in the terminal and the one as SVG are all drawn from this.
"""

from __future__ import annotations

import msgspec

from engine.authoring.show.chinese import Chinese
from engine.authoring.show.english import English
from engine.authoring.show.words import Words
from engine.rules.parsing.parsed import (
    ParsedBranch,
    ParsedJourney,
    ParsedLeave,
    ParsedRun,
    ParsedSend,
    ParsedSet,
    ParsedSplit,
    ParsedStep,
    ParsedWait,
    ParsedWaitUntil,
)

LANGUAGES: dict[str, type[Words]] = {"en": English, "zh": Chinese}
_ALL = 10_000  # shares are hundredths of a percent


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One step.

    Args:
        kind: `send`, `task`, `wait`, `wait_until`, `branch`, `split`, `run`, `set` or `exit`.
        path: the step's path, as in decisions.
        line: its line in the file.
        text: what happens.
        notes: details, such as message values.
        ways: how it can go on; none when there is only one way.
    """

    kind: str
    path: str
    line: int
    text: str
    notes: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()

    @property
    def ends(self) -> bool:
        """Whether no way leads to what stands behind it."""
        return self.kind == "exit" or (bool(self.ways) and all(way.ends for way in self.ways))


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way on from a step: a label, and what happens on it."""

    label: str
    boxes: tuple[Box, ...] = ()

    @property
    def ends(self) -> bool:
        """Whether it ends the journey."""
        return bool(self.boxes) and self.boxes[-1].ends


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Something said in points under a heading."""

    name: str
    heading: str
    points: tuple[str, ...]


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A whole journey.

    Args:
        journey: its name.
        version: its version.
        language: `en` or `zh`.
        file: where it is written.
        description: what it is for, as its author wrote it.
        sections: who enters, who leaves, goal, guards, owner.
        start: the label of the entry.
        steps_heading: the heading of the steps.
        end: the label of the end.
        boxes: the steps.
        sequences: sub-sequences by their heading.
    """

    journey: str
    version: int
    language: str
    file: str
    description: str
    sections: tuple[Section, ...]
    start: str
    steps_heading: str
    end: str
    boxes: tuple[Box, ...]
    sequences: tuple[Way, ...] = ()

    def section(self, name: str) -> tuple[str, ...]:
        """Return the points of a section; none when it has none."""
        return next((section.points for section in self.sections if section.name == name), ())


def outline(parsed: ParsedJourney, language: str = "en") -> Outline:
    """Say a journey in a language.

    Args:
        parsed: the journey.
        language: a key of `LANGUAGES`.
    """
    words = LANGUAGES[language]()
    return Outline(
        journey=parsed.name.value,
        version=parsed.version,
        language=language,
        file=parsed.source.file,
        description=parsed.description,
        sections=tuple(_sections(parsed, words)),
        start=words.heading("start"),
        steps_heading=words.heading("steps"),
        end=words.heading("end"),
        boxes=_boxes(parsed.steps, words),
        sequences=tuple(
            Way(
                label=f"{words.heading('sequence')} {each.name.value}",
                boxes=_boxes(each.steps, words),
            )
            for each in parsed.sequences
        ),
    )


def _sections(parsed: ParsedJourney, words: Words) -> list[Section]:
    points = {
        "enters": [*([] if parsed.enabled else [words.heading("off")]), *words.entry(parsed.entry)],
        "leaves": [words.leaves(each) for each in parsed.exits],
        "goal": [words.goal(parsed.goal)] if parsed.goal is not None else [],
        "guards": words.guards(parsed.guards, transactional=parsed.transactional),
        "owner": [parsed.owner] if parsed.owner else [],
    }
    return [
        Section(name=name, heading=words.heading(name), points=tuple(said))
        for name, said in points.items()
        if said
    ]


def _boxes(steps: tuple[ParsedStep, ...], words: Words) -> tuple[Box, ...]:
    return tuple(_box(step, words) for step in steps)


def _box(step: ParsedStep, words: Words) -> Box:
    kind, text, notes, ways = _say(step, words)
    return Box(
        kind=kind, path=step.path, line=step.place.line, text=text, notes=tuple(notes), ways=tuple(ways)
    )


def _say(step: ParsedStep, words: Words) -> tuple[str, str, list[str], list[Way]]:
    """Return kind, text, notes and ways of a step."""
    match step:
        case ParsedSend():
            text, notes = words.send(step)
            return "task" if step.channel.value == "agent" else "send", text, notes, []
        case ParsedWaitUntil():
            text, came, missed = words.wait_until(step)
            then = Way(label=came, boxes=_boxes(step.then, words))
            otherwise = Way(label=missed, boxes=_boxes(step.otherwise, words))
            return "wait_until", text, [], [then, otherwise]
        case ParsedBranch() | ParsedSplit():
            return _fork(step, words)
        case _:
            kind, text = _say_plain(step, words)
            return kind, text, [], []


def _say_plain(step: ParsedWait | ParsedRun | ParsedSet | ParsedLeave, words: Words) -> tuple[str, str]:
    match step:
        case ParsedWait():
            return "wait", words.wait(step)
        case ParsedRun():
            return "run", words.run(step)
        case ParsedSet():
            return "set", words.set_trait(step)
        case ParsedLeave():
            return "exit", words.leave(step)


def _fork(step: ParsedBranch | ParsedSplit, words: Words) -> tuple[str, str, list[str], list[Way]]:
    if isinstance(step, ParsedSplit):
        shares = [
            Way(label=words.variant(each.name.value, each.share / _ALL), boxes=_boxes(each.steps, words))
            for each in step.variants
        ]
        return "split", words.split(step), [], shares
    ways = [Way(label=words.arm(arm.when), boxes=_boxes(arm.steps, words)) for arm in step.arms]
    ways.append(Way(label=words.arm(None), boxes=_boxes(step.otherwise, words)))
    return "branch", words.branch(), [], ways
