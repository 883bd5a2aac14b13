"""An evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from engine.authoring.backtest.plots import COLOURS, legend
from engine.authoring.evaluation.plots import calibration, lines
from engine.authoring.evaluation.result import BASE, Evaluation, ModelResult
from engine.authoring.page_parts import document, escaped, html_table
from engine.features.churn.evaluation import Quality

GROUPS = {
    "all": "All rows",
    "actionable": "Rows one can still act on: last purchase at most 90 days ago",
    "purchase": "Purchase rows: right after a purchase",
}
SEGMENT_HEAD = (
    "t:Segment",
    "Rows",
    "Stayed away",
    "AUC",
    "Log-loss",
    "of MBG/NBD",
    "of the base rate",
    "ECE",
)
HEAD = ("t:Model", "AUC", "Log-loss", "ECE", "Ours / its log-loss, all rows")


def page(found: Evaluation) -> str:
    """Return the page."""
    ours = found.models[0]
    colours = {each.name: COLOURS[at % len(COLOURS)] for at, each in enumerate(found.models)}
    title = f"Churn risk on {found.log}"
    sections = [
        (
            f"<h1>{escaped(title)}</h1><p class=soft>{found.begins} to {found.ends}; judged "
            "prequentially: each row "
            f"was scored before anything after it was known, and judged {found.horizon_days} days later.</p>"
        ),
        _tiles(found, ours.quality["all"]),
        *(_group(found.models, group, title) for group, title in GROUPS.items()),
        (
            "<p class=soft>AUC: how well customers are sorted (0.5 is chance). Log-loss: how far "
            "probabilities are off (0 is perfect). ECE: mean distance of predicted and observed share over "
            "tenths of the rows. The interval counts customers, not rows, as independent.</p>"
        ),
        _segments(ours),
        f"<h2>Predicted and observed</h2>{_calibrations(ours, colours[ours.name])}",
        "<h2>Log-loss month by month</h2>",
        legend({name: colour for name, colour in colours.items() if name != BASE}),
        lines(
            {
                each.name: [(m.day, m.log_loss) for m in each.months]
                for each in found.models
                if each.name != BASE
            },
            colours,
            "days since the log began, first day of each month",
        ),
        "<h2>What each was given</h2>",
        html_table(
            ("t:Model", "t:Given"),
            [(f"t:{escaped(each.name)}", f"t:{escaped(each.given)}") for each in found.models],
            len(found.models),
        ),
        _notes(found.notes),
        (
            f"<p class=soft style='margin-top:2rem'>engage {found.engine_version}; {found.scored:,} "
            f"rows scored, learned and judged by our own model in {found.seconds:.1f} s.</p>"
        ),
    ]
    return document(title, sections)


def _tiles(found: Evaluation, quality: Quality) -> str:
    tiles = {
        "customers judged": f"{found.tested:,}",
        "purchases in the log": f"{found.purchases:,}",
        "rows judged": f"{quality.rows:,}",
        "stay away": _number(quality.base_rate, 3),
        "AUC": _number(quality.auc, 3),
        "log-loss": _number(quality.log_loss),
    }
    cells = "".join(
        f"<div class=tile><b>{value}</b><span>{name}</span></div>" for name, value in tiles.items()
    )
    return f'<div class="tiles">{cells}</div>'


def _group(models: Sequence[ModelResult], group: str, title: str) -> str:
    quality = models[0].quality[group]
    if not quality.rows:
        return f"<h2>{title}</h2><p>There are none.</p>"
    head = HEAD if group == "all" else HEAD[:-1]
    rows = [row_of(each, group, mark="t:")[: len(head)] for each in models]
    rate = f"{quality.rows:,} rows, {quality.base_rate:.1%} of them stayed away."
    return f"<h2>{title}</h2><p class=soft>{rate}</p>{html_table(head, rows, len(rows))}"


def row_of(model: ModelResult, group: str, mark: str = "") -> tuple[str, ...]:
    """Write a model's figures as the cells of a table: name, AUC, log-loss, ECE, ratio."""
    quality = model.quality[group]
    ratio = "" if model.ratio is None else f"{model.ratio:.4f} ± {model.ratio_margin:.4f}"
    figures = (quality.auc, quality.log_loss, quality.calibration_error)
    return (f"{mark}{escaped(model.name)}", *(_number(figure) for figure in figures), ratio)


def segment_rows(model: ModelResult, mark: str = "") -> list[tuple[str, ...]]:
    """Write a model's figures by segment as the cells of a table under `SEGMENT_HEAD`."""
    return [
        (
            f"{mark}{escaped(name)}",
            f"{quality.rows:,}",
            _number(quality.base_rate, 3),
            _number(quality.auc),
            _number(quality.log_loss),
            _number(quality.mbg_log_loss),
            _number(quality.base_log_loss),
            _number(quality.calibration_error),
        )
        for name, quality in model.segments.items()
    ]


def _segments(model: ModelResult) -> str:
    rows = segment_rows(model, mark="t:")
    if not rows:
        return ""
    return (
        "<h2>Our model by segment</h2><p class=soft>The segment is that of the customer when the risk was "
        "given, by your segments.yaml on the events of this log.</p>"
        f"{html_table(SEGMENT_HEAD, rows, len(rows))}"
    )


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _calibrations(model: ModelResult, colour: str) -> str:
    drawn = "".join(
        f"<div><p>{name}</p>{calibration(model.quality[group].deciles, colour)}</div>"
        for group, name in (("all", "All rows"), ("actionable", "Rows one can still act on"))
        if model.quality[group].rows
    )
    return (
        f"<div style='display:flex;flex-wrap:wrap;gap:2rem'>{drawn}</div>"
        "<p class=soft>Each point is a tenth of the rows; the bar is the 95 % interval of its "
        "observed share, its rows taken as independent; those of one customer are alike, so the true one is "
        "wider.</p>"
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escaped(each)}</li>" for each in notes)
    return f'<h2>About this evaluation</h2><ul class="notes">{items}</ul>' if notes else ""
