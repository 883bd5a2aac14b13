"""The table of settings: each with its unit, range, meaning and default.

The table is the structs below: a field is a setting, `about()` says its unit, range and meaning, its default
is the default. `engine.config.load_settings` fills it from flags, environment and file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from engine.actions import AGENT
from engine.link_settings import NAME, NAME_FORM, KafkaSettings, RedisSettings, Section
from engine.setting import Setting, about, setting_rows

CHANNELS = ("email", "sms", "push", "in_app", "wechat", AGENT)


class TopicSettings(Section, frozen=True, kw_only=True):
    """Topic names and shape. The five event topics must have equal partition counts."""

    click: Annotated[str, about("Click events.", pattern=NAME, form=NAME_FORM)] = "engage.clicks"
    order: Annotated[str, about("Order events.", pattern=NAME, form=NAME_FORM)] = "engage.orders"
    service: Annotated[str, about("Service events.", pattern=NAME, form=NAME_FORM)] = "engage.service"
    profile: Annotated[str, about("Profile events.", pattern=NAME, form=NAME_FORM)] = "engage.profile"
    engagement: Annotated[str, about("Engagement events.", pattern=NAME, form=NAME_FORM)] = (
        "engage.engagement"
    )
    actions_prefix: Annotated[
        str,
        about("Actions for a channel go to this plus the channel's name.", pattern=NAME, form=NAME_FORM),
    ] = "engage.actions."
    decisions: Annotated[str, about("Decisions with reasons.", pattern=NAME, form=NAME_FORM)] = (
        "engage.decisions"
    )
    segments: Annotated[
        str, about("Customers entering and leaving segments.", pattern=NAME, form=NAME_FORM)
    ] = "engage.segments"
    dlq: Annotated[str, about("Dead letters.", pattern=NAME, form=NAME_FORM)] = "engage.dlq"
    training: Annotated[str, about("Training rows of the churn model.", pattern=NAME, form=NAME_FORM)] = (
        "engage.training"
    )
    models: Annotated[str, about("Model snapshots, compacted.", pattern=NAME, form=NAME_FORM)] = (
        "engage.models"
    )
    rules: Annotated[str, about("Published rules, compacted.", pattern=NAME, form=NAME_FORM)] = "engage.rules"
    partitions: Annotated[
        int,
        about(
            "Partitions of each topic `topics create` makes; also the upper bound of workers.",
            low=1,
            high=1024,
        ),
    ] = 8
    replication: Annotated[int, about("Copies of each partition.", unit="brokers", low=1, high=16)] = 1


class BatchSettings(Section, frozen=True, kw_only=True):
    """How much is worked on at once."""

    max_records: Annotated[
        int, about("Records of one batch at most.", unit="records", low=1, high=100_000)
    ] = 1000
    fetch_wait_ms: Annotated[
        int, about("How long a broker may wait to fill a fetch.", unit="ms", low=1, high=500)
    ] = 2
    fetch_min_bytes: Annotated[
        int,
        about("A broker answers a fetch at once when it has this much.", unit="bytes", low=1, high=1_000_000),
    ] = 16_384
    max_held_records: Annotated[
        int,
        about(
            "Replay clock: records held back per partition for the merge by event time.",
            unit="records",
            low=1000,
            high=10_000_000,
        ),
    ] = 200_000


class CacheSettings(Section, frozen=True, kw_only=True):
    """Customer states kept in the worker."""

    customers: Annotated[
        int, about("Customer states a worker keeps in memory.", unit="customers", low=0, high=50_000_000)
    ] = 200_000


class IdSettings(Section, frozen=True, kw_only=True):
    """Duplicate detection."""

    remembered: Annotated[
        int,
        about("Event ids remembered per partition, at least this many.", unit="ids", low=0, high=10_000_000),
    ] = 50_000


class TimerSettings(Section, frozen=True, kw_only=True):
    """Due instants: waits, deadlines, absences, weekly scores."""

    horizon_s: Annotated[
        int, about("Timers due within this time are kept in memory.", unit="s", low=5, high=86_400)
    ] = 60
    max_loaded: Annotated[
        int, about("Timers a partition keeps in memory at most.", unit="timers", low=100, high=10_000_000)
    ] = 100_000


class RuleSettings(Section, frozen=True, kw_only=True):
    """Where the journeys are."""

    source: Annotated[
        Literal["files", "topic"],
        about(
            "Where workers take the journeys from: `files` at their start; `topic`: what was published last,"
            " switched to while running. While nothing is published the files count."
        ),
    ] = "files"
    approvals: Annotated[
        int,
        about("How many others must approve a publication before it is live.", low=0, high=1),
    ] = 0
    author: Annotated[
        str,
        about(
            "Who publishes; empty takes the name of the operating system's user.",
            pattern=r"^[^\x00-\x1f]{0,100}$",
            form="0 to 100 characters",
        ),
    ] = ""

    paths: Annotated[
        list[str], about("Journey files or folders; empty means the shipped journeys.", form="paths")
    ] = msgspec.field(default_factory=list)


class SegmentSettings(Section, frozen=True, kw_only=True):
    """Where the segments are."""

    path: Annotated[str, about("Segment file; empty means the shipped segments.", form="a path")] = ""


class TemplateSettings(Section, frozen=True, kw_only=True):
    """Where the templates are."""

    path: Annotated[
        str,
        about(
            "Template file or folder that `send` steps are checked against; empty means the shipped templates"
            " with the shipped journeys, and no check with journeys of your own.",
            form="a path",
        ),
    ] = ""


class PolicySettings(Section, frozen=True, kw_only=True):
    """Where the contact policy is."""

    path: Annotated[
        str,
        about(
            "Contact policy file; empty means the shipped policy, as far as its segments exist.",
            form="a path",
        ),
    ] = ""


class DecisionSettings(Section, frozen=True, kw_only=True):
    """What is written to the decision topic."""

    not_matched_sample: Annotated[
        float,
        about("Share of the triggers that did not match which is recorded.", unit="share", low=0, high=1),
    ] = 0.001


class HttpSettings(Section, frozen=True, kw_only=True):
    """The worker's own HTTP server: metrics and health."""

    host: Annotated[str, about("Address to listen on.", pattern=r"^\S+$", form="a host name or address")] = (
        "127.0.0.1"
    )
    port: Annotated[int, about("Port to listen on; 0 takes a free one.", low=0, high=65_535)] = 6066


class WatchdogSettings(Section, frozen=True, kw_only=True):
    """When a worker gives up, so that it is started anew."""

    no_progress_s: Annotated[
        int,
        about(
            "The process ends when there is lag and nothing was committed for this long; 0 never.",
            unit="s",
            low=0,
            high=86_400,
        ),
    ] = 120
    redis_s: Annotated[
        int,
        about(
            "The process ends, for others to have its partitions, when Redis has not answered for this long; "
            "started anew, it waits for Redis before it joins. 0 never.",
            unit="s",
            low=0,
            high=86_400,
        ),
    ] = 300
    rebalancing_s: Annotated[
        int, about("A rebalance that takes longer counts as ill.", unit="s", low=5, high=3600)
    ] = 60


class LogSettings(Section, frozen=True, kw_only=True):
    """Logs."""

    level: Annotated[Literal["debug", "info", "warning", "error"], about("Least severity logged.")] = "info"
    format: Annotated[Literal["console", "json"], about("Lines for people or for machines.")] = "console"
    customer_ids: Annotated[
        Literal["pseudonym", "plain"],
        about("How customers are named; `engage customer pseudonym ID` tells whom a line is about."),
    ] = "pseudonym"
    pseudonym_key: Annotated[
        str,
        about(
            "Key of the pseudonyms; without one, whoever has a list of ids can tell whose each is.",
            form="a password",
            secret=True,
        ),
    ] = ""
    lines_per_message: Annotated[
        int,
        about("Lines a minute of the same message; more are held back and counted.", low=1, high=100_000),
    ] = 60


class TracingSettings(Section, frozen=True, kw_only=True):
    """Traces by OpenTelemetry."""

    endpoint: Annotated[
        str,
        about(
            "Where spans of sampled events go, by OTLP over HTTP; empty means no traces.",
            pattern=r"^(|https?://.+)$",
            form="http(s)://host:4318/v1/traces",
        ),
    ] = ""


class SchemaRegistrySettings(Section, frozen=True, kw_only=True):
    """The schema registry, needed only for Avro in the registry's wire format."""

    url: Annotated[
        str,
        about(
            "Base address; empty means none.",
            pattern=r"^(|https?://.+|mock://.*)$",
            form="http(s)://host:port",
        ),
    ] = ""
    user: Annotated[str, about("User of basic authentication.", form="a name")] = ""
    password: Annotated[str, about("Its password.", form="a password", secret=True)] = ""


class WorkerSettings(Section, frozen=True, kw_only=True):
    """The process itself."""

    id: Annotated[
        str,
        about(
            "Name in logs, metrics and the consumer group; empty makes one of host and process id.",
            pattern=r"^[A-Za-z0-9._-]{0,100}$",
            form="0 to 100 letters, digits, . - _",
        ),
    ] = ""


class ChurnSettings(Section, frozen=True, kw_only=True):
    """The churn model."""

    horizon_days: Annotated[
        int,
        about(
            "Churn risk is the chance of no purchase within this time.",
            unit="days",
            low=30,
            high=360,
            multiple_of=30,
        ),
    ] = 90
    follow: Annotated[
        Literal["auto", "yes", "no"],
        about(
            "Whether workers switch to newer snapshots while running; `auto` follows on the live clock only,"
            " since on the replay clock the outcome is a function of the log."
        ),
    ] = "auto"
    score_every_days: Annotated[
        int,
        about(
            "How often a customer who does nothing is scored and becomes a training row.",
            unit="days",
            low=1,
            high=90,
        ),
    ] = 7
    max_loss_increase: Annotated[
        float,
        about(
            "A new snapshot goes live by itself only if its log-loss on the labels of the last 30 days is at"
            " most this much above that of the live one.",
            unit="nats",
            low=0,
            high=1,
        ),
    ] = 0.005
    keep_snapshots: Annotated[
        int,
        about(
            "The trainer's last snapshots that are kept on the model topic, to promote or to roll back to.",
            low=2,
            high=1000,
        ),
    ] = 20
    publish_every_s: Annotated[
        int, about("The trainer publishes a snapshot at most this often.", unit="s", low=1, high=86_400)
    ] = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked.

    Args:
        origins: for each setting that is not at its default, where its value came from.
    """

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    channels: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,40}$")]],
        about("Channels with an action topic each.", form="names of 1 to 40 of a-z 0-9 _ -"),
    ] = msgspec.field(default_factory=lambda: list(CHANNELS))
    redis: RedisSettings = RedisSettings()
    clock: Annotated[
        Literal["live", "replay"],
        about("`live` is the wall clock; `replay` is event time: the outcome is a function of the log."),
    ] = "live"
    batch: BatchSettings = BatchSettings()
    cache: CacheSettings = CacheSettings()
    ids: IdSettings = IdSettings()
    timers: TimerSettings = TimerSettings()
    rules: RuleSettings = RuleSettings()
    segments: SegmentSettings = SegmentSettings()
    templates: TemplateSettings = TemplateSettings()
    policy: PolicySettings = PolicySettings()
    default_time_zone: Annotated[
        str, about("Zone of customers whose zone is unknown.", form="an IANA zone")
    ] = "UTC"
    global_cap: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,3} per [1-9]\d{0,4}[smhd]$")]],
        about(
            "Contacts per customer over all journeys; empty means no cap.",
            form='a list of N per DURATION, as in ["4 per 7d"]',
        ),
    ] = msgspec.field(default_factory=lambda: ["2 per 1d", "5 per 7d"])
    control_group: Annotated[
        str,
        about(
            "Share of all customers who get nothing but transactional messages, to compare with.",
            pattern=r"^(100|\d{1,2})(\.\d{1,2})?%$",
            form="a percentage, as in 2%",
        ),
    ] = "0%"
    rate_limits: Annotated[
        dict[
            Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,40}$")],
            Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,5} per [1-9]\d{0,4}[smhd]$")],
        ],
        about(
            "Messages per channel over all customers and workers; a channel without one has no limit.",
            form="CHANNEL = N per DURATION of 1m to 31d, as in email = 600 per 1m",
        ),
    ] = msgspec.field(default_factory=dict)
    decisions: DecisionSettings = DecisionSettings()
    churn: ChurnSettings = ChurnSettings()
    http: HttpSettings = HttpSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    worker: WorkerSettings = WorkerSettings()
    origins: dict[str, str] = {}

    def value(self, name: str) -> Any:
        """Return the value of a setting by its dotted name."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def with_origin(self) -> Iterator[tuple[Setting, Any, str]]:
        """Yield every setting with its value and where that came from, in table order."""
        for setting in SETTINGS:
            yield setting, self.value(setting.name), self.origins.get(setting.name, "default")

    def event_topics(self) -> dict[str, str]:
        """Return the event topic of each family, by family name."""
        topics = self.topics
        return {
            "click": topics.click,
            "order": topics.order,
            "service": topics.service,
            "profile": topics.profile,
            "engagement": topics.engagement,
        }

    def action_topics(self) -> dict[str, str]:
        """Return the action topic of each channel."""
        return {channel: self.topics.actions_prefix + channel for channel in self.channels}


SETTINGS: tuple[Setting, ...] = tuple(setting_rows(Settings))
