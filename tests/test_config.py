"""Settings are read once, with origins; a wrong one is refused with all a person needs to mend it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.config import SETTINGS, Settings, load_settings, masked
from engine.errors import ConfigError

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def _problem(**given: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=given)
    return str(caught.value)


def test_every_setting_has_a_meaning_a_range_and_a_default_inside_it() -> None:
    """The table is complete: meaning, range, a default that itself is allowed, an own environment name."""
    for setting in SETTINGS:
        assert setting.meaning.endswith("."), setting.name
        assert setting.allowed, setting.name
        assert msgspec.convert(setting.default, setting.kind) == setting.default
        if setting.base in {int, float}:
            assert setting.meta.ge is not None, setting.name
            assert setting.meta.le is not None, setting.name
    assert len({setting.environment for setting in SETTINGS}) == len(SETTINGS)


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Precedence is flags, environment, file, default, and each value knows where it came from."""
    file = tmp_path / "engage.toml"
    file.write_text('[kafka]\ngroup = "file"\nsession_timeout_ms = 7000\n[http]\nport = 1\n', "utf-8")
    environ = {"ENGAGE_CONFIG": str(file), "ENGAGE_KAFKA_GROUP": "env", "ENGAGE_HTTP_PORT": "2"}
    settings = load_settings({"http.port": "3"}, environ=environ)
    assert (settings.http.port, settings.kafka.group, settings.kafka.session_timeout_ms) == (3, "env", 7000)
    origins = {setting.name: origin for setting, _, origin in settings.with_origin()}
    assert origins["http.port"] == "flag"
    assert origins["kafka.group"] == "environment ENGAGE_KAFKA_GROUP"
    assert origins["kafka.session_timeout_ms"] == str(file)
    assert origins["redis.prefix"] == "default"


@pytest.mark.parametrize(
    ("variable", "text", "parts"),
    [
        ("ENGAGE_HTTP_PORT", "70000", ["http.port", "'70000'", "from 0 to 65535", "ENGAGE_HTTP_PORT"]),
        ("ENGAGE_HTTP_PORT", "many", ["http.port", "'many'"]),
        ("ENGAGE_KAFKA_GROUP_PROTOCOL", "eager", ["consumer or classic"]),
        ("ENGAGE_DECISIONS_NOT_MATCHED_SAMPLE", "nan", ["from 0 to 1"]),
        ("ENGAGE_DECISIONS_NOT_MATCHED_SAMPLE", "inf", ["from 0 to 1"]),
        ("ENGAGE_CHURN_HORIZON_DAYS", "45", ["multiple of 30"]),
        ("ENGAGE_GLOBAL_CAP", "4 per 7d, often", ["N per DURATION"]),
        ("ENGAGE_DEFAULT_TIME_ZONE", "Mars/Olympus", ["default_time_zone", "IANA"]),
        ("ENGAGE_DEFAULT_TIME_ZONE", "../../etc/passwd", ["default_time_zone"]),
        ("ENGAGE_KAFKA_BOOTSTRAP_SERVERS", "nowhere", ["host:port"]),
        ("ENGAGE_CHANNELS", "email,email", ["each once"]),
        ("ENGAGE_TOPICS_CLICK", "engage.orders", ["topics.order", "also the value of topics.click"]),
        ("ENGAGE_KAFKA_GRUOP", "x", ["ENGAGE_KAFKA_GRUOP", "did you mean ENGAGE_KAFKA_GROUP?"]),
    ],
)
def test_a_wrong_setting_is_refused_with_name_value_and_range(
    variable: str, text: str, parts: list[str]
) -> None:
    """A refusal names the setting, its value, what is allowed and where it came from."""
    message = _problem(**{variable: text})
    for part in parts:
        assert part in message


def test_all_wrong_settings_are_reported_at_once() -> None:
    """A person mends everything in one go."""
    message = _problem(ENGAGE_HTTP_PORT="x", ENGAGE_CLOCK="stopped", ENGAGE_NONSENSE="1")
    assert len(message.splitlines()) == 3


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    """A typing mistake in the file is not silently the default."""
    file = tmp_path / "e.toml"
    file.write_text("[kafka]\ngruop = 1\n", "utf-8")
    with pytest.raises(ConfigError, match=r"kafka\.gruop: no such setting .*did you mean kafka\.group\?"):
        load_settings(environ={}, path=file)


@pytest.mark.parametrize("text", ["[kafka", "kafka = 3", '[http]\nport = "6066"'])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """A file that is no TOML, or has the wrong shape, is a ConfigError and never a traceback."""
    file = tmp_path / "e.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError):
        load_settings(environ={}, path=file)


def test_a_missing_file_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    """Only the default file may be absent."""
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load_settings(environ={}, path=tmp_path / "none.toml")


def test_secrets_never_show(tmp_path: Path) -> None:
    """Neither a refusal nor a listing shows a password."""
    message = _problem(ENGAGE_REDIS_URL="http://user:hunter2@host")
    assert "hunter2" not in message
    secret = tmp_path / "password"
    secret.write_text("hunter2\n", "utf-8")
    settings = load_settings(
        environ={
            "ENGAGE_REDIS_URL": "redis://me:hunter2@db:6379/1",
            "ENGAGE_KAFKA_EXTRA_SASL_PASSWORD_FILE": str(secret),
            "ENGAGE_KAFKA_EXTRA_SECURITY_PROTOCOL": "SASL_SSL",
            "ENGAGE_KAFKA_EXTRA_SASL_USERNAME": "me",
            "ENGAGE_SCHEMA_REGISTRY_PASSWORD": "hunter2",
        }
    )
    assert settings.kafka.extra["sasl.password"] == "hunter2"
    shown = {setting.name: masked(setting, value) for setting, value, _ in settings.with_origin()}
    assert "hunter2" not in str(shown)
    assert "hunter2" not in repr(settings)
    assert shown["redis.url"] == "redis://***@db:6379/1"
    assert shown["kafka.extra"]["security.protocol"] == "SASL_SSL"


def test_kafka_properties_come_from_the_file_with_or_without_quotes(tmp_path: Path) -> None:
    """A dotted librdkafka property means the same quoted and unquoted, and numbers become strings."""
    file = tmp_path / "e.toml"
    file.write_text(
        '[kafka.extra]\nssl.ca.location = "/ca.pem"\n"sasl.mechanism" = "PLAIN"\n'
        "socket.keepalive.enable = true\nsocket.send.buffer.bytes = 7\n",
        "utf-8",
    )
    extra = load_settings(environ={}, path=file).kafka.extra
    assert extra == {
        "ssl.ca.location": "/ca.pem",
        "sasl.mechanism": "PLAIN",
        "socket.keepalive.enable": "true",
        "socket.send.buffer.bytes": "7",
    }


def test_what_others_put_into_the_environment_is_left_alone() -> None:
    """Kubernetes' service links and names without our prefix are not mistaken for settings."""
    environ = {"ENGAGE_PORT": "tcp://10.0.0.1:80", "ENGAGE_SERVICE_HOST": "10.0.0.1", "PATH": "/bin"}
    assert load_settings(environ=environ) == Settings()


def test_lists_come_from_commas() -> None:
    """A list in the environment is separated by commas, and an empty text is the empty list."""
    settings = load_settings(environ={"ENGAGE_CHANNELS": "email, sms", "ENGAGE_GLOBAL_CAP": ""})
    assert settings.channels == ["email", "sms"]
    assert settings.global_cap == []


def test_a_secret_comes_from_a_file_wherever_it_is_named(tmp_path: Path) -> None:
    """`NAME_file` works in the settings file, in the environment and as a flag."""
    secret = tmp_path / "password"
    secret.write_text("hunter2\r\n", "utf-8")
    file = tmp_path / "e.toml"
    file.write_text(f'[redis]\nuser = "w"\npassword_file = "{secret}"\n', "utf-8")
    assert load_settings(environ={}, path=file).redis.password == "hunter2"
    environ = {"ENGAGE_REDIS_USER": "w", "ENGAGE_REDIS_PASSWORD_FILE": str(secret)}
    assert load_settings(environ=environ).redis.password == "hunter2"
    flags = {"redis.user": "w", "redis.password_file": str(secret)}
    settings = load_settings(flags, environ={})
    assert settings.redis.password == "hunter2"
    assert settings.origins["redis.password"] == "flag"


@pytest.mark.parametrize(
    ("environ", "part"),
    [
        ({"KAFKA_CA_FILE": "/nowhere.pem", "KAFKA_SECURITY_PROTOCOL": "ssl"}, "kafka.ca_file: cannot read"),
        ({"KAFKA_SASL_USERNAME": "me"}, "kafka.security_protocol is plaintext: set it to sasl_ssl"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_USERNAME": "me"},
            "kafka.sasl_password is empty",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"},
            "kafka.oauth_token_url is empty: OAUTHBEARER needs it",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_EXTRA_SECURITY_PROTOCOL": "ssl"},
            "'security.protocol' is kafka.security_protocol, which is set, too",
        ),
        ({"REDIS_URL": "redis://me:hunter2@db", "REDIS_PASSWORD": "hunter2"}, "leave one out"),
        ({"REDIS_USER": "me"}, "redis.user is set without a password"),
        ({"REDIS_CA_FILE": "/nowhere.pem"}, "redis.url is not rediss://"),
        ({"REDIS_URL": "rediss://db", "REDIS_KEY_FILE": "/k"}, "redis.certificate_file and redis.key_file"),
        ({"REDIS_PASSWORD": "hunter2", "REDIS_PASSWORD_FILE": __file__}, "REDIS_PASSWORD_FILE is given, too"),
    ],
)
def test_what_cannot_be_meant_of_a_link_is_refused(environ: dict[str, str], part: str) -> None:
    """Credentials nobody would use, halves of a pair and files that are not there stop the start."""
    message = _problem(**{f"ENGAGE_{name}": value for name, value in environ.items()})
    assert part in message
    assert "hunter2" not in message


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    """A secret that was not written is no empty password."""
    (tmp_path / "empty").write_text("\n", "utf-8")
    assert "is empty" in _problem(ENGAGE_REDIS_PASSWORD_FILE=str(tmp_path / "empty"))


def test_a_password_in_the_query_of_the_address_never_shows() -> None:
    """redis-py takes user and password there, too."""
    settings = load_settings(environ={"ENGAGE_REDIS_URL": "redis://db:6379/0?password=hunter2"})
    shown = {setting.name: masked(setting, value) for setting, value, _ in settings.with_origin()}
    assert shown["redis.url"] == "redis://db:6379/0?***"
