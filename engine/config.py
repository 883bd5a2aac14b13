"""Read the settings once: from flags, the environment and `engage.toml`; refuse what is wrong, all at once.

A value comes from, first wins: a command line flag, the environment (`ENGAGE_KAFKA_GROUP` is `kafka.group`),
the file, the default. `ENGAGE_KAFKA_EXTRA_SSL_CA_LOCATION` is the librdkafka property `ssl.ca.location`. A
secret may be given as a file: `redis.password_file`, `ENGAGE_REDIS_PASSWORD_FILE=/run/secrets/redis`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from engine.actions import AGENT
from engine.errors import ConfigError
from engine.link_settings import link_problems
from engine.rules.limits import MAX_SHARED_WINDOW_MS, MIN_SHARED_WINDOW_MS
from engine.rules.times.units import read_cap
from engine.setting import Setting
from engine.settings import SETTINGS, Settings

__all__ = ["SETTINGS", "Setting", "Settings", "load_settings", "masked"]

FILE_NAME = "engage.toml"
_PREFIX = "ENGAGE_"
_EXTRA = "ENGAGE_KAFKA_EXTRA_"
_NOT_SETTINGS = {"ENGAGE_CONFIG", "ENGAGE_CACHE"}
# Kubernetes puts the addresses of services into the environment; a service may be called engage.
_SERVICE_LINK = re.compile(r"^ENGAGE(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)$")
_SENSITIVE = re.compile(r"password|secret|token|jaas|\.key|credential|oauthbearer\.config", re.IGNORECASE)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
_BY_ENVIRONMENT = {setting.environment: setting for setting in SETTINGS}
_TABLES = {setting.name for setting in SETTINGS if setting.base is dict}
_SUGGESTION_CUTOFF = 0.6


def load_settings(
    flags: Mapping[str, str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    path: Path | str | None = None,
) -> Settings:
    """Read every setting from flags, environment and file.

    Args:
        flags: values given on the command line, by dotted name.
        environ: the environment; the process's own when None.
        path: the settings file; when None, `ENGAGE_CONFIG` or the `engage.toml` of the working folder.

    Returns:
        The settings, checked, with their origins.

    Raises:
        ConfigError: names every wrong setting, its value, the allowed range and where the value came from.
    """
    env = os.environ if environ is None else environ
    problems: list[str] = []
    found: dict[str, tuple[Any, str, bool]] = {}
    _read_file(_locate(path, env), found, problems)
    _read_environment(env, found, problems)
    for name, text in (flags or {}).items():
        _take(name, text, "flag", is_text=True, found=found, problems=problems)
    values: dict[str, Any] = {}
    for name, (raw, origin, is_text) in found.items():
        try:
            values[name] = _convert(_BY_NAME[name], raw, is_text=is_text)
        except (msgspec.ValidationError, ValueError):
            problems.append(_refused(_BY_NAME[name], raw, origin))
    settings = _build(values, {name: origin for name, (_, origin, _) in found.items()})
    problems.extend(_inconsistencies(settings))
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def masked(setting: Setting, value: Any) -> Any:
    """Return a value fit to be shown: passwords and keys are replaced by stars."""
    if isinstance(value, dict):
        return {key: "***" if _SENSITIVE.search(key) else item for key, item in value.items()}
    if not setting.secret or value == "":
        return value
    if setting.name == "redis.url" and "://" in str(value):
        # what follows a question mark may hold a password, too
        return re.sub(r"\?.+", "?***", re.sub(r"//[^/]*@", "//***@", str(value)))
    return "***"


def _locate(path: Path | str | None, env: Mapping[str, str]) -> Path | None:
    asked = path or env.get("ENGAGE_CONFIG")
    if asked:
        return Path(asked)
    local = Path(FILE_NAME)
    return local if local.is_file() else None


def _read_file(path: Path | None, found: dict[str, tuple[Any, str, bool]], problems: list[str]) -> None:
    if path is None:
        return
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the settings file: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    for name, value in _flatten(table):
        _take(name, value, str(path), is_text=False, found=found, problems=problems)


def _take(
    name: str,
    value: Any,
    origin: str,
    *,
    is_text: bool,
    found: dict[str, tuple[Any, str, bool]],
    problems: list[str],
) -> None:
    """Note a value; of a secret's file, what is in it."""
    secret = _secret_of(name)
    if secret is not None:
        if found.get(secret.name, ("", "", False))[1] == origin:
            problems.append(_twice(secret.name, name, origin))
        found[secret.name] = (_secret(name, str(value)), origin, True)
    elif name not in _BY_NAME:
        problems.append(_unknown(name, origin, _BY_NAME))
    elif found.get(name, ("", "", False))[1] == origin:
        problems.append(_twice(name, f"{name}_file", origin))
    else:
        found[name] = (value, origin, is_text)


def _secret_of(name: str) -> Setting | None:
    """Return the secret whose file a name means: `redis.password` for `redis.password_file`."""
    setting = _BY_NAME.get(name.removesuffix("_file")) if name.endswith("_file") else None
    return setting if setting is not None and setting.secret and setting.base is str else None


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key
        if name == "kafka.extra" and isinstance(value, dict):
            # `ssl.ca.location = "…"` without quotes around the key is a nested table in TOML
            yield name, dict(_flatten(value))
        elif isinstance(value, dict) and name not in _TABLES:
            yield from _flatten(value, f"{name}.")
        else:
            yield name, value


def _read_environment(
    env: Mapping[str, str], found: dict[str, tuple[Any, str, bool]], problems: list[str]
) -> None:
    extra: dict[str, str] = {}
    for variable, text in sorted(env.items()):
        if not variable.startswith(_PREFIX) or variable in _NOT_SETTINGS:
            continue
        if variable.startswith(_EXTRA):
            name, value = _extra_property(variable, text)
            extra[name] = value
        elif (setting := _BY_ENVIRONMENT.get(variable)) is not None:
            found[setting.name] = (text, f"environment {variable}", True)
            if setting.secret and f"{variable}_FILE" in env:
                problems.append(_twice(variable, f"{variable}_FILE", "environment"))
        elif (setting := _BY_ENVIRONMENT.get(variable.removesuffix("_FILE"))) is not None and setting.secret:
            found[setting.name] = (_secret(variable, text), f"environment {variable}", True)
        elif not _SERVICE_LINK.match(variable):
            problems.append(_unknown(variable, "environment", _BY_ENVIRONMENT))
    if extra:
        before, origin, _ = found.get("kafka.extra", ({}, "", False))
        whole = {**before, **extra} if isinstance(before, dict) else extra
        found["kafka.extra"] = (whole, f"{origin}, environment {_EXTRA}*".removeprefix(", "), False)


def _extra_property(variable: str, text: str) -> tuple[str, str]:
    name = variable.removeprefix(_EXTRA)
    if name.endswith("_FILE"):
        name, text = name.removesuffix("_FILE"), _secret(variable, text)
    return name.lower().replace("_", "."), text


def _secret(variable: str, path: str) -> str:
    try:
        secret = Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{variable}: cannot read the secret from {path!r}: {reason}") from None
    if not secret:
        raise ConfigError(f"{variable}: {path!r} is empty; write the secret into it")
    return secret


def _convert(setting: Setting, raw: Any, *, is_text: bool) -> Any:
    if is_text and setting.base is list:
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    elif is_text and setting.base is dict:
        pairs = [part.partition("=") for part in raw.split(",") if part.strip()]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError(raw)
        raw = {key.strip(): value.strip() for key, _, value in pairs}
    elif setting.base is dict and isinstance(raw, dict):
        raw = {key: _plain(value) for key, value in raw.items()}
    return msgspec.convert(raw, setting.kind, strict=not is_text)


def _plain(value: Any) -> Any:
    """Write a TOML boolean or number the way librdkafka reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _build(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for name, value in values.items():
        section, _, field = name.rpartition(".")
        if section:
            sections.setdefault(section, {})[field] = value
        else:
            plain[name] = value
    defaults = Settings()
    for section, fields in sections.items():
        plain[section] = msgspec.structs.replace(getattr(defaults, section), **fields)
    return Settings(**plain, origins={name: origins[name] for name in values})


def _inconsistencies(settings: Settings) -> Iterable[str]:
    """Yield what no single bound can catch."""
    setting = _BY_NAME["default_time_zone"]
    try:
        ZoneInfo(settings.default_time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield _refused(setting, settings.default_time_zone, settings.origins.get(setting.name, "default"))
    names = [name for name in SETTINGS if name.name.startswith("topics.") and name.base is str]
    owners: dict[str, str] = {}
    for topic in names:
        value = str(settings.value(topic.name))
        if value in owners:
            yield f"{topic.name}: {value!r} is also the value of {owners[value]}; each needs its own"
        owners[value] = topic.name
    yield from _limit_problems(settings)
    yield from link_problems(settings.kafka, settings.redis)
    if not settings.channels or len(set(settings.channels)) != len(settings.channels):
        yield f"channels: {settings.channels!r} must name at least one channel, each once"


def _limit_problems(settings: Settings) -> Iterable[str]:
    for channel, text in settings.rate_limits.items():
        limit = read_cap(text)
        if channel not in settings.channels or channel == AGENT:
            yield f"rate_limits: {channel!r} is no channel messages go to, see the setting channels"
        elif limit is None or not MIN_SHARED_WINDOW_MS <= limit.window_ms <= MAX_SHARED_WINDOW_MS:
            yield _refused(_BY_NAME["rate_limits"], text, settings.origins.get("rate_limits", "default"))


def _refused(setting: Setting, raw: Any, origin: str) -> str:
    shown = "***" if setting.secret else repr(raw)
    unit = f" {setting.unit}" if setting.unit else ""
    return f"{setting.name}: {shown} is not allowed: must be {setting.allowed}{unit} (from {origin})"


def _twice(name: str, other: str, origin: str) -> str:
    return f"{name}: {other} is given, too (from {origin}); leave one of them out"


def _unknown(name: str, origin: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=_SUGGESTION_CUTOFF)
    hint = f"; did you mean {near[0]}?" if near else "; `engage config show` lists every setting"
    return f"{name}: no such setting (from {origin}){hint}"
