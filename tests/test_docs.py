"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.docs import PAGES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_is_up_to_date(name: str) -> None:
    """A changed table without `make docs` does not pass."""
    text = (DOCS / name).read_text("utf-8")
    assert PAGES[name](text) == text
