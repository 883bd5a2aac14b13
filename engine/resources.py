"""Where the files that ship with the engine lie: in the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = {
    "schemas": "schemas",
    "journeys": "deploy/journeys",
    "templates": "deploy/templates",
    "cookbook": "deploy/cookbook",
    "segments.yaml": "deploy/segments.yaml",
    "policy.yaml": "deploy/policy.yaml",
}


def shipped(name: str) -> Path:
    """Return the path of a shipped file or folder.

    Args:
        name: `schemas`, `journeys`, `cookbook`, `templates`, `segments.yaml` or `policy.yaml`.

    Returns:
        The path; it exists.

    Raises:
        FileNotFoundError: neither the wheel's nor the checkout's copy is there.
    """
    candidates = (_PACKAGE / "_data" / name, _PACKAGE.parent / _IN_CHECKOUT[name])
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"shipped {name} is missing, looked in {', '.join(map(str, candidates))}")
