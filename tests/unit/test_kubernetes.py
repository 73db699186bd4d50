"""The manifests for Kubernetes: by the schemas of the servers that take them, and by what our services are."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from infrastructure.cli.main import cli
from nervous_system.settings import Settings

FOLDER = Path(__file__).parents[2] / "infrastructure" / "kubernetes"
VERSIONS = ("1.30", "1.37")
CUSTOM = {"ScaledObject", "Kustomization"}
COMPONENT = "app.kubernetes.io/component"
VARIABLES = {f"ENCHANTED_{field.name.upper()}{suffix}" for field in fields(Settings) for suffix in ("", "_FILE")}
# What of KEDA's ScaledObject (keda.sh/v1alpha1) is used here; a field by another name would be dropped without a word.
COUNT = {"type": "integer", "minimum": 1}
RULES = {
    "type": "object",
    "required": ["stabilizationWindowSeconds", "policies"],
    "additionalProperties": False,
    "properties": {"stabilizationWindowSeconds": COUNT, "policies": {"type": "array", "minItems": 1}},
}
SCALED_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {"type": "object", "required": ["name"], "maxProperties": 1},
        "minReplicaCount": COUNT,
        "maxReplicaCount": COUNT,
        "pollingInterval": COUNT,
        "fallback": {
            "type": "object",
            "required": ["failureThreshold", "replicas"],
            "additionalProperties": False,
            "properties": {"failureThreshold": COUNT, "replicas": COUNT},
        },
        "advanced": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "horizontalPodAutoscalerConfig": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "behavior": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"scaleUp": RULES, "scaleDown": RULES},
                        }
                    },
                }
            },
        },
        "triggers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "metadata"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "prometheus"},
                    "metricType": {"enum": ["AverageValue", "Value"]},
                    "metadata": {
                        "type": "object",
                        "required": ["serverAddress", "query", "threshold"],
                        "additionalProperties": False,
                        # KEDA takes texts only.
                        "properties": {name: {"type": "string"} for name in ("serverAddress", "query", "threshold")},
                    },
                },
            },
        },
    },
}


@functools.cache
def documents() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Every document, with its file's name."""
    files = sorted(FOLDER.glob("*.yaml"))
    return tuple((path.name, each) for path in files for each in yaml.safe_load_all(path.read_text("utf-8")))


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for _, each in documents() if each["kind"] in kinds}


def pods() -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"] for name, each in of_kind("Deployment", "StatefulSet", "Job").items()}


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            yield pod["spec"], container


def own_environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def shared_environment() -> dict[str, str]:
    found: dict[str, str] = of_kind("ConfigMap")["enchanted"]["data"]
    return found


def test_kustomize_is_given_every_file() -> None:
    [listed] = [each for _, each in documents() if each["kind"] == "Kustomization"]
    assert sorted([*listed["resources"], "kustomization.yaml"]) == sorted(path.name for path in FOLDER.glob("*.yaml"))
    assert listed["images"][0]["name"] == "enchanted"


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_own_schemas_take_them(version: str) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    for _, document in documents():
        if document["kind"] not in CUSTOM:
            kubernetes.validate(document, version, strict=True)


def test_scaled_objects_are_what_keda_reads() -> None:
    scaled = of_kind("ScaledObject")
    assert len(scaled) == 3
    for each in scaled.values():
        jsonschema.validate(each["spec"], SCALED_OBJECT)


def test_processes_are_scaled_between_one_and_as_many_as_there_are_partitions() -> None:
    deployments, partitions = of_kind("Deployment"), int(shared_environment()["ENCHANTED_PARTITIONS"])
    for name, scaled in of_kind("ScaledObject").items():
        spec = scaled["spec"]
        assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"] <= partitions
        target = deployments[spec["scaleTargetRef"]["name"]]
        # A number in the manifest would undo the scaler's at each apply.
        assert "replicas" not in target["spec"]
        assert target["spec"]["template"]["spec"]["containers"][0]["args"][-2:] == ["--share", "auto"]
        [trigger] = spec["triggers"]
        sink = name.removeprefix("ingest-")
        assert f'enchanted_sink_lag_messages{{sink="{sink}"}}' in trigger["metadata"]["query"]


def test_no_pod_is_root_writes_its_own_files_or_gains_privileges() -> None:
    [namespace] = of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(list(containers())) == 8
    for spec, container in containers():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == container["resources"].keys()
        assert {"cpu", "memory"} == container["resources"]["limits"].keys() == container["resources"]["requests"].keys()


def test_each_service_is_probed_where_it_tells_how_it_is() -> None:
    port = int(shared_environment()["ENCHANTED_METRICS_ADDRESS"].rpartition(":")[2])
    probed = set()
    for _, container in containers():
        if own_environment(container).get("ENCHANTED_METRICS_ADDRESS") == "":
            assert "metrics" not in {each["name"] for each in container.get("ports", ())}
            continue
        probed.add(container["name"])
        assert container["ports"] == [{"name": "metrics", "containerPort": port}]
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert probed == {"ingest-ledger", "ingest-clickhouse", "ingest-siphon", "snapshots", "janitor", "sync"}


def test_every_variable_is_a_setting_and_every_secret_a_file() -> None:
    assert shared_environment().keys() <= VARIABLES | {"ENCHANTED_HOME"}
    for spec, container in containers():
        own = own_environment(container)
        assert own.keys() <= VARIABLES
        # A password or key that stands in a manifest is none.
        assert not [name for name in own if re.search(r"(PASSWORD|SECRET_KEY|TOKEN)$", name)]
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        volumes = {each["name"]: each for each in spec["volumes"]}
        secrets = [Path(value).name for value in own.values() if value.startswith("/run/secrets/")]
        if secrets:
            secret = volumes[mounts["/run/secrets"]]["secret"]
            assert secret["defaultMode"] & 0o007 == 0
            assert {each["path"] for each in secret["items"]} == set(secrets)
        assert mounts.keys() >= {"/tmp"}
        claimed = {"outbox"} if container["name"] in ("otlp", "sync") else set()
        assert set(mounts.values()) <= volumes.keys() | claimed


def test_every_command_is_one_of_ours() -> None:
    for _, container in containers():
        name, *arguments = container["args"]
        context = click.Context(cli)
        command = cli.get_command(context, name)
        assert command is not None, name
        command.make_context(name, list(arguments), parent=context)


def test_budgets_policies_and_services_choose_pods_that_there_are() -> None:
    labels = {pod["metadata"]["labels"][COMPONENT] for pod in pods().values()}
    budgets = {each["spec"]["selector"]["matchLabels"][COMPONENT] for each in of_kind("PodDisruptionBudget").values()}
    assert budgets == labels - {"prepare"}
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-else"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    chosen = set()
    for policy in policies.values():
        selector = policy["spec"]["podSelector"]
        chosen |= {value for each in selector.get("matchExpressions", ()) for value in each["values"]}
        chosen |= set(selector.get("matchLabels", {}).values())
    assert chosen == labels
    for name, each in of_kind("Deployment", "StatefulSet").items():
        assert each["spec"]["selector"]["matchLabels"] == {COMPONENT: name}
        assert each["spec"]["template"]["metadata"]["labels"][COMPONENT] == name
    assert {each["spec"]["selector"][COMPONENT] for each in of_kind("Service").values()} <= labels


def test_who_may_reach_a_server_is_who_is_told_its_address() -> None:
    reached = {
        "to-clickhouse": "ENCHANTED_CLICKHOUSE_USER",
        "to-foundationdb": "ENCHANTED_LEDGER",
        "to-archive": "ENCHANTED_S3_ACCESS_KEY",
        "to-log": "ENCHANTED_NATS_USER",
    }
    policies = of_kind("NetworkPolicy")
    for policy, variable in reached.items():
        [chosen] = policies[policy]["spec"]["podSelector"]["matchExpressions"]
        told = {
            name
            for name, pod in pods().items()
            if any(variable in own_environment(container) for container in pod["spec"]["containers"])
        }
        assert set(chosen["values"]) == told, policy
