"""The Markdown of `bench.full`."""

from __future__ import annotations

import os
import platform
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.full import Results, Run

WHAT = {
    "headrace": "append, `speed --once`, three answers; all twelve built-in views, log and lake",
    "duckdb": "one SQL recompute of the file, the yardstick",
    "polars": "one recompute with data frames",
    "spark": "a batch in Spark's SQL, `local[*]`; its session is up before the clock starts",
    "pathway": "a graph in static mode, a thread a core (eight at most)",
    "bytewax": "a dataflow of one worker, in Python",
}

INTRO = """\
# Headrace and others

Written by `make bench-full`; [what it does](../bench/README.md#against-peers). Each system reads the
same file and makes three views: money by day and currency, how far the orders of a day got, sales by
product. Events count once, by source and id: 2 % come twice, 5 % out of order, 1 % hours to days late.
The few events of an old version of the contract are lifted before. All cells are compared with those of
the plain DuckDB recompute, which shares no code with Headrace's fold. A peer with a wrong cell gets no
figure.

"""

SCOPE = """
## How to read it

- The ratio is the rate as a share of plain DuckDB's in the same repeat: median, smallest and largest.
  Seconds are from the first byte read to the last result written, without the start of the process;
  the wall time has that too. Memory is that of the process and its children together, sampled ten times
  a second. Written is what Linux counted towards the disk, results included; where all stays in memory
  it is next to nothing.
- Headrace does more than the others here: it keeps every event durably, and makes twelve views. Its
  seconds contain the start of five commands. A peer that kept checkpoints would write
  more; that was not measured.
- The task is chosen so that every peer can do it. What a cancellation takes back, which hangs on
  what was returned before, is in Headrace's views and not compared here.
- The second plot: who recomputes does all of it again for 2,000 more events (their median
  above). Headrace's commit is the median of nine on the home of that size, all
  views; appending the events comes before it and is not in it. Pathway and Bytewax keep state
  too and would not recompute; their cost of a small update is not measured.
- Left out so far: Quix Streams, which needs a Kafka broker beside it, and Spark Structured Streaming
  ([Headrace's own job in it](../bench/README.md#reading-a-topic) is measured elsewhere). Flink, Materialize,
  RisingWave and Feldera were not tried.

## What each can do of what is asked here

Exact decimals and duplicates were tried in this run. What is said of the others' late events, crashes and
positions is from their documentation, and was not tried here.

| | exact decimals | duplicates | late events | after a crash | beside a batch | position with an answer |
|---|---|---|---|---|---|---|
| headrace | yes | the fold's rule | change the day they belong to | goes on after the last commit | base ⊕ deltas, compared cell by cell | yes, of the log |
| duckdb, polars | yes | `DISTINCT ON`, `unique` | all is read again | all is read again | is the batch | no: what the file held |
| spark, batch | yes | `dropDuplicates` | all is read again | all is read again | is the batch | no: what the file held |
| pathway | no: ten-thousandths as integers | a `groupby` by source and id | retracts and corrects | with persistence on: at least once in the free edition, exactly once in the paid one | no | a time of its own, not an offset |
| bytewax | Python's own; integers here, for speed | a set of names an order, by hand | windows drop them (apart, if asked); none used here | with recovery on: back to a snapshot; exactly once hangs on source and sink | no | no |

Peers without persistence, as here, begin at the first event again after a crash.
"""


def text(results: Results, not_drawn: str | None) -> str:
    """The whole report."""
    sizes = list(results.cells)
    parts = [INTRO, _run_of(results, sizes)]
    for size in sizes:
        parts += [f"\n## {results.events[size]:,} events\n\n", *_table(results, size)]
    parts.append("\n## Rate against state, and the cost of staying fresh\n\n")
    if not_drawn is None:
        parts.append("![Events a second by history](benchmarks/rate.svg)\n\n")
        parts.append("![Seconds for 2,000 more events by history](benchmarks/fresh.svg)\n\n")
    else:
        parts.append(f"The plots could not be drawn: `{not_drawn}`\n\n")
    parts += [*_fresh(results), SCOPE]
    return "".join(parts)


def _run_of(results: Results, sizes: list[int]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    load = f" (load at the end {os.getloadavg()[0]:.1f})" if hasattr(os, "getloadavg") else ""
    cells = ", ".join(f"{results.cells[size]:,}" for size in sizes)
    repeats = "once" if results.repeats == 1 else f"{results.repeats} times"
    return (
        f"This run: {', '.join(f'{results.events[size]:,}' for size in sizes)} events (four an order), each "
        f"{repeats}; {cells} cells compared a time. {os.cpu_count()} cores{load}, "
        f"{platform.system()}, Python {platform.python_version()}; {versions}. "
        "Machines differ and are shared: quote the ratios.\n"
    )


def _table(results: Results, size: int) -> list[str]:
    rows = [
        "| | ratio | events/s | work s | wall s | peak MB | MB written |\n",
        "|---|---:|---:|---:|---:|---:|---:|\n",
    ]
    names = [name for name in WHAT if results.runs.get(name) or results.wrong.get(name)]
    for name in names:
        if size in results.wrong.get(name, {}):
            rows.append(f"| {name} | no figure: `{results.wrong[name][size]}` | | | | | |\n")
        elif size in results.runs[name]:
            rows.append(_row(name, results.runs[name][size], results.events[size]))
    return rows


def _row(name: str, runs: list[Run], events: int) -> str:
    written = [run.written_mb for run in runs if run.written_mb is not None]
    seconds = [run.seconds for run in runs]
    cells = [
        f"{name}: {WHAT[name]}",
        _spread([run.ratio for run in runs], "{:.2f}"),
        f"{events / statistics.median(seconds):,.0f}",
        _spread(seconds, "{:.2f}"),
        f"{statistics.median(run.wall for run in runs):.2f}",
        f"{statistics.median(run.peak_mb for run in runs):,.0f}",
        f"{statistics.median(written):,.1f}" if written else "not counted",
    ]
    return f"| {' | '.join(cells)} |\n"


def _spread(values: list[float], form: str) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1 or low == high:
        return form.format(middle)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def _fresh(results: Results) -> list[str]:
    if results.first_commit is None:
        return []
    rows = [
        "| history | plain DuckDB, all again, s | Headrace, a commit of 2,000 events, s | ratio |\n",
        "|---:|---:|---:|---:|\n",
        f"| 0 | | {results.first_commit:.3f} | |\n",
    ]
    for size, commit in results.commit.items():
        again = statistics.median(run.seconds for run in results.runs["duckdb"][size])
        rows.append(
            f"| {results.events[size]:,} | {again:.2f} | {commit:.3f} | {again / commit:.1f} |\n"
        )
    return rows
