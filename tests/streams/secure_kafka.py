"""Apache Kafka as production runs it: TLS, SASL, certificates for clients, and an authorizer."""

from __future__ import annotations

import base64
import json
import time
from functools import cached_property
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from engine.streams.local.server import HOST
from engine.streams.local.stack import ApacheKafka
from tests.certificates import Authority

AUDIENCE = "kafka"
ADMIN_PASSWORD = "admin-secret"
_ANY = (None, None, AclOperation.ANY, AclPermissionType.ANY)
_OAUTH = "org.apache.kafka.common.security.oauthbearer"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Issuer:
    """Signs tokens for OAUTHBEARER, and gives out the key they are checked with."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> str:
        """Return the public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "test", "use": "sig", "alg": "RS256"}
        key |= {"n": _base64(numbers.n.to_bytes(256, "big")), "e": _base64(numbers.e.to_bytes(3, "big"))}
        return json.dumps({"keys": [key]})

    def token(self, subject: str) -> str:
        """Return a token of five minutes for a user."""
        now_s = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCE, "iat": now_s, "exp": now_s + 300}
        head = {"alg": "RS256", "kid": "test", "typ": "JWT"}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class SecureKafka(ApacheKafka):
    """Takes clients over SASL_SSL, and over SSL with a certificate; nobody may do what is not allowed.

    Args:
        certificates: folder for the certificates, outside the server's own.
    """

    ports_wanted = 4

    def __init__(self, certificates: Path) -> None:
        super().__init__()
        self.authority = Authority(certificates)
        self.issuer = Issuer()
        self._certificates = certificates
        (certificates / "jwks.json").write_text(self.issuer.jwks())

    @property
    def tls_address(self) -> str:
        """Where clients with a certificate are let in."""
        return f"{HOST}:{self.ports[3]}"

    @cached_property
    def admin(self) -> AdminClient:
        """A client of the superuser who was made when the storage was formatted."""
        return AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(self.authority.file),
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "admin",
                "sasl.password": ADMIN_PASSWORD,
                "log_level": 0,
            }
        )

    def add_user(self, name: str, password: str) -> None:
        """Make a user with both SCRAM mechanisms, or change the password."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            made = UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), password.encode())
            # one a call: of two for one user the client answers one
            self.admin.alter_user_scram_credentials([made])[name].result(10)

    def forget_rights(self) -> None:
        """Remove every ACL."""
        everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, *_ANY)
        for future in self.admin.delete_acls([everything]).values():
            future.result(10)

    def rights(self) -> list[AclBinding]:
        """Return every ACL."""
        everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, *_ANY)
        found: list[AclBinding] = self.admin.describe_acls(everything).result(10)
        return found

    def _own_settings(self) -> dict[str, str]:
        names = ("SASL_SSL", "CONTROLLER", "INTERNAL", "SSL")
        listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in zip(names, self.ports, strict=True))
        clients = "listener.name.sasl_ssl"
        server = self.authority.issue("server")
        return super()._own_settings() | {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,SSL:SSL"
            ),
            "inter.broker.listener.name": "INTERNAL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{clients}.scram-sha-256.sasl.jaas.config": _SCRAM,
            f"{clients}.scram-sha-512.sasl.jaas.config": _SCRAM,
            f"{clients}.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            f"{clients}.oauthbearer.sasl.server.callback.handler.class": (
                f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
            ),
            f"{clients}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": self._jwks,
            f"{clients}.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
        }

    @property
    def _jwks(self) -> str:
        return (self._certificates / "jwks.json").as_uri()

    def _java_options(self) -> list[str]:
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._jwks}"]

    def _format_options(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name=admin,password={ADMIN_PASSWORD}]"]

    def _probe(self) -> str:
        return f"{HOST}:{self.ports[2]}"
