"""`make bench-churn`: how good the churn model is on CDNOW, and whether it keeps its promises.

Customers with index % 4 = 0 may be used for choices, the others are only ever tested on. All models are
judged on identical rows of days past the first 120.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console

from engine.authoring.backtest.plots import COLOURS
from engine.authoring.evaluation.page import page
from engine.authoring.evaluation.plots import lines
from engine.authoring.evaluation.references import months
from engine.authoring.evaluation.result import BG, MBG, OURS, TREES, Evaluation
from engine.commands.evaluate_screen import bars, show
from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import CHOICE_SHARE, load_cdnow
from engine.settings import Settings
from engine.streams.evaluate.job import Request, evaluate, trainer_settings
from engine.streams.evaluate.run import from_purchases, run_log

MAX_RATIO: Final = 0.993
MIN_AUC: Final = 0.792
MAX_ECE: Final = 0.02
AIM_LOG_LOSS: Final = 0.3735
FIRST_DAY: Final = 91


def bench(*, tune: bool) -> Evaluation:
    """Evaluate all models on CDNOW.

    Args:
        tune: choose LightGBM's settings anew, on the customers with index % 4 = 0; else take those chosen so
            before.
    """
    log = from_purchases(load_cdnow())
    aside = np.array([int(name) % CHOICE_SHARE == 0 for name in log.names])
    with bars() as screen:
        return evaluate(log, Settings(), Request("CDNOW", tune=tune, aside=aside), screen)


def curve() -> str:
    """Draw quality against matured labels, on the customers with index % 4 = 0; an SVG that stands alone.

    Each point is a month of rows: log-loss as a share of that of the month's own base rate, which nobody knew
    at the time. Labels are those whose horizon had passed when the month began.
    """
    log = load_cdnow()
    log = log.of(log.customers % CHOICE_SHARE == 0)
    rows = run_log(from_purchases(log), Settings(), trainer_settings(Settings()), features=False).rows
    series: dict[str, list[tuple[float, float]]] = {OURS: [], MBG: []}
    for month in months(rows, int(log.time_s[0]) + FIRST_DAY * DAY_S, Settings().churn.horizon_days):
        gone = rows.gone[month.said]
        rate = gone.mean()
        base = -(rate * np.log(rate) + (1.0 - rate) * np.log(1.0 - rate))
        for name, said in ((OURS, rows.risk), (MBG, rows.mbg)):
            risk = said[month.said].astype(np.float64)
            loss = -np.log(np.where(gone, risk, 1.0 - risk)).mean()
            series[name].append((max(float(month.known), 1.0), float(loss / base)))
    known = {name: [point for point in points if point[0] > 1.0] for name, points in series.items()}
    colours = dict(zip(known, COLOURS, strict=False))
    drawn = lines(known, colours, "matured labels; blue: engage, red: MBG/NBD alone", log_x=True)
    style = "<style>text{font:12px system-ui,sans-serif;fill:#5c6675}line{stroke:#dfe4ea}</style>"
    head, rest = drawn.split(">", 1)
    return f"{head}>{style}{rest}\n"


def verdicts(found: Evaluation) -> list[tuple[str, bool]]:
    """Say each promise with its figure, and whether it is kept."""
    quality = found.models[0].quality["all"]
    assert quality.auc is not None
    assert quality.log_loss is not None
    assert quality.calibration_error is not None
    ratio = {each.name: each.ratio or 9.0 for each in found.models}
    return [
        (f"log-loss is {ratio[TREES]:.4f} of LightGBM's, at most {MAX_RATIO}", ratio[TREES] <= MAX_RATIO),
        (f"log-loss is {ratio[BG]:.4f} of BG/NBD's, at most {MAX_RATIO}", ratio[BG] <= MAX_RATIO),
        (f"AUC is {quality.auc:.4f}, at least {MIN_AUC}", quality.auc >= MIN_AUC),
        (f"ECE is {quality.calibration_error:.4f}, at most {MAX_ECE}", quality.calibration_error <= MAX_ECE),
    ]


def main() -> int:
    """Run the bench; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.churn", description=__doc__)
    parser.add_argument("--tune", action="store_true", help="choose LightGBM's settings anew")
    parser.add_argument("--html", type=Path, help="write a report with plots")
    parser.add_argument("--json", type=Path, help="write all figures")
    parser.add_argument("--curve", type=Path, help="only draw quality against matured labels, an SVG")
    options = parser.parse_args()
    if options.curve:
        options.curve.write_text(curve(), "utf-8")
        return 0
    found = bench(tune=options.tune)
    show(Console(highlight=False), found)
    if options.html:
        options.html.write_text(page(found), "utf-8")
    if options.json:
        options.json.write_bytes(msgspec.json.encode(found))
    kept = verdicts(found)
    print()
    for text, good in kept:
        print(f"{'kept  ' if good else 'BROKEN'}  {text}")
    loss = found.models[0].quality["all"].log_loss or 9.0
    reached = "reached" if loss <= AIM_LOG_LOSS else "not yet"
    print(f"{reached}  log-loss is {loss:.4f}, the aim is {AIM_LOG_LOSS}")
    return 0 if all(good for _, good in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
