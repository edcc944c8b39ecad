"""The architecture page is the tree: its packages, arrows and paths. And there is no circle."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.unit.pages import PAGES, ROOT, name_of

FOLDERS = ("schemas", "pipelines", "jobs", "flows")
PAGE = ROOT / "docs/architecture.md"
PLACE = re.compile(r"`((?:schemas|pipelines|jobs|flows|headrace|tests|bench)/[^`\s]*)`")
"""A path in a page: of a file, of a folder (with a slash at its end), or FILE.py:NAME.NAME."""
BREADTH = 8
"""Modules at the root of pipelines/, at most. What comes next wants a package."""


@cache
def graph() -> grimp.ImportGraph:
    """Who imports whom, wherever the import stands: in a function and for the type checker too."""
    return grimp.build_graph("headrace", cache_dir=None)


@cache
def packages() -> frozenset[str]:
    """The folder of every package of ours, as the pages write it: `pipelines/lake/`."""
    found = (file for folder in FOLDERS for file in (ROOT / folder).rglob("__init__.py"))
    return frozenset(f"{file.parent.relative_to(ROOT).as_posix()}/" for file in found)


def package_of(module: str) -> str:
    """The folder of the innermost package that a module lies in; nothing for the outermost."""
    parts = module.split(".")[1:]
    while parts and f"{'/'.join(parts)}/" not in packages():
        parts = parts[:-1]
    return f"{'/'.join(parts)}/" if parts else ""


def outermost(module: str) -> str:
    """The package right below pipelines/, or the folder beside it; parts of one may be a circle."""
    parts = package_of(module).split("/")[:-1]
    return "".join(f"{part}/" for part in parts[: 1 + (parts[:1] == ["pipelines"])])


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    table = page.split(f"| {head} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def listed() -> list[str]:
    """The packages in the page's table, in its order."""
    return [row[0].strip("`") for row in rows(PAGE.read_text("utf-8"), "package")]


def test_the_page_names_every_package_once() -> None:
    # `pipelines/` itself has the modules that many need, which are in a table of their own.
    assert sorted(listed()) == sorted(packages() - {"pipelines/"} | {"headrace/"})


def test_every_package_imports_only_what_the_page_has_above_it() -> None:
    place = {name: number for number, name in enumerate(listed())}
    wrong = {
        f"{module} -> {other}"
        for module in graph().modules
        for other in graph().find_modules_directly_imported_by(module)
        if (here := outermost(module)) in place
        and (there := outermost(other)) in place
        and place[here] < place[there]
    }
    assert wrong == set()


def test_the_page_lists_the_modules_at_the_root_of_pipelines() -> None:
    there = {
        f"pipelines/{file.name}"
        for file in (ROOT / "pipelines").glob("*.py")
        if file.name != "__init__.py"
    }
    told = {row[0].strip("`") for row in rows(PAGE.read_text("utf-8"), "module")}
    assert told == there
    assert len(there) <= BREADTH


def test_the_layers_in_the_page_are_those_of_import_linter() -> None:
    listed = PAGE.read_text("utf-8").split("<!-- layers -->\n```\n", 1)[1].split("\n```", 1)[0]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["headrace.pipelines"]
    ]
    assert listed.splitlines() == layers


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_and_every_function_that_a_page_names_is_there(page: Path) -> None:
    found = sorted(set(PLACE.findall(page.read_text("utf-8"))))
    missing = [place for place in found if not is_there(place)]
    assert missing == [], f"{name_of(page)} names what is not there"


def is_there(place: str) -> bool:
    """Whether a path is there and, after a colon, the class, function or name in it."""
    path, _, name = place.partition(":")
    if "*" in path:
        return any(ROOT.glob(path))
    where = ROOT / path
    if not name:
        return where.is_dir() if path.endswith("/") else where.is_file()
    name = name.removeprefix(":")  # as pytest writes it
    return (
        where.suffix == ".py"
        and where.is_file()
        and defines(ast.parse(where.read_text("utf-8")), name.split("."))
    )


def defines(tree: ast.Module | ast.ClassDef, names: Sequence[str]) -> bool:
    """Whether a module or class has a name, and that one the next."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name != names[0]:
                continue
            if len(names) == 1:
                return True
            return isinstance(node, ast.ClassDef) and defines(node, names[1:])
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(t, ast.Name) and t.id == names[0] for t in targets):
            return len(names) == 1
    return False


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert is_there("pipelines/speed/layer.py:Speed.step")
    assert is_there("pipelines/lake/home.py:PLACES")
    for wrong in (
        "pipelines/speed/layer.py:Speed.stop",
        "pipelines/speed/layer.py:step",
        "pipelines/speed.py",
        "pipelines/speed",
        "pipelines/pump/",
    ):
        assert not is_there(wrong), wrong


def test_the_architecture_names_files_only_with_their_folder() -> None:
    # `views.py` alone would be looked for by nobody, and found by no test.
    text = PAGE.read_text("utf-8")
    named = re.findall(r"[\w/*]+\.(?:py|sql)\b", text)
    assert [name for name in named if name.strip("/").split("/")[0] not in FOLDERS] == []


def circles(imports: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Groups of modules that all reach each other, each as a way around (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        open_.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in open_:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            start = open_.index(module)
            group = open_[start:]
            del open_[start:]
            if len(group) > 1:
                found.append(way_around(imports, set(group)))

    for module in imports:
        if module not in number:
            visit(module)
    return found


def way_around(imports: Mapping[str, Sequence[str]], group: set[str]) -> list[str]:
    """The shortest way from the first module of a group back to itself."""
    first = min(group)
    ways = [[first]]
    for way in ways:
        for other in imports[way[-1]]:
            if other == first:
                return [*way, first]
            if other in group and not any(other in seen for seen in ways):
                ways.append([*way, other])
    raise AssertionError(group)


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {
        module: sorted(graph().find_modules_directly_imported_by(module))
        for module in sorted(graph().modules)
    }
    assert len(imports) > len(packages())
    shown = [" -> ".join(way) for way in circles(imports)]
    assert not shown, "import circles:\n" + "\n".join(shown)


def test_a_circle_is_found_and_shown() -> None:
    imports = {"a": ["b", "d"], "b": ["c"], "c": ["d", "b"], "d": ["a"], "e": ["a"]}
    assert circles(imports) == [["a", "d", "a"]]
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
