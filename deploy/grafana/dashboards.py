"""The Grafana dashboards as code: `make docs` runs this file, which writes the JSON files beside it.

Import a JSON file in Grafana and choose the Prometheus that scrapes the workers. Every query is run
against the real Prometheus by `tests/monitoring/test_dashboards.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parent
RATE = "[$__rate_interval]"
_WIDTH, _HEIGHT = 12, 8  # of the 24 columns; in rows


@dataclass(frozen=True)
class Panel:
    """A chart.

    Args:
        title: what it shows.
        unit: Grafana's name of the unit.
        queries: PromQL by legend.
        says: what to read from it.
        needs: why it is empty on a worker that is new and well; empty when it is not.
    """

    title: str
    unit: str
    queries: dict[str, str] = field(hash=False)
    says: str = ""
    needs: str = ""


def _rate(metric: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{RATE}))"


def _quantiles(metric: str) -> dict[str, str]:
    return {
        f"p{share * 100:g}": f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{RATE})))"
        for share in (0.5, 0.9, 0.99)
    }


def _missed(metric: str, bound: str) -> str:
    late = f'sum(rate({metric}_bucket{{le="{bound}"}}{RATE}))'
    return f"1 - {late} / sum(rate({metric}_count{RATE}))"


_TRIAL = "a snapshot of the trainer: labels take 30 days to mature"

DASHBOARDS: dict[str, list[Panel]] = {
    "overview": [
        Panel("Events", "ops", {"{{family}}": _rate("engage_events_total", "family")}),
        Panel("Actions", "ops", {"{{channel}}": _rate("engage_actions_total", "channel")}),
        Panel(
            "Latency: cause in Kafka to action acknowledged",
            "s",
            _quantiles("engage_end_to_end_seconds"),
            "Objective: 99 % within 100 ms.",
        ),
        Panel(
            "Actions that missed the objective",
            "percentunit",
            {"over 100 ms": _missed("engage_end_to_end_seconds", "0.1")},
            "1 % is the allowance of a month.",
        ),
        Panel(
            "Freshness: event in Kafka to durable",
            "s",
            _quantiles("engage_freshness_seconds"),
            "Objective: 99.9 % within 2.5 s.",
        ),
        Panel(
            "Events that missed the objective",
            "percentunit",
            {"over 2.5 s": _missed("engage_freshness_seconds", "2.5")},
            "0.1 % is the allowance of a month.",
        ),
        Panel(
            "Loss: dead letters",
            "ops",
            {"{{reason}}": _rate("engage_dead_letters_total", "reason")},
            "Each is an event without effect.",
        ),
        Panel("Lag", "s", {"worst partition": "max(engage_lag_seconds)"}),
        Panel("Workers", "short", {"ready": "sum(engage_ready)", "there": "count(engage_ready)"}),
        Panel(
            "Customers by segment", "short", {"{{segment}}": "sum by (segment) (engage_segment_customers)"}
        ),
    ],
    "pipeline": [
        Panel(
            "Time of a batch by stage, p99",
            "s",
            {
                "{{stage}}": "histogram_quantile(0.99,"
                f" sum by (le, stage) (rate(engage_stage_seconds_bucket{RATE})))"
            },
            "load and commit are Redis, produce is Kafka, the others the worker itself.",
        ),
        Panel(
            "Seconds spent a second, by stage",
            "s",
            {"{{stage}}": 'sum by (stage) (rate(engage_stage_seconds_sum{stage!="total"}' + f"{RATE}))"},
            "Near the number of workers: saturated.",
        ),
        Panel("Received to committed, an event", "s", _quantiles("engage_event_seconds")),
        Panel("Received to acknowledged, an action", "s", _quantiles("engage_action_seconds")),
        Panel("Records in a batch", "short", _quantiles("engage_batch_records")),
        Panel("Batches", "ops", {"{{instance}}": _rate("engage_batches_total", "instance")}),
        Panel("Repeats dropped", "ops", {"repeats": _rate("engage_duplicates_total")}),
        Panel("Batches that failed", "ops", {"failed": _rate("engage_handler_errors_total")}),
        Panel("Processor, cores", "short", {"{{instance}}": _rate("process_cpu_seconds_total", "instance")}),
        Panel("Memory", "bytes", {"{{instance}}": "sum by (instance) (process_resident_memory_bytes)"}),
    ],
    "kafka": [
        Panel("Lag by partition", "short", {"{{partition}}": "sum by (partition) (engage_lag_records)"}),
        Panel("Lag by partition, time", "s", {"{{partition}}": "max by (partition) (engage_lag_seconds)"}),
        Panel(
            "Partitions owned",
            "short",
            {
                "{{instance}}": "sum by (instance) (engage_partitions)",
                "there are": "max(engage_event_partitions)",
            },
        ),
        Panel("Rebalances", "ops", {"{{instance}}": _rate("engage_rebalances_total", "instance")}),
        Panel("Behind without progress", "s", {"{{instance}}": "max by (instance) (engage_stalled_seconds)"}),
        Panel(
            "Records Kafka refused", "ops", {"{{instance}}": _rate("engage_produce_errors_total", "instance")}
        ),
        Panel(
            "Steps tried again",
            "ops",
            {"{{step}}": _rate("engage_retries_total", "step")},
            "produce is Kafka, decode the schema registry, the others Redis.",
            "a server that does not answer",
        ),
        Panel("Fenced", "ops", {"{{instance}}": _rate("engage_fenced_total", "instance")}),
    ],
    "redis": [
        Panel("Round trip", "s", _quantiles("engage_redis_ping_seconds")),
        Panel(
            "Read and write of a step, p99",
            "s",
            {
                "{{stage}}": "histogram_quantile(0.99, sum by (le, stage)"
                f' (rate(engage_stage_seconds_bucket{{stage=~"load|commit"}}{RATE})))'
            },
        ),
        Panel(
            "Memory",
            "bytes",
            {"used": "max(engage_redis_memory_bytes)", "bound": "max(engage_redis_max_memory_bytes)"},
            "A bound of 0 is none.",
        ),
        Panel(
            "Bytes a customer", "bytes", {"bytes": "max(engage_redis_memory_bytes) / sum(engage_customers)"}
        ),
        Panel("Writes to disk", "bool", {"persistent": "min(engage_redis_persistent)"}),
        Panel("Keys thrown away", "short", {"evicted": "max(engage_redis_evicted_keys)"}, "Must be 0."),
        Panel("Restored from an older moment", "ops", {"partitions": _rate("engage_rolled_back_total")}),
        Panel(
            "States found in memory",
            "percentunit",
            {
                "share": f"sum(rate(engage_cache_hits_total{RATE}))"
                f" / sum(rate(engage_cache_hits_total{RATE}) + rate(engage_cache_misses_total{RATE}))"
            },
        ),
    ],
    "journeys": [
        Panel(
            "Actions by journey",
            "ops",
            {"{{journey}}": f"topk(20, {_rate('engage_actions_total', 'journey')})"},
            "The twenty that send most.",
        ),
        Panel("Decisions", "ops", {"{{outcome}}": _rate("engage_decisions_total", "outcome")}),
        Panel(
            "Suppressed, by guard",
            "ops",
            {"{{guard}}": _rate("engage_suppressed_total", "guard")},
            needs="a trigger that a guard refused",
        ),
        Panel(
            "Deferred, by guard",
            "ops",
            {"{{guard}}": _rate("engage_deferred_total", "guard")},
            needs="a message in quiet hours",
        ),
        Panel("Timers worked on", "ops", {"timers": _rate("engage_timers_total")}),
        Panel(
            "Timers late",
            "s",
            {
                "{{instance}}": "max by (instance) (engage_timers_late_seconds)",
                "{{instance}}, before it is read": "max by (instance) (engage_deadlines_held_seconds)",
            },
        ),
        Panel("Timers in memory", "short", {"{{instance}}": "sum by (instance) (engage_timers_loaded)"}),
        Panel("Journeys", "short", {"active": "max(engage_journeys)"}),
        Panel("Rules version", "short", {"{{instance}}": "max by (instance) (engage_rules_version)"}),
        Panel("Inquiries: opened to answered", "s", _quantiles("engage_inquiry_answer_seconds")),
    ],
    "churn": [
        Panel(
            "Share of customers at risk",
            "percentunit",
            {
                "churn risk": 'sum(engage_segment_customers{segment="churn_risk"})'
                " / sum(engage_segment_customers)"
            },
            needs="a customer who has not ordered for 90 days",
        ),
        Panel("Version", "short", {"{{which}}": "max by (which) (engage_model_version)"}),
        Panel(
            "Age of the live model",
            "s",
            {"age": "max(engage_clock_timestamp_seconds) - max(engage_model_cutoff_timestamp_seconds)"},
            "Before labels have matured: of the prior that ships with the engine.",
        ),
        Panel("Labels learned", "short", {"{{label}}": "max by (label) (engage_model_labels)"}),
        Panel("Rows for the trainer", "ops", {"rows": _rate("engage_training_rows_total")}),
        Panel(
            "Log-loss",
            "short",
            {
                "model": 'max(engage_model_log_loss{rows="all"})',
                "base rate": 'max(engage_model_base_log_loss{rows="all"})',
                "MBG/NBD": 'max(engage_model_mbg_log_loss{rows="all"})',
                "90-day rule": "max(engage_model_rule_log_loss)",
            },
            "Above the base rate it is worse than nothing.",
            _TRIAL,
        ),
        Panel("AUC", "short", {"{{rows}}": "max by (rows) (engage_model_auc_ratio)"}, needs=_TRIAL),
        Panel(
            "Calibration error",
            "percentunit",
            {"{{rows}}": "max by (rows) (engage_model_calibration_error_ratio)"},
            needs=_TRIAL,
        ),
        Panel("Drift", "percentunit", {"drift": "max(engage_model_drift_ratio)"}, needs=_TRIAL),
        Panel(
            "Rows that wait", "short", {"{{queue}}": "max by (queue) (engage_model_queue_rows)"}, needs=_TRIAL
        ),
    ],
}


def text(name: str) -> str:
    """Return a dashboard as its JSON file holds it.

    Args:
        name: of `DASHBOARDS`.
    """
    source = DataSourceRef(type_val="prometheus", uid="${datasource}")
    board = (
        dashboard.Dashboard(f"Engage: {name}")
        .uid(f"engage-{name}")
        .tags(["engage"])
        .refresh("15s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Prometheus"))
    )
    for number, each in enumerate(DASHBOARDS[name]):
        panel = (
            timeseries.Panel()
            .id(number + 1)
            .title(each.title)
            .description(each.says + (f" Empty without {each.needs}." if each.needs else ""))
            .unit(each.unit)
            .datasource(source)
            .span(_WIDTH)
            .height(_HEIGHT)
            .legend(common.VizLegendOptions().show_legend(True))
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        )
        for letter, (legend, query) in zip("ABCDEF", each.queries.items(), strict=False):
            panel.with_target(prometheus.Dataquery().ref_id(letter).expr(query).legend_format(legend))
        board.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> None:
    """Write the files."""
    for name in DASHBOARDS:
        (FOLDER / f"engage-{name}.json").write_text(text(name), "utf-8")


if __name__ == "__main__":
    main()
