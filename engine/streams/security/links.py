"""TLS and credentials of the links, in the words of the libraries that make them."""

from __future__ import annotations

from typing import Any

from engine.link_settings import KAFKA_PROPERTIES, KafkaSettings, RedisSettings


def kafka_properties(settings: KafkaSettings) -> dict[str, str]:
    """Return the librdkafka properties that say how to reach Kafka securely.

    Args:
        settings: the section `kafka`; its `extra` is part of what is returned.
    """
    found = {}
    if settings.security_protocol != "plaintext":
        found = {
            name: value for field, name in KAFKA_PROPERTIES.items() if (value := getattr(settings, field))
        }
        if not settings.security_protocol.startswith("sasl"):
            del found["sasl.mechanism"]
        elif settings.oauth_token_url:
            found["sasl.oauthbearer.method"] = "oidc"
    return found | settings.extra


def redis_options(settings: RedisSettings) -> dict[str, Any]:
    """Return what redis-py is to be told besides the address.

    Args:
        settings: the section `redis`.
    """
    given = {
        "username": settings.user,
        "password": settings.password,
        "ssl_ca_certs": settings.ca_file,
        "ssl_certfile": settings.certificate_file,
        "ssl_keyfile": settings.key_file,
    }
    # redis-py would tell the server its own name and version, which takes rights of its own.
    return {name: value for name, value in given.items() if value} | {"driver_info": None}
