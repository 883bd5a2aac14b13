"""The live model's quality as one HTML page: what it said at the time, judged by what came."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from engine.authoring.backtest.plots import COLOURS
from engine.authoring.evaluation.page import GROUPS
from engine.authoring.evaluation.plots import calibration, interval
from engine.authoring.intervals import share_interval
from engine.authoring.page_parts import document, escaped, html_table
from engine.features.churn.evaluation import Quality
from engine.features.churn.explanation import MIN_BAND_ROWS
from engine.features.churn.quality import RecencyRule, fit_to_act, recency_rule
from engine.features.churn.snapshot import Snapshot

DAY_S: Final = 86_400
_HEAD: Final = ("Judged", "Stayed away", "AUC", "Log-loss", "of the base rate", "of MBG/NBD", "ECE")
_SEGMENT_HEAD: Final = ("t:Segment", "t:Rows", *_HEAD)
_INTERVALS: Final = (
    "<p class=soft>The bars and intervals count rows as independent; those of one customer are alike, so the "
    "true ones are wider.</p>"
)


class Drift(msgspec.Struct, frozen=True):
    """How the last two to three months differ from all time; shown, never acted on.

    Args:
        log_loss: recent less all-time log-loss.
        base_rate: recent less all-time share that stayed away.
        bias: predicted less observed share, recent rows; above zero, the model sees too much risk.
    """

    log_loss: float
    base_rate: float
    bias: float


class ModelReport(msgspec.Struct, frozen=True):
    """What there is to know of the model that scores.

    Args:
        model: its passport; `validation` and `recent` hold the figures by group of rows,
            `segments` and `recent_segments` by segment.
        age_days: from its cut-off to now.
        drift: of all rows, or None before any was judged.
        recency_rule: on all rows, all time; None before any was judged.
    """

    model: Snapshot
    age_days: float
    drift: Drift | None
    recency_rule: RecencyRule | None


def report_of(snapshot: Snapshot, now_s: float) -> ModelReport:
    """Put the report of a model together.

    Args:
        snapshot: the live one.
        now_s: the time, seconds since the epoch.
    """
    age_days = max(0.0, (now_s - snapshot.cut_off_s) / DAY_S)
    return ModelReport(snapshot, age_days, _drift(snapshot), recency_rule(snapshot.validation))


def _drift(snapshot: Snapshot) -> Drift | None:
    ever, lately = snapshot.validation.get("all"), snapshot.recent.get("all")
    if ever is None or lately is None or not lately.rows or not ever.rows:
        return None
    assert ever.log_loss is not None
    assert lately.log_loss is not None
    assert ever.base_rate is not None
    assert lately.base_rate is not None
    predicted = sum(tenth.rows * tenth.predicted for tenth in lately.deciles) / lately.rows
    return Drift(
        log_loss=lately.log_loss - ever.log_loss,
        base_rate=lately.base_rate - ever.base_rate,
        bias=predicted - lately.base_rate,
    )


def report_page(report: ModelReport) -> str:
    """Return the page."""
    model = report.model
    cut_off = datetime.fromtimestamp(model.cut_off_s, UTC)
    sections = [
        (
            f"<h1>Churn model, version {model.version}</h1><p class=soft>Probability of no purchase within "
            f"{model.horizon_days} days; knows purchases until {cut_off:%Y-%m-%d}. All figures are of "
            "what was said "
            "at the time, judged when the horizon had passed.</p>"
        ),
        _tiles(report),
        f"<p><b>To act on?</b> {escaped(fit_to_act(model.recent, model.validation).capitalize())}.</p>",
        *(_group(report, group, title) for group, title in GROUPS.items()),
        _bands(model),
        _segments(model),
        _INTERVALS,
        _drift_section(report.drift),
        (
            f"<p class=soft style='margin-top:2rem'>engage {model.engine_version}, river "
            f"{model.river_version}; "
            f"{len(model.features)} features, hash {model.features_hash}.</p>"
        ),
    ]
    return document(f"Churn model, version {model.version}", sections)


def _tiles(report: ModelReport) -> str:
    model, progress = report.model, report.model.progress
    tiles = {
        "labels: came back": f"{model.labels_came_back:,}",
        "labels: stayed away": f"{model.labels_gone:,}",
        "days since its cut-off": f"{report.age_days:,.1f}",
        "share of the shipped prior": f"{model.prior_share:.0%}",
    }
    if progress is not None:
        tiles["labels waiting"] = f"{progress.queued_labels:,}"
        tiles["risks waiting"] = f"{progress.queued_risks:,}"
    cells = "".join(
        f"<div class=tile><b>{value}</b><span>{name}</span></div>" for name, value in tiles.items()
    )
    return f'<div class="tiles">{cells}</div>'


def _group(report: ModelReport, group: str, title: str) -> str:
    model, rule = report.model, report.recency_rule
    quality = model.validation.get(group, Quality(0))
    if not quality.rows:
        wait = f"The first is judged {model.horizon_days} days after it was scored."
        return f"<h2>{title}</h2><p>None has been judged yet. {wait}</p>"
    spans = [("all time", quality), ("last two to three months", model.recent.get(group, Quality(0)))]
    head = ("t:Rows", *_HEAD)
    rows = [
        (f"t:{name}", f"{each.rows:,}", *(_number(value) for value in _figures(each)))
        for name, each in spans
        if each.rows
    ]
    tenths = [
        (
            f"{number}",
            f"{tenth.rows:,}",
            f"{tenth.predicted:.1%}",
            f"{tenth.observed:.1%}",
            _span(interval(tenth)),
        )
        for number, tenth in enumerate(quality.deciles, 1)
    ]
    table = html_table(("Tenth", "Rows", "Predicted", "Observed", "95 % interval"), tenths, len(tenths))
    beside = ""
    if group == "all" and rule is not None:
        beside = (
            "<p class=soft>The rule &ldquo;no purchase for 90 days&rdquo;, told the share of each side: "
            f"AUC {_number(rule.auc)}, log-loss {_number(rule.log_loss)}.</p>"
        )
    return (
        f"<h2>{title}</h2>{html_table(head, rows, len(rows))}{beside}"
        "<div style='display:flex;flex-wrap:wrap;gap:2rem;align-items:center;margin-top:1rem'>"
        f"<div>{calibration(quality.deciles, COLOURS[0])}</div><div style='flex:1'>{table}</div></div>"
    )


def _bands(model: Snapshot) -> str:
    """Show how many truly stayed away of those once given a risk, by level of risk."""
    spans = (("all time", model.validation), ("last two to three months", model.recent))
    rows = [
        (
            f"t:{band.low:.0%} to {band.high:.0%}",
            f"t:{span}",
            f"{band.rows:,}",
            f"{band.predicted:.1%}",
            f"{band.observed:.1%}",
            _span(share_interval(band.observed, band.rows)),
        )
        for span, groups in spans
        for band in groups.get("all", Quality(0)).bands
    ]
    if not rows:
        return ""
    head = ("t:Risk given", "t:Rows", "Judged", "Predicted", "Truly stayed away", "95 % interval")
    return (
        "<h2>Risk bands</h2><p class=soft>Of all rows that were once given such a risk, how many stayed away "
        "for the whole horizon. <code>engage explain</code> names the band a customer is in.</p>"
        f"{html_table(head, rows, len(rows))}"
    )


def _segments(model: Snapshot) -> str:
    """Show the quality by segment, of the last months where they suffice, with a plot for each."""
    if not model.segments:
        return ""
    spans = (("all time", model.segments), ("last two to three months", model.recent_segments))
    shown = [
        (name, span, found[name])
        for name in model.segments
        for span, found in spans
        if name in found and found[name].rows
    ]
    rows = [
        (f"t:{escaped(name)}", f"t:{span}", f"{each.rows:,}", *(_number(value) for value in _figures(each)))
        for name, span, each in shown
    ]
    plots = "".join(
        f"<div><p>{escaped(name)}</p>{calibration(quality.deciles, COLOURS[0])}</div>"
        for name, quality in model.segments.items()
        if quality.rows >= MIN_BAND_ROWS
    )
    table = html_table(_SEGMENT_HEAD, rows, len(rows))
    return (
        "<h2>By segment</h2><p class=soft>The segment is that of the customer when the risk was given. "
        "AUC within a segment is lower than over all: what tells customers apart also puts them into their "
        f"segments. Plots are of those with at least {MIN_BAND_ROWS} rows judged.</p>{table}"
        f"<div style='display:flex;flex-wrap:wrap;gap:2rem'>{plots}</div>"
    )


def _figures(quality: Quality) -> tuple[float | None, ...]:
    return (
        quality.base_rate,
        quality.auc,
        quality.log_loss,
        quality.base_log_loss,
        quality.mbg_log_loss,
        quality.calibration_error,
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1%} – {ends[1]:.1%}"


def _drift_section(drift: Drift | None) -> str:
    if drift is None:
        return ""
    rows = [
        ("t:log-loss, recent less all time", f"{drift.log_loss:+.4f}"),
        ("t:share that stays away, recent less all time", f"{drift.base_rate:+.4f}"),
        ("t:predicted less observed share, recent rows", f"{drift.bias:+.4f}"),
    ]
    return (
        "<h2>Drift</h2><p class=soft>Shown, never acted on: the model goes on learning, and seasons "
        "look like "
        f"drift.</p>{html_table(('t:What', 'All rows'), rows, len(rows))}"
    )
