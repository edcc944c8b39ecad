"""What can be known of the compose file and the image without an engine to run them."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line
)
SERVICES = sorted(COMPOSE["services"])
SERVERS = [name for name in SERVICES if "profiles" not in COMPOSE["services"][name]]


@pytest.mark.parametrize("name", SERVICES)
def test_every_published_port_is_bound_to_this_machine_only(name: str) -> None:
    for port in COMPOSE["services"][name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_publish_the_same_port() -> None:
    ports = [p for name in SERVICES for p in COMPOSE["services"][name].get("ports", [])]
    assert len({p.split(":")[1] for p in ports}) == len(ports)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_tag_that_names_a_full_version(name: str) -> None:
    _, _, tag = COMPOSE["services"][name]["image"].partition(":")
    assert re.match(r"\d+\.\d+\.\d+(-|$)", tag)


def test_the_image_is_built_on_a_python_that_names_a_full_version() -> None:
    assert re.search(r"^FROM python:3\.11\.\d+-slim-", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_says_when_it_is_healthy(name: str) -> None:
    check = COMPOSE["services"][name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert check["retries"] >= 3


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_health_and_not_only_for_a_start(name: str) -> None:
    for other, how in COMPOSE["services"][name].get("depends_on", {}).items():
        assert other in SERVERS
        assert how["condition"] == "service_healthy"


def test_every_volume_that_is_used_is_named_and_every_named_one_is_used() -> None:
    used = {
        v.split(":")[0] for name in SERVICES for v in COMPOSE["services"][name].get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])


def test_driver_and_worker_see_the_lake_at_the_same_place() -> None:
    services = COMPOSE["services"]
    assert services["headrace"]["volumes"] == services["spark-worker"]["volumes"] == ["lake:/data"]


def test_driver_master_and_worker_are_one_image_so_their_spark_is_one_version() -> None:
    services = COMPOSE["services"]
    images = {services[name]["image"] for name in ("headrace", "spark-master", "spark-worker")}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert images == {f"headrace:{version}"}


def test_the_prefect_server_has_the_version_of_the_pinned_client() -> None:
    assert COMPOSE["services"]["prefect"]["image"].split(":")[1].startswith(PINS["prefect"] + "-")


def test_every_headrace_variable_is_a_setting_that_exists() -> None:
    given = set(COMPOSE["services"]["headrace"]["environment"])
    given |= set(re.findall(r"\bHEADRACE_[A-Z_]+(?==)", DOCKERFILE))
    known = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in given if name.startswith("HEADRACE_")} <= known


def test_the_image_holds_every_package_and_does_not_run_as_root() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for package in packages["tool"]["setuptools"]["packages"]:
        assert f"COPY {package} {package}" in DOCKERFILE
    assert "--constraint constraints.txt" in DOCKERFILE
    assert re.search(r"^USER (?!root)\w+", DOCKERFILE, re.MULTILINE)


def test_kafka_runs_without_zookeeper_and_makes_no_topics_by_itself() -> None:
    env = COMPOSE["services"]["kafka"]["environment"]
    assert env["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert env["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    listeners = {part.split("://")[0] for part in env["KAFKA_LISTENERS"].split(",")}
    protocols = dict(p.split(":") for p in env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert listeners == set(protocols)


def test_the_spark_scripts_that_the_image_starts_come_with_pyspark() -> None:
    started = COMPOSE["services"]["spark-master"]["entrypoint"][0]
    assert (Path(sys.executable).parent / started).is_file()
