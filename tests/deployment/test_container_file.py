"""What can be told of the container file without carrying it out; `make deploy-test` does that."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.deployment.stand_in import allowed_paths, read_instructions

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "deploy" / "container" / "Containerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_all_the_wheel_is_made_of_is_let_in() -> None:
    """A folder added to the wheel is added to .dockerignore, and what is named there exists."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        "pyproject.toml",
        "uv.lock",
        "README.md",
        "LICENSE",
    }
    allowed = allowed_paths(ROOT)
    assert set(allowed) == needed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_image_runs_as_nobody_and_without_a_shell() -> None:
    """The last stage has a user by number, and commands as lists: there is no shell to read them."""
    instructions = read_instructions(FILE)
    last = max(number for number, each in enumerate(instructions) if each.name == "FROM")
    stage = {each.name: each.text for each in instructions[last:]}
    user, _, group = stage["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(stage["ENTRYPOINT"]) == ["/app/bin/engage"]
    assert json.loads(stage["CMD"]) == ["worker"]
    assert "RUN" not in stage


def test_what_is_installed_is_what_is_locked() -> None:
    """No step resolves versions anew, none brings tools of the developers along."""
    steps = [each.text for each in read_instructions(FILE) if each.name == "RUN" and "uv sync" in each.text]
    assert steps
    assert all("--frozen --no-dev" in step for step in steps)
    assert "--no-editable" in steps[-1]
