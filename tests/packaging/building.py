"""What a user gets: the distributions, built from a copy of this checkout, and installed alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.e2e.command import REPOSITORY, Outcome

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
FOLDERS = ("flows", "jobs", "pipelines", "schemas")
_LONGEST = 300
"""Seconds that a process may take."""


@dataclass(frozen=True)
class Built:
    """A wheel from the checkout, a source archive, a wheel from that, and what was printed."""

    wheel: Path
    sdist: Path
    wheel_of_sdist: Path
    said: str


def build(folder: Path) -> Built:
    """Build with the build system that pyproject.toml names, as pip does."""
    tools = folder / "tools"
    needed = PROJECT["build-system"]["requires"]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, *needed)
    checkout = folder / "checkout"
    checkout.mkdir()
    for path in REPOSITORY.iterdir():
        if path.is_symlink() or path.name.startswith(".") or path.name == "build":
            continue
        if path.is_dir():
            shutil.copytree(path, checkout / path.name, symlinks=True)
        else:
            shutil.copy(path, checkout)
    for name in FOLDERS:  # what Python leaves in a checkout that is used
        (checkout / name / "__pycache__").mkdir(exist_ok=True)
        (checkout / name / "__pycache__" / "left.cpython-311.pyc").write_bytes(b"")
    wheel, said = _built("wheel", checkout, folder / "first", tools)
    sdist, more = _built("sdist", checkout, folder / "first", tools)
    shutil.unpack_archive(sdist, folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    again, most = _built("wheel", unpacked, folder / "second", tools)
    return Built(wheel, sdist, again, said + more + most)


def _built(kind: str, sources: Path, target: Path, tools: Path) -> tuple[Path, str]:
    """Call the hook of the build system; gives the file, and what was printed."""
    target.mkdir(exist_ok=True)
    backend = PROJECT["build-system"]["build-backend"]
    program = f"import sys, {backend} as b; print(b.build_{kind}(sys.argv[1]))"
    said = _run(sys.executable, "-c", program, target, cwd=sources, path=tools)
    return target / said.splitlines()[-1], said


class Installed:
    """A wheel in a virtual environment of its own, beside its declared dependencies and no more.

    It is used in a project that has packages with names like ours. Whoever imports one of them
    leaves a mark, and fails.
    """

    def __init__(self, wheel: Path, folder: Path, *, extras: tuple[str, ...] = ()) -> None:
        self.folder = folder
        venv.EnvBuilder(with_pip=False).create(folder / "venv")
        self._bin = folder / "venv" / "bin"
        found = _run(
            self._bin / "python", "-c", "import sysconfig as s; print(s.get_path('purelib'))"
        )
        self.site = Path(found.strip())
        to_ours = ("-m", "pip", "--python", self._bin / "python", "install", "--quiet")
        _run(sys.executable, *to_ours, "--no-deps", "--no-index", wheel)
        (ours,) = self.site.glob("headrace-*.dist-info")
        for one in _dependencies(PathDistribution(ours), extras):
            _link(one, self.site)
        self.project = folder / "project"
        _packages(self.project, FOLDERS)
        self.here = self.project / "here"
        _packages(self.here, ("headrace",))

    def run(self, *arguments: object, stdin: str = "", **settings: object) -> Outcome:
        """Run the command in the project; `settings` become `HEADRACE_…`."""
        return self._started(self._bin / "headrace", *arguments, stdin=stdin, **settings)

    def python(self, program: str) -> str:
        """Run a program with our Python; gives what it printed."""
        done = self._started(self._bin / "python", "-P", "-c", program)
        assert done.code == 0, done.err
        return done.out

    def marks(self) -> list[Path]:
        """The project's packages that somebody imported."""
        return sorted(self.project.rglob("imported"))

    def _started(self, *command: object, stdin: str = "", **settings: object) -> Outcome:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HEADRACE_", "PYTHON", "PREFECT_", "VIRTUAL_ENV", "COV_"))
        }
        chosen = {f"HEADRACE_{name.upper()}": str(value) for name, value in settings.items()}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.here,
            env={
                **kept,
                "HEADRACE_THREADS": "1",
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PYTHONPATH": str(self.project),
                **chosen,
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


def _packages(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            "from pathlib import Path\n"
            "Path(__file__).with_name('imported').touch()\n"
            "raise ImportError('a package of the project was imported')\n"
        )


def _dependencies(ours: Distribution, extras: tuple[str, ...]) -> Iterator[Distribution]:
    """What pip would install beside a distribution, as it is installed here."""
    waiting = [(ours, extra) for extra in ("", *extras)]
    known = {(ours.name, extra) for extra in ("", *extras)}
    while waiting:
        one, wanted = waiting.pop()
        for text in one.requires or ():
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": wanted}):
                continue
            found = distribution(needed.name)
            for extra in ("", *needed.extras):
                if (found.name, extra) not in known:
                    known.add((found.name, extra))
                    waiting.append((found, extra))
                    yield found


def _link(one: Distribution, site: Path) -> None:
    for name in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(str(one.locate_file(name))))


def _run(*command: object, cwd: Path | None = None, path: Path | None = None) -> str:
    env = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=env, timeout=_LONGEST, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
