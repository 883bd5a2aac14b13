"""The features by their definition, entry by entry: slow, plain, and what the vectors are compared with."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass, field

from engine.events import EVENT_TYPES, PURPOSES, Family
from engine.features.catalog import NEVER_DAYS
from engine.features.windows import WINDOWS

CLICKS = {kind.code for kind in EVENT_TYPES.values() if kind.family is Family.CLICK}
ORDER, NPS, CSAT = 8, 38, 39


@dataclass
class Log:
    """One customer's history: (kind, time_s, value) in order of arrival."""

    zone: str = "UTC"
    signup_ms: int = 0
    first_seen_ms: int = 0
    consents: set[str] = field(default_factory=set)
    entries: list[tuple[int, int, float]] = field(default_factory=list)


def local(time_s: int, zone: str) -> dt.datetime:
    """Return the wall clock of an instant."""
    return dt.datetime.fromtimestamp(time_s, zoneinfo.ZoneInfo(zone))


def days_ago(now_s: int, then_s: int) -> float:
    """Return fractional days, NEVER_DAYS for 0."""
    return max(now_s - then_s, 0) / 86_400 if then_s else NEVER_DAYS


def features(log: Log, now_s: int) -> dict[str, float]:
    """Return every built-in feature of a history that isn't folded."""
    out: dict[str, float] = {}
    stems = [({kind.code}, kind.stem, kind.singular) for kind in EVENT_TYPES.values() if kind.code != 28]
    stems.append((CLICKS, "visits", "visit"))
    windows = {name: (length or 10**10) for name, length in WINDOWS.items()}

    def within(kinds: set[int], window: str) -> list[tuple[int, int, float]]:
        return [entry for entry in log.entries if entry[0] in kinds and now_s - entry[1] < windows[window]]

    for kinds, stem, singular in stems:
        for window in windows:
            inside = within(kinds, window)
            out[f"{stem}_{window}"] = len(inside)
            out[f"{stem}_days_{window}"] = len({local(time_s, log.zone).date() for _, time_s, _ in inside})
        times = [time_s for kind, time_s, _ in log.entries if kind in kinds]
        if singular != "signup":
            out[f"days_since_{singular}"] = days_ago(now_s, max(times, default=0))
    for window in windows:
        for kind, stem in ((ORDER, "spend"), (9, "cancelled_amount"), (10, "refunded_amount")):
            out[f"{stem}_{window}"] = sum(value for _, _, value in within({kind}, window))
        for kind, stem in ((ORDER, "order_value_mean"), (NPS, "nps_mean"), (CSAT, "csat_mean")):
            inside = within({kind}, window)
            out[f"{stem}_{window}"] = sum(value for _, _, value in inside) / max(len(inside), 1)
    orders(log, now_s, out)
    others(log, now_s, out)
    return out


def orders(log: Log, now_s: int, out: dict[str, float]) -> None:
    """Add what is about orders: months, gaps, RFM."""
    placed = [(time_s, value) for kind, time_s, value in log.entries if kind == ORDER]
    times = [time_s for time_s, _ in placed]
    out["days_since_first_order"] = days_ago(now_s, min(times, default=0))
    gaps = len(times) - 1
    out["order_gap_mean_days"] = (max(times) - min(times)) / 86_400 / gaps if gaps > 0 else 0.0
    now = local(now_s, log.zone)
    for back in range(4):
        month = now.year * 12 + now.month - back
        inside = [
            value
            for time_s, value in placed
            if max(
                0,
                now.year * 12
                + now.month
                - (local(time_s, log.zone).year * 12 + local(time_s, log.zone).month),
            )
            == now.year * 12 + now.month - month
        ]
        out[f"orders_month_{back}"] = len(inside)
        out[f"spend_month_{back}"] = sum(inside)
    out["rfm_recency"] = 5 - sum(out["days_since_order"] > bound for bound in (30, 60, 90, 180))
    out["rfm_frequency"] = 1 + sum(out["orders_365d"] >= bound for bound in (2, 3, 5, 10))
    out["rfm_monetary"] = 1 + sum(out["spend_365d"] >= bound for bound in (500, 2000, 5000, 10000))


def others(log: Log, now_s: int, out: dict[str, float]) -> None:
    """Add habit, last scores and what comes from the profile."""
    for window, length in (("30d", 30), ("90d", 90)):
        habit = out[f"visits_{window}"] / length
        out[f"activity_ratio_7d_{window}"] = out["visits_7d"] / 7 / habit if habit else 1.0
    for kind, name in ((NPS, "nps_last"), (CSAT, "csat_last")):
        answers = sorted(
            (time_s, at, value) for at, (other, time_s, value) in enumerate(log.entries) if other == kind
        )
        out[name] = answers[-1][2] if answers else -1.0
    out["days_since_signup"] = days_ago(now_s, log.signup_ms // 1000)
    out["days_since_first_seen"] = days_ago(now_s, log.first_seen_ms // 1000)
    for purpose in PURPOSES:
        out[f"consent_{purpose}"] = purpose in log.consents
    out.update(open_inquiries=0.0, inquiry_waiting_minutes=0.0, churn_risk=0.0, segment=0.0)
    out.update(expected_orders_90d=0.0, expected_spend_90d=0.0)  # the churn model's, like the risk
