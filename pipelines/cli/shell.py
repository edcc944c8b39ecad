"""`headrace sql`: one SELECT after the other, on the same guarded way as `headrace query`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.pipelines.cli import console, history, output
from headrace.pipelines.cli.app import interrupted, line_of, open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.cli.statements import says_something, split
from headrace.pipelines.errors import HeadraceError, UsageError

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.position import Position
    from headrace.pipelines.serving.query import Answer, Serving

_HELP: Final = {
    ".help": "this list",
    ".views": "what can be queried",
    ".schema NAME": "the columns of a table or view, and the view's text",
    ".format FORMAT": f"{', '.join(output.FORMATS)}",
    ".output FILE": "put the next answer into a file: .csv, .md, .json, .parquet",
    ".at POSITION|TIME|now": "answer as of a position of the log, or a time; now: what is served",
    ".exit": "leave; so does ctrl-D. Ctrl-C stops a statement",
}


class Shell:
    """What is typed, and what is set. Each answer has the position at which it is true."""

    def __init__(self, opened: Callable[[], Lake], form: str) -> None:
        self._opened = opened
        self._form = form
        self._into: Path | None = None
        self._at: Position | None = None
        self._served: Serving | None = None
        self._text = ""
        self._answered = False
        self.left = False

    @property
    def prompt(self) -> str:
        """What waits for a line: a new statement, or more of one."""
        name = "headrace" if self._at is None else "headrace (past)"
        return f"{' ' * (len(name) - 1)}-> " if self._text else f"{name}> "

    def take(self, line: str) -> None:
        """Take a line: a command of the shell, or some of a statement; answer what is finished."""
        if not self._text and line.lstrip().startswith("."):
            self._command(line.strip())
            return
        statements, rest = split(f"{self._text}{line}\n")
        self._text = rest if rest.strip() else ""
        for statement in statements:
            self._answer(statement)

    def end(self) -> None:
        """Take the end of the input, which ends a statement as well."""
        text, self._text = self._text, ""
        if says_something(text):
            statements, rest = split(f"{text};")
            if rest or len(statements) != 1:
                raise UsageError("the last statement does not end: a quote or a comment is open")
            self._answer(statements[0])

    def forget(self) -> None:
        """Forget what is typed and not ended, and let go of what a stopped statement left."""
        self._text = ""
        self.close()

    def close(self) -> None:
        """Give back the connection; the next statement makes a new one."""
        served, self._served = self._served, None
        if served is not None:
            served.close()

    def words(self) -> list[str]:
        """Names that can be typed: tables, views, their columns, and the shell's commands."""
        found = {each.split()[0] for each in _HELP}
        for each in self._listed():
            found |= {str(each["name"]), *each["columns"]}
        return sorted(found)

    def _answer(self, sql: str) -> None:
        into, self._into = self._into, None
        form = output.form_of(None if _ends(into) else self._form, into, as_json=False)
        if form in output.BINARY and into is None:
            raise UsageError(f"{form} goes into a file; name it with .output FILE")
        shown = output.ON_SCREEN if form == "table" and into is None else None
        answer = self._asked(sql, shown)
        if self._answered and into is None and form != "json":
            console.note("")
        self._answered = True
        if form != "json" or into is not None:
            console.note(f"at {answer.position}, cut {answer.cut}, logic {answer.logic}")
        output.put(answer, form, into)
        sys.stdout.flush()

    def _asked(self, sql: str, max_rows: int | None) -> Answer:
        if self._at is not None:
            from headrace.pipelines.serving.time_travel import query_at

            with self._opened() as lake:
                return query_at(lake, sql, self._at, max_rows=max_rows)
        if self._served is None:
            from headrace.pipelines.serving.query import Serving

            self._served = Serving(self._opened())
        return self._served.query(sql, max_rows=max_rows)

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        given = rest.strip().removesuffix(";").strip()
        takes = {each.split()[0]: " " in each for each in _HELP}
        if name not in takes:
            raise UsageError(f"there is no {name}; .help lists what there is")
        if takes[name] != bool(given):
            call = next(each for each in _HELP if each.split()[0] == name)
            raise UsageError(f"write {call}" + ("" if given == "" else ", and nothing after it"))
        match name:
            case ".help":
                sys.stdout.write(console.table(["command", "does"], list(_HELP.items())) + "\n")
            case ".views":
                rows = [
                    (each["name"], each["kind"], ", ".join(each.get("key", [])))
                    for each in self._listed()
                ]
                sys.stdout.write(console.table(["name", "kind", "key"], rows) + "\n")
            case ".schema":
                self._schema(given)
            case ".format":
                if given not in output.FORMATS:
                    raise UsageError(f"there is no {given!r}; take {', '.join(output.FORMATS)}")
                self._form = given
            case ".output":
                self._into = Path(given)
            case ".at":
                self._go(given)
            case _:
                self.left = True
        sys.stdout.flush()

    def _go(self, given: str) -> None:
        from headrace.pipelines.serving.time_travel import parse_at

        if given == "now":
            self._at = None
            return
        with self._opened() as lake:
            self._at = parse_at(given, lake)
        console.note(f"from here on as of {self._at}, recomputed from the log; .at now ends it")

    def _listed(self) -> list[dict[str, Any]]:
        from headrace.pipelines.generations import registry
        from headrace.pipelines.verbs.views import listed

        with self._opened() as lake:
            return listed(registry.read(lake))

    def _schema(self, name: str) -> None:
        found = self._listed()
        one = next((each for each in found if each["name"] == name), None)
        if one is None:
            names = ", ".join(str(each["name"]) for each in found)
            raise UsageError(f"there is no {name!r}; there are {names}")
        columns = one["columns"]
        text = console.table(["column", "type"], list(columns.items()))
        sys.stdout.write(f"{text}\n" + (f"\n{one['sql'].strip()}\n" if "sql" in one else ""))


def _ends(file: Path | None) -> bool:
    """Whether a file's name says the format."""
    return file is not None and file.suffix.lower() in output.ENDS


@click.command("sql")
@click.option("--format", "form", type=click.Choice(output.FORMATS), help="[default: table]")
@json_option
@click.pass_context
def sql_command(ctx: click.Context, form: str | None, as_json: bool) -> None:
    """Open a shell for SELECTs over `orders`, `ledger` and the views; .help in it says more.

    A statement ends with `;` and may have several lines. Each answer carries its position, as with
    `headrace query`. What was typed is kept in the user's state folder (XDG_STATE_HOME).

    Input that is no terminal is a script: it ends at its first error, and says the line.

    \b
      headrace sql
      headrace sql --format csv < questions.sql
    """  # noqa: D301 - click wants the character
    chosen = "json" if as_json and form in {None, "json"} else form or "table"
    if as_json and chosen != "json":
        raise UsageError(f"--json and --format {form} exclude each other")
    open_lake(ctx, read_only=True).close()  # a home that cannot be read is told at once
    with contextlib.closing(Shell(lambda: open_lake(ctx, read_only=True), chosen)) as shell:
        if sys.stdin.isatty() and sys.stdout.isatty():
            _talk(shell)
        else:
            _script(shell, sys.stdin)


def _talk(shell: Shell) -> None:
    console.note("a statement ends with ; and .help says what else there is")
    with history.kept(shell.words()) as keep:
        while not shell.left:
            try:
                line = input(shell.prompt)
                keep()
                shell.take(line)
            except EOFError:
                console.note("")
                return
            except KeyboardInterrupt:
                _stopped(shell)
            except Exception as e:
                if isinstance(e, BrokenPipeError):
                    raise
                if interrupted(e):
                    _stopped(shell)
                else:
                    console.note(f"headrace: {line_of(e)}")


def _stopped(shell: Shell) -> None:
    console.note("\nstopped")
    shell.forget()


def _script(shell: Shell, lines: Iterable[str]) -> None:
    number = 0
    with _at_line(lambda: number):
        for line in _text(lines):
            number += 1
            shell.take(line.rstrip("\n"))
            if shell.left:
                return
        shell.end()


@contextlib.contextmanager
def _at_line(number: Callable[[], int]) -> Iterator[None]:
    """Say in which line of the script an error was met."""
    try:
        yield
    except HeadraceError as e:
        raise type(e)(f"line {number()}: {e}") from e


def _text(lines: Iterable[str]) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as e:
        raise UsageError(f"the input is no text ({e.reason}); give SQL in UTF-8") from e
