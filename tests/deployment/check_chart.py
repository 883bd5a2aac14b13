"""The chart by Helm itself, its renders against Kubernetes' own schemas."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.deployment.prepare import MODELS, TOOLS
from tests.deployment.test_chart import CASES, CHART, GOLDEN, VALUES, chart_digest, rendered

VERSIONS = ("1.27.0", "1.37.0")  # the chart's oldest, and the newest there are schemas of
# Of operators, not of Kubernetes: the schemas have none.
OTHERS = ("PrometheusRule", "ScaledObject", "ServiceMonitor")


def render(case: str) -> str:
    """Render the chart by Helm."""
    words = ["template", "shop", str(CHART), "--namespace", "crm", "--values", str(VALUES / f"{case}.yaml")]
    return f"# {chart_digest(case)}\n" + _ran(TOOLS / "helm", *words, "--kube-version", "1.37")


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing(case: str) -> None:
    """`helm lint --strict` on each case."""
    words = ["--strict", "--quiet", "--kube-version", "1.37", "--values", str(VALUES / f"{case}.yaml")]
    assert _ran(TOOLS / "helm", "lint", *words, str(CHART)) == ""


@pytest.mark.parametrize("case", CASES)
def test_the_renders_are_what_helm_makes(case: str) -> None:
    """So what `make test` looks at is real; `python -m tests.deployment.check_chart` writes them anew."""
    assert (GOLDEN / f"{case}.yaml").read_text("utf-8") == render(case)


def test_helm_says_what_is_missing() -> None:
    """Without Kafka's address, Redis' secret, or with more workers than partitions, there is no render."""
    address, secret = "kafka.bootstrapServers=kafka:9092", '{"redis.url":{"name":"r","key":"url"}}'
    least = ["--set", address, "--set-json", f"secrets={secret}"]
    for words, said in (
        (least[2:], "kafka.bootstrapServers: say where Kafka is"),
        (least[:2], "secrets.redis.url: name the Secret"),
        (
            [*least, "--set", "autoscaling.enabled=true,autoscaling.maxReplicas=9"],
            "9 workers for 8 partitions",
        ),
        ([*least, "--set", "autoscaling.enabled=true"], "autoscaling.prometheusAddress: say where"),
        ([*least, "--set-json", 'settings={"batch.max_records":0}'], "minimum: got 0, want 1"),
    ):
        template = [str(TOOLS / "helm"), "template", str(CHART), "--kube-version", "1.37", *words]
        done = subprocess.run(template, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert said in done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_knows_every_field(case: str, version: str, tmp_path: Path) -> None:
    """By kubeconform, strict, against the schemas of that version of Kubernetes."""
    kinds = [each for each in rendered(case) if each["kind"] not in OTHERS]
    for each in kinds:
        _write_schema(tmp_path, version, each["kind"], each["apiVersion"])
    words = ["-strict", "-kubernetes-version", version, "-skip", ",".join(OTHERS), "-summary"]
    place = f"{tmp_path}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    said = _ran(TOOLS / "kubeconform", *words, "-schema-location", place, str(GOLDEN / f"{case}.yaml"))
    assert f"Valid: {len(kinds)}, Invalid: 0, Errors: 0" in said


def _write_schema(folder: Path, version: str, kind: str, api: str) -> None:
    """Write one schema of kubernetes-validate's as kubeconform wants it: its definitions in the same file."""
    place = find_spec("kubernetes_validate")
    assert place is not None
    assert place.origin is not None
    source = Path(place.origin).parent / "kubernetes-json-schema" / f"v{version}-local-strict"
    group, _, api_version = api.rpartition("/")
    parts = [kind.lower(), *([group.split(".")[0]] if group else []), api_version]
    name = "-".join(parts) + ".json"
    shared = (source / "_definitions.json").read_text("utf-8")
    whole = json.loads((source / name).read_text("utf-8").replace("/api/_definitions.json#", "#"))
    whole.pop("$id", None)
    whole["$defs"] = json.loads(shared.replace("/api/_definitions.json#", "#"))["$defs"]
    (folder / name).write_text(json.dumps(whole), "utf-8")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_field_is_found(version: str, tmp_path: Path) -> None:
    """The check above checks: a misspelt field does not pass."""
    wrong = (GOLDEN / "least.yaml").read_text("utf-8").replace("minReadySeconds", "minReadySecs")
    (tmp_path / "wrong.yaml").write_text(wrong, "utf-8")
    words = [
        sys.executable,
        "-m",
        "kubernetes_validate",
        "--strict",
        "-k",
        version,
        str(tmp_path / "wrong.yaml"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "minReadySecs" in done.stdout + done.stderr


def test_the_operators_know_their_objects() -> None:
    """KEDA's and the Prometheus operator's, by the schemas of their definitions; a wrong type is found."""
    objects = [each for each in rendered("all") if each["kind"] in OTHERS]
    program = shutil.copy(Path(__file__).with_name("custom_resources.mjs"), MODELS)
    wrong = json.loads(json.dumps(objects).replace('"minReplicaCount": 2', '"minReplicaCount": "2"'))
    for given, said in ((objects, "valid"), (wrong, "data/spec/minReplicaCount must be integer")):
        text = json.dumps(given)
        done = subprocess.run(["node", program], input=text, capture_output=True, text=True, check=True)
        assert len(done.stdout.splitlines()) == len(OTHERS)
        assert f"ScaledObject: {said}" in done.stdout
        assert done.stdout.count(": valid") == len(OTHERS) - (said != "valid")


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """What is inside PrometheusRule is a rule file by promtool, with the runbook's address."""
    (rule,) = [each for each in rendered("all") if each["kind"] == "PrometheusRule"]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]), "utf-8")
    assert "SUCCESS" in _ran(Path("promtool"), "check", "rules", str(path))
    links = [
        each["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    ]
    assert all(link.startswith("https://docs.example/engage/runbook.md#") for link in links)


def _ran(program: Path, *words: str) -> str:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / f"{name}.yaml").write_text(render(name), "utf-8")
