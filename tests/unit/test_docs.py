"""The documentation holds: links resolve, commands exist, marked snippets run.

A code block is marked for execution by a comment on the line before it: `<!-- run: KIND -->` with
`python`, `shell`, `view` or `event`. The guide on queries is run block by block in
test_docs_querying.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import duckdb
import pytest

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.cli.app import _COMMANDS, app
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake.connect import load_extension
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.serving import query as serving
from headrace.pipelines.speed.layer import Speed
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, parse_view
from headrace.pipelines.views.trial import try_view
from headrace.schemas.decode import decode
from tests.unit.pages import PAGES, ROOT, files_of_the_views_guide, name_of, page_text

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"<!-- run: (\w+) -->\n```\w+\n(.*?)\n```", re.DOTALL)


# A reader has installed DuckDB's extensions once; here they come as Python packages.
EXTENSIONS = """
import duckdb
from headrace.pipelines.lake.connect import load_extension as load
plain = duckdb.connect
def connect(*args, **options):
    con = plain(*args, **options)
    load(con, "sqlite_scanner")
    load(con, "ducklake")
    return con
duckdb.connect = connect
"""


class Snippet(NamedTuple):
    page: str
    kind: str
    code: str


def snippets(*kinds: str) -> list[object]:
    found = [
        Snippet(name_of(page), kind, code)
        for page in PAGES
        for kind, code in SNIPPET.findall(page.read_text("utf-8"))
    ]
    return [pytest.param(s, id=f"{s.page}:{i}") for i, s in enumerate(found) if s.kind in kinds]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small home, as the guides assume it."""
    folder = tmp_path_factory.mktemp("docs")
    fill(folder / "headrace-data")
    return folder


@pytest.fixture
def place(filled: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, to work in."""
    shutil.copytree(filled / "headrace-data", tmp_path / "headrace-data")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def fill(home: Path) -> None:
    lines = list(generate(150, 5, duplicates=0.1, disorder=0.1, late=0.05, poison=0.0))
    with bootstrap.open_lake(settings.load(home)) as opened:
        append_lines(opened, [Line(raw, f"test:{i}") for i, raw in enumerate(lines)])
        with Speed.open(opened, commit_events=200) as speed:
            speed.run()


def attached(folder: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, as the DuckDB command line would have it after INSTALL."""
    con = duckdb.connect()
    for name in ("sqlite_scanner", "ducklake"):
        load_extension(con, name)
    home = folder / "headrace-data"
    con.execute(
        f"ATTACH 'ducklake:sqlite:{home}/catalog.sqlite' AS lake "
        f"(DATA_PATH '{home}/lake', OVERRIDE_DATA_PATH true, READ_ONLY)"
    )
    return con


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_internal_link_leads_to_a_file(page: Path) -> None:
    for target, _ in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if not target.startswith(("https://", "http://")):
            assert (page.parent / target).exists(), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_or_sql_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    for found in re.findall(r"\b(?:schemas|pipelines|jobs|flows)/[\w/]+\.(?:py|sql)\b", text):
        assert (ROOT / found).is_file(), f"{name_of(page)}: {found}"


def invocations(page: Path) -> list[str]:
    """What follows `headrace` in code: blocks and inline, up to the end of the command."""
    text = page.read_text("utf-8")
    blocks = [m[1] for m in FENCE.findall(text) if m[0] in {"sh", "text", ""}]
    code = [line for block in blocks for line in block.splitlines()]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    calls = []
    for line in code:
        for part in re.split(r"[|;&#]|\s-- ", line):
            found = re.match(r"\s*(?:\$ )?(?:docker compose run --rm )?headrace (.+)", part)
            if found:
                calls.append(found[1])
    return calls


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_option_in_the_pages_exists(page: Path) -> None:
    context = click.Context(app)
    for call in invocations(page):
        words = re.sub(r"^--(home|log) \S+ ", "", call).split()
        assert words[0] in _COMMANDS, f"{name_of(page)}: headrace {call}"
        command = app.get_command(context, words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.get_command(context, words[1])
        assert command is not None, f"{name_of(page)}: headrace {call}"
        known = {option for p in command.params for option in p.opts}
        quoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", call)
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", quoted):
            assert option in known | {"--home"}, f"{name_of(page)}: headrace {call}"


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in _COMMANDS if f"`headrace {name}`" not in text] == []


@pytest.mark.parametrize("snippet", snippets("view"))
def test_every_view_in_the_pages_can_be_maintained(snippet: Snippet) -> None:
    built_in = load_views(BUILTIN_VIEWS)
    view = parse_view("mine", snippet.code, where=snippet.page, known=built_in.get)
    try_view(view, snippet.page)
    assert view.keys
    assert view.partials


def test_the_views_and_lookups_of_the_guide_load_together(tmp_path: Path) -> None:
    files = files_of_the_views_guide(tmp_path)
    views = load_views(BUILTIN_VIEWS, tmp_path / "views", lookups=tmp_path / "lookups")
    assert {file.stem for file in files} <= views.keys()
    assert {"rates", "revenue_in_euro", "first_months", "baskets"} <= views.keys()


@pytest.mark.parametrize("snippet", snippets("event"))
def test_every_event_in_the_pages_is_accepted(snippet: Snippet) -> None:
    assert decode([snippet.code.encode()]).events.num_rows == 1


@pytest.mark.parametrize("snippet", snippets("python"))
def test_every_python_in_the_pages_runs(snippet: Snippet, place: Path) -> None:
    # In a process of its own: what a reader types starts from nothing.
    patch = EXTENSIONS if "import duckdb" in snippet.code else ""
    run = [sys.executable, "-c", patch + snippet.code]
    done = subprocess.run(
        run, check=False, cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("snippet", snippets("shell"))
def test_every_marked_command_line_in_the_pages_succeeds(snippet: Snippet, place: Path) -> None:
    if "--home rescued" in snippet.code:
        rescue(place)
    run = ["bash", "-euo", "pipefail", "-c", snippet.code]
    done = subprocess.run(
        run, check=False, cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    binaries = str(Path(sys.executable).parent)
    return {**kept, "PATH": f"{binaries}:{kept['PATH']}", "PYTHONPATH": str(ROOT)}


def test_plain_duckdb_sees_the_same_numbers_as_headrace(place: Path) -> None:
    query = "SELECT day, currency, orders, net FROM {}revenue_by_day ORDER BY ALL"
    with serving.connect(place / "headrace-data") as served:
        ours = served.query(query.format(""))
    con = attached(place)
    assert con.execute(query.format("lake.")).fetchall() == list(ours.rows)
    position = con.execute("SELECT position FROM lake.sys.served").fetchall()
    assert position == [(ours.position.text(),)]
    con.close()


def test_plain_duckdb_gives_no_answer_where_deltas_do_not_meet(place: Path) -> None:
    with bootstrap.open_lake(settings.load(place / "headrace-data")) as opened:
        opened.con.execute("DELETE FROM sys.commits WHERE commit_no = 2")
    con = attached(place)
    for view in ("orders", "ledger", *load_views(BUILTIN_VIEWS)):
        with pytest.raises(duckdb.Error, match="SeamError: gap or overlap"):
            con.execute(f"FROM lake.{view}").fetchall()
    con.close()


def test_plain_duckdb_cannot_write_where_the_guide_says_read_only(place: Path) -> None:
    con = attached(place)
    with pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM lake.sys.commits")
    con.close()


def test_a_home_works_after_it_was_moved(place: Path) -> None:
    (place / "headrace-data").rename(place / "moved")
    with bootstrap.open_lake(settings.load(place / "moved")) as moved:
        assert verify(moved).equal


def steps_with(word: str) -> str:
    """The Python of the operations guide that has this word in it."""
    (code,) = [
        s for kind, s in SNIPPET.findall(page_text("operations")) if kind == "python" and word in s
    ]
    return str(code)


def rescue(place: Path) -> None:
    run = [sys.executable, "-c", EXTENSIONS + steps_with("events.ndjson")]
    subprocess.run(run, check=True, cwd=place, env=environment())


def test_a_damaged_home_can_be_rebuilt_from_its_events_as_the_guide_says(place: Path) -> None:
    with bootstrap.open_lake(settings.load(place / "headrace-data")) as damaged:
        end = Log(damaged).end()
        damaged.con.execute("DELETE FROM sys.commits WHERE commit_no = 2")
    rescue(place)
    lines = (place / "events.ndjson").read_bytes().splitlines()
    with bootstrap.open_lake(settings.load(place / "rescued")) as rescued:
        append_lines(rescued, [Line(raw, f"events.ndjson:{i}") for i, raw in enumerate(lines)])
        with Speed.open(rescued) as speed:
            speed.run()
        certificate = verify(rescued)
    assert (certificate.equal, certificate.position) == (True, end)
