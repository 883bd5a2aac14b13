"""An evaluation from beginning to end: our own model, the references, the figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from engine.authoring.evaluation import references
from engine.authoring.evaluation.references import CHOSEN_ON_CDNOW, GRID, Trees
from engine.authoring.evaluation.result import BASE, BG, MBG, OURS, RULE, TREES, Evaluation, judge
from engine.authoring.evaluation.rows import Rows
from engine.errors import EngineError
from engine.events import MAX_AMOUNT
from engine.features.churn.blocks import customer_keys
from engine.features.churn.hazard import FEATURE_COUNT
from engine.features.churn.purchases import DAY_S
from engine.features.churn.trainer import TrainerSettings
from engine.settings import Settings
from engine.streams.evaluate.log import PurchaseLog
from engine.streams.evaluate.run import Run, days_in, run_log

_MANY: Final = 0.1
_ALIKE: Final = (
    "rows have customer, time and amount of another: each counts as a purchase; if they are copies, name a "
    "column of ids with --id"
)
_SILENCE_MS: Final = 45 * DAY_S * 1000
SET_ASIDE: Final = 4
"""One of so many customers is set aside to tune LightGBM on, and judged by nobody."""
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Screen(Protocol):
    """Shows how far the work is."""

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """Begin a piece of work; return what is told how much of it is done."""


class Request(msgspec.Struct, frozen=True):
    """What to do.

    Args:
        label: what the log is called.
        judged_from_day: rows of earlier days of the log are learned from, not judged.
        alone: our own model, MBG/NBD, rule and base rate only.
        tune: tune LightGBM on customers set aside; else it is given what was chosen on CDNOW.
        aside: customers to set aside, (customers,), or None for a fourth by the hash of their id.
    """

    label: str
    judged_from_day: int = 120
    alone: bool = False
    tune: bool = True
    aside: Bools | None = None


def evaluate(log: PurchaseLog, settings: Settings, request: Request, screen: Screen) -> Evaluation:
    """Evaluate the churn model on a log.

    Raises:
        EngineError: the log is too short to judge a single row.
        ConfigError: LightGBM is wanted and not there.
    """
    horizon = settings.churn.horizon_days
    _check_length(log, request.judged_from_day, horizon)
    if not request.alone:
        references.load_light_gbm()
    tuned = request.tune and not request.alone
    aside = request.aside
    if aside is None and tuned:
        aside = customer_keys(log.names) % np.uint64(SET_ASIDE) == 0
    begins_s = int(log.time_ms[0]) // 1000 // DAY_S * DAY_S
    from_s = begins_s + request.judged_from_day * DAY_S
    trees, how = CHOSEN_ON_CDNOW, "as was best on every fourth CDNOW customer"
    if tuned and aside is not None:
        trees = _tune(log.of(aside), settings, from_s, screen)
        how = f"the best of {len(GRID)} settings on the customers set aside"
    tested = log if aside is None else log.of(~aside)
    if not len(tested):
        raise EngineError("all customers are set aside for tuning: say --no-tune for so small a log")
    run = _run(tested, settings, screen, features=not request.alone)
    cuts = references.months(run.rows, from_s, horizon)
    rows = run.rows.of(run.rows.time_s >= from_s)
    risks = _risks(run.rows, rows, cuts, horizon)
    if not request.alone:
        tell = screen.begin("BG/NBD", len(cuts))
        risks[BG] = (
            "repeat purchases, time of the last, age of every customer seen; refit every 30 days",
            references.bg_nbd(run.rows, cuts, horizon, _counter(tell)),
        )
        tell = screen.begin("LightGBM", len(cuts))
        risks[TREES] = (
            (
                f"the same {FEATURE_COUNT} features of all rows whose label had matured; trained anew "
                "every 30 days; "
                f"{trees}, {how}"
            ),
            references.light_gbm(run.rows, cuts, trees, _counter(tell)),
        )
    customers = len(np.unique(tested.customers))
    return Evaluation(
        log=request.label,
        customers=len(log.names),
        tested=customers,
        purchases=log.notes.purchases or len(log),
        begins=_day(int(log.time_ms[0])),
        ends=_day(int(log.time_ms[-1])),
        days=days_in(log),
        judged_from_day=request.judged_from_day,
        horizon_days=horizon,
        models=judge(rows, risks, begins_s, run.segments),
        scored=run.scored,
        seconds=run.seconds,
        notes=_notes(log, rows, request, aside, run),
        engine_version=version("engage"),
    )


def trainer_settings(settings: Settings, from_s: int = 0) -> TrainerSettings:
    """Return how the trainer works here: as live, for one partition."""
    return TrainerSettings(1, horizon_days=settings.churn.horizon_days, evaluate_from_s=from_s)


def _run(log: PurchaseLog, settings: Settings, screen: Screen, *, features: bool) -> Run:
    tell = screen.begin("engage", days_in(log))
    return run_log(log, settings, trainer_settings(settings), features=features, progress=tell)


def _tune(log: PurchaseLog, settings: Settings, from_s: int, screen: Screen) -> Trees:
    if not len(log):
        return CHOSEN_ON_CDNOW
    horizon = settings.churn.horizon_days
    tell = screen.begin("set aside", days_in(log))
    rows = run_log(log, settings, trainer_settings(settings), features=True, progress=tell).rows
    cuts = references.months(rows, from_s, horizon)
    if not cuts:
        return CHOSEN_ON_CDNOW
    step = _counter(screen.begin("tuning", len(cuts) * len(GRID)))
    return min(references.tune(rows, cuts, GRID, step), key=lambda tried: tried[1])[0]


def _risks(
    known: Rows, rows: Rows, cuts: list[references.Month], horizon: int
) -> dict[str, tuple[str, Floats]]:
    ours = (
        f"purchases one by one, through the pipeline and the trainer as live: {FEATURE_COUNT} "
        "features, labels of 30 "
        "days as they mature, settings as shipped"
    )
    return {
        OURS: (ours, rows.risk.astype(np.float64)),
        MBG: ("part of ours: the statistics of all customers, no labels; refit every 30 days",
        rows.mbg.astype(np.float64)),
        RULE: (
            ("whether the last purchase is more than 90 days ago; the share that stayed away in "
            "either case, counted "
            f"every 30 days over labels of {horizon} days that had matured"),
            references.recency_rule(known, cuts),
        ),
        BASE: ("the share that stayed away, counted likewise", references.base_rate(known, cuts)),
    }  # fmt: skip


def _check_length(log: PurchaseLog, from_day: int, horizon: int) -> None:
    days, needed = days_in(log), from_day + horizon + 1
    if days < needed:
        raise EngineError(
            f"nothing can be judged: the log spans {days} day{'s' if days > 1 else ''}, and it takes "
            f"{needed}: {from_day} to learn in (--from-day), {horizon} until the first label is known "
            "(churn.horizon_days), and one to judge"
        )


def _notes(log: PurchaseLog, rows: Rows, request: Request, aside: Bools | None, run: Run) -> list[str]:
    seen = log.notes
    notes = [
        (
            "Prequential: a row is scored with what was known when it was, and judged when its horizon "
            "had passed. "
            f"Rows of the first {request.judged_from_day} days are learned from, not judged."
        )
    ]
    if aside is not None:
        notes.append(
            f"{int(aside.sum()):,} of {len(log.names):,} customers were set aside for choices; all "
            "figures are of the "
            "others, whom no choice has seen."
        )
    told = (
        (seen.refunds, "refunds (negative amounts): worked on as refunds; they are no purchase"),
        (seen.repeated, "rows repeat the id of an earlier one: counted once"),
        (seen.unsorted, "rows were older than the one before them: put into time order"),
        (seen.bad, "rows could not be read: left out"),
        (seen.others, "other events went through the pipeline too"),
        (seen.cut, f"amounts were {MAX_AMOUNT:,.0f} or more: taken as that"),
        (seen.alike if seen.alike > seen.purchases * _MANY else 0, _ALIKE),
    )
    notes += [f"{count:,} {what}." for count, what in told if count]
    notes += _silences(log)
    if seen.columns and "amount" not in seen.columns:
        notes.append("No column of amounts: every purchase counts as one of nothing.")
    if not len(rows):
        notes.append("No row could be judged.")
    elif rows.gone.all() or not rows.gone.any():
        came = "nobody" if rows.gone.all() else "everybody"
        notes.append(f"Among the rows judged {came} came back: there is nothing to tell apart, and no AUC.")
    if run.report.mbg_failed:
        fits = run.report.mbg_fitted + run.report.mbg_failed
        notes.append(
            f"MBG/NBD kept its earlier parameters at {run.report.mbg_failed} of {fits} fits: too few "
            "customers, or "
            "no fit converged."
        )
    return notes


def _silences(log: PurchaseLog) -> list[str]:
    """Say where a part of the log may be missing."""
    pauses = np.diff(log.time_ms)
    if not len(pauses) or pauses.max() < _SILENCE_MS:
        return []
    longest = int(pauses.argmax())
    days = pauses[longest] / (DAY_S * 1000)
    what = f"From {_day(int(log.time_ms[longest]))} on nothing happened for {days:,.0f} days."
    return [f"{what} If a part of the log is missing, all who bought then count as having stayed away."]


def _counter(tell: Callable[[int], None]) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        tell(done)

    return step


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"
