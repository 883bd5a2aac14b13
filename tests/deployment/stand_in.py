"""Carry out a container file without a container engine, in stand-ins of its base images.

The stand-ins are made of the packages the images are made of: Debian's minimal system by debootstrap, and the
list of distroless' `python3-debian13`. Each `RUN` goes through the shell inside, with bubblewrap around it;
the last stage is then run as a container would: its user, its environment, a read-only root, as process 1.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SUITE = "trixie"
# python3/, cc/, base/ and static/config.bzl of distroless, for debian13.
_RUNTIME_PACKAGES = (
    "base-files ca-certificates media-types netbase tzdata "
    "libc6 libssl3t64 libzstd1 zlib1g libgomp1 libstdc++6 libgcc-s1 gcc-14-base "
    "libbz2-1.0 libdb5.3t64 libexpat1 liblzma5 libsqlite3-0 libuuid1 libncursesw6 libtinfo6 libcom-err2 "
    "libcrypt1 libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libnsl2 libreadline8t64 "
    "libtirpc3t64 libffi8 libpython3.13-minimal libpython3.13-stdlib python3.13-minimal python3.13-venv"
)
_USER = "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
_STEP_TIMEOUT_S = 900.0
_START_TIMEOUT_S = 60.0


class StandInError(Exception):
    """A step failed; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A line of a container file, continuation lines joined."""

    name: str
    text: str


@dataclass
class Stage:
    """A stage that was carried out.

    Args:
        root: its file system.
        environment: by `ENV`.
        workdir: by `WORKDIR`.
        user: user and group id, by `USER`.
        command: `ENTRYPOINT` and `CMD`, as they are run.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @contextmanager
    def run(
        self, arguments: Sequence[str] = (), more: Mapping[str, str] | None = None, *, log: Path
    ) -> Iterator[Container]:
        """Run the stage as a container: its user, a read-only root, no privileges, the host's network.

        Args:
            arguments: in place of `CMD`.
            more: further environment.
            log: takes what it prints.
        """
        user, _, group = self.user.partition(":")
        read, write = os.pipe()
        environment = {**self.environment, **(more or {})}
        words = [
            *("bwrap", "--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev"),
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1"),
            *("--uid", user, "--gid", group, "--cap-drop", "ALL", "--die-with-parent", "--clearenv"),
            *("--chdir", self.workdir, "--info-fd", str(write)),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *("--", *self.entrypoint, *(arguments or self.command)),
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[write]
            )
        os.close(write)
        try:
            with os.fdopen(read, encoding="utf-8") as info:
                told = info.read()
            if not told:
                raise StandInError(f"bubblewrap did not start: {log.read_text(errors='replace')}")
            yield Container(process, json.loads(told)["child-pid"], log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(_START_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Container:
    """A running stage; `pid` is its process 1 as the host sees it."""

    process: subprocess.Popen[bytes]
    pid: int
    log: Path


def read_instructions(path: Path) -> list[Instruction]:
    """Read a container file.

    Args:
        path: the file.
    """
    lines: list[str] = []
    open_line = ""
    for line in path.read_text("utf-8").splitlines():
        if line.lstrip().startswith("#") or not (line.strip() or open_line):
            continue
        open_line += line.strip()
        if open_line.endswith("\\"):
            open_line = open_line[:-1]
            continue
        lines.append(open_line)
        open_line = ""
    return [Instruction(*line.split(maxsplit=1)) for line in lines]


def carry_out(path: Path, context: Path, folder: Path) -> Stage:
    """Carry out a container file of two stages and return the last.

    Args:
        path: the container file.
        context: the folder whose files `COPY` takes, as far as its `.dockerignore` lets them.
        folder: where bases and stages are kept; the bases are used again.

    Raises:
        StandInError: a step failed, or the file holds what this does not know.
    """
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage = Stage(folder)
    for instruction in read_instructions(path):
        name, text = instruction.name, instruction.text
        if name == "ARG":
            key, _, value = text.partition("=")
            arguments[key] = value.strip('"')
        elif name == "FROM":
            image, _, alias = _filled(text, arguments).partition(" AS ")
            stage = stages[alias or "last"] = Stage(_copy_of(image, folder, alias or "last"))
        elif name == "RUN":
            _run(stage, text, arguments)
        elif name == "COPY":
            _copy(stage, text, stages, context)
        elif not _noted(stage, name, text):
            raise StandInError(f"{path.name}: {name} is not known here")
    return stage


def _noted(stage: Stage, name: str, text: str) -> bool:
    """Note what only the running container needs; whether it is that."""
    if name == "ENV":
        stage.environment |= dict(word.split("=", 1) for word in shlex.split(text))
    elif name == "WORKDIR":
        stage.workdir = text
        (stage.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        stage.user = text
    elif name == "ENTRYPOINT":
        stage.entrypoint = json.loads(text)
    elif name == "CMD":
        stage.command = json.loads(text)
    return name in {"ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "EXPOSE"}


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    for key, value in arguments.items():
        text = text.replace(f"${{{key}}}", value)
    return text


def _copy_of(image: str, folder: Path, alias: str) -> Path:
    if "debian:13-slim" in image:
        base = _build_base(folder)
    elif "distroless/python3-debian13" in image:
        base = _runtime_base(folder)
    else:
        raise StandInError(f"no stand-in for the image {image}")
    root = folder / f"stage-{alias}"
    _call(["rm", "-rf", str(root)])
    _call(["cp", "-a", str(base), str(root)])
    return root


def _build_base(folder: Path) -> Path:
    base = folder / "debian-13-slim"
    if not base.is_dir():
        part = folder / "debian-13-slim.part"
        shutil.rmtree(part, ignore_errors=True)
        _call(["debootstrap", "--variant=minbase", SUITE, str(part)])
        part.rename(base)
    return base


def _runtime_base(folder: Path) -> Path:
    base = folder / "distroless-python3-debian13"
    if base.is_dir():
        return base
    part = folder / "distroless.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    source = Stage(_copy_of("debian:13-slim", folder, "packages"))
    _run(
        source,
        "apt-get update && apt-get install --yes --no-install-recommends ca-certificates && mkdir /debs"
        f" && cd /debs && apt-get download {_RUNTIME_PACKAGES}",
        {},
    )
    for package in sorted((source.root / "debs").glob("*.deb")):
        _call(["dpkg-deb", "-x", str(package), str(part)])
    certificates = "etc/ssl/certs/ca-certificates.crt"
    (part / certificates).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.root / certificates, part / certificates)
    for name in ("proc", "dev", "tmp", "home/nonroot"):
        (part / name).mkdir(parents=True, exist_ok=True)
    (part / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\n" + _USER, "utf-8")
    _call(["ldconfig", "-r", str(part)])
    shutil.rmtree(source.root)
    part.rename(base)
    return base


def _run(stage: Stage, text: str, arguments: Mapping[str, str]) -> None:
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        **arguments,
        **stage.environment,
    }
    binds = ["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]
    # a network with certificates of its own: the steps see them as this process does
    if bundle := os.environ.get("SSL_CERT_FILE"):
        binds += ["--ro-bind", bundle, "/run/host-certificates"]
        environment |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/run/host-certificates")
    _call(
        [
            *("bwrap", "--bind", str(stage.root), "/", "--proc", "/proc", "--dev", "/dev", *binds),
            *("--cap-add", "ALL", "--die-with-parent", "--clearenv", "--chdir", stage.workdir),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *("--", "/bin/sh", "-c", text),
        ]
    )


def _copy(stage: Stage, text: str, stages: Mapping[str, Stage], context: Path) -> None:
    words = text.split()
    target = stage.root / str(Path(stage.workdir, words[-1])).lstrip("/")
    if words[0].startswith("--from="):
        source = stages[words[0].removeprefix("--from=")].root / words[1].lstrip("/")
        _call(["cp", "-a", str(source), str(target)])
        return
    allowed = allowed_paths(context)
    for word in words[:-1]:
        for name in allowed if word == "." else [word]:
            if name not in allowed:
                raise StandInError(f"COPY {name}: .dockerignore leaves it out")
            _copy_into(context / name, target / name)


def allowed_paths(context: Path) -> list[str]:
    """Return what a `.dockerignore` that names what is let in lets in.

    Args:
        context: the folder it is in.
    """
    lines = (context / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines, ".dockerignore must leave out everything it does not name"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def _copy_into(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _call(words: Sequence[str]) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_STEP_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise StandInError(f"{shlex.join(words[-3:])}\nexit code {done.returncode}\n{done.stdout[-4000:]}")
