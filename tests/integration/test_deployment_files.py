"""The deployment's files, checked without an engine: by schema, by docker-compose itself, by the rules that we keep."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infrastructure.deployment.folder import FOUNDATIONDB_ADDRESSES, KEEPERS, Folder, Plan, environment_lines
from infrastructure.local.site import program
from nervous_system.settings import Settings
from tests.integration.deployed import COMPOSE, INFRASTRUCTURE, VARIABLE, composed, nats_folder, variables_of
from tests.integration.nats_process import NatsServer
from tests.integration.quick_command import Quick

ROOT = INFRASTRUCTURE.parent
PROFILES = (("core",), ("cluster",), ("observability",), ("core", "observability"), ("cluster", "observability"))
LOCKED = re.compile(r"^([a-z0-9][\w.-]*==\S+) \\$", re.MULTILINE)
CELL = re.compile(r"`((?:ENCHANTED|COMPOSE)_\w+)`")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("files") / "deployment")
    folder.write(Plan(("acme", "beta")))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("files") / "cluster")
    folder.write(Plan(("acme",), is_cluster=True))
    return folder


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def active(document: dict[str, Any], profiles: tuple[str, ...]) -> dict[str, Any]:
    return {name: each for name, each in document["services"].items() if set(each["profiles"]) & set(profiles)}


def mounts(service: dict[str, Any]) -> Iterator[list[str]]:
    for mount in service.get("volumes", ()):
        yield mount.split(":")


def test_the_file_keeps_the_specification(document: dict[str, Any]) -> None:
    # Of a profile the services are fewer, and nothing else is different.
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(document, json.loads(vendored.read_text()))


@pytest.mark.parametrize("profiles", PROFILES, ids="+".join)
def test_each_profile_is_whole(document: dict[str, Any], profiles: tuple[str, ...]) -> None:
    services = active(document, profiles)
    for name, service in services.items():
        needed = service.get("depends_on", {})
        assert set(needed) <= set(services), f"{name} needs what is not in {profiles}"
        for other, how in needed.items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends or services[other]["healthcheck"].get("test"), f"{name} waits for the health of {other}"
        assert {source for source, *_ in mounts(service) if "/" not in source and "$" not in source} <= set(
            document["volumes"]
        )
        assert set(service.get("secrets", ())) <= set(document["secrets"])


def test_docker_compose_takes_the_file(document: dict[str, Any], deployment: Folder) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed: apt-get install docker-compose")
    chosen = [option for each in ("core", "cluster", "observability") for option in ("--profile", each)]
    done = subprocess.run(
        ["docker-compose", "--file", COMPOSE, "--env-file", deployment.environment_file, *chosen, "config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(document["services"])


def test_docker_compose_refuses_without_a_deployment() -> None:
    with pytest.raises(AssertionError, match="init-deployment"):
        composed({})


def test_every_container_is_hardened(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert re.search(r":[\w.-]*\d", service["image"]), f"{name} has no pinned version"
        assert "latest" not in service["image"]
        if name != "volumes":
            assert service["user"].startswith("${ENCHANTED_UID:?"), name
            assert "cap_add" not in service
        for port in service.get("ports", ()):
            assert port.startswith(("127.0.0.1:", "${ENCHANTED_PUBLISH_ADDRESS:-127.0.0.1}:")), f"{name}: {port}"
        if name != "jaeger":  # whose image has nothing to ask with
            assert service["healthcheck"], name
    root = document["services"]["volumes"]
    assert (root["user"], root["cap_add"], root["network_mode"]) == ("0:0", ["CHOWN"], "none")


def test_no_secret_stands_in_an_environment_or_a_command(document: dict[str, Any], deployment: Folder) -> None:
    for name, service in document["services"].items():
        for variable, value in service.get("environment", {}).items():
            is_secret = re.search(r"PASSWORD|TOKEN|SECRET", variable)
            assert not is_secret or str(value).startswith("/run/secrets/"), f"{name}: {variable}"
    made = {path.read_text().strip() for path in (deployment.root / "secrets").iterdir()}
    shown = deployment.environment_file.read_text() + yaml.safe_dump(composed(variables_of(deployment.root)))
    assert not [secret for secret in made if secret in shown]


@pytest.mark.parametrize("kind", ["deployment", "cluster"])
def test_every_file_that_is_mounted_is_there(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Folder = request.getfixturevalue(kind)
    filled = composed(variables_of(folder.root))
    sources = [source for each in filled["services"].values() for source, *_ in mounts(each) if "/" in source]
    sources += [each["file"] for each in filled["secrets"].values()]
    assert [source for source in sources if not (COMPOSE.parent / source).exists()] == []
    # Whatever server there is, its volume is one that is given to who it runs as.
    given = {source for source, *_ in mounts(filled["services"]["volumes"])}
    assert given == set(filled["volumes"])


@pytest.mark.parametrize("kind", ["deployment", "cluster"])
def test_nats_takes_its_configuration(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: Folder = request.getfixturevalue(kind)
    config = nats_folder(folder.root, tmp_path / "nats", NatsServer(4222, 8222))
    done = subprocess.run(
        [program("nats-server"), "-t", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert "is valid" in done.stderr, done.stderr
    assert "sync_interval: always" in config.read_text()


def test_the_shell_can_read_its_scripts() -> None:
    scripts = sorted((INFRASTRUCTURE / "foundationdb").glob("*.sh"))
    assert [script.name for script in scripts] == ["configure.sh", "serve.sh"]
    for script in scripts:
        done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_cluster_names_the_services_that_there_are(document: dict[str, Any], cluster: Folder) -> None:
    variables, services = variables_of(cluster.root), active(document, ("cluster",))
    urls = variables["ENCHANTED_NATS_URL"].split(",")
    assert [url.split("/")[2] for url in urls] == [f"{name}:4222" for name in services if name.startswith("nats")]
    assert variables["ENCHANTED_REPLICAS"] == str(len(urls)) == "3"
    routes = re.findall(r"@([\w-]+):6222", (cluster.root / "nats" / "cluster.conf").read_text())
    assert routes == [name for name in services if name.startswith("nats")]
    assert set(KEEPERS) == {name for name in services if name.startswith("keeper")}
    for place in ("clickhouse/keeper.xml", None):
        text = (INFRASTRUCTURE / place if place else cluster.root / "clickhouse" / "cluster.xml").read_text()
        assert all(keeper in text for keeper in KEEPERS)
    coordinators = (cluster.root / "foundationdb" / "fdb.cluster").read_text().partition("@")[2].strip().split(",")
    assert coordinators == [f"{address}:4500" for address in FOUNDATIONDB_ADDRESSES]
    addresses = [each["environment"]["ENCHANTED_FDB_ADDRESS"] for each in services.values() if "serve.sh" in str(each)]
    assert addresses == list(FOUNDATIONDB_ADDRESSES)


def test_init_deployment_keeps_what_there_is(tmp_path: Path) -> None:
    sandbox = Quick(tmp_path / "home")
    folder = tmp_path / "deployment"
    said = sandbox.succeed("init-deployment", folder, "--tenant", "acme")
    assert "--profile core" in said
    assert "nats_tenant_acme" in said
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o777 for path in before} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o700}
    assert "--force" in sandbox.refuse("init-deployment", folder)
    assert {path: path.read_text() for path in before} == before

    environment = folder / ".env"
    environment.write_text(environment.read_text().replace("PARTITIONS=4", "PARTITIONS=16"))
    (folder / "nats" / "tls.conf").write_text("# of our own\n")
    (folder / "secrets" / "nats_ingestor").unlink()
    sandbox.succeed("init-deployment", folder, "--tenant", "beta", "--force")
    for path, text in before.items():
        if path.parent.name == "secrets" and path.name != "nats_ingestor":
            assert path.read_text() == text
    assert (folder / "foundationdb" / "fdb.cluster").read_text() == before[folder / "foundationdb" / "fdb.cluster"]
    assert (folder / "nats" / "tls.conf").read_text() == "# of our own\n"
    variables = variables_of(folder)
    assert (variables["ENCHANTED_PARTITIONS"], variables["ENCHANTED_TENANTS"]) == ("16", "acme,beta")
    fresh = (folder / "secrets" / "nats_ingestor").read_text()
    assert fresh != before[folder / "secrets" / "nats_ingestor"]
    accounts = (folder / "nats" / "accounts.conf").read_text()
    assert fresh in accounts
    assert (folder / "secrets" / "nats_tenant_beta").read_text() in accounts
    assert "analyst_beta" in (folder / "clickhouse" / "users.xml").read_text()
    assert "'no/tenant'" in sandbox.refuse("init-deployment", tmp_path / "other", "--tenant", "no/tenant")
    assert not (tmp_path / "other").exists()


def test_two_deployments_share_no_secret(deployment: Folder, cluster: Folder) -> None:
    secrets = [{path.read_text() for path in (each.root / "secrets").iterdir()} for each in (deployment, cluster)]
    assert not secrets[0] & secrets[1]
    assert all(len(secret) >= 48 for secret in secrets[0])


def test_the_image_is_hadolint_clean() -> None:
    done = subprocess.run(
        [program("hadolint"), "--failure-threshold", "style", INFRASTRUCTURE / "image" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested = set(LOCKED.findall((ROOT / "requirements.lock").read_text()))
    for name in ("requirements.lock", "build.lock"):
        locked = set(LOCKED.findall((INFRASTRUCTURE / "image" / name).read_text()))
        assert locked
        assert locked <= tested, f"{name}: run `make lock`"
    images = re.findall(r"foundationdb/foundationdb:\S+", COMPOSE.read_text())
    assert f"FROM {images[0]} " in (INFRASTRUCTURE / "image" / "Dockerfile").read_text()
    assert len(set(images)) == 1


def test_every_variable_is_documented_and_every_documented_one_is_used(document: dict[str, Any]) -> None:
    settings = set(CELL.findall((ROOT / "docs" / "settings.md").read_text()))
    deploying = (ROOT / "docs" / "deployment.md").read_text()
    documented = {
        variable
        for line in deploying.splitlines()
        if line.startswith("| `ENCHANTED_") or line.startswith("| `COMPOSE_")
        for variable in CELL.findall(line.split("|")[1])
    }
    text = COMPOSE.read_text()
    filled_in = {name for name, *_ in VARIABLE.findall(text)}
    assert filled_in <= documented
    written = set(environment_lines(Plan(("acme",)), Path("/deployment")))
    assert written <= documented
    assert documented <= filled_in | written
    given = {name for each in document["services"].values() for name in each.get("environment", {})}
    known = settings | documented | {f"{name}_FILE" for name in settings}
    of_servers = {"ENCHANTED_FDB_ADDRESS", "ENCHANTED_KEEPER_ID", "ENCHANTED_CLICKHOUSE_REPLICA"}
    assert {name for name in given if name.startswith("ENCHANTED_")} - of_servers <= known
    for name in of_servers:
        assert any(
            name in path.read_text() for path in INFRASTRUCTURE.rglob("*") if path.suffix in {".sh", ".xml", ".py"}
        )
    # What a service is given is read by it: by the settings, or by the command itself.
    read = {f"ENCHANTED_{name.upper()}" for name in Settings.__dataclass_fields__} | {"ENCHANTED_CLICKHOUSE_REPLICATED"}
    assert {name for name in given if name.startswith("ENCHANTED_")} - of_servers <= read | {f"{x}_FILE" for x in read}


def test_prometheus_looks_at_every_service_that_has_pages(document: dict[str, Any]) -> None:
    text = (INFRASTRUCTURE / "prometheus" / "prometheus.yml").read_text()
    jobs = {each["job_name"]: each["static_configs"][0]["targets"] for each in yaml.safe_load(text)["scrape_configs"]}
    pages = {
        f"{name}:9464"
        for name, each in document["services"].items()
        if str(each.get("environment", {}).get("ENCHANTED_METRICS_ADDRESS", "")).endswith(":9464")
    }
    assert set(jobs["enchanted"]) == pages


def test_grafana_has_the_sources_that_the_dashboards_ask(document: dict[str, Any]) -> None:
    provisioning = INFRASTRUCTURE / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "enchanted.yml").read_text())["datasources"]
    known = {(each["type"], each["uid"]) for each in sources}
    asked = {
        (found["type"], found["uid"])
        for path in (INFRASTRUCTURE / "grafana" / "dashboards").glob("*.json")
        for found in re.finditer(
            r'"datasource":\s*{\s*"type": "(?P<type>[^"]+)",\s*"uid": "(?P<uid>[^"$-]+)"', path.read_text()
        )
    }
    assert asked
    assert asked <= known
    targets = {target for _, target, *_ in mounts(document["services"]["grafana"])}
    provider = yaml.safe_load((provisioning / "dashboards" / "enchanted.yml").read_text())["providers"][0]
    assert provider["options"]["path"] in targets
