"""Provide what `make deploy-test` needs besides wheels: Debian's tools, Helm, kubeconform, compose's loader.

As root on a Debian-like system it installs what is missing; Go builds the last three into `.tools/bin`. Else
it says what to install and exits with 1: nothing is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent.parent.parent / ".tools" / "bin"
HELM = "v3.19.0"
KUBECONFORM = "v0.7.0"
COMPOSE = "v2.9.1"
_PACKAGES = {
    "debootstrap": "debootstrap",
    "bwrap": "bubblewrap",
    "strace": "strace",
    "systemd-analyze": "systemd",
}
_MODULES = {
    "helm": f"helm.sh/helm/v3/cmd/helm@{HELM}",
    "kubeconform": f"github.com/yannh/kubeconform/cmd/kubeconform@{KUBECONFORM}",
    "cmd": f"github.com/compose-spec/compose-go/v2/cmd@{COMPOSE}",  # the loader of `docker compose`
}
MODELS = TOOLS.parent / "npm"  # schemas of what is not Kubernetes' own
_MODELS = ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")
_TIMEOUT_S = 1200


def main() -> None:
    """Check and install."""
    wanted = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    if wanted and not (os.geteuid() == 0 and shutil.which("apt-get")):
        sys.exit(f"these checks need {' '.join(wanted)}: install them")
    if wanted:
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", *wanted]):
            subprocess.run(command, check=True, timeout=_TIMEOUT_S)
    missing = [name for name in _MODULES if not (TOOLS / name).exists()]
    if missing and shutil.which("go") is None:
        sys.exit(
            f"these checks need Go to build {' and '.join(missing)}: install it, or put them into {TOOLS}"
        )
    for name in missing:
        print(f"building {_MODULES[name]}", flush=True)  # noqa: T201
        environment = os.environ | {"GOBIN": str(TOOLS)}
        subprocess.run(["go", "install", _MODULES[name]], env=environment, check=True, timeout=_TIMEOUT_S)
    if not (MODELS / "node_modules").is_dir():
        if shutil.which("npm") is None:
            sys.exit("these checks need Node.js with npm: install them")
        MODELS.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-save", "--no-audit", "--ignore-scripts", *_MODELS]
        subprocess.run(command, cwd=MODELS, check=True, timeout=_TIMEOUT_S)


if __name__ == "__main__":
    main()
