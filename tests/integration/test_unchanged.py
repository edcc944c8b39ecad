"""What is remembered of the lake's own tables is asked again when, and only when, they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.generations import registry
from headrace.pipelines.lake.data_files import METADATA
from headrace.pipelines.lake.unchanged import remembered, unchanged
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.speed.layer import Speed
from tests.conformance.streams import paid, placed

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake


class Counting:
    """A connection that counts its statements."""

    def __init__(self, con: Any) -> None:
        self._con = con
        self.count = 0

    def execute(self, sql: str) -> Any:
        self.count += 1
        return self._con.execute(sql)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


class Asked:
    """A question that counts how often it is asked."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.times = lake, 0

    def __call__(self) -> int:
        self.times += 1
        return int(self.lake.row("SELECT count(*) FROM sys.appends")[0])

    def again(self) -> int:
        with self.lake.reading():
            return remembered(self.lake, "appends", ("appends",), self)


def test_a_table_that_changed_is_asked_again_and_another_is_not(
    lake: Lake, make_lake: MakeLake
) -> None:
    other = make_lake()
    asked = Asked(lake)
    assert [asked.again(), asked.again(), asked.times] == [0, 0, 1]
    with other.writing("test") as tx:
        registry.ask_for_cut(tx, 1, Log(other).end())
    assert [asked.again(), asked.times] == [0, 1], "a cut is no append"
    Log(other).append([placed("o1")], ["test"])
    assert [asked.again(), asked.again(), asked.times] == [1, 1, 2]


def test_what_changed_while_it_was_asked_is_asked_again(lake: Lake, make_lake: MakeLake) -> None:
    """Outside a transaction, a question and the snapshot are two looks at the lake."""
    other, asked = make_lake(), Asked(lake)

    def overtaken() -> int:
        found = asked()
        Log(other).append([placed("o1")], ["test"])
        return found

    assert remembered(lake, "appends", ("appends",), overtaken) == 0
    assert remembered(lake, "appends", ("appends",), asked) == 1


def test_an_open_transaction_asks_for_what_it_wrote_itself(lake: Lake) -> None:
    asked = Asked(lake)
    asked.again()
    with lake.writing("test") as tx:
        tx.record("appends", 1, lake.clock(), "", "[0, 0]", 0, 0, None)
        assert remembered(lake, "appends", ("appends",), asked) == 1
    assert asked.again() == 1


@pytest.mark.parametrize("noted", ["''", "'altered_table:1'", "'inserted_into_table:1;x'"])
def test_a_change_that_says_nothing_certain_counts_as_one(lake: Lake, noted: str) -> None:
    with lake.reading():
        before = lake.snapshot()
    with lake.writing("test") as tx:
        tx.record("cuts", 1, lake.clock(), "[0, 0]", 1)
    with lake.reading():
        assert unchanged(lake, before, ("appends",))
        assert not unchanged(lake, before, ("cuts",))
        assert not unchanged(lake, before, ("no such table",))
    lake.con.execute(
        f"UPDATE {METADATA}.ducklake_snapshot_changes SET changes_made = {noted} "
        f"WHERE snapshot_id = {before + 1}"
    )
    with lake.reading():
        assert not unchanged(lake, before, ("appends",))
    lake.con.execute(
        f"DELETE FROM {METADATA}.ducklake_snapshot_changes WHERE snapshot_id = {before + 1}"
    )
    with lake.reading():
        assert not unchanged(lake, before, ("appends",))


def test_a_commit_takes_as_many_statements_after_many_others_as_after_few(lake: Lake) -> None:
    """Not timed: a commit that looked at its history would take more and more of them."""
    con = Counting(lake.con)
    lake.con = con
    taken = []
    with Speed.open(lake) as speed:
        for n in range(12):
            Log(lake).append([placed(f"o{n}"), paid(f"o{n}", "7.50")], ["test"])
            before = con.count
            speed.run()
            taken.append(con.count - before)
    assert max(taken[2:]) == min(taken[2:])
    assert taken[-1] <= 32
