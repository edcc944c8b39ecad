"""A test of the tests: with one guard turned off, the test that is there for it turns red."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import REPOSITORY
from tests.guards.off import GUARDS, VARIABLE

CHILDREN = Path(__file__).with_name("children")

WATCHED_BY = {
    "sync": "faults/test_power_loss.py::test_an_acknowledged_append_survives_power_loss",
    "dedup": "integration/test_seam_cut.py::test_a_duplicate_after_the_cut_changes_nothing",
    "seam in Python": "integration/test_seam_guard.py"
    "::test_a_seam_that_does_not_meet_gives_no_answer_anywhere",
    "seam in SQL": "integration/test_seam_guard.py"
    "::test_a_view_of_a_base_that_was_replaced_behind_its_back_gives_no_answer",
    "writer lock": "integration/test_cli_bad_input.py"
    "::test_a_second_writer_waits_no_longer_than_told_and_names_the_first",
    "fence": "integration/test_seam_guard.py"
    "::test_a_writer_whose_generation_moved_does_not_commit_what_it_prepared",
    "cut request": "integration/test_seam_guard.py"
    "::test_a_commit_ends_at_the_cut_that_a_batch_asks_for",
    "log identity": "integration/test_seam_log.py::test_another_log_under_the_same_home_is_refused",
    "log length": "integration/test_seam_log.py::test_a_truncated_log_is_refused",
    "audit": "integration/test_audit.py"
    "::test_a_damaged_base_is_not_published_and_the_old_one_serves_on",
    "restatement": "integration/test_restatements.py"
    "::test_on_unchanged_logic_a_base_that_restates_a_cell_is_refused_and_named",
    "digests": "faults/test_damage.py",
    "quarantine": "conformance/test_log.py"
    "::test_bad_lines_go_to_quarantine_and_good_ones_around_them_in",
    "upcasting": "unit/test_contract.py::test_version_1_is_lifted_and_remembers_how_it_arrived",
    "parity gate": "integration/test_seam_guard.py"
    "::test_a_replay_with_the_same_logic_and_other_numbers_is_not_promoted",
    "SELECT only": "integration/test_cli_bad_calls.py"
    "::test_sql_that_is_wrong_or_reaches_too_far_is_refused",
    "transaction": "integration/test_unit_of_work.py"
    "::test_a_unit_of_work_that_fails_leaves_nothing_behind",
}
"""Guard to its test, below `tests/`."""


def test_every_guard_has_a_test() -> None:
    assert set(WATCHED_BY) == set(GUARDS)


@pytest.mark.parametrize("place", WATCHED_BY.values(), ids=WATCHED_BY)
def test_the_test_of_a_guard_is_where_it_is_looked_for(place: str) -> None:
    file, _, name = place.partition("::")
    written = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
    assert f"\ndef {name or 'test_'}" in written


def test_every_guard_can_still_be_turned_off() -> None:
    program = "from tests.guards import off\nfor name in off.GUARDS: off.turn_off(name)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.xdist_group("guards")
def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    shared = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@guards") == shared, "each process starts each service"


@pytest.mark.thorough
@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_the_named_test_turns_red(guard: str) -> None:
    path = os.pathsep.join([str(CHILDREN), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.guards.off",
         "-p", "no:cacheprovider", f"tests/{WATCHED_BY[guard]}"],
        cwd=REPOSITORY, env={**os.environ, VARIABLE: guard, "PYTHONPATH": path},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, f"nothing noticed it: {done.stdout}{done.stderr}"
    assert "1 failed" in done.stdout, done.stdout
    assert "error" not in done.stdout.splitlines()[-1], done.stdout
