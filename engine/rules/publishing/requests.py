"""What an operator asks of published rules: judged against what is there before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.rules.journey import Journey
from engine.rules.publishing.compose import Authored
from engine.rules.publishing.publication import (
    Approve,
    Contents,
    JourneyFile,
    Migration,
    Pause,
    Publication,
    Publish,
    Resume,
    Stage,
    Version,
    open_contents,
)
from engine.rules.publishing.refused import Refused
from engine.rules.release import Lane, Release, percent, plan_move, resolve_move, standing
from engine.rules.text.source import nearest


def require_live(found: Publication) -> Version:
    """Return the version in use.

    Raises:
        Refused: nothing has been published yet.
    """
    if found.live is None:
        raise Refused("E0608", "no rules have been published yet", "begin with `engage rules publish`")
    return found.live


def require_version(found: Publication, number: int) -> Version:
    """Return a version by its number.

    Raises:
        Refused: it is not known, or not any more.
    """
    version = found.versions.get(number)
    if version is None:
        raise Refused("E0607", f"there is no version {number}", "`engage rules history` lists them")
    return version


def require_earlier(found: Publication) -> Version:
    """Return the version before the one in use.

    Raises:
        Refused: there is none, or it is not known any more.
    """
    live = require_live(found).publish
    if not live.base:
        raise Refused("E0607", f"there is no version before {live.version}, the first one")
    return require_version(found, live.base)


def authored_of(version: Version) -> tuple[list[Authored], dict[str, str]]:
    """Return a version's journeys and other files as if an author had them, to bring them back."""
    contents = open_contents(version.record)
    journeys = [
        Authored(each.name, each.version, each.file, each.text, each.meaning)
        for each in contents.journeys
        if each.live
    ]
    return journeys, dict(contents.files)


def stage_request(found: Publication, share: float, author: str, time_ms: int) -> Stage:
    """Ask for a larger share of the customers for the newest version.

    Raises:
        Refused: nothing is published, or it has that share already.
    """
    require_live(found)
    assert found.head is not None
    version = found.head
    if share <= version.share:
        message = (
            f"version {version.publish.version} is for {percent(version.share)} of the customers already"
        )
        raise Refused("E0612", message, "a share only grows; to go back use `engage rules rollback`")
    return Stage(version=version.publish.version, share=share, author=author, time_ms=time_ms)


def approve_request(found: Publication, number: int, author: str, time_ms: int) -> Approve:
    """Ask for a version to go live.

    Raises:
        Refused: it waits for no approval, or this is its own author.
    """
    version = require_version(found, number)
    if version.state != "pending":
        raise Refused("E0609", f"version {number} is {version.state}: it waits for no approval")
    if version.publish.author == author:
        message = f"{author} published version {number} and can't approve it"
        raise Refused("E0609", message, "somebody else must; --author says who you are")
    return Approve(version=number, author=author, time_ms=time_ms)


def pause_request(found: Publication, journey: str, author: str, time_ms: int, message: str) -> Pause:
    """Ask for a journey to be paused.

    Raises:
        Refused: there is no such journey, or it is paused already.
    """
    known = {each.name for each in open_contents(require_live(found).record).journeys}
    if journey not in known:
        raise Refused("E0611", f"no journey {journey!r} is published", nearest(journey, known))
    if journey in found.paused:
        raise Refused("E0611", f"journey {journey!r} is paused already")
    return Pause(journey=journey, author=author, time_ms=time_ms, message=message)


def resume_request(found: Publication, journey: str, author: str, time_ms: int, message: str) -> Resume:
    """Ask for a journey to go on.

    Raises:
        Refused: it is not paused.
    """
    if journey not in found.paused:
        hint = f"paused are: {', '.join(sorted(found.paused))}" if found.paused else "no journey is paused"
        raise Refused("E0611", f"journey {journey!r} is not paused", hint)
    return Resume(journey=journey, author=author, time_ms=time_ms, message=message)


def require_place(found: Publication, key: str) -> Version:
    """Return the version a publication has become.

    Raises:
        Refused: somebody else published on the same version first.
    """
    for version in found.versions.values():
        if version.record.key == key:
            return version
    winner = found.head
    assert winner is not None
    by = f"{winner.publish.author} published version {winner.publish.version} first"
    raise Refused("E0602", f"{by}: yours has no effect", "take their changes over and publish again")


def require_seen(found: Publication, publish: Publish, over: int | None) -> None:
    """Let nobody take back unseen what somebody else has published since their own last version.

    Args:
        found: what is there.
        publish: what is to follow.
        over: up to this version the author has seen what others changed; None = not said.

    Raises:
        Refused: a journey or file is changed that others have changed meanwhile, or there is no such version.
    """
    if found.live is None:
        return
    live = found.live.publish.version
    if over is not None and over > live:
        raise Refused(
            "E0614", f"version {live} is live, there is no version {over}", _LOOK_FIRST.format(live)
        )
    mine = [n for n, each in found.versions.items() if each.publish.author == publish.author]
    seen = max(*mine, over or 0, 0)
    wanted = dict(map(_changed, publish.changes))
    for number, version in sorted(found.versions.items(), reverse=True):
        if number <= seen or version.state not in ("live", "past"):
            continue
        theirs = dict(map(_changed, version.publish.changes))
        # who changes a journey that has been added has it, and so has seen that
        both = [
            f"{_DONE[kind]} {name}"
            for name, kind in sorted(theirs.items())
            if name in wanted and (kind, wanted[name]) != ("+", "~")
        ]
        if both:
            message = (
                f"{version.publish.author} {', '.join(both)} in version {number}: yours would change that"
            )
            raise Refused("E0614", message, _LOOK_FIRST.format(live))


_DONE = {"+": "added", "-": "removed", "~": "changed"}
_LOOK_FIRST = (
    "see `engage rules diff live`; with their changes taken over, or to undo them, publish with --over {}"
)


def _changed(line: str) -> tuple[str, str]:
    """Return the name of what is changed, and how (`+`, `-` or `~`), of a line of `Publish.changes`."""
    return line[2:].removesuffix(" (notes only)"), line[0]


def require_fixtures(failed: int) -> None:
    """Let nothing be published whose fixtures fail.

    Args:
        failed: how many do.

    Raises:
        Refused: at least one.
    """
    if failed:
        count = f"{failed} fixture{'s' if failed > 1 else ''}"
        raise Refused("E0601", f"{count} of these rules fail", "`engage rules test` shows expected and got")


def plan_migrations(
    contents: Contents,
    compiled: Mapping[tuple[str, int], Journey],
    asked: Mapping[str, Mapping[str, str]],
    share: float = 1.0,
) -> list[Migration]:
    """Work out where those inside older versions of changed journeys go on.

    Args:
        contents: the new publication.
        compiled: its journeys, older versions included, by name and version.
        asked: journey to path to path; an empty map moves to equal paths.
        share: share of the customers the publication is for.

    Raises:
        Refused: it is staged, a journey has not changed, or a step leads nowhere; every problem is told.
    """
    if asked and share < 1:
        hint = "publish with --to, and migrate with the publication after it"
        raise Refused("E0613", "customers cannot be moved to a version that is not theirs", hint)
    live = {each.name: each for each in contents.journeys if each.live}
    problems: list[str] = []
    planned: list[Migration] = []
    for name, given in asked.items():
        older = [each for each in contents.journeys if each.name == name and not each.live]
        if name not in live or not older:
            problems.append(f"{name}: there is no older version to migrate from")
            continue
        new = compiled[name, live[name].version]
        known = {path for each in older for path in standing(compiled[name, each.version])}
        problems += [f"{name}: nobody can stand at {path!r}" for path in given if path not in known]
        for each in older:
            steps, wrong = plan_move(compiled[name, each.version], new, given)
            problems += [f"{name} version {each.version}: {problem}" for problem in wrong]
            planned.append(Migration(name, each.version, new.version, steps))
    if problems:
        raise Refused("E0610", "the migration does not fit:\n  " + "\n  ".join(dict.fromkeys(problems)))
    return planned


def changed_journeys(contents: Contents) -> list[str]:
    """Return the journeys that come in a new version while somebody may be inside an older one."""
    fresh = {each.name for each in contents.journeys if each.live and not each.before}
    return sorted(fresh & {each.name for each in contents.journeys if not each.live})


def release_of(
    contents: Contents,
    compiled: Mapping[tuple[str, int], Journey],
    *,
    version: int,
    share: float,
    paused: Iterable[str],
) -> Release:
    """Return how a rule set made of a publication treats customers.

    Args:
        contents: the publication.
        compiled: those of its journeys that could be compiled; all that take entries are among them.
        version: its number.
        share: share of the customers it is for now.
        paused: journeys that are paused.
    """
    lanes = {(each.name, each.version): lane for each in contents.journeys if (lane := _lane(each))}
    moves = {}
    for each in contents.migrations:
        old, new = (
            compiled.get((each.journey, each.from_version)),
            compiled.get((each.journey, each.to_version)),
        )
        move = resolve_move(old, new, each.steps) if old is not None and new is not None else None
        if move is not None:
            moves[each.journey, each.from_version] = move
    return Release(version, lanes, share, frozenset(paused), moves)


def _lane(file: JourneyFile) -> Lane | None:
    if file.live:
        return Lane.ALL if file.before else Lane.NEW
    return Lane.BEFORE if file.before else None
