"""Writer schemas from a Confluent-compatible schema registry, by confluent-kafka's own client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from engine.errors import ConfigError, InvalidEvent, TransientError
from engine.events import DeadLetterReason
from engine.settings import Settings
from engine.streams.wire.avro import Schema, SchemaId, parse_schema

DEFAULTS: Mapping[str, Any] = {"timeout": 2, "max.retries": 0}  # the worker retries; it must not stand still
FORGET_UNKNOWN_S = 30.0
MAX_UNKNOWN = 1000
MAX_REFERENCES = 100

_NOT_FOUND = 404


class ConfluentRegistry:
    """Fetches writer schemas over HTTP; an answer is kept by the caller.

    An id the registry does not know is remembered for `FORGET_UNKNOWN_S`, so that a flood of such records is
    not a flood of requests.

    Args:
        url: address of the registry; several are separated by commas.
        extra: further properties of the client (`basic.auth.user.info`, `ssl.ca.location`, …).
        clock: seconds, monotonic.

    Raises:
        ConfigError: the client refuses a property.
    """

    def __init__(
        self, url: str, extra: Mapping[str, Any] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Imported here: it takes a good part of a second, and only workers with a registry need it.
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415

        try:
            self._client = SchemaRegistryClient({**DEFAULTS, **(extra or {}), "url": url})
        except (TypeError, ValueError, OSError) as error:
            raise ConfigError(f"schema registry is configured wrongly: {error}") from error
        self._clock = clock
        self._unknown: dict[SchemaId, float] = {}

    def schema(self, schema_id: SchemaId) -> Schema:
        """Fetch and parse the schema of an id.

        Args:
            schema_id: number of the classic wire format, or the GUID of the header form.

        Returns:
            The parsed schema.

        Raises:
            InvalidEvent: there is no such schema, or it is not Avro.
            TransientError: the registry does not answer, or refuses us.
        """
        if self._unknown.get(schema_id, -FORGET_UNKNOWN_S) > self._clock() - FORGET_UNKNOWN_S:
            raise _unknown(schema_id)
        by_number = isinstance(schema_id, int)
        fetch = self._client.get_schema if by_number else self._client.get_schema_by_guid
        answer = self._ask(schema_id, partial(fetch, schema_id if by_number else str(schema_id)))
        if answer.schema_type != "AVRO":
            detail = f"schema {schema_id} is {str(answer.schema_type)[:16].lower()}, expected avro"
            raise InvalidEvent(DeadLetterReason.SCHEMA_INCOMPATIBLE, detail)
        named: dict[str, Any] = {}
        self._load_references(schema_id, answer, named, set())
        return _parsed(schema_id, answer.schema_str, named)

    def _load_references(
        self, schema_id: SchemaId, schema: Any, named: dict[str, Any], seen: set[str]
    ) -> None:
        for reference in schema.references or ():
            if reference.name in seen or len(seen) >= MAX_REFERENCES:
                continue
            seen.add(reference.name)
            subject, version = reference.subject, reference.version
            answer = self._ask(schema_id, partial(self._client.get_version, subject, version))
            self._load_references(schema_id, answer.schema, named, seen)
            _parsed(schema_id, answer.schema.schema_str, named)

    def _ask(self, schema_id: SchemaId, request: Callable[[], Any]) -> Any:
        """Ask the registry: 404 is an answer about the record, all else is the registry's own trouble."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415

        try:
            return request()
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                self._remember_unknown(schema_id)
                raise _unknown(schema_id) from None
            raise TransientError(f"schema registry answers {error.http_status_code}") from error
        except Exception as error:
            raise TransientError(f"schema registry does not answer: {type(error).__name__}") from error

    def _remember_unknown(self, schema_id: SchemaId) -> None:
        if len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = self._clock()


def open_registry(settings: Settings) -> ConfluentRegistry | None:
    """Open the registry the settings name.

    Args:
        settings: the engine's settings.

    Returns:
        The registry, or `None` when no address is set.

    Raises:
        ConfigError: the client refuses the settings.
    """
    section = settings.schema_registry
    if not section.url:
        return None
    login = {"basic.auth.user.info": f"{section.user}:{section.password}"} if section.user else {}
    return ConfluentRegistry(section.url, login)


def _unknown(schema_id: SchemaId) -> InvalidEvent:
    return InvalidEvent(DeadLetterReason.SCHEMA_UNKNOWN, f"the registry knows no schema {schema_id}")


def _parsed(schema_id: SchemaId, text: str, named: dict[str, Any]) -> Schema:
    try:
        return parse_schema(json.loads(text), named)
    except Exception as error:
        detail = f"schema {schema_id} is not valid avro: {type(error).__name__}"
        raise InvalidEvent(DeadLetterReason.SCHEMA_INCOMPATIBLE, detail) from error
