"""Provide what the tests and benches need from the system: a JRE, Maven, Kafka's jars, Prometheus, redis.

Run by `make test`, `make chaos` and `make bench`. As root on a Debian-like system it installs what is
missing; otherwise it says in one line what to install and exits with 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from engine.streams.local.kafka import fetch_kafka, kafka_jars
from engine.streams.local.redis import redis_binary
from engine.streams.local.stack import LocalServerError
from tests.chaos.servers import libfaketime

_MIN_JAVA = 17
_INSTALL_TIMEOUT_S = 600


def main() -> None:
    """Check, install, fetch."""
    wanted = [] if _java_version() >= _MIN_JAVA else ["openjdk-17-jre-headless"]
    if not kafka_jars().is_dir() and shutil.which("mvn") is None:
        wanted.append("maven")
    if shutil.which("promtool") is None or shutil.which("prometheus") is None:
        wanted.append("prometheus")
    installable = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if wanted and not installable:
        sys.exit(f"the tests need a JRE {_MIN_JAVA}+, Maven and Prometheus; install: {' '.join(wanted)}")
    if redis_binary() is None:
        if installable:
            wanted.append("redis-server")
        else:
            _say("no redis-server on PATH: the store's tests run on valkey only")
    if libfaketime() is None:
        if installable:
            wanted.append("libfaketime")
        else:
            _say("no libfaketime: `make chaos` leaves Redis's clock alone")
    if wanted:
        _install(wanted)
    try:
        fetch_kafka()
    except LocalServerError as error:
        sys.exit(str(error))


def _java_version() -> int:
    """Return the major version of the `java` on PATH, 0 if there is none."""
    if shutil.which("java") is None:
        return 0
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    return int(found.group(1)) if found else 0


def _install(packages: list[str]) -> None:
    _say(f"installing {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            sys.exit(f"could not install {' '.join(packages)}: {reason}")


def _say(line: str) -> None:
    sys.stdout.write(f"prepare: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
