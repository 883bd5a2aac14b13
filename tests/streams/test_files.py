"""What workers tell of the files they decide by."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.config import load_settings
from engine.streams.files import fingerprint_of

JOURNEY = """
journey: thanks
transactional: true
entry: {on: order.placed}
steps:
  - {send: email, template: thanks}
"""


def test_workers_that_decide_differently_have_another_fingerprint(tmp_path: Path) -> None:
    """The same content elsewhere is the same; other journeys, segments or settings are not."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.yaml").write_text(JOURNEY)
    settings = load_settings({"rules.paths": str(tmp_path / "here")}, environ={})
    first = fingerprint_of(settings)
    assert 0 < first < 2**48
    there = {"rules.paths": str(tmp_path / "there")}
    assert fingerprint_of(load_settings(there, environ={})) == first
    published = there | {"rules.source": "topic"}
    assert fingerprint_of(load_settings(published, environ={})) != first
    others = {
        fingerprint_of(load_settings(there | {name: value}, environ={})) for name, value in OTHER.items()
    }
    (tmp_path / "there" / "there.yaml").write_text(JOURNEY.replace("email", "push"))
    others.add(fingerprint_of(load_settings(there, environ={})))
    others.add(fingerprint_of(msgspec.structs.replace(settings, rules=load_settings(environ={}).rules)))
    assert len(others | {first}) == len(OTHER) + 3


OTHER = {
    "churn.horizon_days": "60",
    "default_time_zone": "Asia/Shanghai",
    "global_cap": "1 per 1d",
    "rate_limits": "push=5 per 1m",
    "control_group": "2%",
}
