"""Laws of the registry wire format: the real client against a server that speaks the protocol."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from engine.errors import ConfigError, InvalidEvent, TransientError
from engine.events import DeadLetterReason, Event, Family, OrderEvent
from engine.resources import shipped
from engine.settings import SchemaRegistrySettings, Settings
from engine.streams.wire.avro import GUID_HEADER, parse_schema, write_avro
from engine.streams.wire.codec import Decoder
from engine.streams.wire.registry import FORGET_UNKNOWN_S, ConfluentRegistry, open_registry

NOW_MS = 1_700_000_000_000
GUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
ORDER = OrderEvent(id="e1", type="order.placed", customer_id="王", time=NOW_MS, order_id="o1", amount=9.5)
FIELDS = msgspec.structs.asdict(ORDER)


class StubRegistry:
    """A registry over HTTP: what it answers is data, and it counts what it is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.status = 200
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                stub.asked.append(path)
                stub.authorizations.append(self.headers["Authorization"])
                answer = stub.answers.get(path)
                status = 404 if stub.status == 200 and answer is None else stub.status
                body = json.dumps(answer or {"error_code": status * 100 + 3, "message": "none"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop serving; afterwards connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    """Provide a registry."""
    server = StubRegistry()
    yield server
    server.close()


class Clock:
    """A clock that is moved by hand, seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Provide the registry's clock."""
    return Clock()


@pytest.fixture
def decoder(stub: StubRegistry, clock: Clock) -> Decoder:
    """Provide a decoder that asks the stub."""
    return Decoder("live", ConfluentRegistry(stub.url, clock=clock))


def order_schema() -> dict[str, Any]:
    """Return our order schema as a document that may be changed."""
    found: dict[str, Any] = json.loads((shipped("schemas") / "order.avsc").read_text("utf-8"))
    return found


def wire(schema_id: int, schema: Any, fields: dict[str, Any]) -> bytes:
    """Write a record as a registry serializer does."""
    return b"\0" + schema_id.to_bytes(4, "big") + write_avro(parse_schema(schema), fields)


def decode(decoder: Decoder, value: bytes) -> Event:
    """Decode a record of the order topic."""
    return decoder.decode(Family.ORDER, value, "王".encode(), NOW_MS)


def refusal(decoder: Decoder, value: bytes) -> InvalidEvent:
    """Return why a record is refused."""
    with pytest.raises(InvalidEvent) as caught:
        decode(decoder, value)
    return caught.value


def test_a_record_of_a_registered_schema(stub: StubRegistry, decoder: Decoder) -> None:
    """The writer's schema is fetched once and serves every further record."""
    stub.answers["/schemas/ids/7"] = {"schema": json.dumps(order_schema())}
    value = wire(7, order_schema(), FIELDS)
    assert decode(decoder, value) == ORDER
    assert decode(decoder, value) == ORDER
    assert stub.asked == ["/schemas/ids/7"]


def test_an_older_and_a_newer_writer(stub: StubRegistry, decoder: Decoder) -> None:
    """A writer without one of our fields gives its default; one with more fields is read without them."""
    old = order_schema()
    old["fields"] = [field for field in old["fields"] if field["name"] not in {"coupon", "props"}]
    new = order_schema()
    new["fields"].append({"name": "shop", "type": ["null", "string"], "default": None})
    stub.answers["/schemas/ids/1"] = {"schema": json.dumps(old)}
    stub.answers["/schemas/ids/2"] = {"schema": json.dumps(new)}
    assert decode(decoder, wire(1, old, FIELDS)) == ORDER
    assert decode(decoder, wire(2, new, {**FIELDS, "shop": "Berlin"})) == ORDER


def test_a_schema_that_refers_to_another(stub: StubRegistry, decoder: Decoder) -> None:
    """Named types that live in a subject of their own are fetched too."""
    schema = order_schema()
    schema["fields"].append({"name": "shop", "type": "com.example.Shop"})
    shop = {
        "type": "record",
        "name": "Shop",
        "namespace": "com.example",
        "fields": [{"name": "city", "type": "string"}],
    }
    reference = {"name": "com.example.Shop", "subject": "shop", "version": 3}
    stub.answers["/schemas/ids/5"] = {"schema": json.dumps(schema), "references": [reference]}
    stub.answers["/subjects/shop/versions/3"] = {
        "subject": "shop",
        "version": 3,
        "id": 4,
        "schema": json.dumps(shop),
    }
    named: dict[str, Any] = {}
    parse_schema(shop, named)
    value = b"\0\0\0\0\5" + write_avro(parse_schema(schema, named), {**FIELDS, "shop": {"city": "Berlin"}})
    assert decode(decoder, value) == ORDER


def test_the_schema_id_in_a_header(stub: StubRegistry, decoder: Decoder) -> None:
    """Newer serializers put a GUID into a header and leave the value bare."""
    stub.answers[f"/schemas/guids/{GUID}"] = {"schema": json.dumps(order_schema()), "guid": str(GUID)}
    like_space = {**FIELDS, "id": "sixteen-letters!"}  # Avro writes its length as the byte of a space
    bare = write_avro(parse_schema(order_schema()), like_space)
    assert bare[:1] == b" "
    headers = [("other", b"x"), (GUID_HEADER, b"\1" + GUID.bytes)]
    found = decoder.decode(Family.ORDER, bare, "王".encode(), NOW_MS, headers)
    assert found == msgspec.structs.replace(ORDER, id="sixteen-letters!")
    with pytest.raises(InvalidEvent, match=r"not_decodable: the schema id in the header"):
        decoder.decode(Family.ORDER, bare, "王".encode(), NOW_MS, [(GUID_HEADER, b"\1short")])


def test_an_unknown_id_is_remembered_for_a_while(stub: StubRegistry, decoder: Decoder, clock: Clock) -> None:
    """A flood of records with a made-up id asks the registry once, and a late registration is found later."""
    value = wire(9, order_schema(), FIELDS)
    assert refusal(decoder, value).reason == DeadLetterReason.SCHEMA_UNKNOWN
    assert refusal(decoder, value).reason == DeadLetterReason.SCHEMA_UNKNOWN
    assert len(stub.asked) == 1
    stub.answers["/schemas/ids/9"] = {"schema": json.dumps(order_schema())}
    clock.now = FORGET_UNKNOWN_S
    assert decode(decoder, value) == ORDER


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_registry_in_trouble_is_no_fault_of_the_record(
    stub: StubRegistry, decoder: Decoder, status: int
) -> None:
    """Whatever but "not found" is worth trying again: the record must not become a dead letter."""
    stub.answers["/schemas/ids/7"] = {"schema": json.dumps(order_schema())}
    value = wire(7, order_schema(), FIELDS)
    stub.status = status
    with pytest.raises(TransientError, match=str(status)):
        decode(decoder, value)
    stub.status = 200
    assert decode(decoder, value) == ORDER


def test_a_registry_that_is_gone(clock: Clock) -> None:
    """A refused connection is worth trying again."""
    server = StubRegistry()
    decoder = Decoder("live", ConfluentRegistry(server.url, clock=clock))
    server.close()
    with pytest.raises(TransientError, match="schema registry does not answer"):
        decode(decoder, wire(7, order_schema(), FIELDS))


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": "{}", "schemaType": "JSON"},
        {"schema": "not json"},
        {"schema": '{"type": "record"}'},
        {"schema": '"string"'},
    ],
)
def test_schemas_that_are_not_ours(stub: StubRegistry, decoder: Decoder, answer: dict[str, str]) -> None:
    """A schema that is no Avro, broken, or cannot be resolved to ours is the sender's mistake."""
    stub.answers["/schemas/ids/7"] = answer
    assert refusal(decoder, b"\0\0\0\0\7\2a").reason == DeadLetterReason.SCHEMA_INCOMPATIBLE


def test_a_writer_without_a_required_field(stub: StubRegistry, decoder: Decoder) -> None:
    """A schema that lacks a field without default cannot be resolved."""
    schema = order_schema()
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "order_id"]
    stub.answers["/schemas/ids/7"] = {"schema": json.dumps(schema)}
    assert refusal(decoder, wire(7, schema, FIELDS)).reason == DeadLetterReason.SCHEMA_INCOMPATIBLE


def test_without_a_registry_the_format_is_refused() -> None:
    """Who configured no registry gets a reason that says so."""
    error = refusal(Decoder("live"), wire(7, order_schema(), FIELDS))
    assert (error.reason, "none is configured" in error.detail) == (DeadLetterReason.SCHEMA_UNKNOWN, True)


def test_a_wrong_property_is_refused_at_start() -> None:
    """A misspelt client property is the operator's to mend, before anything is read."""
    with pytest.raises(ConfigError, match=r"no\.such\.property"):
        ConfluentRegistry("http://127.0.0.1:1", {"no.such.property": 1})


def test_the_registry_of_the_settings(stub: StubRegistry) -> None:
    """Without an address there is no registry; with one it is asked, with the settings' user."""
    assert open_registry(Settings()) is None
    stub.answers["/schemas/ids/7"] = {"schema": json.dumps(order_schema())}
    section = SchemaRegistrySettings(url=stub.url, user="engage", password="secret")
    registry = open_registry(Settings(schema_registry=section))
    assert decode(Decoder("live", registry), wire(7, order_schema(), FIELDS)) == ORDER
    assert stub.authorizations == ["Basic ZW5nYWdlOnNlY3JldA=="]
