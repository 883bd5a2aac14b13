"""The command line teaches, answers in JSON where asked, and says by its exit code what went wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.commands.base import kafka_settings, visible
from engine.commands.findings import worker_findings
from engine.config import load_settings
from engine.features.churn.rate import GlobalRate
from engine.features.churn.snapshot import shipped_prior
from engine.features.state import CustomerState
from engine.features.windows import WINDOWS
from engine.settings import Settings
from engine.streams.customer import view
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from engine.streams.widening.event_topics import EventTopics
from engine.streams.widening.widen import Backlog
from engine.streams.wire.letters import DeadLetter, Origin, as_line

HELP = Path(__file__).parent / "golden" / "help.txt"
NOWHERE = "127.0.0.1:1"
EVENT = {"id": "e1", "type": "page.viewed", "customer_id": "ж1", "time": 1_700_000_000_000}

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `engage` in an empty folder and without settings of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGAGE_CONFIG", str(tmp_path / "engage.toml"))
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "engage.toml").write_text("", "utf-8")

    def call(*arguments: str, input_text: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=input_text)

    return call


@pytest.fixture
def servers(
    run: Run, monkeypatch: pytest.MonkeyPatch, embedded_broker: EmbeddedBroker, valkey: ValkeyServer
) -> str:
    """Set the servers and topic names of this test; the topics exist."""
    prefix = f"cli{time.monotonic_ns()}"
    monkeypatch.setenv("ENGAGE_KAFKA_BOOTSTRAP_SERVERS", embedded_broker.bootstrap)
    monkeypatch.setenv("ENGAGE_REDIS_URL", valkey.url)
    monkeypatch.setenv("ENGAGE_TOPICS_PARTITIONS", "4")
    monkeypatch.setenv("ENGAGE_TOPICS_ACTIONS_PREFIX", f"{prefix}.actions.")
    topics = (
        "click",
        "order",
        "service",
        "profile",
        "engagement",
        "decisions",
        "segments",
        "dlq",
        "training",
    )
    for topic in (*topics, "models"):
        monkeypatch.setenv(f"ENGAGE_TOPICS_{topic.upper()}", f"{prefix}.{topic}")
    created = run("topics", "create", "--json")
    assert created.exit_code == 0, created.output
    return prefix


def test_help_is_what_was_agreed_on(run: Run) -> None:
    """What people read first changes only on purpose; write it anew with `python -m tests.test_cli`."""
    assert run("--help").output == HELP.read_text("utf-8")


@pytest.mark.parametrize(
    "words",
    [
        ["worker"],
        ["trainer"],
        ["demo"],
        ["stack"],
        ["send"],
        ["tail"],
        ["doctor"],
        ["features"],
        ["topics", "create"],
        ["customer", "show"],
        ["dlq", "replay"],
        ["rules", "check"],
        ["rules", "show"],
        ["explain"],
        ["rules", "backtest"],
        ["rules", "diff"],
        ["rules", "explain-error"],
        ["rules", "fmt"],
        ["rules", "schema"],
        ["rules", "new"],
        ["config", "show"],
        ["model", "list"],
        ["model", "show"],
        ["model", "promote"],
        ["model", "rollback"],
        ["model", "freeze"],
    ],
)
def test_every_command_explains_itself(run: Run, words: list[str]) -> None:
    """Each command has a help that says more than its name."""
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert len(result.output) > 200


def test_help_loads_no_server_library() -> None:
    """`engage --help` is quick because neither Kafka, Redis, Faust nor numpy is imported for it."""
    heavy = ("confluent_kafka", "redis", "faust", "numpy", "river", "rich.table")
    code = f"import sys, engine.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["worker", "--set", "http.prot=1"], 2, "did you mean http.port?"),
        (["doctor", "--set", "nonsense"], 2, "NAME=VALUE"),
        (["topics", "check", "--kafka", NOWHERE, "--set", "kafka.timeout_ms=300"], 3, "does not answer"),
        (["worker", "--config", "missing.toml"], 2, "cannot read the settings file"),
        (["worker", "--config", ""], 2, "error: --config is empty"),
        (["dlq", "show", "seventeen"], 2, "PARTITION/OFFSET"),
        (["dlq", "replay"], 2, "say which"),
        (["dlq", "list", "--reason", "bad"], 2, "not one of"),
        (["dlq", "replay", "--all", "--skip-invalid"], 2, "needs --from-file"),
        (["send", "order.placed"], 2, "--customer"),
        (["send", "order.placd", "-c", "c"], 2, "no event type 'order.placd'; did you mean order.placed?"),
        (["send", "xyz", "-c", "c"], 2, "docs/events.md lists them"),
        (["send", "order.placed", "-c", "c", "-f", "amount"], 2, "NAME=VALUE"),
        (["send", "order.placed", "-c", "c"], 1, "order_id"),
        (["send", "order.placed", "-c", ""], 1, "order_id"),
        (["send", "page.viewed", "-c", ""], 1, "customer_id_invalid"),
        (["send", "page.viewed", "-c", "c", "-f", "props=1", "-f", "props.x=2"], 2, "value of its own"),
        (["send", "order.placed", "-c", "c", "-f", "amout=1"], 2, "has no such field; did you mean amount?"),
        (["send", "order.placed", "-c", "c", "-f", "shop=x"], 2, "--field shop: order.placed has no such"),
        (["send", "order.placed", "-c", "c", "-f", "shop=x"], 2, "write props.shop"),
        (["tail", "everything"], 2, "'what': 'everything' is not one of actions, decisions, dlq"),
        (["tail", "dlq", "--channel", "email"], 2, "only actions have a channel"),
        (["stack", "--redis", "none"], 2, "'--redis': 'none' is not one of valkey, redis"),
        (["features", "ordrs"], 1, "no feature's name contains 'ordrs'; did you mean orders_"),
        (["rules", "explain-error", "E021"], 1, "no code 'E021'; did you mean E02"),
        (["features", "zzz"], 1, "`engage features` lists all"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(run: Run, words: list[str], code: int, text: str) -> None:
    """Each kind of failure has its exit code, names the culprit and shows no traceback."""
    result = run(*words)
    assert result.exit_code == code, result.output
    assert text in result.output
    assert "Traceback" not in result.output


def test_redis_away_is_told_with_its_address_only(run: Run) -> None:
    """Who reads that Redis does not answer learns which one, and not its password."""
    away = ("--redis", f"redis://me:hunter2@{NOWHERE}/0", "--kafka", NOWHERE, "--set", "kafka.timeout_ms=300")
    result = run("doctor", *away)
    assert f"redis at '{NOWHERE}' does not answer" in result.output
    assert "hunter2" not in result.output


def test_rules_without_a_journey_are_doubted(run: Run, tmp_path: Path) -> None:
    """A folder with nothing in it is no mistake of the language, and sends nothing."""
    (tmp_path / "mine").mkdir()
    away = ("--redis", f"redis://{NOWHERE}/0", "--kafka", NOWHERE, "--set", "kafka.timeout_ms=300")
    result = run("doctor", *away, "--set", "rules.paths=mine")
    assert "warning     rules: there is no journey in mine: nothing would be sent" in result.output


def test_memory_is_sized_without_redis(run: Run) -> None:
    """The load test's figure counts then, and why is told apart from it."""
    result = run("redis", "size", "--customers", "1000000", "--redis", f"redis://{NOWHERE}/0")
    assert result.exit_code == 0
    assert result.stdout.startswith("1,000,000 customers of 473 bytes (the load test's)\n")
    assert result.stderr.startswith(f"nothing measured here: redis at '{NOWHERE}' does not answer")


def test_ctrl_c_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command says so by its exit code, without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.commands.doctor.examine", interrupted)
    result = run("doctor")
    assert (result.exit_code, result.output) == (130, "")


def test_config_show_masks_secrets_and_names_origins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting is listed with its origin; a password is not."""
    monkeypatch.setenv("ENGAGE_REDIS_URL", "redis://me:hunter2@db:6379/0")
    result = run("config", "show", "--json", "--set", "http.port=7")
    rows = {row["name"]: row for row in json.loads(result.output)}
    assert rows["http.port"]["value"] == 7
    assert rows["http.port"]["origin"] == "flag"
    assert rows["redis.url"]["value"] == "redis://***@db:6379/0"
    assert "hunter2" not in run("config", "show").output


def test_send_then_look(run: Run, servers: str) -> None:
    """What `send` accepts, one by flags and many by file or pipe, is on the topics, keyed by customer."""
    assert (
        run("send", "order.placed", "-c", "ж1", "-f", "order_id=17", "-f", "amount=9.5").output == "1 sent\n"
    )
    lines = "".join(json.dumps({**EVENT, "id": f"e{index}"}) + "\n" for index in range(30))
    sent = run("send", "--file", "-", "--json", input_text=lines)
    assert json.loads(sent.output) == {"sent": 30, "valid": 30, "invalid": 0}
    seen = run(
        "tail",
        "dlq",
        "--no-follow",
        "--json",
        "--set",
        f"topics.dlq={servers}.click",
        "--set",
        f"topics.click={servers}.dlq",
        "--last",
        "100",
    )
    records = [json.loads(line) for line in seen.output.splitlines()]
    assert [record["value"]["id"] for record in records] == [f"e{index}" for index in range(30)]
    assert len({record["partition"] for record in records}) == 1


def test_a_file_with_a_wrong_line_sends_nothing(run: Run, servers: str, tmp_path: Path) -> None:
    """A file is checked whole first; each wrong line is reported with its number."""
    file = tmp_path / "events.jsonl"
    file.write_text(
        json.dumps(EVENT) + "\n\nno json\n" + json.dumps({**EVENT, "type": "x.y"}) + "\n", "utf-8"
    )
    result = run("send", "--file", str(file))
    assert result.exit_code == 1
    assert "line 3: not_decodable" in result.output
    assert "line 4: type_unknown" in result.output
    assert "2 of 3 lines are wrong; nothing sent" in result.output
    piped = run("send", "--file", "-", input_text=file.read_text("utf-8"))
    assert piped.exit_code == 1
    assert "1 sent" in piped.output


@pytest.mark.parametrize(
    ("words", "output", "told"),
    [
        (["config", "show"], "/dev/full", "error: the output: No space left on device"),
        (
            ["rules", "new", "--name", "welcome-again", "--folder", "/dev/null/no"],
            "/dev/null",
            "error: /dev/null/no",
        ),
    ],
)
def test_what_cannot_be_written_is_told_in_a_line(words: list[str], output: str, told: str) -> None:
    """A full disk or a folder that is none is no defect: exit code 1, no traceback."""
    with Path(output).open("w", encoding="utf-8") as out:
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli", *words],
            stdout=out,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_texts_of_others_move_no_cursor() -> None:
    """Control characters and turned directions are shown, not obeyed; languages and their spaces stay."""
    assert visible("\x1b]0;pwned\x07\x1b[31mRED\u202etxt") == "\\x1b]0;pwned\\x07\\x1b[31mRED\\u202etxt"
    assert visible("a\nb\tc", keep="\n\t") == "a\nb\tc"
    assert visible("a\nb") == "a\\nb"
    for text in ("王　小明", "É\u00a0à", "👩\u200d👧", "مرحبا"):
        assert visible(text) == text


def test_a_packed_file_is_told_as_that(tmp_path: Path) -> None:
    """Not as so many lines that are no JSON."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\x1f\x8b\x08\x00packed")
    result = CliRunner().invoke(app, ["send", "--file", str(file)])
    assert result.exit_code == 2
    assert "events.jsonl is compressed; unpack it first" in result.output.replace("\n", "")


def test_a_file_of_mended_dead_letters_is_checked_first(run: Run, servers: str, tmp_path: Path) -> None:
    """A record that is still wrong holds the whole file back, unless it is to be left out."""
    right = {**EVENT, "customer_id": "c1", "time": int(time.time() * 1000)}
    origin = Origin(topic=f"{servers}.click", partition=0, offset=0)
    file = tmp_path / "letters.jsonl"
    file.write_text(
        "".join(
            as_line(dead_letter_of(number, json.dumps(event), origin)) + "\n"
            for number, event in enumerate([right, {**right, "time": "soon"}])
        ),
        "utf-8",
    )
    held_back = run("dlq", "replay", "--from-file", str(file))
    assert held_back.exit_code == 1
    assert "line 2: field_invalid: field time is" in held_back.output
    assert "1 of 2 lines are wrong; nothing sent" in held_back.output
    assert "sent again" not in held_back.output
    rest = run("dlq", "replay", "--from-file", str(file), "--skip-invalid")
    assert rest.exit_code == 1
    assert "1 sent again" in rest.output


def test_a_position_without_a_dead_letter_is_no_success(run: Run, servers: str) -> None:
    """A mistyped position is told, as `dlq show` tells it."""
    result = run("dlq", "replay", "0/99999")
    assert result.exit_code == 1
    assert "not every position given has a dead letter" in result.output


def dead_letter_of(offset: int, value: str, origin: Origin) -> DeadLetter:
    """Return a dead letter of customer c1."""
    return DeadLetter(
        partition=0,
        offset=offset,
        set_aside_ms=0,
        reason="field_invalid",
        detail="why",
        exception="",
        origin=origin,
        key=b"c1",
        value=value.encode(),
    )


def test_topics_are_created_once(run: Run, servers: str) -> None:
    """Creating topics again changes nothing, and the check agrees."""
    assert json.loads(run("topics", "create", "--json").output)["created"] == []
    assert json.loads(run("topics", "check", "--json").output)["partitions"] == 4


def test_doctor_gives_every_finding_a_remedy(run: Run, servers: str, valkey: ValkeyServer) -> None:
    """A healthy stack passes; an evicting Redis fails with what to type; a gone Kafka is unreachable."""
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    assert {finding["subject"] for finding in json.loads(result.output)} >= {
        "kafka",
        "topics",
        "redis",
        "rules",
    }
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            evicting = run("doctor", "--json")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert evicting.exit_code == 1
    bad = [finding for finding in json.loads(evicting.output) if finding["verdict"] == "failed"]
    assert [finding["remedy"] for finding in bad] == ["CONFIG SET maxmemory-policy noeviction"]
    gone = run("doctor", "--json", "--kafka", NOWHERE, "--set", "kafka.timeout_ms=300")
    assert gone.exit_code == 3
    assert all(finding["remedy"] for finding in json.loads(gone.output) if finding["verdict"] != "ok")


def test_doctor_says_what_waits(run: Run, servers: str, embedded_broker: EmbeddedBroker) -> None:
    """What waits is told; a Redis that has forgotten what the group has worked on is a failure."""
    group = ("--set", f"kafka.group={servers}", "--set", f"redis.prefix={servers}")

    def workers() -> list[tuple[str, str]]:
        found = json.loads(run("doctor", "--json", *group).output)
        return [(each["verdict"], each["text"]) for each in found if each["subject"] == "workers"]

    assert workers() == [("ok", "nothing waits")], "this broker does not tell who is in a group"
    run("send", "page.viewed", "-c", "c1")
    ((verdict, text),) = workers()
    assert verdict == "warning"
    assert re.fullmatch("none has been there yet; 1 record.*: the first takes that as happening now.*", text)
    consumer = Consumer({"bootstrap.servers": embedded_broker.bootstrap, "group.id": servers})
    consumer.commit(offsets=[TopicPartition(f"{servers}.click", 0, 7)], asynchronous=False)
    consumer.close()
    ((verdict, text),) = workers()
    assert verdict == "failed"
    assert text.startswith(f"redis knows nothing of 1 partitions group '{servers}' has worked on")


@pytest.mark.parametrize(
    ("begun", "members", "verdict", "told"),
    [
        ({0, 1}, [], "warning", "none is in group 'engage': what is due does not go out; nothing waits"),
        (set(), [], "ok", "none in group 'engage'; nothing waits"),
        ({0, 1}, ["worker w"], "ok", "1 in group 'engage'; nothing waits"),
    ],
)
def test_doctor_warns_of_a_group_without_members(
    monkeypatch: pytest.MonkeyPatch, begun: set[int], members: list[str], verdict: str, told: str
) -> None:
    """Where workers have been and none is left, nothing that is due goes out, also while no event waits."""

    async def backlog(*_: object) -> Backlog:
        return Backlog(4, 0, "", frozenset(begun))

    monkeypatch.setattr("engine.streams.widening.widen.backlog", backlog)
    monkeypatch.setattr(EventTopics, "members", lambda _: members)
    monkeypatch.setattr(EventTopics, "read_before", lambda _: frozenset(begun))
    settings = load_settings(environ={"ENGAGE_KAFKA_BOOTSTRAP_SERVERS": NOWHERE})
    (found,) = worker_findings(settings, kafka_settings(settings))
    assert (found.verdict, found.text) == (verdict, told)
    assert bool(found.remedy) is (verdict == "warning")


def test_another_number_of_partitions_than_the_setting_is_told(run: Run, servers: str) -> None:
    """By the check of the topics as by the doctor, with what can be done about it."""
    for wanted, remedy in (("8", "engage partitions widen --to 8"), ("6", "start anew with other topics")):
        for words in (("topics", "check"), ("doctor",)):
            result = run(*words, "--set", f"topics.partitions={wanted}")
            assert result.exit_code == 0, result.output
            assert f"4 partitions, but topics.partitions says {wanted}" in result.output
            assert remedy in result.output


def test_missing_topics_are_worth_another_try(run: Run, servers: str) -> None:
    """Whoever starts it again may find them: exit code 3, as when Kafka is away, not that of a setting."""
    absent = ("--set", "topics.training=absent")
    worker = [sys.executable, "-m", "engine.cli", "worker", *absent]
    done = subprocess.run(worker, capture_output=True, text=True, check=False, timeout=200)
    outcomes = [(done.returncode, done.stderr)]
    for words in (("doctor",), ("topics", "check")):
        result = run(*words, *absent)
        outcomes.append((result.exit_code, result.output))
    for code, said in outcomes:
        assert code == 3, said
        assert "topics missing in kafka: absent" in said
        assert "engage topics create" in said


def test_rules_check_points_at_the_error(run: Run, tmp_path: Path) -> None:
    """The shipped journeys pass; a wrong one is shown with file, line, column and caret, exit code 1."""
    assert run("rules", "check").exit_code == 0
    file = tmp_path / "bad.yaml"
    file.write_text(
        "journey: bad\nentry: {on: order.plced}\nsteps:\n  - send: email\n    template: t\n", "utf-8"
    )
    result = run("rules", "check", str(file))
    assert result.exit_code == 1
    assert f"{file}:2:" in result.output
    assert "order.placed" in result.output
    errors = json.loads(run("rules", "check", str(file), "--json").output)["errors"]
    assert errors[0]["line"] == 2


def test_rules_check_goes_on_after_wrong_segments(run: Run, tmp_path: Path) -> None:
    """A broken segments file hides no error of the journeys; what it may define is not called unknown."""
    segments, journey, missing = (tmp_path / name for name in ("segments.yaml", "a.yaml", "gone.yaml"))
    segments.write_text("segments:\n  - nme: vip\n", "utf-8")
    journey.write_text(
        "journey: a\nentry: {on: order.plced, when: customer.segment == 'vip' && customer.mine > 1}\n"
        "steps:\n  - sned: email\n",
        "utf-8",
    )
    result = run("rules", "check", "--json", "--set", f"segments.path={segments}", str(journey), str(missing))
    assert result.exit_code == 1
    errors = {(Path(error["file"]), error["code"]) for error in json.loads(result.output)["errors"]}
    assert errors >= {(segments, "E0803"), (journey, "E0211"), (journey, "E0201"), (missing, "E0100")}
    assert not errors & {(journey, "E0212"), (journey, "E0302")}


def test_a_folder_without_journeys_is_told_what_they_are(run: Run, tmp_path: Path) -> None:
    """A folder, also one named like a file, that holds no journey fails and says what a journey is."""
    folder = tmp_path / "hello.yaml"
    folder.mkdir()
    result = run("rules", "check", str(folder))
    assert result.exit_code == 1
    assert result.output == "no journeys found: they are files that end in .yaml, or folders of such\n"


def test_warnings_pass_unless_strict_or_silenced(run: Run, tmp_path: Path) -> None:
    """A warning is shown and passes; `--strict` fails; a silence with its reason takes it back."""
    file = tmp_path / "a.yaml"
    file.write_text(
        "journey: a\nentry: {on: order.placed}\nsteps:\n  - {send: email, template: welcome-community}\n",
        "utf-8",
    )
    result = run("rules", "check", str(file))
    assert result.exit_code == 0
    assert f"{file}:1:10: W0402: " in result.output
    assert "1 warning\n1 journey is valid: a v1" in result.output
    assert run("rules", "check", "--strict", str(file)).exit_code == 1
    warnings = json.loads(run("rules", "check", str(file), "--json").output)["warnings"]
    assert [warning["code"] for warning in warnings] == ["W0402"]
    with file.open("a", encoding="utf-8") as more:
        more.write("silence:\n  W0402: nobody reads it\n")
    silenced = run("rules", "check", "--strict", str(file))
    assert (silenced.exit_code, silenced.output) == (0, "1 journey is valid: a v1\n")


def test_a_new_journey_is_valid_and_passes_its_cases(run: Run, tmp_path: Path) -> None:
    """`new` writes a journey and cases that check and pass as they are, and never writes over a file."""
    for name, begin in (("thanks", "blank"), ("hello", "welcome"), ("restock", "replenishment")):
        assert run("rules", "new", "--name", name, "--template", begin).exit_code == 0
        assert run("rules", "check", f"{name}.yaml").exit_code == 0
        assert run("rules", "test", f"{name}.yaml").exit_code == 0
        again = run("rules", "new", "--name", name)
        assert (again.exit_code, "exists already" in again.output) == (1, True)
    asked = run("rules", "new", input_text="fourth\nblank\norder.placed\nemail\n")
    assert asked.exit_code == 0, asked.output
    assert "on: order.placed" in (tmp_path / "fourth.yaml").read_text("utf-8")
    (tmp_path / "engage.toml").write_text('[templates]\npath = "templates"\n', "utf-8")
    (tmp_path / "templates").mkdir()
    brought = run("rules", "new", "--name", "again", "--template", "welcome", "--folder", "own")
    assert (brought.exit_code, "wrote templates/welcome-coupon.yaml" in brought.output) == (0, True)
    (tmp_path / "engage.toml").write_text('[rules]\npaths = ["mine"]\n', "utf-8")
    (tmp_path / "mine").mkdir()
    lonely = run("rules", "new", "--name", "lonely", "--template", "win-back", "--folder", "mine")
    assert "its cases beside churn-activity-drop are left out" in lonely.output
    assert run("rules", "test", "mine").exit_code == 0
    assert run("rules", "new", "--name", "No!").exit_code == 2
    assert run("rules", "new", "--name", "no", "--template", "nothing").exit_code == 2


def test_fmt_writes_or_tells(run: Run, tmp_path: Path) -> None:
    """`fmt --check` tells and fails, `fmt` writes, then there is nothing to tell; bad YAML stays alone."""
    file, broken = tmp_path / "rules" / "a.yaml", tmp_path / "rules" / "b.yaml"
    file.parent.mkdir()
    file.write_text("steps: [exit]\nentry: {on: order.placed}\njourney: a\n", "utf-8")
    told = run("rules", "fmt", "--check", "rules")
    assert (told.exit_code, told.output) == (1, "not in its form: rules/a.yaml\n")
    assert run("rules", "fmt", "rules").output == "wrote rules/a.yaml\n"
    assert file.read_text("utf-8") == "journey: a\n\nentry: {on: order.placed}\n\nsteps: [exit]\n"
    assert run("rules", "fmt", "--check", "rules").exit_code == 0
    broken.write_text("a: [", "utf-8")
    result = run("rules", "fmt", "rules")
    assert (result.exit_code, "E0103" in result.output) == (1, True)
    assert broken.read_text("utf-8") == "a: ["


def test_a_code_is_explained(run: Run) -> None:
    """A code shows its meaning, what to do, and the wrong and the right form."""
    result = run("rules", "explain-error", "e0211")
    assert result.exit_code == 0
    assert result.output.startswith("E0211: unknown event type (error)")
    assert "on: order.plced" in result.output
    assert json.loads(run("rules", "explain-error", "E0211", "--json").output)["severity"] == "error"


def test_rules_show_reads_a_journey_back(run: Run, tmp_path: Path) -> None:
    """By name or file, in English or Chinese, as text, JSON or SVG; what is not there is one clear line."""
    drawing = tmp_path / "flow.svg"
    shown = run("rules", "show", "win-back", "--svg", str(drawing))
    assert shown.exit_code == 0, shown.output
    assert "90 days have gone by without another order" in shown.output
    assert "├─ ✉ email: winback-survey" in shown.output
    assert drawing.read_text("utf-8").startswith("<svg")
    assert "流失风险不低于 0.6" in run("rules", "show", "win-back", "--lang", "zh").output
    whole = json.loads(run("rules", "show", "win-back", "--json").output)
    assert whole["boxes"][1]["ways"][1]["boxes"][0]["text"] == "email: winback-big-coupon"
    unknown = run("rules", "show", "win-bak")
    assert (unknown.exit_code, "did you mean win-back?" in unknown.output) == (1, True)
    file = tmp_path / "bad.yaml"
    file.write_text("journey: bad\nsteps: [{send: email}]\n", "utf-8")
    broken = run("rules", "show", str(file))
    assert (broken.exit_code, f"{file}:1:1: " in broken.output) == (1, True)
    assert run("rules", "show", "gone.yaml").exit_code == 2
    assert run("rules", "show", "win-back", "--svg", str(tmp_path)).exit_code == 2


def test_features_are_listed_by_window_length(run: Run) -> None:
    """The windows of a feature stand side by side, the shortest first."""
    output = run("features", "customer.orders_").output
    families = run("features").output
    assert "customer.orders_…" in families
    assert len(families.splitlines()) < 200
    lines = [line for line in output.splitlines() if line.startswith("customer.orders_")]
    assert [line.split()[0].removeprefix("customer.orders_") for line in lines[:7]] == list(WINDOWS)


def test_a_customer_is_shown_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yes and no instead of Python's words, and no churn risk for somebody who never bought."""
    state = CustomerState("c1")
    state.mutate().traits["vip"] = True
    shown = view(Settings(), state, 0, 1, GlobalRate(), shipped_prior())

    async def read(*_: object) -> object:
        return shown

    monkeypatch.setattr("engine.streams.customer.read_customer", read)
    output = run("customer", "show", "c1", "--all").output
    values = {words[0]: words[1] for line in output.splitlines() if len(words := line.split()) > 1}
    assert (values["vip"], values["consent_marketing"]) == ("yes", "no")
    assert "churn risk   -\n" in output


def test_an_unknown_customer_is_a_failed_look(run: Run, servers: str) -> None:
    """Asking for somebody unknown is exit code 1 with one line."""
    result = run("customer", "show", "nobody")
    assert result.exit_code == 1
    assert "no customer 'nobody'" in result.output


def test_the_model_is_shown_and_held_from_the_command_line(run: Run, servers: str) -> None:
    """Before anything is learned the prior scores; it can be held and let go, and what cannot be says why."""
    assert servers
    assert "the prior that ships (version 0) scores" in run("model", "list").output
    assert json.loads(run("model", "show", "--json").output)["version"] == 0
    for words, text in (
        (("promote",), "published no snapshot yet"),
        (("promote", "7"), "no version 7; kept are: none"),
        (("show", "7"), "no version 7"),
        (("freeze", "--off"), "not frozen"),
    ):
        failed = run("model", *words)
        assert failed.exit_code == 1
        assert text in failed.output
    held = run("model", "freeze", "-m", "a sale", "--author", "ann")
    assert "frozen on the prior that ships (version 0) by ann" in held.output
    assert "a sale" in held.output
    listed = json.loads(run("model", "list", "--json").output)
    assert listed.pop("decided") | {"time": 0} == {"author": "ann", "time": 0, "message": "a sale"}
    assert listed == {"live": 0, "frozen": True, "versions": []}
    assert run("model", "freeze").exit_code == 1
    assert json.loads(run("model", "freeze", "--off", "--json").output) == {"live": 0, "frozen": False}


if __name__ == "__main__":
    HELP.parent.mkdir(exist_ok=True)
    HELP.write_text(CliRunner(env={"COLUMNS": "100"}).invoke(app, ["--help"]).output, "utf-8")
