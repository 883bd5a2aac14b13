"""What Kafka's errors mean: wrong credentials and missing rights end a process, the rest passes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, TopicCollection
from confluent_kafka.admin import AdminClient

from engine.errors import AccessError, ConfigError, EngineError, TransientError

logger = logging.getLogger(__name__)

_RIGHTS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_MOVED_ON = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
_AUTHENTICATION, _SSL = KafkaError._AUTHENTICATION, KafkaError._SSL  # noqa: SLF001 - confluent's names
_LOGIN = frozenset({_AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_TRANSPORT, _ALL_DOWN = KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
# librdkafka writes `sasl_ssl://host:port/1: what happened (after 319ms in state AUTH_REQ)`.
_PLACE = re.compile(r"^\S+://\S+: ")
_AFTER = re.compile(r" \(after \d+ms in state \w+\)$")
_WRONG_PROTOCOL = "it closes our connections; does kafka.security_protocol fit the listener?"


class LinkErrors:
    """Notes what goes wrong with a client's connections: librdkafka tries for ever, and tells its callback.

    Attributes:
        hint: the likely reason of no answer; empty when nothing is known.
    """

    def __init__(self) -> None:
        self._refusal: KafkaError | None = None
        self.hint = ""

    def note(self, error: KafkaError) -> None:
        """Take an error in; the callback `error_cb`."""
        code = error.code()
        if code in _LOGIN or _is_tls(error):
            self._refusal = self._refusal or error
        elif code in {_TRANSPORT, _SSL}:
            self.hint = _plain(error)
        elif code == _ALL_DOWN and not self.hint:
            self.hint = _WRONG_PROTOCOL

    def check(self, bootstrap: str) -> None:
        """Raise if waiting would not help.

        Args:
            bootstrap: the address asked, for the text.

        Raises:
            ConfigError: the login or the certificate is refused; what to look at.
        """
        if self._refusal is not None:
            raise refused(self._refusal, bootstrap)


def refused(error: KafkaError, bootstrap: str, topic: str | None = None) -> ConfigError:
    """What to raise where settings are wrong, with what to do about it.

    Args:
        error: about login, TLS, a right or a property; librdkafka's texts hold no secret.
        bootstrap: the address asked.
        topic: the one it is about, where it is about one.
    """
    text = _plain(error)
    if error.code() in _LOGIN:
        text = f"kafka at {bootstrap!r} refuses our login: {text}"
        return AccessError(f"{text}; check user and password (kafka.sasl_*) or client (kafka.oauth_*)")
    if _is_tls(error):
        text = f"kafka at {bootstrap!r}: no TLS connection: {text}"
        return AccessError(f"{text}; check kafka.ca_file, kafka.certificate_file and kafka.key_file")
    if error.code() in _RIGHTS:
        what = f"access to {topic!r}" if topic else "access"
        return AccessError(f"kafka refuses {what}: {text}; `engage topics acls` shows each role's rights")
    return ConfigError(f"kafka client refuses its settings: {text}; `engage config show` has them")


def is_refusal(error: KafkaError) -> bool:
    """Tell whether the error is about credentials, certificates or rights: trying again does not help."""
    return error.code() in _RIGHTS | _LOGIN or _is_tls(error)


def has_moved_on(error: KafkaError) -> bool:
    """Tell whether offsets were refused because the group has other members by now: they carry them."""
    return error.code() in _MOVED_ON


def failed(error: KafkaError, bootstrap: str, what: str, topic: str | None = None) -> EngineError:
    """What to raise when a request failed: trying again may help, unless we are refused.

    Args:
        error: the reason.
        bootstrap: the address asked.
        what: what failed, for the text.
        topic: the one it is about, where it is about one.
    """
    return refused(error, bootstrap, topic) if is_refusal(error) else TransientError(f"{what}: {error.str()}")


def reason_of(error: BaseException) -> KafkaError:
    """What ended librdkafka's producer for good.

    confluent-kafka raises that from inside a callback, which the interpreter calls a `SystemError`; where
    another callback came after it, the reason is lost.

    Args:
        error: what a call of the producer raised.

    Returns:
        Kafka's own error.

    Raises:
        BaseException: `error`, where Kafka is not behind it.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KafkaException):
        behind = behind.__cause__
    if behind is None:
        if isinstance(error, SystemError):
            return KafkaError(KafkaError._FATAL, "the client gave up", fatal=True)  # noqa: SLF001
        raise error
    reason: KafkaError = behind.args[0]
    return reason


def tell(error: KafkaError) -> None:
    """Log what goes wrong with a connection: loudly where credentials may have been changed meanwhile."""
    level = logging.WARNING if is_refusal(error) else logging.DEBUG
    logger.log(level, "kafka: %s", error.str())


def given_up(error: KafkaError) -> EngineError:
    """What to raise for an error that librdkafka does not recover from.

    Args:
        error: librdkafka's fatal error.

    Returns:
        The project's own error.
    """
    if error.code() in (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE):  # noqa: SLF001
        return ConfigError(f"{error.str()}: this broker needs the group protocol `classic`")
    return EngineError(f"kafka client gave up: {error.str()}")


def judge(records: Iterable[Message]) -> None:
    """Log errors that pass, raise on those that do not.

    Args:
        records: what librdkafka handed out; some are errors in place of records.

    Raises:
        ConfigError: access is refused.
        EngineError: librdkafka gave up for good.
    """
    for record in records:
        error = record.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name
            continue
        if error.fatal():
            raise given_up(error)
        if error.code() in _RIGHTS:
            raise refused(error, "", record.topic())
        logger.warning("kafka: %s", error.str())


def refuse_hidden(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> None:
    """Raise if topics that Kafka does not list are only hidden from this user.

    Args:
        admin: a client.
        topics: that are not listed.
        timeout_s: how long the brokers may take.

    Raises:
        AccessError: names those that are hidden.
    """
    hidden = []
    for name, future in admin.describe_topics(TopicCollection(topics), request_timeout=timeout_s).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() in _RIGHTS:
                hidden.append(name)
    if hidden:
        names = ", ".join(hidden)
        raise AccessError(
            f"kafka: this user may not see {names}; `engage topics acls` shows each role's rights"
        )


def _is_tls(error: KafkaError) -> bool:
    """Tell whether one side refuses the other's certificate, and not only the connection broke off."""
    text = error.str()
    return (error.code() == _SSL and "Disconnected" not in text) or "SSL alert number" in text


def _plain(error: KafkaError) -> str:
    text = error.str()
    if "Request(" in text:  # some brokers answer with the whole request they refuse, as Java prints it
        text = KafkaError(error.code()).str()
    return _AFTER.sub("", _PLACE.sub("", text))
