"""A rules topic in memory: publish, stage, roll back, and run what is live for one customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.rules.journey import Journey
from engine.rules.parsing.parse import parse_journey
from engine.rules.publishing.bundle import BundleCompiler
from engine.rules.publishing.compose import Authored, Signed, compose, with_migrations
from engine.rules.publishing.meaning import meaning_of
from engine.rules.publishing.publication import (
    Contents,
    Operation,
    Publication,
    Publish,
    Record,
    decode_record,
    encode_record,
    fold,
    open_contents,
)
from engine.rules.publishing.requests import authored_of, plan_migrations, release_of, require_version
from engine.rules.ruleset import RuleSet
from tests.rules.driver import NOON, VOCABULARY


def authored(*texts: str) -> list[Authored]:
    """Return journeys as an author has them."""
    found = []
    for number, text in enumerate(texts):
        file = f"journey{number}.yaml"
        parsed = parse_journey(file, text.encode())
        found.append(Authored(parsed.name.value, parsed.version, file, text, meaning_of(file, text)))
    return found


class Desk:
    """Publishes on a log in memory; a clock that moves a second with each operation."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.now_ms = NOON
        self.compiler = BundleCompiler(VOCABULARY)

    @property
    def found(self) -> Publication:
        """What the log says."""
        return fold(self.log)

    def append(self, operation: Operation, contents: Contents | None = None) -> str:
        """Append a record as it would come back from the topic."""
        key = f"k{len(self.log)}"
        self.log.append(decode_record(len(self.log), key, encode_record(operation, contents)))
        self.now_ms += 1_000
        return key

    def compose(
        self,
        texts: Sequence[str],
        files: Mapping[str, str] | None = None,
        migrate: Mapping[str, Mapping[str, str]] | None = None,
        **signed: object,
    ) -> tuple[Publish, Contents]:
        """Compose a publication on what is live now."""
        given = {"author": "anna", "message": "", "time_ms": self.now_ms} | signed
        publish, contents = compose(self.found, authored(*texts), files or {}, Signed(**given))  # type: ignore[arg-type]
        if migrate is not None:
            planned = plan_migrations(contents, self.compiled(contents), migrate)
            contents = with_migrations(contents, planned)
        return publish, contents

    def publish(self, *texts: str, **more: object) -> Publish:
        """Publish journeys."""
        publish, contents = self.compose(texts, **more)  # type: ignore[arg-type]
        self.append(publish, contents)
        return publish

    def rollback(self, number: int) -> Publish:
        """Bring a version back."""
        journeys, files = authored_of(require_version(self.found, number))
        signed = Signed("otto", f"back to {number}", self.now_ms, restores=number)
        publish, contents = compose(self.found, journeys, files, signed)
        self.append(publish, contents)
        return publish

    def compiled(self, contents: Contents) -> dict[tuple[str, int], Journey]:
        """Compile a publication."""
        journeys: dict[tuple[str, int], Journey] = {}
        for _ in self.compiler.run(contents, journeys):
            pass
        return journeys

    def rules(self) -> RuleSet:
        """Return what is live, as a worker would run it."""
        found = self.found
        assert found.live is not None
        contents = open_contents(found.live.record)
        journeys = self.compiled(contents)
        release = release_of(
            contents,
            journeys,
            version=found.live.publish.version,
            share=found.live.share,
            paused=found.paused,
        )
        return RuleSet(list(journeys.values()), VOCABULARY, release)

    def versions(self) -> dict[tuple[str, int], tuple[bool, bool]]:
        """Return journey and version of what is live, and whether it takes entries now and did before."""
        live = self.found.live
        assert live is not None
        files = open_contents(live.record).journeys
        return {(each.name, each.version): (each.live, each.before) for each in files}
