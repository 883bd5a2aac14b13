"""Traces: an event's context goes through the stages to its action, and nothing else is touched."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from engine.settings import Settings, TracingSettings
from engine.streams import tracing
from engine.streams.store.memory import MemoryStore
from engine.streams.tracing import Tracing, open_tracing, sampled
from engine.streams.wire.codec import encode_json
from tests.faults.harness import Deployment, end
from tests.streams.replay import MemoryRecord
from tests.streams.stage import Stage, event, place, write_journeys
from tests.streams.steps.test_handler import raiser

TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = ("traceparent", f"00-{TRACE}-{SENDER}-01".encode())
EMAIL = "engage.actions.email"
PATIENCE_S = 60.0
STAGES = {"decode", "load", "rules", "produce", "commit"}


class Traced(Stage):
    """A worker in memory whose spans are kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.handler.finishing.trace_with(Tracing(provider))

    def order(self, customer: str, number: int, *headers: tuple[str, bytes]) -> MemoryRecord:
        """Append an order, which causes an e-mail, with headers."""
        record = self.record(event("order.placed", customer, number))
        record.extra.extend(headers)
        return record

    def spans(self, start: str = "") -> list[ReadableSpan]:
        """Return the spans that have ended, by the start of their names."""
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(start)]

    def contexts(self) -> list[str]:
        """Return the context of each e-mail sent, empty without one."""
        found = [dict(headers or ()) for topic, _, _, headers in self.tap.records if topic == EMAIL]
        return [headers.get("traceparent", b"").decode() for headers in found]


@pytest.fixture
async def traced(tmp_path: Path) -> Traced:
    """Provide a worker that owns every partition."""
    made = Traced(tmp_path)
    await made.own()
    return made


async def test_an_event_is_followed_to_its_action(traced: Traced) -> None:
    """One trace: the sender's span, the event's, its stages below, the action's, and the action's header."""
    await traced.work(traced.order("a", 1, SAMPLED, ("tracestate", b"shop=7")))
    (whole,) = traced.spans("process engage.orders")
    (sent,) = traced.spans(f"send {EMAIL}")
    below = [span for span in traced.spans() if span.parent and span.parent.span_id == whole.context.span_id]
    assert whole.parent is not None
    assert (f"{whole.parent.trace_id:032x}", f"{whole.parent.span_id:016x}") == (TRACE, SENDER)
    assert {span.name for span in below} == STAGES | {f"send {EMAIL}"}
    assert traced.contexts() == [f"00-{TRACE}-{sent.context.span_id:016x}-01"]
    headers = next(dict(headers or ()) for topic, _, _, headers in traced.tap.records if topic == EMAIL)
    assert headers["tracestate"] == b"shop=7"
    for span in below:
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time  # type: ignore[operator]


async def test_no_span_says_who(traced: Traced) -> None:
    """Where it was in Kafka, what type, which journey; no customer, no id, no field."""
    await traced.work(traced.order("anna", 1, SAMPLED))
    for span in traced.spans():
        text = f"{span.name} {dict(span.attributes or {})}"
        assert "anna" not in text
        assert "amount" not in text
    (whole,) = traced.spans("process")
    assert (whole.attributes or {})["engage.event.type"] == "order.placed"
    assert (whole.attributes or {})["messaging.kafka.offset"] == 0


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{SENDER}-00".encode(),
        f"00-{'0' * 32}-{SENDER}-01".encode(),
        b"rubbish",
        b"\xff\xfe",
        b"",
    ],
)
async def test_what_is_not_sampled_is_left_alone(traced: Traced, header: bytes) -> None:
    """Not sampled, or no context at all: no span, and the action has no header of ours."""
    await traced.work(traced.order("a", 1, ("traceparent", header)), traced.order("b", 2))
    assert traced.spans() == []
    assert traced.contexts() == ["", ""]


async def test_there_are_only_so_many(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound an event gets no span; its action carries the sender's context on."""
    monkeypatch.setattr("engine.streams.tracing.time.monotonic", lambda: 7.0)
    records = [traced.order(f"c{number}", number, SAMPLED) for number in range(tracing.MAX_TRACES_PER_S + 5)]
    await traced.work(*records)
    assert len(traced.spans("process")) == tracing.MAX_TRACES_PER_S
    as_it_came = SAMPLED[1].decode()
    assert traced.contexts().count(as_it_came) == 5
    assert "" not in traced.contexts()


async def test_a_dead_letter_is_an_error(traced: Traced) -> None:
    """A sampled event that can't be read is found by its trace, with the reason."""
    record = traced.raw("engage.orders", b"a", b"rubbish")
    record.extra.append(SAMPLED)
    await traced.work(record)
    (whole,) = traced.spans("process")
    assert whole.status.status_code is StatusCode.ERROR
    assert (whole.attributes or {})["engage.dead_letter.reason"] == "not_decodable"


async def test_a_failing_event_is_an_error(traced: Traced) -> None:
    """One the core can't work on ends as a dead letter; the others are traced as ever."""
    traced.handler.pipeline.machine.run = raiser("bad")  # type: ignore[method-assign]
    await traced.work(traced.order("good", 1, SAMPLED), traced.order("bad", 2, SAMPLED))
    reasons = [(span.attributes or {}).get("engage.dead_letter.reason") for span in traced.spans("process")]
    assert sorted(reasons, key=str) == [None, "processing_failed"]


async def test_a_lost_partition_is_an_error(traced: Traced) -> None:
    """What the store refuses, for another worker owns the partition, says so in the trace."""
    await MemoryStore(traced.server).acquire(place("a"))
    await traced.work(traced.order("a", 1, SAMPLED))
    assert all(span.status.status_code is StatusCode.ERROR for span in traced.spans("process"))


async def test_off_is_off(tmp_path: Path) -> None:
    """Without an endpoint headers are not looked at, and no stage's times are kept."""
    stage = Stage(tmp_path)
    await stage.own()
    record = stage.record(event("order.placed", "a", 1))
    record.extra.append(SAMPLED)
    await stage.work(record)
    sent = [dict(headers or ()) for topic, _, _, headers in stage.tap.records if topic == EMAIL]
    assert "traceparent" not in sent[0]
    assert stage.handler._tally.spans is None


def test_off_imports_nothing() -> None:
    """A worker that traces nothing does without OpenTelemetry; where it is wanted and missing, it says so."""
    program = """
import sys, engine.streams.worker as worker
from engine.settings import Settings, TracingSettings
assert 'engine.streams.tracing' not in sys.modules
sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None
try:
    worker._trace(Settings(tracing=TracingSettings(endpoint='http://localhost:4318/v1/traces')), None)
except worker.ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tracing.endpoint: traces need OpenTelemetry")
    assert "pip install 'engage[otel]'" in done.stdout


class Collector:
    """An OTLP receiver over HTTP on this machine: keeps the names and resources of spans."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def spans(self) -> dict[str, Any]:
        """Return the spans by name."""
        parts = [part for each in self.requests for part in each.resource_spans]
        scopes = [scope for part in parts for scope in part.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}

    def close(self) -> None:
        """Stop serving; afterwards connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Provide a collector."""
    server = Collector()
    yield server
    server.close()


def test_a_worker_over_a_real_wire(
    embedded_broker: Any, valkey_server: Any, collector: Collector, tmp_path: Path
) -> None:
    """Event with a header in Kafka, action with a header out of Kafka, spans at the collector by OTLP."""
    topics = {"ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_RULES_PATHS": ",".join(write_journeys(tmp_path))}
    more = topics | {"ENGAGE_TRACING_ENDPOINT": collector.url}
    deployment = Deployment("traces", embedded_broker.bootstrap, valkey_server.url, tmp_path, more)
    deployment.engage("topics", "create")
    worker = deployment.start_worker()
    try:
        producer = Producer({"bootstrap.servers": embedded_broker.bootstrap})
        placed = event("order.placed", "traced", 1, time.time_ns() // 1_000_000)
        producer.produce("engage.orders", encode_json(placed), b"traced", headers=[SAMPLED])
        producer.flush(PATIENCE_S)
        (traceparent,) = _contexts(embedded_broker.bootstrap, "traces.actions.email")
        worker.terminate()  # what has not been sent yet is sent at the end
        assert worker.wait(PATIENCE_S) == 0
    finally:
        end(worker)
    sent = collector.spans()["send traces.actions.email"]
    assert collector.spans()["process engage.orders"].trace_id.hex() == TRACE
    assert traceparent == f"00-{TRACE}-{sent.span_id.hex()}-01"


def _contexts(bootstrap: str, topic: str) -> list[str]:
    """Wait for the first record of a topic; return its context."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(4)])
    record = consumer.poll(PATIENCE_S)
    consumer.close()
    assert record is not None
    return [value.decode() for name, value in record.headers() or () if name == "traceparent"]


async def test_a_collector_that_is_away_holds_nothing_up(collector: Collector) -> None:
    """The end waits a few seconds at most, whatever the collector does."""
    collector.close()
    opened = open_tracing(Settings(tracing=TracingSettings(endpoint=collector.url)))
    span = opened._tracer.start_span("lost")
    span.end()
    began = time.monotonic()
    await opened.aclose()
    assert time.monotonic() - began < 3 * tracing.EXPORT_TIMEOUT_S


def test_a_record_without_headers_is_not_sampled() -> None:
    """The usual case."""
    assert sampled(MemoryRecord(("engage.orders", 0, 0), (b"a", b"{}"))) is None
