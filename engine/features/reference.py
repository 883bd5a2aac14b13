"""The feature table as text: `docs/features.md` holds it, and a test keeps the two the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.features.catalog import BUILT_IN, TEXTS, Feature, Source
from engine.features.windows import WINDOWS

BEGIN = "<!-- features: written by engine.features.reference -->"
END = "<!-- features: end -->"

_TITLES = (
    ("Counts", (Source.COUNT,)),
    ("Distinct days", (Source.DAYS,)),
    ("Sums and means", (Source.SUM, Source.MEAN)),
    ("Time since", (Source.RECENCY, Source.FIRST)),
    ("Orders", (Source.MONTH_COUNT, Source.MONTH_SUM, Source.GAP, Source.RFM)),
    ("Habit and satisfaction", (Source.HABIT, Source.LAST_VALUE)),
    ("Profile, risk, segment", (Source.HEAD, Source.CALLER)),
)


def table(features: Sequence[Feature] = BUILT_IN) -> str:
    """Return the features as markdown tables, the windows of one feature on one line.

    Args:
        features: entries of the table, in its order.
    """
    lines: list[str] = []
    for title, sources in _TITLES:
        members = [feature for feature in features if feature.source in sources]
        if members:
            lines += [f"### {title}", "", "| name | unit | default | meaning |", "|---|---|---|---|"]
            lines += [*_lines(members), ""]
    lines += ["### Texts", "", "| name | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in TEXTS.items()]
    return "\n".join(lines) + "\n"


def _lines(members: Sequence[Feature]) -> Iterator[str]:
    told: set[str] = set()
    for feature in members:
        windowed = (
            feature.source in {Source.COUNT, Source.DAYS, Source.SUM, Source.MEAN} and not feature.since
        )
        name = feature.name.removesuffix(feature.window) + "{window}" if windowed else feature.name
        if name not in told:
            told.add(name)
            meaning = feature.meaning
            if windowed:
                meaning = meaning.replace(f"in the last {feature.window}", "in the window")
            yield f"| `{name}` | {feature.unit or feature.kind} | {feature.default:g} | {meaning} |"


def document(text: str) -> str:
    """Return `docs/features.md` with its generated part brought up to date.

    Args:
        text: the file's present text, with the two marker lines.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    windows = ", ".join(f"`{window}`" for window in WINDOWS)
    return f"{before}{BEGIN}\n\n`{{window}}` is one of {windows}.\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    path = Path(sys.argv[1])
    path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")
