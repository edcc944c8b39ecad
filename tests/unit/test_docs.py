"""The documentation holds: links resolve, commands and settings exist, marked snippets run.

A code block is marked for execution by a comment on the line before it: `<!-- run: KIND -->` with
`python`, `shell`, `sql` (plain DuckDB), `view` or `event`.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import click
import duckdb
import pytest

from pipelines import generations, lake, serving, settings
from pipelines.cli import _COMMANDS, app
from pipelines.duck import load_extension
from pipelines.errors import ViewError
from pipelines.generate import generate
from pipelines.ingest import append_lines
from pipelines.log import Line, Log
from pipelines.speed import Speed
from pipelines.verify import verify
from pipelines.views import BUILTIN_VIEWS, load_views, parse_view
from schemas.decode import decode
from schemas.events import ENVELOPE, NEWEST

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"<!-- run: (\w+) -->\n```\w+\n(.*?)\n```", re.DOTALL)


# A reader has installed DuckDB's extensions once; here they come as Python packages.
EXTENSIONS = """
import duckdb
from pipelines.duck import load_extension as load
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


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


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
    with lake.open_lake(settings.load(home)) as opened:
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
    for found in re.findall(r"\b(?:schemas|pipelines|jobs|flows)/\w+\.(?:py|sql)\b", text):
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
    view = parse_view("mine", snippet.code, where=snippet.page)
    assert view.keys
    assert view.partials


@pytest.mark.parametrize("snippet", snippets("event"))
def test_every_event_in_the_pages_is_accepted(snippet: Snippet) -> None:
    assert decode([snippet.code.encode()]).events.num_rows == 1


@pytest.mark.parametrize("snippet", snippets("sql"))
def test_every_sql_in_the_pages_runs_in_plain_duckdb(snippet: Snippet, place: Path) -> None:
    con = attached(place)
    own = snippet.code.replace("AS lake", "AS again")  # the page's own ATTACH has to work as well
    for statement in duckdb.extract_statements(own):
        con.execute(statement)
    con.close()


@pytest.mark.parametrize("snippet", snippets("python"))
def test_every_python_in_the_pages_runs(snippet: Snippet, place: Path) -> None:
    # In a process of its own: what a reader types starts from nothing.
    patch = EXTENSIONS if "import duckdb" in snippet.code else ""
    run = [sys.executable, "-c", patch + snippet.code]
    done = subprocess.run(
        run, check=False, cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("snippet", snippets("shell"))
def test_every_marked_command_line_in_the_pages_succeeds(snippet: Snippet, place: Path) -> None:
    if "--home backup" in snippet.code:
        exec(steps_with("source.backup"), {})  # noqa: S102 - the page's own steps, in order
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
    with lake.open_lake(settings.load(place / "headrace-data")) as opened:
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


def test_the_backup_in_the_guide_is_a_home_that_can_be_proved(place: Path) -> None:
    exec(steps_with("source.backup"), {})  # noqa: S102 - what the page says
    with lake.open_lake(settings.load(place / "backup")) as copy:
        certificate = verify(copy)
        assert certificate.equal
        assert certificate.events == generations.read(copy).position.total > 0


def test_a_home_works_after_it_was_moved(place: Path) -> None:
    (place / "headrace-data").rename(place / "moved")
    with lake.open_lake(settings.load(place / "moved")) as moved:
        assert verify(moved).equal


def page_text(guide: str) -> str:
    return (ROOT / "docs" / "guides" / f"{guide}.md").read_text("utf-8")


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
    with lake.open_lake(settings.load(place / "headrace-data")) as damaged:
        end = Log(damaged).end()
        damaged.con.execute("DELETE FROM sys.commits WHERE commit_no = 2")
    rescue(place)
    lines = (place / "events.ndjson").read_bytes().splitlines()
    with lake.open_lake(settings.load(place / "rescued")) as rescued:
        append_lines(rescued, [Line(raw, f"events.ndjson:{i}") for i, raw in enumerate(lines)])
        with Speed.open(rescued) as speed:
            speed.run()
        certificate = verify(rescued)
    assert (certificate.equal, certificate.position) == (True, end)


def test_the_settings_table_is_what_the_settings_are() -> None:
    table = page_text("operations").split("<!-- settings:begin -->")[1].split("<!-- settings")[0]
    rows = {
        cells[0].strip("`"): (cells[1].strip("`"), cells[2])
        for line in table.strip().splitlines()[2:]
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    fields = settings.Settings.model_fields
    assert list(rows) == list(fields)
    for name, field in fields.items():
        default = "" if field.default is None else str(field.default)
        assert rows[name][0] == default
        assert (field.description or "") in rows[name][1]
        assert rows[name][1]


def test_durations_may_be_written_as_the_guide_says() -> None:
    for text in ("60", "00:01:00"):
        given = settings.load(Path("nowhere"), environ={"HEADRACE_LOCK_WAIT": text})
        assert given.lock_wait == timedelta(minutes=1)


def test_the_contract_page_names_every_type_and_field() -> None:
    text = page_text("contract")
    for field in ENVELOPE:
        assert f"`{field.name}`" in text
    for shape in NEWEST.values():
        (row,) = re.findall(
            rf"^\| `{shape.type}` \({shape.version}\) \|(.*)\|$", text, re.MULTILINE
        )
        for field in shape.fields:
            written = f"`{field.name}`" if field.required else f"[`{field.name}`]"
            assert written in row
            for item in field.items:
                assert f"`{item.name}`" in row


def test_the_table_of_built_in_views_is_what_they_are() -> None:
    text = page_text("views")
    found = dict(re.findall(r"^\| `(\w+)` \| (`.*` \| `.*`) \|$", text, re.MULTILINE))
    expected = {}
    for name, view in load_views(BUILTIN_VIEWS).items():
        keys = [c.name for c in view.keys]
        measures = [c.name for c in view.outputs if c.name not in keys]
        expected[name] = f"`{', '.join(keys)}` | `{', '.join(measures)}`"
    assert found == expected


def test_every_view_that_the_guide_calls_refused_is_refused() -> None:
    sums = "SELECT currency, {} AS x FROM ledger GROUP BY currency"
    refused = [
        sums.format("max(amount)"),
        sums.format("min(amount)"),
        sums.format("median(amount)"),
        sums.format("count(DISTINCT customer_id)"),
        "SELECT currency, sum(amount) FILTER (WHERE booked_at < now()) AS x FROM ledger GROUP BY 1",
        sums.format("sum(amount * random())"),
        "SELECT upper(country) AS c, count(*) AS n FROM orders GROUP BY c",
        sums.format("sum(amount / quantity)"),
        "SELECT currency, count(*) AS n FROM orders JOIN ledger USING (order_id) GROUP BY currency",
        sums.format("count(*)") + " HAVING count(*) > 1",
        sums.format("count(*)") + " ORDER BY x",
        sums.format("count(*)") + " LIMIT 1",
        "SELECT count(*) AS n FROM orders",
    ]
    for sql in refused:
        with pytest.raises(ViewError):
            parse_view("mine", sql, where="views/mine.sql")
    instead = "SELECT 'all' AS scope, sum(amount) / sum(quantity) AS x FROM ledger GROUP BY scope"
    assert parse_view("mine", instead, where="views/mine.sql").outputs


def test_the_crash_points_in_the_architecture_are_those_of_the_code() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8").split("## Crash points")[1]
    first, second = text.split("| point | at that moment |")
    whats = set(re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE))
    points = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^(\| `.*) \|.*\|$", second, re.MULTILINE)))
    )
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "pipelines").glob("*.py"))
    assert whats == set(re.findall(r"\.writing\(\s*\"(\w+)\"", source))
    passed = re.findall(r"crash\.here\(f?\"(?:\{[^}]+\}|\w+)\.(\w+)\"\)", source)
    assert points | {"dropped"} == set(passed)


def test_the_tables_in_the_architecture_are_those_of_the_lake(place: Path) -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    with sqlite3.connect(place / "headrace-data" / "catalog.sqlite") as catalog:
        tables = {
            row[0]
            for row in catalog.execute(
                "SELECT table_name FROM ducklake_table AS t JOIN ducklake_schema AS s "
                "USING (schema_id) WHERE s.schema_name = 'sys' AND t.end_snapshot IS NULL"
            )
        }
    assert tables
    assert {name for name in tables if f"`sys.{name}`" not in text} == set()
    named = set(re.findall(r"`sys\.(\w+)`", text)) - {"seam", "served"}
    assert named == tables


@pytest.mark.parametrize("record", sorted((ROOT / "docs/decisions").glob("0*.md")), ids=name_of)
def test_every_decision_adds_up_and_has_all_its_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    template = (ROOT / "docs/decisions/template.md").read_text("utf-8")
    heads = re.findall(r"^## .*$", template, re.MULTILINE)
    assert re.findall(r"^## .*$", text, re.MULTILINE) == heads
    assert f"({record.name})" in (ROOT / "docs/decisions/README.md").read_text("utf-8")
    rows = re.findall(r"^\|[^|]*\| (\d) \|(.*)\|$", text, re.MULTILINE)
    (total,) = re.findall(r"^\| \*\*weighted sum\*\* \| \|(.*)\|$", text, re.MULTILINE)
    scores = [[int(weight) * int(score) for score in cells.split("|")] for weight, cells in rows]
    assert [sum(column) for column in zip(*scores, strict=True)] == [
        int(cell.strip(" *")) for cell in total.split("|")
    ]
