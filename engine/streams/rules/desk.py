"""Publishes rules and operates on what is published: reads the topic, appends, sees whether it counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.errors import ConfigError
from engine.rules.journey import Journey
from engine.rules.limits import MAX_MESSAGE_CHARS
from engine.rules.load import journey_files, yaml_files
from engine.rules.publishing.bundle import BundleCompiler
from engine.rules.publishing.compiled import make_of, pack, unpack
from engine.rules.publishing.compose import Authored, Signed, compose, with_migrations
from engine.rules.publishing.meaning import read_authored
from engine.rules.publishing.publication import (
    Contents,
    Operation,
    Publication,
    Publish,
    Version,
    open_contents,
)
from engine.rules.publishing.requests import (
    authored_of,
    changed_journeys,
    plan_migrations,
    require_earlier,
    require_live,
    require_place,
    require_seen,
    require_version,
)
from engine.settings import Settings
from engine.streams.files import definitions_of, rule_paths, vocabulary_over
from engine.streams.kafka import KafkaSettings
from engine.streams.producer import ActionProducer
from engine.streams.rules.topic import append, clear, read_rules, with_room

Steps = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A publication that has not been sent.

    Args:
        publish: what it says of itself.
        contents: what it is made of.
        compiled: its journeys compiled, packed.
    """

    publish: Publish
    contents: Contents
    compiled: bytes = b""


class RuleDesk:
    """What an operator does with the rules topic.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        author: who it is.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaSettings,
        author: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._topic = settings.topics.rules
        self._producer = ActionProducer(with_room(kafka))
        self.author = author
        self.now_ms = now_ms

    def read(self) -> Publication:
        """Return what is published."""
        return read_rules(self._kafka, self._topic, self._settings.kafka.timeout_ms / 1000)

    def draft(
        self, message: str, share: float = 1.0, migrate: Steps | None = None, over: int | None = None
    ) -> Draft:
        """Compose a publication of the files of the settings; they have passed the check.

        Args:
            message: why.
            share: share of the customers it is for at first, 0-1.
            migrate: journey to path to path, an empty map for equal paths; with no journey at all, every
                journey that has changed.
            over: up to this version the author has seen what others changed; None = not said.

        Raises:
            Refused: there is nothing to publish, or it cannot be published as asked.
            RuleErrors: a journey is wrong.
        """
        files = journey_files(rule_paths(self._settings))
        journeys = [read_authored(str(file), file.read_bytes()) for file in files]
        signed = self._sign(message, share)
        found = self.read()
        draft = self._draft(found, journeys, _other_files(self._settings), signed, migrate)
        require_seen(found, draft.publish, over)
        return draft

    def draft_rollback(self, number: int | None, message: str, migrate: Steps | None = None) -> Draft:
        """Compose a publication that brings a version back; None = the one before the live one.

        Raises:
            Refused: there is no such version, or it is what is live.
            RuleErrors: this engine can't run it any more.
        """
        found = self.read()
        require_live(found)
        version = require_earlier(found) if number is None else require_version(found, number)
        journeys, files = authored_of(version)
        signed = self._sign(message or f"back to {version.publish.version}", 1.0, version.publish.version)
        return self._draft(found, journeys, files, signed, migrate)

    def send(self, draft: Draft) -> Version:
        """Publish a draft.

        Returns:
            The version it has become.

        Raises:
            Refused: somebody else published first, or it is too large.
        """
        publish = msgspec.structs.replace(draft.publish, time_ms=self.now_ms())
        key = append(self._kafka, self._topic, publish, draft.contents, draft.compiled, self._producer)
        found = self.read()
        try:
            return require_place(found, key)
        finally:
            clear(self._kafka, self._topic, found)

    def operate(self, ask: Callable[[Publication], Operation]) -> Publication:
        """Append another operation, and return what is published then.

        Args:
            ask: makes the operation of what is there, or refuses.
        """
        self._producer.open()
        append(self._kafka, self._topic, ask(self.read()), producer=self._producer)
        return self.read()

    def _sign(self, message: str, share: float, restores: int = 0) -> Signed:
        if len(message) > MAX_MESSAGE_CHARS:
            raise ConfigError(f"the message has {len(message)} characters, the limit is {MAX_MESSAGE_CHARS}")
        approvals = self._settings.rules.approvals
        return Signed(self.author, message, self.now_ms(), share, approvals, restores)

    def _draft(
        self,
        found: Publication,
        journeys: Sequence[Authored],
        files: Mapping[str, str],
        signed: Signed,
        migrate: Steps | None,
    ) -> Draft:
        publish, contents = compose(found, journeys, files, signed)
        self._producer.open()
        definitions = definitions_of(self._settings)
        columns = definitions.space().names
        vocabulary = vocabulary_over(self._settings, definitions, columns=columns)
        make = make_of(vocabulary)
        ready = {}
        if found.live is not None:
            ready = unpack(found.live.record.compiled, open_contents(found.live.record).journeys, make)
        compiled: dict[tuple[str, int], Journey] = {}
        for _ in BundleCompiler(vocabulary).run(contents, compiled, publish.share, ready):
            pass
        if migrate is not None:
            asked = migrate or {name: {} for name in changed_journeys(contents)}
            planned = plan_migrations(contents, compiled, asked, publish.share)
            contents = with_migrations(contents, planned)
        return Draft(publish, contents, pack(contents.journeys, compiled, make))


def _other_files(settings: Settings) -> dict[str, str]:
    """Read what else the rules are made of, for the record: the deployment's templates."""
    paths = [Path(settings.templates.path)] if settings.templates.path else []
    return {str(path): path.read_text("utf-8") for path in yaml_files(paths)}


def read_steps(path: Path) -> Steps:
    """Read a map of steps: journey to path to path, as YAML or JSON.

    Raises:
        ConfigError: it can't be read, or is no such map.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - only who migrates needs it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        found = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"--migrate {str(path)!r} cannot be read: {type(error).__name__}") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"--migrate {str(path)!r}: write it as JOURNEY: {{STEP: STEP}}")
    steps: dict[str, dict[str, str]] = {}
    for name, paths in found.items():
        if not isinstance(paths, dict | None) or not all(
            isinstance(part, str) for pair in (paths or {}).items() for part in pair
        ):
            raise ConfigError(
                f"--migrate {str(path)!r}: {name}: write it as STEP: STEP, such as steps[1]: steps[2]"
            )
        steps[str(name)] = dict(paths or {})
    return steps
