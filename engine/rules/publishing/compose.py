"""From what an author has in files to a publication: which journey gets which version, what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from engine.rules.limits import MAX_KEPT_MS, MAX_KEPT_VERSIONS
from engine.rules.publishing.publication import (
    Contents,
    JourneyFile,
    Migration,
    Publication,
    Publish,
    Version,
    open_contents,
)
from engine.rules.publishing.refused import Refused
from engine.rules.release import percent


@dataclass(frozen=True, slots=True)
class Authored:
    """A journey as its author has it.

    Args:
        name: the journey.
        version: what its file says; counts for the first publication only.
        file: its path.
        text: its text.
        meaning: `meaning.meaning_of` of it.
    """

    name: str
    version: int
    file: str
    text: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Signed:
    """Who publishes, and how.

    Args:
        author: who.
        message: why.
        time_ms: when.
        share: share of the customers it is for at first, 0-1.
        approvals: how many others must approve it.
        restores: the version it brings back, or 0.
    """

    author: str
    message: str
    time_ms: int
    share: float = 1.0
    approvals: int = 0
    restores: int = 0


def next_version(found: Publication, authored: Iterable[Authored] = ()) -> int:
    """Return the number a publication would get; the first one goes on from the numbers in the files."""
    if found.head is not None:
        return found.head.publish.version + 1
    return max((each.version for each in authored), default=1)


def compose(
    found: Publication, authored: Sequence[Authored], files: Mapping[str, str], signed: Signed
) -> tuple[Publish, Contents]:
    """Compose the publication that would follow what is there.

    Args:
        found: the records, taken together.
        authored: every journey; several versions of one only in the first publication.
        files: policy and templates by path.
        signed: who, why, when and for how many.

    Raises:
        Refused: it would change nothing, a journey stands twice, or a stage is not finished.
    """
    base = found.live
    if base is not None and base.share < 1 and not signed.restores:
        number = base.publish.version
        hint = "finish it with `engage rules stage 100%`, or go back with `engage rules rollback`"
        raise Refused("E0604", f"version {number} is for {percent(base.share)} of the customers yet", hint)
    number = next_version(found, authored)
    earlier = open_contents(base.record) if base is not None else Contents(())
    placed = _first(authored) if base is None else _place(authored, earlier, number)
    journeys = _with_older(placed, earlier, base, signed)
    contents = Contents(
        tuple(sorted(journeys, key=lambda each: (each.name, each.version))),
        dict(sorted(files.items())),
        _still_needed(earlier.migrations, journeys),
    )
    changes = changes_between(earlier, contents)
    if base is not None and not changes:
        raise Refused("E0605", f"nothing has changed since version {base.publish.version}")
    publish = Publish(
        version=number,
        parent=found.head.publish.version if found.head is not None else 0,
        base=base.publish.version if base is not None else 0,
        author=signed.author,
        message=signed.message,
        time_ms=signed.time_ms,
        digest=digest_of(contents),
        share=signed.share if base is not None else 1.0,
        approvals=signed.approvals,
        restores=signed.restores,
        journeys=sum(each.live for each in contents.journeys),
        changes=tuple(changes),
    )
    return publish, contents


def _first(authored: Sequence[Authored]) -> list[JourneyFile]:
    """Take over the numbers in the files: customers inside journeys from files stay where they are."""
    newest: dict[str, int] = {}
    for each in authored:
        newest[each.name] = max(newest.get(each.name, 0), each.version)
    return [
        JourneyFile(
            each.name,
            each.version,
            each.file,
            each.text,
            each.meaning,
            live=each.version == newest[each.name],
            before=False,
        )
        for each in authored
    ]


def _place(authored: Sequence[Authored], earlier: Contents, number: int) -> list[JourneyFile]:
    """Give each journey the version its meaning had already, else that of the publication."""
    known = {(each.name, each.meaning): each for each in earlier.journeys}
    placed: dict[str, JourneyFile] = {}
    for each in authored:
        if each.name in placed:
            files = f"{placed[each.name].file} and {each.file}"
            hint = "remove one: those inside keep the version they entered"
            raise Refused("E0606", f"journey {each.name!r} stands twice, in {files}", hint)
        same = known.get((each.name, each.meaning))
        placed[each.name] = JourneyFile(
            each.name,
            same.version if same is not None else number,
            each.file,
            each.text,
            each.meaning,
            live=True,
            before=same is not None and same.live,
        )
    return list(placed.values())


def _with_older(
    placed: list[JourneyFile], earlier: Contents, base: Version | None, signed: Signed
) -> list[JourneyFile]:
    """Add the older versions that somebody may still be inside."""
    taken = {(each.name, each.version) for each in placed}
    older: dict[str, list[JourneyFile]] = {}
    for each in earlier.journeys:
        if (each.name, each.version) in taken:
            continue
        was_live = each.live or (base is not None and base.share < 1 and each.before)
        left_ms = signed.time_ms if was_live else each.left_ms or signed.time_ms
        kept = msgspec.structs.replace(each, live=False, before=each.live, left_ms=left_ms)
        if kept.before or signed.time_ms - left_ms <= MAX_KEPT_MS:
            older.setdefault(each.name, []).append(kept)
    for versions in older.values():
        versions.sort(key=lambda each: (each.left_ms, each.version))
        placed = placed + versions[-MAX_KEPT_VERSIONS:]
    return placed


def _still_needed(migrations: Iterable[Migration], journeys: Iterable[JourneyFile]) -> tuple[Migration, ...]:
    there = {(each.name, each.version) for each in journeys}
    return tuple(
        each
        for each in migrations
        if {(each.journey, each.from_version), (each.journey, each.to_version)} <= there
    )


def with_migrations(contents: Contents, added: Sequence[Migration]) -> Contents:
    """Add migrations; whoever comes to a version by one of them stays there.

    So no chain of migrations leads in a circle: where a new one leads, none leads on from.
    """
    targets = {(each.journey, each.to_version) for each in added}
    sources = {(each.journey, each.from_version) for each in added}
    kept = [
        each for each in contents.migrations if (each.journey, each.from_version) not in targets | sources
    ]
    return msgspec.structs.replace(contents, migrations=(*kept, *added))


def digest_of(contents: Contents) -> str:
    """Return the hash of what is live in a publication: the same rules, the same hash."""
    parts = [f"{each.name}={each.meaning}" for each in contents.journeys if each.live]
    parts += [f"{path}={text}" for path, text in contents.files.items()]
    return blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


def changes_between(earlier: Contents, later: Contents) -> list[str]:
    """Say in short lines what a publication changes, journeys by name first."""
    old = {each.name: each for each in earlier.journeys if each.live}
    new = {each.name: each for each in later.journeys if each.live}
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"- {name}")
        elif name not in old:
            lines.append(f"+ {name}")
        elif old[name].meaning != new[name].meaning:
            lines.append(f"~ {name}")
        elif old[name].text != new[name].text:
            lines.append(f"~ {name} (notes only)")
    paths = sorted(earlier.files.keys() | later.files.keys())
    lines.extend(f"~ {path}" for path in paths if earlier.files.get(path) != later.files.get(path))
    return lines
