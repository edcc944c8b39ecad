"""Taken back: a bad import, an order of one source; and the import that takes its place."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

import headrace
from headrace.pipelines.errors import UsageError
from tests.conformance.paths import BUILT_IN, assert_exact
from tests.conformance.streams import paid, placed
from tests.conftest import MakeLake
from tests.e2e.command import Headrace
from tests.kafka.broker import Cluster
from tests.kafka.running import fresh_topic

MAPPING = """
source = "csv/shop"
[columns]
order_id = "order"
time = "time"
product_id = "product"
quantity = "pieces"
unit_price = "price"
[constants]
currency = "EUR"
"""
ROWS = ("o1,2026-03-01T10:00:00Z,mug,2,750", "o2,2026-03-02T10:00:00Z,tea,1,300")
RIGHT = ("o1,2026-03-01T10:00:00Z,mug,2,7.50", "o2,2026-03-02T10:00:00Z,tea,1,3.00")


class Shop(Headrace):
    """The command on a home beside which a mapping and CSV files lie."""

    def write(self, *rows: str, name: str = "export.csv") -> Path:
        file = self.home.parent / name
        file.write_text("\n".join(["order,time,product,pieces,price", *rows]), encoding="utf-8")
        return file

    def arguments_of(self, file: Path, *more: str) -> list[object]:
        mapping = self.home.parent / "mapping.toml"
        mapping.write_text(MAPPING, encoding="utf-8")
        return ["import", "csv", "--mapping", mapping, file, *more]

    def bring(self, *rows: str, more: tuple[str, ...] = ()) -> str:
        """Import rows; gives the id of the run."""
        (name,) = self.json(*self.arguments_of(self.write(*rows), *more))["imports"].values()
        return str(name)

    def net(self) -> dict[str, Decimal]:
        self.json("speed", "--once")
        return {order: Decimal(net) for order, net in self.rows("SELECT order_id, net FROM orders")}

    def exact(self) -> None:
        assert self.json("verify")["equal"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "home")


def test_a_bad_import_is_taken_back_and_the_past_still_shows_it(shop: Shop) -> None:
    run = shop.bring(*ROWS)
    assert shop.net() == {"o1": 1500, "o2": 300}
    shop.json("batch", "--engine", "duckdb")
    before = shop.json("query", "SELECT 1")["position"]
    told = shop.json("log", "void", "--import", run, "--reason", "prices without their mark")
    assert told == {"events": 2, "orders": 2, "known": 0, "gone": 0}
    assert shop.net() == {"o1": 0, "o2": 0}
    assert shop.rows("SELECT DISTINCT status FROM orders") == [["voided"]]
    assert shop.rows("SELECT count(*) FROM ledger") == [[0]]
    shop.exact()
    past = shop.json("query", "SELECT sum(net) FROM orders", "--at", json.dumps(before))
    assert past["rows"] == [["1800.0000"]]
    shop.json("batch", "--engine", "duckdb")
    moved = shop.rows(
        "SELECT DISTINCT old, new, cause FROM restatements "
        "WHERE view = 'revenue_by_day' AND measure = 'net'"
    )
    assert moved == [["1500.0000", None, "voids"]], "the newest day is not over, the first one is"


def test_what_was_there_before_an_import_stays_when_it_is_taken_back(shop: Shop) -> None:
    first = shop.bring(ROWS[0])
    second = shop.bring(*ROWS)
    assert first != second
    told = shop.json("log", "void", "--import", second, "--reason", "not yet", "--dry-run")
    assert told == {"events": 1, "orders": 1, "known": 1, "gone": 0}
    assert shop.net() == {"o1": 1500, "o2": 300}, "a dry run writes nothing"
    shop.json("log", "void", "--import", second, "--reason", "not yet")
    assert shop.net() == {"o1": 1500, "o2": 0}
    shop.exact()


def test_a_void_again_takes_back_nothing_more(shop: Shop) -> None:
    run = shop.bring(*ROWS)
    shop.json("log", "void", "--import", run, "--reason", "wrong")
    told = shop.json("log", "void", "--import", run, "--reason", "wrong")
    assert told == {"events": 0, "orders": 0, "known": 0, "gone": 2}
    assert shop.json("status")["events"] == 4


def test_an_import_takes_the_place_of_another(shop: Shop) -> None:
    run = shop.bring(*ROWS)
    shop.net()
    fresh = shop.bring(*RIGHT, more=("--replace", run))
    assert shop.net() == {"o1": 15, "o2": 3}
    again = shop.bring(*RIGHT, more=("--replace", run))
    assert again == fresh
    assert shop.net() == {"o1": 15, "o2": 3}, "the same once more is the same"
    shop.exact()
    assert shop.json("quarantine", "ls")["total"] == 0
    back = shop.bring(*ROWS, more=("--replace", fresh))
    assert back not in {run, fresh}
    assert shop.net() == {"o1": 1500, "o2": 300}
    shop.exact()
    told = {r["import_id"]: (r["events"], r["voided"]) for r in
            shop.json("log", "imports")["imports"]}  # fmt: skip
    assert told == {run: (2, 2), fresh: (2, 2), back: (2, 0)}


@pytest.mark.thorough
@pytest.mark.parametrize("point", ["append.synced", "append.synced:2", "append.synced:3"])
def test_a_replacement_that_died_on_the_way_is_finished_by_the_same_command(
    shop: Shop, point: str
) -> None:
    run = shop.bring(*ROWS)
    call = shop.arguments_of(shop.write(*RIGHT), "--replace", run)
    died = shop.process(*call, crash_at=point, append_events=1)
    assert died.code != 0
    assert shop.run(*call, append_events=1).code == 0
    assert shop.net() == {"o1": 15, "o2": 3}
    shop.exact()


@pytest.mark.thorough
def test_what_was_taken_back_does_not_come_in_again_in_silence(shop: Shop) -> None:
    run = shop.bring(*ROWS)
    shop.json("log", "void", "--import", run, "--reason", "wrong")
    for rows in (ROWS, RIGHT):
        told = shop.run(*shop.arguments_of(shop.write(*rows)))
        told.refused(2, "o1-placed", "was taken back", f"`--replace {run}`")
    assert shop.json("status")["events"] == 4, "nothing of it was recorded"
    folder = shop.home.parent / "in"
    folder.mkdir()
    shop.write(*RIGHT, name="in/a.csv")
    call = ["ingest", folder, "--format", "csv", "--mapping", shop.home.parent / "mapping.toml"]
    landed = shop.run(*call, "--json", ingest_settle=0)
    assert landed.code == 1
    assert "was taken back" in landed.out


@pytest.mark.thorough
def test_a_landed_file_can_be_taken_back(shop: Shop) -> None:
    (shop.home.parent / "in").mkdir()
    shop.write(*ROWS, name="in/a.csv")
    mapping = shop.home.parent / "mapping.toml"
    mapping.write_text(MAPPING, encoding="utf-8")
    folder = shop.home.parent / "in"
    shop.json("ingest", folder, "--format", "csv", "--mapping", mapping, ingest_settle=0)
    (run,) = shop.json("log", "imports")["imports"]
    shop.json("log", "void", "--import", run["import_id"], "--reason", "wrong")
    assert shop.net() == {"o1": 0, "o2": 0}


@pytest.mark.thorough
def test_the_same_file_twice_is_one_import_and_no_conflict(shop: Shop) -> None:
    run = shop.bring(*ROWS)
    assert shop.bring(*ROWS) == run
    assert shop.bring(*ROWS, "o3,2026-03-03T10:00:00Z,mug,1,1") != run, "the file has grown"
    assert shop.net() == {"o1": 1500, "o2": 300, "o3": 1}
    assert shop.json("quarantine", "ls")["total"] == 0
    told = {r["import_id"]: (r["events"], r["known"]) for r in
            shop.json("log", "imports")["imports"]}  # fmt: skip
    assert sorted(told.values()) == [(1, 2), (2, 0)]


@pytest.mark.thorough
def test_an_order_of_one_source_is_taken_back_and_other_sources_stay(
    shop: Shop, tmp_path: Path
) -> None:
    lines = [placed("o1"), paid("o1", "7.50"), placed("o1", source="shop/us", identity="us")]
    file = tmp_path / "lines.ndjson"
    file.write_bytes(b"\n".join(lines))
    shop.json("append", file)
    call = ["log", "void", "--order", "o1", "--source", "shop/eu", "--reason", "a test order"]
    assert shop.json(*call) == {"events": 2, "orders": 1, "known": 0, "gone": 0}
    assert shop.net() == {"o1": Decimal("7.50")}
    assert shop.rows("SELECT status, paid FROM orders") == [["placed", "0.0000"]]
    shop.exact()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["--reason", "x"], ["either an import run, or an order and a source"]),
        (["--order", "o1", "--reason", "x"], ["an order and a source"]),
        (["--import", "a", "--order", "o1", "--source", "s", "--reason", "x"], ["either"]),
        (["--import", "0123456789ab", "--reason", "x"], ["'0123456789ab'", "headrace log imports"]),
        (["--import", "%", "--reason", "x"], ["'%'"]),
        (["--order", "o9", "--source", "csv/shop", "--reason", "x"], ["'o9'"]),
        (["--import", "a", "--reason", ""], ["the reason is empty"]),
        (["--import", "a", "--reason", "a\nb"], ["control character"]),
    ],
)
def test_a_void_that_names_nothing_is_refused(
    shop: Shop, call: list[object], words: list[str]
) -> None:
    shop.bring(*ROWS)
    shop.run("log", "void", *call).refused(2, *words)
    assert shop.json("status")["events"] == 2


@pytest.mark.thorough
def test_a_replacement_of_no_import_is_refused_before_anything_is_recorded(shop: Shop) -> None:
    shop.bring(*ROWS)
    told = shop.run(*shop.arguments_of(shop.write(*RIGHT), "--replace", "0123456789ab"))
    told.refused(2, "'0123456789ab'", "headrace log imports")
    assert shop.json("status")["events"] == 2


@pytest.mark.thorough
def test_an_order_of_thousands_of_events_is_taken_back_whole(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=1)
    lines = [placed("o1")] + [paid("o1", "1", identity=f"p{n}" + "x" * 900) for n in range(2_300)]
    headrace.append(lake, [line.decode() for line in lines])
    from headrace.pipelines.verbs.void import void

    told = void(lake, order_id="o1", source="shop/eu", reason="all of it")
    assert (told.events, told.orders) == (2_301, 1)
    headrace.speed(lake)
    assert lake.row("SELECT status, net, paid FROM orders") == ("voided", 0, 0)
    assert_exact(lake, names=BUILT_IN)
    with pytest.raises(UsageError, match="either"):
        void(lake, reason="what?")


@pytest.mark.thorough
@pytest.mark.kafka
@pytest.mark.xdist_group("kafka")
def test_of_a_topic_only_what_was_read_can_be_taken_back(kafka: Cluster, tmp_path: Path) -> None:
    url = fresh_topic(kafka)
    shop = Shop(tmp_path / "home", log=url, poll=0.02, kafka_timeout=20, partitions=2)
    run = shop.bring(*ROWS)
    refused = shop.run("log", "void", "--import", run, "--reason", "wrong")
    refused.refused(2, "2 offsets of the topic", "headrace speed --once")
    assert shop.net() == {"o1": 1500, "o2": 300}
    shop.json("log", "void", "--import", run, "--reason", "wrong")
    assert shop.net() == {"o1": 0, "o2": 0}
    shop.exact()
