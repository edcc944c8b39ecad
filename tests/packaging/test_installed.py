"""The installed package at work, in a project whose packages are named like the parts of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import headrace
from tests.packaging.building import Installed

ORDERS = 40


def filled(installed: Installed, home: Path) -> None:
    """Fill a home, as a user does."""
    made = installed.run("generate", "--orders", ORDERS, "--seed", 7, "--duplicates", 0.1)
    assert made.code == 0, made.err
    told = installed.run("--home", home, "append", "-", "--json", stdin=made.out).json()
    assert told["accepted"] == len(made.out.splitlines())
    installed.run("--home", home, "speed", "--once", "--json").json()


def proven(installed: Installed, home: Path, *, engine: str) -> None:
    """The home serves what its log says, on a base of this engine; nothing strange was imported."""
    verified = installed.run("--home", home, "verify")
    assert (verified.code, verified.out.splitlines()[:1]) == (0, ["EQUAL"]), verified
    status = installed.run("--home", home, "status", "--json").json()
    assert (status["engine"], status["lag_events"]) == (engine, 0)
    assert installed.marks() == []


@pytest.mark.xdist_group("packaging")
def test_what_runs_is_what_was_installed(plain: Installed, with_flows: Installed) -> None:
    for one in (plain, with_flows):
        said = one.python(
            "import headrace, headrace.flows, headrace.schemas as s\n"
            "print(headrace.__file__, headrace.flows.__file__, s.__file__)"
        )
        assert said.split() == [
            str(one.site / "headrace" / name / "__init__.py") for name in ("", "flows", "schemas")
        ]
    absent = "('great_expectations', 'pandas', 'prefect', 'pytest')"
    asked = f"from importlib.util import find_spec as f; print([m for m in {absent} if f(m)])"
    assert plain.python(asked) == "[]\n"
    assert with_flows.python(asked) == "['great_expectations', 'pandas', 'prefect']\n"
    every = "import headrace as h; print(len([getattr(h, name) for name in h.__all__]))"
    assert plain.python(every) == f"{len(headrace.__all__)}\n"


@pytest.mark.xdist_group("packaging")
def test_whoever_imports_a_package_of_the_project_is_found_out(plain: Installed) -> None:
    said = plain.python("try:\n  import flows\nexcept ImportError as e:\n  print(e)")
    assert said == "a package of the project was imported\n"
    (mark,) = plain.marks()
    mark.unlink()
    assert mark.parent == plain.project / "flows"


@pytest.mark.xdist_group("packaging")
def test_without_extras_a_base_is_published_replayed_and_proven(
    plain: Installed, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    filled(plain, home)
    call = ("--home", home, "batch", "--engine", "duckdb")
    plain.run(*call, "--audit", "full").refused(
        2, "Great Expectations is not installed", "headrace[flows]", "--audit core"
    )
    assert plain.run(*call, "--json").json()["base"] == 2
    proven(plain, home, engine="duckdb full")
    replayed = plain.run("--home", home, "replay", "--from", "beginning", "--promote")
    assert replayed.code == 0, replayed.err
    proven(plain, home, engine="consolidate")


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.xdist_group("spark")
def test_without_extras_spark_makes_a_base(plain: Installed, tmp_path: Path) -> None:
    home = tmp_path / "home"
    filled(plain, home)
    done = plain.run("--home", home, "batch", "--engine", "spark", "--json")
    assert done.json()["base"] == 2
    proven(plain, home, engine="spark full")


@pytest.mark.xdist_group("packaging")
def test_without_prefect_flows_are_listed_and_a_run_says_what_to_install(
    plain: Installed, tmp_path: Path
) -> None:
    listed = plain.run("--home", tmp_path / "home", "flows", "ls", "--json").json()
    assert "batch" in {flow["flow"] for flow in listed["flows"]}
    for call in (["run", "batch"], ["serve"]):
        plain.run("--home", tmp_path / "home", "flows", *call).refused(
            2, "Prefect is not installed", "headrace[flows]"
        )


@pytest.mark.xdist_group("packaging")
def test_in_a_folder_with_flows_of_its_own_our_flow_runs_and_proves_what_it_published(
    with_flows: Installed, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    filled(with_flows, home)
    done = with_flows.run("--home", home, "flows", "run", "batch", "--param", "engine=duckdb")
    assert done.code == 0, done.err
    told = json.loads(done.out.splitlines()[-1])
    assert told["published"]["base"] == 2
    assert told["certificate"]["cells"] > ORDERS
    proven(with_flows, home, engine="duckdb full")
