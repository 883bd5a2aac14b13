"""The limits the guide tells are those the engine has."""

from __future__ import annotations

from pathlib import Path

from engine.features.profile import MAX_POSITIONS
from engine.rules import limits

GUIDE = Path(__file__).parents[2] / "docs" / "journeys.md"
DAY_MS = 86_400_000
TOLD = {
    "files": f"{limits.MAX_FILES:,}, of {limits.MAX_FILE_BYTES // 2**20} MiB each",
    "one file": f"{limits.MAX_YAML_NODES:,} values, {limits.MAX_YAML_DEPTH} levels, "
    f"{limits.MAX_YAML_LINE:,} characters in a line",
    "names and texts": f"{limits.MAX_NAME_CHARS} and {limits.MAX_TEXT_CHARS} characters",
    "steps": f"{limits.MAX_STEPS} (those of a sequence count at each `run`), "
    f"in {limits.MAX_STEP_DEPTH} levels",
    "ways out of a branch or split": f"{limits.MAX_ARMS}",
    "events one `wait_until` waits for": f"{limits.MAX_AWAITED}",
    "sequences": f"{limits.MAX_SEQUENCES}, {limits.MAX_SEQUENCE_DEPTH} levels of them",
    "a table": f"{limits.MAX_TABLE_ROWS} rows, {limits.MAX_TABLE_COLUMNS} columns looked at "
    "and as many given",
    "exits": f"{limits.MAX_EXITS}",
    "caps": f"{limits.MAX_CAPS}, of at most {limits.MAX_CAP_COUNT} contacts",
    "send windows": f"{limits.MAX_SEND_WINDOWS}",
    "data values of a message": f"{limits.MAX_DATA_VALUES}",
    "an expression": f"{limits.MAX_EXPRESSION_CHARS:,} characters, "
    f"{limits.MAX_EXPRESSION_DEPTH} levels of parentheses",
    "`count`": f"{limits.MAX_COUNT} events, within {limits.MAX_COUNT_WINDOW_MS // DAY_MS} days",
    "a schedule": f"{limits.MAX_SCHEDULE_PER_DAY} times a day",
    "waits and deadlines": f"{limits.MIN_DURATION_MS // 1000} s to {limits.MAX_DURATION_MS // DAY_MS} days",
    "the contact policy": f"{limits.MAX_POLICY_ROWS} rows, {limits.MAX_CONTACT_KINDS} kinds of contact",
    "runs a customer is inside at a time": f"{MAX_POSITIONS}, of all journeys",
    "keys of one journey with `per` remembered": f"{limits.MAX_KEYS_REMEMBERED}; "
    "then the oldest may enter again",
}


def test_the_guide_tells_the_limits_as_they_are() -> None:
    """Each line of the table under *Limits* gives the numbers of `limits.py`, and none is left out."""
    section = GUIDE.read_text("utf-8").split("## Limits", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert dict(rows[1:]) == TOLD
