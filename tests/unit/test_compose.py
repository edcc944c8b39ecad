"""What can be known of the compose file and the image without an engine to run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line
)
SERVICES = sorted(COMPOSE["services"])
OURS = [name for name in SERVICES if COMPOSE["services"][name]["image"].startswith("headrace:")]
SERVERS = [name for name in SERVICES if COMPOSE["services"][name]["restart"] != "no"]


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
    assert re.match(r"\d+\.\d+(\.\d+)?(-|$)", tag)  # PostgreSQL's versions have two parts


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
        healthy = "service_healthy" if other in SERVERS else "service_completed_successfully"
        assert how["condition"] == healthy


def test_every_volume_that_is_used_is_named_and_every_named_one_is_used() -> None:
    used = {
        v.split(":")[0] for name in SERVICES for v in COMPOSE["services"][name].get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])


def test_all_who_read_or_write_the_lake_see_it_at_the_same_place() -> None:
    for name in OURS:
        wanted = None if name == "spark-master" else ["lake:/data"]
        assert COMPOSE["services"][name].get("volumes") == wanted


def test_driver_master_and_worker_are_one_image_so_their_spark_is_one_version() -> None:
    services = COMPOSE["services"]
    assert {"headrace", "flows", "speed", "spark-master", "spark-worker"} <= set(OURS)
    images = {services[name]["image"] for name in OURS}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert images == {f"headrace:{version}"}


def test_the_prefect_server_has_the_version_of_the_pinned_client() -> None:
    assert COMPOSE["services"]["prefect"]["image"].split(":")[1].startswith(PINS["prefect"] + "-")


def test_every_headrace_variable_is_a_setting_that_exists() -> None:
    given = {e for name in SERVICES for e in COMPOSE["services"][name].get("environment", {})}
    given |= set(re.findall(r"\bHEADRACE_[A-Z_]+(?==)", DOCKERFILE))
    known = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in given if name.startswith("HEADRACE_")} <= known


def test_the_image_holds_every_package_and_does_not_run_as_root() -> None:
    linked = [path for path in (ROOT / "headrace").iterdir() if path.is_symlink()]
    assert len(linked) == 4
    for name in ("headrace", *(path.resolve().relative_to(ROOT) for path in linked)):
        assert f"\nCOPY {name} {name}\n" in DOCKERFILE
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


def composed(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What Compose itself says of the file."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here; install Debian's package of that name")
    # Version 1 does not know the project's name as a key of the file; all else is the same.
    plain = {key: value for key, value in COMPOSE.items() if key != "name"}
    (folder / "docker-compose.yml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    return subprocess.run(
        [program, "config"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    told = composed(tmp_path, HEADRACE_CATALOG_PASSWORD="of-the-test")  # noqa: S106
    assert told.returncode == 0, told.stderr
    assert set(yaml.safe_load(told.stdout)["services"]) == set(SERVICES)


def test_without_a_password_of_ones_own_nothing_starts(tmp_path: Path) -> None:
    for chosen in ({}, {"HEADRACE_CATALOG_PASSWORD": ""}):
        told = composed(tmp_path, **chosen)
        assert told.returncode != 0
        assert "copy .env.example to .env" in told.stderr
    assert "\nHEADRACE_CATALOG_PASSWORD=\n" in (ROOT / ".env.example").read_text("utf-8")


def test_no_secret_is_written_in_the_file() -> None:
    for name in SERVICES:
        for key, value in COMPOSE["services"][name].get("environment", {}).items():
            assert "PASSWORD" not in key or value.startswith("${HEADRACE_CATALOG_PASSWORD:?")


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_no_more_rights_than_they_need(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
