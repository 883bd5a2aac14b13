"""OpenTelemetry traces of sampled events: from Kafka's headers through the stages to the actions.

Who sends an event decides: one whose W3C `traceparent` header has the sampled flag is traced, and the
actions it causes carry the context on. An event becomes a span from poll to commit, with a child for each
stage of its step; an action becomes a span of its own. No span has a customer, an event's id or its fields.

Imported only where `tracing.endpoint` is set; `pip install 'engage[otel]'`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from confluent_kafka import Message
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.pipeline.core import Outcome
from engine.settings import Settings
from engine.streams.producer import OutRecord
from engine.streams.steps.intake import Step

# Events beyond these get no span; their context is passed on as it came.
MAX_TRACES_PER_S = 20
MAX_QUEUED_SPANS = 2048
EXPORT_TIMEOUT_S = 2.0
_HEADERS = frozenset({"traceparent", "tracestate"})
_FLAG = slice(54, 55)  # of `00-TRACE-SPAN-FLAGS`, in hexadecimal
_ODD = frozenset(b"%x" % digit for digit in range(1, 16, 2))
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class Trace:
    """The spans of a step that end when it is durable.

    Args:
        events: of its events, with their partitions.
        actions: of its actions.
        zero_ns: the wall clock less `time.perf_counter_ns()`.
    """

    events: list[tuple[int, Span]]
    actions: list[Span]
    zero_ns: int
    tracing: Tracing = field(repr=False)

    def durable(self, began_ns: int, produced_ns: int, refused: frozenset[int]) -> None:
        """End the spans.

        Args:
            began_ns: when producing began, by `time.perf_counter_ns()`.
            produced_ns: when Kafka had acknowledged everything.
            refused: partitions whose write the store refused, for another worker has them.
        """
        now_ns = time.perf_counter_ns()
        for span in self.actions:
            span.end(self.zero_ns + produced_ns)
        stages = {"produce": (began_ns, produced_ns), "commit": (produced_ns, now_ns)}
        for number, span in self.events:
            self.tracing.stages(span, stages, self.zero_ns)
            if number in refused:
                span.set_status(Status(StatusCode.ERROR, "the partition is another worker's"))
            span.end(self.zero_ns + now_ns)


class Tracing:
    """Makes spans of steps.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("engage", version("engage"))
        self._second, self._left = 0, 0

    def begin(
        self,
        step: Step,
        outcome: Outcome,
        actions: list[OutRecord],
        stages: Mapping[str, tuple[int, int]],
        received_ns: int,
    ) -> Trace | None:
        """Begin the spans of a step's sampled events; hand their context to the actions they caused.

        Args:
            step: what was worked on.
            outcome: what came of it.
            actions: as they will be sent, one for each of the outcome's; gets their headers.
            stages: begin and end of what was done already, by `time.perf_counter_ns()`.
            received_ns: when the step's batch was polled, alike.

        Returns:
            What is to be ended; None when no event is sampled.
        """
        trace = Trace([], [], time.time_ns() - time.perf_counter_ns(), self)
        parents: dict[str, Context] = {}
        for row in step.events:
            if (context := sampled(row.origin)) is not None:
                kind = {"engage.event.type": row.event.type}
                parents[row.event.id] = self._event(trace, row.origin, context, received_ns, kind)
        for letter in step.dead:
            if (context := sampled(letter.record)) is not None:
                kind = {"engage.dead_letter.reason": letter.reason}
                self._event(trace, letter.record, context, received_ns, kind)
        if not parents and not trace.events:
            return None
        for _, span in trace.events:
            self.stages(span, stages, trace.zero_ns)
        for number, action in enumerate(outcome.actions):
            if (context := parents.get(action.event_id)) is not None:
                names = {"engage.journey": action.journey, "engage.step": action.step}
                actions[number] = self._action(trace, actions[number], context, names)
        return trace

    def stages(self, span: Span, stages: Mapping[str, tuple[int, int]], zero_ns: int) -> None:
        """Make a span's children of stages that are over.

        Args:
            span: of an event.
            stages: begin and end of each, by `time.perf_counter_ns()`.
            zero_ns: the wall clock less that.
        """
        context = set_span_in_context(span)
        for name, (began_ns, ended_ns) in stages.items():
            self._tracer.start_span(name, context, start_time=zero_ns + began_ns).end(zero_ns + ended_ns)

    async def aclose(self) -> None:
        """Send what is waiting; a collector that does not answer costs at most a few seconds."""
        await asyncio.to_thread(self._provider.shutdown)

    def _event(
        self, trace: Trace, record: Message, parent: Context, received_ns: int, more: dict[str, str]
    ) -> Context:
        """Begin the span of an event if there is room; return the context its actions go on with."""
        if not self._room():
            return parent
        attributes: dict[str, Any] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic(),
            "messaging.destination.partition.id": str(record.partition()),
            "messaging.kafka.offset": record.offset(),
        }
        span = self._tracer.start_span(
            f"process {record.topic()}",
            parent,
            SpanKind.CONSUMER,
            attributes | more,
            start_time=trace.zero_ns + received_ns,
        )
        if "engage.dead_letter.reason" in more:
            span.set_status(Status(StatusCode.ERROR, more["engage.dead_letter.reason"]))
        trace.events.append((record.partition() or 0, span))
        return set_span_in_context(span)

    def _action(self, trace: Trace, record: OutRecord, parent: Context, names: dict[str, str]) -> OutRecord:
        """Begin the span of an action, unless its event has none, and give the record its context."""
        topic, key, value, headers = record
        context = parent
        if not get_current_span(parent).get_span_context().is_remote:
            attributes = {"messaging.system": "kafka", "messaging.destination.name": topic} | names
            span = self._tracer.start_span(f"send {topic}", parent, SpanKind.PRODUCER, attributes)
            trace.actions.append(span)
            context = set_span_in_context(span)
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, context)
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        return topic, key, value, [*pairs, *((name, text.encode()) for name, text in carrier.items())]

    def _room(self) -> bool:
        """Take one of this second's traces, if there is one left."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, MAX_TRACES_PER_S
        self._left -= 1
        return self._left >= 0


def sampled(record: Message) -> Context | None:
    """Return the context of a record that its sender sampled, else None; unreadable is not sampled.

    Args:
        record: as polled.
    """
    headers = record.headers()
    if not headers:
        return None
    found = {name: value for name, value in headers if name in _HEADERS and value}
    # the flags' last digit: most events are not sampled, and reading a context properly costs 5 µs
    if found.get("traceparent", b"")[_FLAG] not in _ODD:
        return None
    carrier = {name: value.decode("ascii", "replace") for name, value in found.items()}
    context = _PROPAGATOR.extract(carrier, Context())
    span = get_current_span(context).get_span_context()
    return context if span.is_valid and span.trace_flags.sampled else None


def open_tracing(settings: Settings) -> Tracing:
    """Begin to send spans to `tracing.endpoint`.

    Args:
        settings: all settings.
    """
    names = {"service.name": "engage", "service.version": version("engage")}
    if settings.worker.id:
        names["service.instance.id"] = settings.worker.id
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(settings.tracing.endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED_SPANS))
    return Tracing(provider)
