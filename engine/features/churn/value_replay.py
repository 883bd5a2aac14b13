"""Hold expected orders and spend to what came: `python -m engine.features.churn.value_replay`.

CDNOW is replayed through the trainer. Every 30 days of its later half the newest snapshot says what each
known customer will buy in the next 90 days; a naive forecast and BG/NBD with gamma-gamma, both of the whole
past at that moment, say the same. Customers with index % 4 = 0 were used to choose how the product does it;
the figures are of the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from engine.features.churn.purchases import DAY_S, PurchaseStats, unpack_many, update_purchase
from engine.features.churn.rate import GlobalRate
from engine.features.churn.replay import CHOICE_SHARE, Purchases, load_cdnow, training_blocks
from engine.features.churn.scoring import Scorer
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.features.churn.value import VALUE_DAYS, expected_amount, fit_spend

Floats = npt.NDArray[np.float64]
Forecast = tuple[Floats, Floats]

EVERY_DAYS: Final = 30
FIRST_DAY: Final = 273
LAST_DAY: Final = 453


def forecasts(purchases: Purchases) -> Iterator[tuple[dict[str, Forecast], Forecast]]:
    """Replay a log; for each moment yield every method's forecast of (orders, spend), and what came."""
    core, rate = TrainerCore(TrainerSettings(1)), GlobalRate()
    first = int(purchases.time_s[0]) // DAY_S
    moments = {first + day for day in range(FIRST_DAY, LAST_DAY + 1, EVERY_DAYS)}
    records: dict[int, bytes] = {}
    row = 0
    for end_s, block in training_blocks(purchases):
        core.add_block(0, block)
        core.advance(0, end_s)
        while row < len(purchases.time_s) and purchases.time_s[row] < end_s:
            customer, time_s = int(purchases.customers[row]), int(purchases.time_s[row])
            rate.add(time_s, 1, int(customer not in records))
            records[customer] = update_purchase(records.get(customer), time_s, float(purchases.amount[row]))
            row += 1
        if end_s // DAY_S in moments:
            known = np.array(sorted(records))
            stats = unpack_many(b"".join(records[one] for one in known), np.ones(len(known), np.bool_))
            product = Scorer(core.snapshot()).expect(stats, float(end_s), float(rate.at([end_s])[0]))
            said = {
                "engage": product,
                "BG/NBD + gamma-gamma": batch(stats, end_s, purchases, known),
                "own rate": naive(stats, end_s),
            }
            yield said, what_came(purchases, known, end_s)


def what_came(purchases: Purchases, known: npt.NDArray[np.int64], now_s: int) -> Forecast:
    """Return the orders (days with a purchase) and the spend of each known customer in the next 90 days."""
    ahead = (purchases.time_s >= now_s) & (purchases.time_s < now_s + VALUE_DAYS * DAY_S)
    ahead &= np.isin(purchases.customers, known)
    place = np.searchsorted(known, purchases.customers[ahead])
    days = np.unique(np.stack((place, purchases.time_s[ahead] // DAY_S)), axis=1)[0]
    spend = np.bincount(place, purchases.amount[ahead], len(known)).astype(np.float64)
    return np.bincount(days, minlength=len(known)).astype(np.float64), spend


def naive(stats: PurchaseStats, now_s: int) -> Forecast:
    """Go on at each customer's own rate of repeat purchases and own mean amount."""
    age_d = np.maximum((now_s - stats.first_s) / DAY_S, 1.0)
    orders: Floats = (stats.count - 1.0) / age_d * VALUE_DAYS
    spend: Floats = orders * stats.sum_amount / stats.count
    return orders, spend


def batch(stats: PurchaseStats, now_s: int, purchases: Purchases, known: npt.NDArray[np.int64]) -> Forecast:
    """Fit BG/NBD, and gamma-gamma on repeat purchases, to the whole past, and forecast from it."""
    repeats, age_d = stats.count - 1.0, (now_s - stats.first_s) / DAY_S
    last_d = (stats.last_s - stats.first_s) / DAY_S
    orders = bg_nbd(repeats, last_d, age_d)
    past = purchases.time_s < now_s
    place = np.searchsorted(known, purchases.customers[past])
    later = purchases.time_s[past] // DAY_S > stats.first_s[place] // DAY_S
    repeat_spend = np.bincount(place[later], purchases.amount[past][later], len(known))
    mean = repeat_spend / np.maximum(repeats, 1.0)
    spend = fit_spend(repeats, mean)
    assert spend is not None
    return orders, orders * expected_amount(spend, repeats, mean)


def bg_nbd(repeats: Floats, last_d: Floats, age_d: Floats) -> Floats:
    """Fit BG/NBD by maximum likelihood; return the expected purchases of the next 90 days, (customers,).

    Source: Fader, Hardie, Lee, "Counting your customers the easy way" (2005).
    """
    x, bought = repeats, repeats > 0

    def loss(logs: Floats) -> float:
        r, alpha, a, b = np.exp(logs)
        alpha *= 30.0
        stays = -(r + x) * np.log(alpha + age_d)
        left = np.log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + last_d)
        both = np.where(bought, np.logaddexp(stays, left), stays)
        value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b) + both
        return float(-value.mean() + 1e-4 * logs @ logs)

    r, alpha, a, b = np.exp(minimize(loss, np.zeros(4), method="L-BFGS-B").x)
    alpha *= 30.0
    ahead = VALUE_DAYS / (alpha + age_d + VALUE_DAYS)
    grown = hyp2f1(r + x, b + x, a + b + x - 1.0, ahead) * (1.0 - ahead) ** (r + x)
    gone = np.where(
        bought, a / (b + np.maximum(x, 1.0) - 1.0) * ((alpha + age_d) / (alpha + last_d)) ** (r + x), 0.0
    )
    expected: Floats = (a + b + x - 1.0) / (a - 1.0) * (1.0 - grown) / (1.0 + gone)
    return expected


def table(purchases: Purchases) -> str:
    """Replay a log and write the errors of each method as a small table."""
    pairs: dict[tuple[str, str], list[tuple[Floats, Floats]]] = {}
    for said, came in forecasts(purchases):
        for method, forecast in said.items():
            for what, guess, truth in zip(("orders", "spend"), forecast, came, strict=True):
                pairs.setdefault((what, method), []).append((guess, truth))
    lines = [f"{'90 days ahead':<30}{'rows':>8}{'RMSE':>9}{'MAE':>9}{'said/came':>11}{'correlation':>13}"]
    for (what, method), found in pairs.items():
        guess, truth = (np.concatenate(side) for side in zip(*found, strict=True))
        rmse = float(np.sqrt(np.mean((guess - truth) ** 2)))
        error = float(np.mean(np.abs(guess - truth)))
        share, correlation = guess.sum() / truth.sum(), np.corrcoef(guess, truth)[0, 1]
        figures = f"{len(guess):>8}{rmse:>9.4f}{error:>9.4f}{share:>11.3f}{correlation:>13.4f}"
        lines.append(f"{what + ', ' + method:<30}" + figures)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Replay CDNOW and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.features.churn.value_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--choose", action="store_true", help="use the customers that choices may be made on")
    log = load_cdnow()
    chosen = (log.customers % CHOICE_SHARE == 0) == parser.parse_args(arguments).choose
    sys.stdout.write(table(log.of(chosen)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
