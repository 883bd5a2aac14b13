"""A moment of a demo, recorded: what the tests of the screen draw."""

from __future__ import annotations

from engine.actions import Action, Decision, Outcome, Reason
from engine.demo.cdnow import START_MS
from engine.demo.feed import Progress
from engine.demo.view import Latency, Phase, Status, View
from engine.features.churn.evaluation import Quality
from engine.features.churn.hazard import FEATURE_COUNT
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.snapshot import HazardParameters, Snapshot

ACTIONS = {
    ("welcome", "email"): 41_233,
    ("win-back", "email"): 4_120,
    ("win-back", "agent"): 1_312,
    ("churn-early-warning", "email"): 2_955,
    ("churn-early-warning", "agent"): 31,
    ("first-order-thanks", "email"): 1_850,
    ("high-value-care", "agent"): 570,
    ("high-value-care", "email"): 519,
    ("churn-activity-drop", "email"): 532,
    ("abandoned-cart", "push"): 473,
    ("abandoned-cart", "email"): 257,
    ("inquiry-escalation", "agent"): 235,
    ("detractor-follow-up", "agent"): 171,
    ("detractor-follow-up", "email"): 171,
    ("tier-up", "email"): 115,
    ("high-value-birthday", "email"): 61,
    ("high-value-anniversary", "email"): 12,
}
DECISIONS = {
    ("welcome", "suppressed", "consent"): 3_000,
    ("win-back", "suppressed", "consent"): 122,
    ("win-back", "suppressed", "cap"): 811,
    ("tier-up", "suppressed", "policy"): 390,
    ("churn-early-warning", "suppressed", "exclusion_group"): 46,
    ("tier-up", "suppressed", "global_cap"): 12,
    ("welcome", "suppressed", "suppression"): 92,
    ("welcome", "deferred", "quiet_hours"): 2_210,
    ("win-back", "held_out", "holdout"): 502,
    ("churn-early-warning", "held_out", "holdout"): 318,
    ("tier-up", "held_out", "holdout"): 11,
    ("win-back", "entered", ""): 4_511,
    ("churn-early-warning", "entered", ""): 2_986,
    ("tier-up", "entered", ""): 115,
    ("welcome", "entered", ""): 41_233,
    ("win-back", "converted", "treated"): 171,
    ("win-back", "converted", "holdout"): 20,
    ("churn-early-warning", "converted", "treated"): 744,
    ("churn-early-warning", "converted", "holdout"): 77,
    ("tier-up", "converted", "treated"): 50,
    ("welcome", "fired", ""): 41_233,
}
NOW_MS = START_MS + 200 * 86_400_000 + 45_000_000


def action(customer: str, journey: str, reason: str, *, channel: str = "email") -> Action:
    """Return an action of a journey with a reason."""
    return Action(
        id=f"a-{customer}-{journey}",
        customer_id=customer,
        journey=journey,
        version=1,
        step="steps[0]",
        channel=channel,
        template=f"{journey}-first",
        data={},
        priority="normal",
        transactional=False,
        reason=Reason(text=reason),
        event_id="e1",
        event_type="customer.signed_up",
        event_time=NOW_MS,
        time=NOW_MS,
        expires_at=NOW_MS + 1,
    )


def decision(customer: str, journey: str, outcome: Outcome, guard: str, reason: str) -> Decision:
    """Return a decision of a guard."""
    return Decision(
        id=f"d-{customer}",
        customer_id=customer,
        journey=journey,
        version=1,
        step="steps[0]",
        outcome=outcome,
        reason=Reason(text=reason, guard=guard),
        event_id="e1",
        event_type="customer.signed_up",
        time=NOW_MS,
    )


def snapshot() -> Snapshot:
    """Return a model snapshot with figures."""
    ones = (1.0,) * FEATURE_COUNT
    return Snapshot(
        version=14,
        cut_off_s=NOW_MS // 1000,
        horizon_days=90,
        hazard=HazardParameters(weights=ones, intercept=0.0, means=ones, variances=ones, rows=1),
        mbg=MbgParameters(1.0, 1.0, 1.0, 1.0),
        prior=None,
        prior_share=0.0,
        mbg_share=0.5,
        labels_came_back=41_210,
        labels_gone=88_145,
        engine_version="0",
        river_version="0",
        validation={
            "all": Quality(
                rows=129_355, auc=0.7911, log_loss=0.3774, base_log_loss=0.4723, mbg_log_loss=0.3801
            )
        },
    )


def running_view() -> View:
    """Return the middle of a demo."""
    return View(
        phase=Phase.RUNNING,
        elapsed_s=31.4,
        status=Status(
            clock_ms=NOW_MS,
            ready=True,
            events_total=243_511,
            events_per_s=6_812.4,
            latency_ms=Latency(p50=4.21, p99=12.78),
            customers=24_881,
            segments={"high_value": 3, "potential": 12, "new": 31, "regular": 9_120, "churn_risk": 14_402},
            timers=601_233,
            lag=418,
        ),
        feed=Progress(sent=244_001, total=381_869, records=250_001, time_ms=NOW_MS),
        actions=ACTIONS,
        decisions=DECISIONS,
        shown=(
            action("00042", "win-back", "no order for 90 days and churn risk 0.71 >= 0.60"),
            action("00913", "inquiry-escalation", "an inquiry had no reply for 5 minutes", channel="agent"),
            action("23601", "welcome", "signed up"),
        ),
        kept_back=(
            decision(
                "00777", "welcome", Outcome.DEFERRED, "quiet_hours", "22:40 is within quiet hours 22:00-09:00"
            ),
            decision("01234", "win-back", Outcome.SUPPRESSED, "consent", "no consent to marketing"),
        ),
        first_action_s=4.6,
        model=snapshot(),
    )
