"""A machine that refuses: its disk, its memory, its open files. One clear line, nothing lost."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write
from tests.faults.disk import Commands, NoCompilerError, commands
from tests.faults.powerloss import Machine
from tests.faults.resources import KINDS, Figures, Sweep, refused, sample
from tests.halves import first

SEED = 20_260_301


@pytest.fixture(scope="module")
def shimmed() -> Iterator[tuple[Path, Commands]]:
    """The shim, and a process that runs commands under it."""
    try:
        with commands() as both:
            yield both
    except NoCompilerError as e:
        pytest.skip(str(e))


@pytest.fixture
def machine(shimmed: tuple[Path, Commands], tmp_path: Path) -> Machine:
    """A computer with no home on its disk yet."""
    return Machine(tmp_path, *shimmed, seed=SEED, append_events=1_000)


@pytest.mark.thorough
def test_a_write_that_fails_is_refused_in_one_line_and_the_same_command_then_succeeds(
    machine: Machine,
) -> None:
    chance, figures = random.Random(SEED), Figures()
    sweep = Sweep(machine, figures)
    sweep.prepare()
    for operation in ("append", "speed", "retry", "batch", "maintain"):
        sweep.ready(operation)
        writes = sample(machine.done(operation).sites, chance)
        figures.sites += len(writes)
        for site in chance.sample(writes, 3):
            sweep.ready(operation)
            sweep.fail(operation, site.number, chance.choice(KINDS))
        sweep.resume(operation)
    sweep.check()
    print(f"seed {SEED}: {figures}")
    assert figures.fired >= 8
    assert figures.refused > 4


def test_a_sync_that_fails_refuses_the_append_and_nothing_of_it_is_in_the_log(
    machine: Machine,
) -> None:
    machine.done("append")
    sites = machine.done("append").sites
    before = machine.held
    for site in [s for s in sites if s.call == "fsync" and s.path.endswith((".parquet", "events"))]:
        ran = machine.do("append", f"fail:{site.number}:5", durable=False)
        assert ran.fired
        refused(ran.outcome, "nothing of it was recorded")
        machine.check_held()
        assert machine.held == before
    machine.done("append", again=True)


@pytest.mark.parametrize(("how", "number"), first(2, KINDS))
def test_a_commit_whose_last_sync_fails_is_whole_or_not_there(
    machine: Machine, tmp_path: Path, how: str, number: int
) -> None:
    machine.done("append")
    before = machine.held
    shutil.copytree(machine.home, tmp_path / "copy")
    sites = machine.done("append").sites
    journal = str(machine.home / "catalog.sqlite-wal")
    site = max(
        sync.number
        for write, sync in itertools.pairwise(sites)
        if (write.call, sync.call, write.path, sync.path) == ("write", "fsync", journal, journal)
    )  # the sync of a checkpoint follows another sync
    shutil.rmtree(machine.home)
    shutil.copytree(tmp_path / "copy", machine.home)
    machine.held = before
    ran = machine.do("append", f"{how}:{site}:{number}", again=True, durable=False)
    assert (ran.sites[site - 1].call, ran.fired) == ("fsync", True)
    words = "nothing of it was recorded" if how == "fail" else "is not certain"
    refused(ran.outcome, words)
    machine.check_held()  # the catalog names no file that is gone
    assert how != "fail" or machine.held == before
    machine.done("append", again=True)


def test_too_few_open_files_are_named_with_the_limit_to_raise(machine: Machine) -> None:
    machine.done("append")
    machine.done("speed")
    machine.done("append")
    for files in (5, 7):
        for operation in ("append", "speed", "batch"):
            ran = machine.do(operation, durable=False, limits={"NOFILE": files})
            refused(ran.outcome, "ulimit -n")
            machine.check_held()
    machine.check()


@pytest.mark.thorough
def test_too_little_memory_is_refused_with_the_setting_to_raise(machine: Machine) -> None:
    machine.done("append")
    machine.done("speed")
    machine.done("append")
    for limit in ("1MB", "10MB"):
        for operation in ("append", "speed", "batch"):
            ran = machine.do(operation, durable=False, memory_limit=limit)
            refused(ran.outcome, "memory_limit")
            machine.check_held()
    machine.check()


@pytest.mark.thorough
def test_a_process_that_gets_no_memory_acknowledges_nothing_that_is_not_kept(
    machine: Machine,
) -> None:
    machine.done("append")
    stopped = 0
    for megabytes in (500, 600, 700, 900):
        for operation in ("append", "speed"):
            limits = {"AS": megabytes << 20}
            ran = machine.do(operation, durable=False, limits=limits)
            stopped += ran.outcome.code != 0
            assert ran.outcome.code != 0 or operation == "speed" or machine.held.log
            machine.check_held()
    assert stopped, "this limit was none"
    machine.check()


@pytest.mark.spark
@pytest.mark.thorough
def test_a_spark_job_with_too_little_memory_says_so_and_the_old_base_serves_on(
    tmp_path: Path,
) -> None:
    headrace, lines = Headrace(tmp_path / "home"), events(5, SEED)
    headrace.json("append", write(tmp_path / "lines.ndjson", lines))
    headrace.json("speed", "--once")
    outcome = headrace.run("batch", spark_memory="32m", spark_master="local[1]")
    refused(outcome, "memory")
    assert "The old base serves on" in outcome.err
    Truth.of(lines).check(headrace)
