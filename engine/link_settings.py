"""How to reach Kafka and Redis: addresses, TLS, credentials; and what of it cannot be meant together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import parse_qs, urlsplit

import msgspec

from engine.setting import about

NAME = r"^[A-Za-z0-9._-]{1,200}$"
NAME_FORM = "1 to 200 letters, digits, dots, dashes or underscores"
_CA = "File of the authorities whose certificates are trusted, PEM; empty means those the system trusts."
_CERTIFICATE = "File of the client's own certificate, PEM, where the server asks for one."
_KEY = "File of its private key, PEM."
_FILE_FORM = "a path"

#: The librdkafka property that each of these fields of `KafkaSettings` is.
KAFKA_PROPERTIES: Mapping[str, str] = {
    "security_protocol": "security.protocol",
    "ca_file": "ssl.ca.location",
    "certificate_file": "ssl.certificate.location",
    "key_file": "ssl.key.location",
    "key_password": "ssl.key.password",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_username": "sasl.username",
    "sasl_password": "sasl.password",
    "oauth_token_url": "sasl.oauthbearer.token.endpoint.url",
    "oauth_client_id": "sasl.oauthbearer.client.id",
    "oauth_client_secret": "sasl.oauthbearer.client.secret",
    "oauth_scope": "sasl.oauthbearer.scope",
}
_LOGIN = ("sasl_username", "sasl_password")
_OAUTH = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")
_TLS = ("ca_file", "certificate_file", "key_file")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the groups of settings; its text hides secrets."""

    def __repr__(self) -> str:
        hints = get_type_hints(type(self), include_extras=True)
        shown = (
            f"{name}={'***' if _is_secret(hints[name]) else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def _is_secret(hint: Any) -> bool:
    return any((meta.extra or {}).get("secret") for meta in getattr(hint, "__metadata__", ()))


class KafkaSettings(Section, frozen=True, kw_only=True):
    """How to reach Kafka."""

    bootstrap_servers: Annotated[
        str,
        about(
            "Brokers to start from.",
            pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$",
            form="host:port, several separated by commas",
        ),
    ] = "127.0.0.1:9092"
    group: Annotated[str, about("Consumer group of the workers.", pattern=NAME, form=NAME_FORM)] = "engage"
    group_protocol: Annotated[
        Literal["consumer", "classic"],
        about("`consumer` (Kafka 4.0 and later) rebalances without a stop; `classic` works on every broker."),
    ] = "classic"
    session_timeout_ms: Annotated[
        int,
        about(
            "A worker that is silent for longer loses its partitions. With `consumer` the broker decides.",
            unit="ms",
            low=1000,
            high=1_800_000,
        ),
    ] = 6000
    timeout_ms: Annotated[
        int, about("How long a command waits for the brokers.", unit="ms", low=100, high=300_000)
    ] = 5_000
    transactions: Annotated[
        Literal["no", "yes"],
        about(
            "Whether actions are written in transactions: who reads `read_committed` sees each of them once,"
            " when what it follows from is durable; later by a transaction."
        ),
    ] = "no"
    security_protocol: Annotated[
        Literal["plaintext", "ssl", "sasl_ssl", "sasl_plaintext"],
        about("Whether the link is encrypted (`ssl`) and whether we log in (`sasl`)."),
    ] = "plaintext"
    ca_file: Annotated[str, about(_CA, form=_FILE_FORM)] = ""
    certificate_file: Annotated[str, about(_CERTIFICATE, form=_FILE_FORM)] = ""
    key_file: Annotated[str, about(_KEY, form=_FILE_FORM)] = ""
    key_password: Annotated[str, about("Password of the private key.", form="a password", secret=True)] = ""
    sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "OAUTHBEARER", "PLAIN"],
        about("How we log in, with `security_protocol` `sasl_ssl`."),
    ] = "SCRAM-SHA-512"
    sasl_username: Annotated[str, about("User of SCRAM and PLAIN.", form="a name")] = ""
    sasl_password: Annotated[str, about("Its password.", form="a password", secret=True)] = ""
    oauth_token_url: Annotated[
        str,
        about(
            "Where OAUTHBEARER gets its tokens (OpenID Connect, client credentials).",
            pattern=r"^(|https?://.+)$",
            form="https://host/path",
        ),
    ] = ""
    oauth_client_id: Annotated[str, about("Client that asks for tokens.", form="a name")] = ""
    oauth_client_secret: Annotated[str, about("Its secret.", form="a password", secret=True)] = ""
    oauth_scope: Annotated[str, about("Scope that is asked for; empty asks for none.", form="a name")] = ""
    extra: Annotated[
        dict[str, str],
        about("Further librdkafka properties, passed through as they are.", secret=True),
    ] = {}


class RedisSettings(Section, frozen=True, kw_only=True):
    """Where customer state lives."""

    url: Annotated[
        str,
        about(
            "Redis 7 or Valkey 8 and later, with AOF.",
            pattern=r"^(redis|rediss|unix)://.+",
            form="redis://host:port/db, rediss:// for TLS, unix:// for a socket",
            secret=True,
        ),
    ] = "redis://127.0.0.1:6379/0"
    user: Annotated[
        str, about("ACL user to log in as; empty means `default` where a password is set.", form="a name")
    ] = ""
    password: Annotated[str, about("Its password.", form="a password", secret=True)] = ""
    ca_file: Annotated[str, about(_CA, form=_FILE_FORM)] = ""
    certificate_file: Annotated[str, about(_CERTIFICATE, form=_FILE_FORM)] = ""
    key_file: Annotated[str, about(_KEY, form=_FILE_FORM)] = ""
    prefix: Annotated[
        str,
        about(
            "Start of every key.", pattern=r"^[A-Za-z0-9._-]{1,50}$", form="1 to 50 letters, digits, . - _"
        ),
    ] = "engage"
    timeout_ms: Annotated[int, about("How long one command may take.", unit="ms", low=50, high=60_000)] = 5000


def link_problems(kafka: KafkaSettings, redis: RedisSettings) -> Iterator[str]:
    """Yield what cannot be meant, and files that are not there; never a value that is secret."""
    yield from _kafka_problems(kafka)
    yield from _redis_problems(redis)
    for section, settings in (("kafka", kafka), ("redis", redis)):
        yield from _file_problems(section, settings)


def _kafka_problems(kafka: KafkaSettings) -> Iterator[str]:
    protocol = kafka.extra.get("security.protocol", kafka.security_protocol).lower()
    given = {name for name in KAFKA_PROPERTIES if getattr(kafka, name) != _default(kafka, name)}
    for name in sorted(given):
        if KAFKA_PROPERTIES[name] in kafka.extra:
            yield f"kafka.extra: {KAFKA_PROPERTIES[name]!r} is kafka.{name}, which is set, too; leave one out"
    tls, sasl = given & {*_TLS, "key_password"}, given & {*_LOGIN, *_OAUTH, "sasl_mechanism", "oauth_scope"}
    if tls and not protocol.endswith("ssl"):
        yield f"kafka.{min(tls)} is set, but kafka.security_protocol is {protocol}: set it to sasl_ssl or ssl"
    if sasl and not protocol.startswith("sasl"):
        yield f"kafka.{min(sasl)} is set, but kafka.security_protocol is {protocol}: set it to sasl_ssl"
    if protocol.startswith("sasl"):
        yield from _login_problems(kafka)


def _login_problems(kafka: KafkaSettings) -> Iterator[str]:
    mechanism = kafka.extra.get("sasl.mechanism", kafka.extra.get("sasl.mechanisms", kafka.sasl_mechanism))
    if mechanism == "OAUTHBEARER" and "sasl.oauthbearer.config" in kafka.extra:
        return
    needed = {"OAUTHBEARER": _OAUTH, "GSSAPI": ()}.get(mechanism, _LOGIN)
    for name in needed:
        if not getattr(kafka, name) and KAFKA_PROPERTIES[name] not in kafka.extra:
            also = f" (or kafka.{name}_file)" if name.endswith(("password", "secret")) else ""
            yield f"kafka.{name} is empty: {mechanism} needs it; set kafka.{name}{also}"


def _redis_problems(redis: RedisSettings) -> Iterator[str]:
    parts = urlsplit(redis.url)
    in_url = parts.username or parts.password or {"username", "password"} & parse_qs(parts.query).keys()
    if in_url and (redis.user or redis.password):
        yield "redis.url names a user or a password, and so does redis.user or redis.password; leave one out"
    if redis.user and not redis.password:
        yield "redis.user is set without a password; set redis.password (or redis.password_file)"
    if parts.scheme != "rediss":
        for name in _TLS:
            if getattr(redis, name):
                yield f"redis.{name} is set, but redis.url is not rediss://, so nothing would be encrypted"


def _file_problems(section: str, settings: Section) -> Iterator[str]:
    certificate, key = (getattr(settings, name) for name in ("certificate_file", "key_file"))
    if bool(certificate) != bool(key):
        yield f"{section}.certificate_file and {section}.key_file belong together; one of them is empty"
    for name in _TLS:
        path = getattr(settings, name)
        if not path:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            yield f"{section}.{name}: cannot read {path!r}: {error.strerror}"


def _default(settings: Section, name: str) -> Any:
    return getattr(type(settings)(), name)
