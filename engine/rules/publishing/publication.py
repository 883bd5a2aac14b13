"""Published rules as a log: each record is one operation, and folding them in order says what is live.

Nothing here talks to a server: `streams/rules/topic.py` reads and writes the records.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from engine.errors import StateError
from engine.rules.limits import MAX_PUBLICATION_BYTES, MAX_PUBLICATION_TEXT, MAX_VERSIONS
from engine.rules.publishing.refused import Refused

_FORMAT: Final = b"engage-rules/1 "


class JourneyFile(msgspec.Struct, frozen=True):
    """One version of one journey, as text.

    Args:
        name: the journey.
        version: the publication in which its meaning last changed.
        file: where the author had it.
        text: the file.
        meaning: hash of what it says (`meaning.meaning_of`).
        live: whether it takes entries in this publication.
        before: whether it took entries in the publication before.
        left_ms: when it stopped taking entries; 0 while it does.
    """

    name: str
    version: int
    file: str
    text: str
    meaning: str
    live: bool = True
    before: bool = True
    left_ms: int = 0


class Migration(msgspec.Struct, frozen=True):
    """Where customers inside one version of a journey go on.

    Args:
        journey: the journey.
        from_version: the version they are inside.
        to_version: the version they go on with.
        steps: path of each step they can stand at, to a path of the other version or `exit`.
    """

    journey: str
    from_version: int
    to_version: int
    steps: dict[str, str]


class Contents(msgspec.Struct, frozen=True):
    """Everything a worker needs to run a publication.

    Args:
        journeys: by name, then version; older versions for those inside among them.
        files: policy and templates, by the path the author had them at.
        migrations: those of this publication and of earlier ones that may still have to be applied.
    """

    journeys: tuple[JourneyFile, ...]
    files: dict[str, str] = {}
    migrations: tuple[Migration, ...] = ()


class Publish(msgspec.Struct, frozen=True, kw_only=True, tag_field="operation", tag="publish"):
    """A new version of the rules; its contents travel in the record's second part.

    Args:
        version: its number, above that of its parent.
        parent: the newest version its author saw, live or not; 0 = none.
        base: the version that was live then; 0 = none.
        author: who published it.
        message: why.
        time_ms: when.
        digest: hash of what is live in it.
        share: share of the customers it is for at first, 0-1.
        approvals: how many others must approve it before it is live, 0 or 1.
        restores: the version it brings back, or 0.
        journeys: how many journeys are live in it.
        changes: what it changes, in short lines.
        compiled_bytes: how many bytes at the record's end are its journeys compiled (`compiled.pack`).
    """

    version: int
    parent: int
    base: int
    author: str
    message: str
    time_ms: int
    digest: str
    share: float = 1.0
    approvals: int = 0
    restores: int = 0
    journeys: int = 0
    changes: tuple[str, ...] = ()
    compiled_bytes: int = 0


class Stage(msgspec.Struct, frozen=True, kw_only=True, tag_field="operation", tag="stage"):
    """A version is for a larger share of the customers from now on."""

    version: int
    share: float
    author: str
    time_ms: int


class Approve(msgspec.Struct, frozen=True, kw_only=True, tag_field="operation", tag="approve"):
    """Somebody other than its author lets a version go live."""

    version: int
    author: str
    time_ms: int


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag_field="operation", tag="pause"):
    """A journey neither lets in nor sends, until it is resumed."""

    journey: str
    author: str
    time_ms: int
    message: str = ""


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag_field="operation", tag="resume"):
    """A paused journey goes on."""

    journey: str
    author: str
    time_ms: int
    message: str = ""


Operation = Publish | Stage | Approve | Pause | Resume
_OPERATIONS = msgspec.json.Decoder(Operation)
_CONTENTS = msgspec.json.Decoder(Contents)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the topic.

    Args:
        offset: where it stands.
        key: its key, its own alone.
        operation: what it does.
        body: a publication's contents, packed; empty for the others.
        compiled: its journeys compiled, packed; empty when they did not travel with it.
    """

    offset: int
    key: str
    operation: Operation
    body: bytes = b""
    compiled: bytes = b""


def encode_record(operation: Operation, contents: Contents | None = None, compiled: bytes = b"") -> bytes:
    """Return a record's value: a line of JSON people can read, then the contents, packed.

    Args:
        operation: what it does.
        contents: of a publication.
        compiled: its journeys compiled, packed; left out when the record would be too large.

    Raises:
        Refused: the contents are larger than a publication may be.
    """
    body = b"" if contents is None else _pack(contents)
    if isinstance(operation, Publish) and len(body) + len(compiled) <= MAX_PUBLICATION_BYTES:
        operation = msgspec.structs.replace(operation, compiled_bytes=len(compiled))
        body += compiled
    return _FORMAT + msgspec.json.encode(operation) + b"\n" + body


def decode_record(offset: int, key: str, value: bytes) -> Record:
    """Read a record; its contents stay packed until they are needed.

    Raises:
        StateError: it can't be read, perhaps because a newer engine wrote it.
    """
    head, _, body = value.partition(b"\n")
    if not head.startswith(_FORMAT):
        raise StateError(f"record {offset} of the rules topic is in a form this engine doesn't know")
    try:
        operation = _OPERATIONS.decode(head.removeprefix(_FORMAT))
    except msgspec.MsgspecError as error:
        raise StateError(f"record {offset} of the rules topic cannot be read: {error}") from None
    split = len(body) - (operation.compiled_bytes if isinstance(operation, Publish) else 0)
    return Record(offset, key, operation, body[:split], body[split:])


def _pack(contents: Contents) -> bytes:
    text = msgspec.json.encode(contents)
    body = zlib.compress(text, 6)
    if len(text) > MAX_PUBLICATION_TEXT or len(body) > MAX_PUBLICATION_BYTES:
        limits = f"the limits are {MAX_PUBLICATION_TEXT} and {MAX_PUBLICATION_BYTES}"
        message = f"the rules have {len(text)} bytes, {len(body)} when packed; {limits}"
        raise Refused("E0603", message, "remove journeys nobody needs any more")
    return body


def open_contents(record: Record) -> Contents:
    """Unpack a publication's contents.

    Raises:
        StateError: they can't be read, or are larger than a publication may be.
    """
    try:
        opener = zlib.decompressobj()
        text = opener.decompress(record.body, MAX_PUBLICATION_TEXT + 1)
        if len(text) > MAX_PUBLICATION_TEXT or not opener.eof:
            raise StateError(f"the publication at record {record.offset} is larger than one may be")
        return _CONTENTS.decode(text)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise StateError(f"the publication at record {record.offset} cannot be read: {error}") from None


@dataclass(slots=True)
class Version:
    """A publication that took its place in the order.

    Args:
        record: its record.
        publish: the operation.
        state: `pending` waits for an approval; `live` is in use; `past` was; `superseded` never was, because
            another one was published before it was approved.
        share: share of the customers it is for now.
        approved_by: who approved it, or empty.
    """

    record: Record
    publish: Publish
    state: Literal["pending", "live", "past", "superseded"]
    share: float
    approved_by: str = ""


@dataclass(slots=True)
class Publication:
    """What the records say, taken together.

    Args:
        versions: by number, ascending.
        live: the version in use, or None.
        head: the newest version, live or not, or None.
        paused: journeys that are paused, and the operation that did it.
        lost: publications that came too late: another one had taken their place.
        operations: all that had an effect, in order.
        idle: keys of records that have none any more.
    """

    versions: dict[int, Version] = field(default_factory=dict)
    live: Version | None = None
    head: Version | None = None
    paused: dict[str, Pause] = field(default_factory=dict)
    lost: list[Record] = field(default_factory=list)
    operations: list[Record] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def version(self, number: int) -> Version | None:
        """Return a version, or None when it is not known (any more)."""
        return self.versions.get(number)


def fold(records: Iterable[Record]) -> Publication:
    """Take records together.

    Of two publications on the same parent the first wins; the other is `lost`. The oldest record is taken
    as it is, for what it came after may have been cleared away.

    Args:
        records: by offset.
    """
    found = Publication()
    for record in records:
        match record.operation:
            case Publish() as publish:
                done = _publish(found, record, publish)
            case Stage() as stage:
                done = _stage(found, stage)
            case Approve() as approve:
                done = _approve(found, approve)
            case Pause() as pause:
                done = pause.journey not in found.paused
                found.paused.setdefault(pause.journey, pause)
            case Resume() as resume:
                done = found.paused.pop(resume.journey, None) is not None
        if done:
            found.operations.append(record)
        elif record.operation.__class__ is not Publish:
            found.idle.append(record.key)
    return found


def _publish(found: Publication, record: Record, publish: Publish) -> bool:
    head, live = found.head, found.live
    if head is not None:
        # none live, although it builds on one: that one has been cleared away
        on_live = live is None or publish.base == live.publish.version
        fits = publish.parent == head.publish.version and on_live
        if not fits or publish.version <= head.publish.version:
            found.lost.append(record)
            return False
        if head.state == "pending":
            head.state = "superseded"
    version = Version(record, publish, "pending", publish.share)
    found.versions[publish.version] = found.head = version
    if not publish.approvals or _is_rollback(found, publish):
        _go_live(found, version)
    return True


def _is_rollback(found: Publication, publish: Publish) -> bool:
    """Whether it brings back what was live before: that has been approved once."""
    earlier = found.versions.get(publish.restores)
    return earlier is not None and earlier.state == "past" and earlier.publish.digest == publish.digest


def _go_live(found: Publication, version: Version) -> None:
    if found.live is not None:
        found.live.state = "past"
    version.state, found.live = "live", version


def _stage(found: Publication, stage: Stage) -> bool:
    version = found.versions.get(stage.version)
    if version is None or version.state not in ("live", "pending") or not version.share < stage.share <= 1:
        return False
    version.share = stage.share
    return True


def _approve(found: Publication, approve: Approve) -> bool:
    version = found.versions.get(approve.version)
    if version is None or version.state != "pending" or approve.author == version.publish.author:
        return False
    version.approved_by = approve.author
    _go_live(found, version)
    return True


def to_clear(found: Publication, keep: int = MAX_VERSIONS) -> list[str]:
    """Return the keys of records nobody needs any more, in the order in which they may go.

    What lost goes first: else it could take the place of what it lost against.

    Args:
        found: the records taken together.
        keep: how many versions stay.
    """
    keys = [record.key for record in found.lost] + found.idle
    kept = set(sorted(found.versions)[-keep:])
    kept |= {each.publish.version for each in (found.live, found.head) if each is not None}
    oldest = min((found.versions[number].record.offset for number in kept), default=0)
    last_word = {id(pause) for pause in found.paused.values()}
    for record in found.operations:
        match record.operation:
            case Publish(version=number) | Stage(version=number) | Approve(version=number):
                stays = number in kept
            case _ as operation:
                stays = record.offset > oldest or id(operation) in last_word
        if not stays:
            keys.append(record.key)
    return keys
