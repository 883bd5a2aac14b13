"""Laws of shipped files: they are found in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import resources


@pytest.mark.parametrize("name", ["schemas", "journeys", "templates", "segments.yaml", "policy.yaml"])
def test_shipped_files_are_found_in_the_checkout(name: str) -> None:
    """Each thing that ships lies where a checkout has it."""
    assert resources.shipped(name).exists()


def test_the_wheel_s_copy_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package reads its own files, whatever lies beside it."""
    (tmp_path / "engine" / "_data" / "schemas").mkdir(parents=True)
    (tmp_path / "schemas").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "engine")
    assert resources.shipped("schemas") == tmp_path / "engine" / "_data" / "schemas"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation says what is missing."""
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "engine")
    with pytest.raises(FileNotFoundError, match="shipped schemas is missing"):
        resources.shipped("schemas")
