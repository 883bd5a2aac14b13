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

from engine.authoring.evaluation.page import page
from engine.authoring.evaluation.result import BG, TREES, Evaluation
from engine.commands.evaluate_screen import bars, show
from engine.features.churn.replay import CHOICE_SHARE, load_cdnow
from engine.settings import Settings
from engine.streams.evaluate.job import Request, evaluate
from engine.streams.evaluate.run import from_purchases

MAX_RATIO: Final = 0.993
MIN_AUC: Final = 0.792
MAX_ECE: Final = 0.02
AIM_LOG_LOSS: Final = 0.3735


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
    options = parser.parse_args()
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
