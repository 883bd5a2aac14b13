"""What can be told of the chart without Helm: its made files, its renders, its values.

The renders under golden/ were made by Helm: `make deploy-test` makes them anew and compares; here only the
digest of what they were made from is compared.
"""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engine.config import load_settings

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "engage"
VALUES = ROOT / "tests" / "deployment" / "values"
GOLDEN = Path(__file__).parent / "golden"
CASES = ("least", "all")
_MADE = runpy.run_path(str(CHART.parent / "generate.py"))["FILES"]


def chart_digest(case: str) -> str:
    """Return what a render depends on: the chart's files and the case's values.

    The schema only refuses values. It changes with each new setting, and must not ask for Helm then.
    """
    digest = hashlib.sha256((VALUES / f"{case}.yaml").read_bytes())
    for path in sorted(CHART.rglob("*")):
        if path.is_file() and path.name not in ("README.md", "values.schema.json"):
            digest.update(str(path.relative_to(CHART)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def rendered(case: str) -> list[dict[str, Any]]:
    """Return the objects of a render."""
    return [each for each in yaml.safe_load_all((GOLDEN / f"{case}.yaml").read_text("utf-8")) if each]


def pods(case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each pod's specification, with its owner's name."""
    for each in rendered(case):
        if each["kind"] in {"Deployment", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", _MADE, ids=lambda path: path.name)
def test_what_comes_from_elsewhere_is_up_to_date(path: Path) -> None:
    """A changed setting or alert without `make docs` does not pass."""
    assert path.read_text("utf-8") == _MADE[path]()


@pytest.mark.parametrize("case", CASES)
def test_the_renders_are_of_this_chart(case: str) -> None:
    """A changed chart without `python -m tests.deployment.check_chart` does not pass."""
    first = (GOLDEN / f"{case}.yaml").read_text("utf-8").split("\n", 1)[0]
    assert first == f"# {chart_digest(case)}"


@pytest.mark.parametrize("case", CASES)
def test_the_engine_takes_what_the_chart_sets(case: str, tmp_path: Path) -> None:
    """Every pod's environment is a valid set of settings, and says what the values say."""
    secret = tmp_path / "secret"
    secret.write_text("rediss://redis:6379/0", "utf-8")
    for _, pod in pods(case):
        (container,) = pod["containers"]
        environ = {each["name"]: each.get("value", "engage-worker-0") for each in container["env"]}
        files = {name: str(secret) for name, value in environ.items() if value.startswith("/run/")}
        settings = load_settings(environ=environ | files)
        given = yaml.safe_load((VALUES / f"{case}.yaml").read_text("utf-8")).get("settings", {})
        for setting, value in given.items():
            if str(value).startswith("/run/"):
                continue  # a file of the pod, here the one above
            extra = setting.removeprefix("kafka.extra.")
            assert (settings.kafka.extra[extra] if extra != setting else settings.value(setting)) == value


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_restricted(case: str) -> None:
    """Kubernetes' Pod Security Standard `restricted`, and a read-only root and no account besides."""
    found = list(pods(case))
    assert found
    for name, pod in found:
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            passwords = [each["value"] for each in container["env"] if "PASSWORD" in each["name"]]
            assert all(value.startswith("/run/secrets/") for value in passwords)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"settings": {"redis.url": "redis://:secret@redis:6379"}}, "redis.url"),
        ({"settings": {"kafka.extra.sasl.password": "secret"}}, "kafka.extra.sasl.password"),
        ({"settings": {"kafka.sasl_password": "secret"}}, "kafka.sasl_password"),
        ({"settings": {"kafka.grup": "engage"}}, "kafka.grup"),
        ({"settings": {"batch.max_records": 0}}, "0 is less than"),
        ({"secrets": {"redis.url": {"name": "engage-redis"}}}, "key"),
        ({"image": {"digest": "latest"}}, "latest"),
        ({"worker": {"replicas": 3}}, "worker"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], place: str) -> None:
    """A misspelt name, a value out of range, a password in the open: Helm's check says where."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    with pytest.raises(jsonschema.ValidationError, match=place):
        jsonschema.validate(values, schema)


def test_the_defaults_are_valid() -> None:
    """The chart's own values, and those of the cases."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    for path in (CHART / "values.yaml", *VALUES.glob("*.yaml")):
        jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), schema)
