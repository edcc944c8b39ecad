"""What was acknowledged outlives a power loss: the disk keeps what was synced, and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Commands, Disk, NoCompilerError, commands
from tests.faults.powerloss import Machine

SYNCS = {
    "append": {"file": 1, "folder": 1, "catalog": 1},
    "speed": {"file": 2, "folder": 2, "catalog": 1},
    "batch": {"file": 8, "folder": 8, "catalog": 2},
}
"""What each must sync at least; a batch is a cut and a publish of orders, ledger and six views."""


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
    return Machine(tmp_path, *shimmed, seed=20_260_301)


def test_an_acknowledged_append_survives_power_loss(machine: Machine) -> None:
    machine.done("append")
    machine.lose_power(strict=True)
    assert machine.home.is_dir(), "the home itself, two folders down, is gone"
    machine.check_held()
    machine.done("append")
    machine.done("speed")
    machine.lose_power(strict=True)
    machine.check()


@pytest.mark.thorough
def test_every_acknowledged_step_survives_power_loss(machine: Machine) -> None:
    steps = ("append", "speed", "append", "incremental", "retry", "batch", "replay", "maintain")
    for step in steps:
        machine.done(step)
        before = machine.counts()
        machine.lose_power(strict=True)
        assert machine.counts() == before, step
        machine.check_held()
    assert machine.figures.names > 0
    machine.check()


@pytest.mark.thorough
def test_power_that_fails_in_the_middle_of_a_write_leaves_the_state_before_or_after(
    machine: Machine,
) -> None:
    for operation in ("append", "speed", "retry", "batch", "maintain"):
        while not machine.killed(operation):
            pass
        machine.lose_power(strict=machine.chance.random() < 0.5)
        machine.check_held()
        machine.verify()
    assert machine.figures.kills == 5
    machine.check()


def test_what_is_durable_is_synced_before_the_catalog_names_it(machine: Machine) -> None:
    machine.done("append")
    for operation, least in SYNCS.items():
        ran = machine.done(operation)
        synced = [Path(site.path) for site in ran.sites if site.call == "fsync"]
        lake = machine.home / "lake"  # a batch syncs its files before it moves them there
        files = [p for p in synced if p.suffix == ".parquet" and p.is_relative_to(lake)]
        for file in files:
            later = synced[synced.index(file) + 1 :]
            folder = later.index(file.parent)
            assert machine.home / "catalog.sqlite-wal" in later[folder:], (operation, file)
        found = ran.syncs(machine.home)
        print(f"{operation}: {dict(found)}")
        assert all(found[kind] >= count for kind, count in least.items()), (operation, found)


# The disk itself


def _under(shim: Path, disk: Disk, program: str) -> None:
    told = {"LD_PRELOAD": str(shim), **disk.environment()}
    command = [sys.executable, "-c", f"import os\n{program}", disk.root]
    subprocess.run(command, env={**os.environ, **told}, cwd=disk.root, check=True)


@pytest.fixture
def disk(shimmed: tuple[Path, Commands], tmp_path: Path) -> Disk:
    """A disk with a synced file of two pages on it, `old`."""
    disk = Disk(tmp_path, shimmed[0])
    (disk.root / "old").write_bytes(b"1" * 4096 + b"2" * 4096)
    disk.settle()
    return disk


SYNC = """
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


def test_the_disk_forgets_what_was_not_synced(shimmed: tuple[Path, Commands], disk: Disk) -> None:
    _under(
        shimmed[0],
        disk,
        f"{SYNC}\n"
        "open('old', 'r+b').write(b'x' * 4096)\n"
        "open('nameless', 'wb').write(b'x'); sync('nameless')\n"
        "os.mkdir('a'); open('a/file', 'wb').write(b'x'); sync('a/file'); sync('a')\n",
    )
    lost = disk.lose_power()
    assert [path.name for path in disk.root.rglob("*")] == ["old"]
    assert (disk.root / "old").read_bytes()[0:1] == b"1"
    assert (lost.names, lost.pages) == (2, 1)


def test_the_disk_keeps_what_was_synced_with_its_folder(
    shimmed: tuple[Path, Commands], disk: Disk
) -> None:
    _under(
        shimmed[0],
        disk,
        f"{SYNC}\n"
        "open('new', 'wb').write(b'first'); sync('new'); os.rename('new', 'old'); sync('.')\n"
        "open('old', 'ab').write(b' and more'); open('empty', 'wb').write(b'x'); sync('.')\n"
        "os.unlink('old')\n",
    )
    disk.lose_power()
    found = {path.name: path.read_bytes() for path in disk.root.iterdir()}
    assert found == {"old": b"first", "empty": b""}


def test_the_disk_may_keep_any_page_and_any_name_that_was_not_synced(
    shimmed: tuple[Path, Commands], disk: Disk, tmp_path: Path
) -> None:
    seen = set()
    for seed in range(24):
        _under(
            shimmed[0],
            disk,
            "open('old', 'r+b').write(b'x' * 8192); open('name', 'wb').write(b'')\n",
        )
        disk.lose_power(random.Random(seed))
        content = (disk.root / "old").read_bytes()
        seen.add((content[0:1], content[4096:4097], (disk.root / "name").exists()))
        (disk.root / "old").write_bytes(b"1" * 4096 + b"2" * 4096)
        (disk.root / "name").unlink(missing_ok=True)
        disk.settle()
    assert len(seen) == 8, f"seeds 0 to 23: {seen}"
