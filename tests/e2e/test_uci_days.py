"""Some days of a real shop through `headrace ingest`: the same figures as one import, each once.

All 305 days, through the flow: `python -m tests.flows.uci_days`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.command import Headrace
from tests.flows.uci_days import ALL, daily_files

DAYS = 12


@pytest.mark.thorough
def test_days_that_land_one_by_one_are_what_one_import_gives_and_landing_again_adds_nothing(
    tmp_path: Path,
) -> None:
    days = daily_files()
    if len(days) != ALL:
        pytest.skip("the 305 daily files of UCI Online Retail are not there")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    landed, imported = Headrace(tmp_path / "landed"), Headrace(tmp_path / "imported")
    once = imported.json("import", "uci-online-retail", *days[:DAYS])
    uci = ("--format", "uci-online-retail")
    accepted = 0
    for day in days[:DAYS]:
        shutil.copy(day, inbox / day.name)
        accepted += landed.json("ingest", inbox, *uci, ingest_settle=0)["accepted"]
    again = landed.json("ingest", inbox, *uci, ingest_settle=0)
    assert (again["files"], again["known"], again["accepted"]) == (0, DAYS, 0)
    assert accepted == once["accepted"] == landed.json("status")["events"]
    for shop in (landed, imported):
        shop.json("speed", "--once")
    for sql in (
        "SELECT * FROM revenue_by_day ORDER BY ALL",
        "SELECT * FROM product_sales ORDER BY ALL",
        "SELECT * FROM country_sales ORDER BY ALL",
    ):
        assert landed.rows(sql) == imported.rows(sql) != []
    assert landed.json("verify")["equal"] is True
