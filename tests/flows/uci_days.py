"""A real shop's year, day by day through the `ingest` flow, and a second time: nothing is added.

    python -m tests.flows.uci_days [--days 305] [--at-once 1]

Needs the daily files of UCI Online Retail (HEADRACE_UCI_DATA). The flow is called in this process,
known to a Prefect server of its own; prints figures, ends with 1 if a sum is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.test_uci import BESIDE, check_truth
from tests.flows.server import prefect_server

ALL = 305


def daily_files() -> list[Path]:
    """The daily files, oldest first; none if they are not there."""
    folder = Path(os.environ.get("HEADRACE_UCI_DATA", BESIDE))
    return sorted((folder / "by-day" if (folder / "by-day").is_dir() else folder).glob("*.csv"))


def main() -> int:
    """Run, print; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=ALL)
    parser.add_argument("--at-once", type=int, default=1, help="files that come between two runs")
    options = parser.parse_args()
    days = daily_files()[: options.days]
    if len(days) < options.days:
        print("the daily files of UCI Online Retail are not there; set HEADRACE_UCI_DATA")
        return 2
    importlib.import_module("flows")  # first: it turns usage data off before Prefect is imported
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with tempfile.TemporaryDirectory(prefix="headrace-uci-") as place:
        folder = Path(place)
        with (
            prefect_server(folder / "prefect") as server,
            temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: server.home}),
        ):
            os.environ["HEADRACE_INGEST_SETTLE"] = "0"
            return story(folder, days, options.at_once)


def story(folder: Path, days: list[Path], at_once: int) -> int:
    """Let the files come in, a few at a time; then once more."""
    from headrace.flows.ingest import ingest
    from headrace.pipelines import settings
    from headrace.pipelines.bootstrap import open_lake
    from headrace.pipelines.quality.verify import verify
    from headrace.pipelines.speed.layer import Speed

    home, inbox = folder / "home", folder / "inbox"
    inbox.mkdir()
    started, accepted, quarantined, runs = time.monotonic(), 0, 0, 0
    for first in range(0, len(days), at_once):
        for day in days[first : first + at_once]:
            shutil.copy(day, inbox / day.name)
        found = ingest(home, folder=inbox, form="uci-online-retail")
        accepted, runs = accepted + found["accepted"], runs + 1
        quarantined += found["quarantined"]
    seconds = time.monotonic() - started
    with open_lake(settings.load(home)) as lake:
        events = lake.row("SELECT count(*) FROM sys.events")[0]
        again = ingest(home, folder=inbox, form="uci-online-retail")
        after = lake.row("SELECT count(*) FROM sys.events")[0]
        with Speed.open(lake) as speed:
            speed.run()
        proof = verify(lake)
    print(f"{len(days)} files in {runs} runs, {seconds:.0f} s ({seconds / runs:.2f} s a run)")
    print(f"{accepted:,} events accepted, {quarantined:,} quarantined, {events:,} in the log")
    print(f"second time: {again['files']} files, {again['known']} known, {after - events:,} events")
    print(f"verify: {'EQUAL' if proof.equal else 'DIFFERENT'}, {proof.comparison.cells:,} cells")
    if len(days) == ALL:
        check_truth(home)
        print("sums by month, product, country: those of the files")
    fine = accepted == events == after and again["files"] == 0 and proof.equal and not quarantined
    print("PASSED" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
