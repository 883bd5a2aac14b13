"""The churn model's figures over real servers are those of an offline run of the same code."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.features.churn.purchases import DAY_S
from engine.features.churn.replay import Purchases, load_cdnow, training_blocks
from engine.features.churn.snapshot import Snapshot
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.models.topic import read_models
from tests.faults.harness import Deployment, end

SHARE = 100  # of CDNOW's customers one in so many, of those that choices may be made on
DAYS = 200
WAIT_S = 90.0
JOURNEY = """
journey: quiet
transactional: true
entry: {on: customer.signed_up}
steps:
  - {send: email, template: welcome}
"""


def some() -> Purchases:
    """Some months of a few customers."""
    log = load_cdnow()
    return log.of((log.customers % SHARE == 0) & (log.time_s < log.time_s[0] + DAYS * DAY_S))


def offline(log: Purchases) -> Snapshot:
    """What the trainer alone learns of a log; the day of the last purchase is not over."""
    core = TrainerCore(TrainerSettings(partitions=1))
    for end_s, block in training_blocks(log):
        core.add_block(0, block)
        core.advance(0, min(end_s, int(log.time_s[-1])))
    return core.snapshot()


def as_lines(log: Purchases) -> str:
    """The log as a user sends it."""
    names = {"type": "order.placed", "source": "test"}
    rows = zip(log.customers.tolist(), log.time_s.tolist(), log.amount.tolist(), strict=True)
    return "\n".join(
        msgspec.json.encode(
            names
            | {"id": f"e{number}", "order_id": f"o{number}", "customer_id": f"{customer}"}
            | {"time": time_s * 1000, "amount": amount}
        ).decode()
        for number, (customer, time_s, amount) in enumerate(rows)
    )


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.timeout(240)
def test_the_figures_of_the_whole_path_are_those_of_an_offline_run(
    apache_kafka: ApacheKafka, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """Events through Kafka, state and timers in Redis, worker, trainer, snapshot: the same to 1e-6."""
    journey = tmp_path / "quiet.yaml"
    journey.write_text(JOURNEY, "utf-8")
    name = f"figures-{uuid.uuid4().hex[:6]}"
    own = ("click", "order", "service", "profile", "engagement", "rules")
    settings = {f"ENGAGE_TOPICS_{topic.upper()}": f"{name}.{topic}" for topic in own}
    settings |= {
        "ENGAGE_CLOCK": "replay",
        "ENGAGE_RULES_PATHS": str(journey),
        "ENGAGE_TOPICS_PARTITIONS": "1",
        "ENGAGE_CHURN_PUBLISH_EVERY_S": "1",
    }
    deployment = Deployment(name, apache_kafka.bootstrap, valkey.url, tmp_path, settings)
    log = some()
    wanted = offline(log)
    deployment.engage("topics", "create")
    deployment.engage("send", "--file", "-", "--replay-watermarks", text=as_lines(log))
    kafka, models = KafkaSettings(apache_kafka.bootstrap), deployment.topics["models"]
    words = [sys.executable, "-m", "engine.cli", "trainer"]
    with deployment.worker(), (tmp_path / "trainer.log").open("wb") as output:
        trainer = subprocess.Popen(words, env=deployment.environment, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + WAIT_S
            while (found := read_models(kafka, models).newest) is None or found.cut_off_s < wanted.cut_off_s:
                assert time.monotonic() < deadline, (tmp_path / "trainer.log").read_text("utf-8")[-2000:]
                time.sleep(0.2)
        finally:
            end(trainer)
    assert found.cut_off_s == wanted.cut_off_s
    assert (found.labels_came_back, found.labels_gone) == (wanted.labels_came_back, wanted.labels_gone)
    for figure in ("weights", "means", "variances"):
        np.testing.assert_allclose(getattr(found.hazard, figure), getattr(wanted.hazard, figure), atol=1e-6)
    for group, quality in wanted.validation.items():
        other = found.validation[group]
        assert other.rows == quality.rows > 100
        for figure in ("auc", "log_loss", "mbg_log_loss", "calibration_error"):
            assert getattr(other, figure) == pytest.approx(getattr(quality, figure), abs=1e-6), group
