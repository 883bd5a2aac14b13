"""Published rules as a log: who wins, what is live, what is kept."""

from __future__ import annotations

import pytest

from engine.errors import StateError
from engine.rules.publishing.meaning import meaning_of
from engine.rules.publishing.publication import (
    Approve,
    Pause,
    Resume,
    Stage,
    decode_record,
    fold,
    open_contents,
    to_clear,
)
from engine.rules.publishing.refused import Refused
from engine.rules.publishing.requests import require_place, require_seen
from tests.rules.publishing.desk import Desk

HELLO = """journey: hello
description: what it is for
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: hello}
"""
NOTES = """# a comment
journey: hello
entry:
  reentry: always
  on: "order.placed"
steps:
  - template: hello
    send: email
"""
CHANGED = HELLO.replace("template: hello", "template: hi")
BYE = HELLO.replace("journey: hello", "journey: bye")


def test_a_journey_keeps_its_version_while_its_meaning_stays() -> None:
    """Comments, layout, order of keys and descriptions make no new version of a journey."""
    desk = Desk()
    desk.publish(HELLO)
    assert meaning_of("a", HELLO) == meaning_of("b", NOTES)
    desk.publish(NOTES, BYE)
    assert desk.versions() == {("bye", 2): (True, False), ("hello", 1): (True, True)}
    desk.publish(CHANGED, BYE)
    assert desk.versions() == {
        ("bye", 2): (True, True),
        ("hello", 1): (False, True),
        ("hello", 3): (True, False),
    }


def test_the_first_publication_goes_on_from_the_numbers_in_the_files() -> None:
    """Customers inside journeys from files find their version; the next number is above all of them."""
    desk = Desk()
    old, new = HELLO + "version: 3\n", CHANGED + "version: 4\n"
    assert desk.publish(old, new, BYE).version == 4
    assert desk.versions() == {
        ("bye", 1): (True, False),
        ("hello", 3): (False, False),
        ("hello", 4): (True, False),
    }
    assert desk.publish(HELLO, BYE).version == 5
    assert desk.versions()["hello", 3] == (True, False), "the meaning it had as version 3"


def test_of_two_publications_on_one_version_the_first_wins() -> None:
    """The second one has no effect and its author is told, whoever reads the log."""
    desk = Desk()
    desk.publish(HELLO)
    mine, theirs = desk.compose([HELLO, BYE], author="anna"), desk.compose([CHANGED], author="otto")
    first, second = desk.append(*theirs), desk.append(*mine)
    assert require_place(desk.found, first).publish.author == "otto"
    with pytest.raises(Refused, match="E0602: otto published version 2 first"):
        require_place(desk.found, second)
    assert [each.key for each in desk.found.lost] == [second]
    assert desk.publish(CHANGED, BYE).version == 3


def test_a_rollback_is_a_new_version_with_the_old_contents() -> None:
    """History stays a line; journeys have the versions they had, so those inside and newcomers meet."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(CHANGED, BYE)
    publish = desk.rollback(1)
    assert (publish.version, publish.restores, publish.share) == (3, 1, 1.0)
    assert desk.versions() == {
        ("bye", 2): (False, True),
        ("hello", 1): (True, False),
        ("hello", 2): (False, True),
    }
    assert publish.changes == ("- bye", "~ hello")


def test_a_version_waits_for_another_person() -> None:
    """With approvals a version is live when somebody else says so; a rollback needs nobody."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(CHANGED, approvals=1)
    live = desk.found.live
    assert live is not None
    assert live.publish.version == 1
    desk.append(Approve(version=2, author="anna", time_ms=0))
    assert desk.found.head is not None
    assert desk.found.head.state == "pending", "not by its own author"
    desk.append(Approve(version=2, author="otto", time_ms=0))
    live = desk.found.live
    assert live is not None
    assert (live.publish.version, live.approved_by) == (2, "otto")
    desk.publish(HELLO, approvals=1, restores=1)
    assert desk.found.versions[3].state == "live"
    desk.publish(HELLO, BYE, approvals=1, restores=1)
    assert desk.found.versions[4].state == "pending", "it only says that it is version 1"


def test_a_newer_publication_takes_the_place_of_one_that_waits() -> None:
    """What is superseded can't be approved any more; a publication made without knowing of it is lost."""
    desk = Desk()
    desk.publish(HELLO)
    blind = desk.compose([BYE])
    desk.publish(CHANGED, approvals=1)
    lost = desk.append(*blind)
    assert [each.key for each in desk.found.lost] == [lost]
    desk.publish(HELLO, BYE, approvals=1)
    desk.append(Approve(version=2, author="otto", time_ms=0))
    assert [each.state for each in desk.found.versions.values()] == ["live", "superseded", "pending"]


def test_an_approval_in_between_makes_a_publication_lose() -> None:
    """A publication is composed on what is live: when that changes before it arrives, it has no effect."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(CHANGED, approvals=1)
    composed = desk.compose([HELLO, BYE])
    desk.append(Approve(version=2, author="otto", time_ms=0))
    lost = desk.append(*composed)
    assert [each.key for each in desk.found.lost] == [lost]


def test_a_share_only_grows() -> None:
    """Shares that do not grow, and those of versions that are not live, have no effect."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(CHANGED, share=0.05)
    for share, version in ((0.5, 2), (0.2, 2), (0.9, 1), (1.5, 2)):
        desk.append(Stage(version=version, share=share, author="a", time_ms=0))
    assert desk.found.live is not None
    assert desk.found.live.share == 0.5
    with pytest.raises(Refused, match="E0604"):
        desk.compose([HELLO])
    desk.append(Stage(version=2, share=1, author="a", time_ms=0))
    desk.compose([HELLO])


def test_pause_and_resume_survive_publications() -> None:
    """A journey stays paused whatever is published, until it is resumed."""
    desk = Desk()
    desk.publish(HELLO)
    desk.append(Pause(journey="hello", author="a", time_ms=0))
    desk.publish(CHANGED)
    assert desk.rules().release.paused == {"hello"}
    desk.append(Resume(journey="hello", author="a", time_ms=0))
    assert desk.rules().release.paused == frozenset()


def test_clearing_away_changes_nothing_but_the_past() -> None:
    """At any moment of the clearing, in its order, the live version stays; numbers go on from there."""
    desk = Desk()
    for number in range(8):
        text = HELLO.replace("template: hello", f"template: t{number}")
        blind = desk.compose([text, BYE]) if number else None
        desk.publish(text, approvals=number % 2)
        if number % 2:
            desk.append(Approve(version=number + 1, author="otto", time_ms=0))
        if blind is not None:
            desk.append(*blind)
        if number == 2:
            desk.append(Pause(journey="hello", author="a", time_ms=0))
    keys = to_clear(desk.found, keep=3)
    live = desk.versions()
    for _ in range(len(keys)):
        gone = keys.pop(0)
        desk.log = [each for each in desk.log if each.key != gone]
        found = fold(desk.log)
        assert found.live is not None
        assert found.live.publish.version == 8
        assert desk.versions() == live
        assert set(found.paused) == {"hello"}
    assert sorted(desk.found.versions) == [6, 7, 8]
    assert to_clear(desk.found, keep=3) == []
    assert desk.publish(BYE).version == 9


def test_what_cannot_be_read_is_an_error() -> None:
    """Rubbish, a form of a newer engine and a body that is cut off are told, not taken for something else."""
    desk = Desk()
    desk.publish(HELLO)
    with pytest.raises(StateError, match="form this engine"):
        decode_record(7, "k", b"{}")
    with pytest.raises(StateError, match="record 7"):
        decode_record(7, "k", b'engage-rules/1 {"operation":"later"}\n')
    record = desk.log[0]
    cut = decode_record(1, "k", b"engage-rules/1 " + _head(desk) + b"\n" + record.body[:-9])
    with pytest.raises(StateError, match="record 1"):
        open_contents(cut)


def _head(desk: Desk) -> bytes:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(desk.log[0].operation)


def test_what_others_changed_is_not_taken_back_unseen() -> None:
    """What nobody else has changed since, or what has been seen, goes through."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(HELLO, BYE, author="otto")

    def seen(*texts: str, author: str, over: int | None = None) -> None:
        require_seen(desk.found, desk.compose(texts, author=author)[0], over)

    seen(CHANGED, BYE, author="anna")
    seen(CHANGED, BYE, author="zoe")
    seen(HELLO, BYE.replace("bye", "later"), author="otto")
    with pytest.raises(Refused, match="E0614: otto added bye in version 2"):
        seen(CHANGED, author="anna")
    seen(CHANGED, author="anna", over=2)
    seen(HELLO, author="otto")
    desk.publish(CHANGED, BYE)
    with pytest.raises(Refused, match="E0614: anna changed hello in version 3"):
        seen(HELLO, BYE, author="otto")
    with pytest.raises(Refused, match="anna changed hello in version 3"):
        seen(HELLO, BYE, author="otto", over=2)
    seen(HELLO, BYE, author="anna")
