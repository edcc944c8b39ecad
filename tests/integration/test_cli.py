"""The commands on a good day: what they print for programs, and that they do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines.cli.app import _COMMANDS
from tests.e2e.command import SCRIPT, Headrace
from tests.e2e.orders import FIRST_DAY, Truth, events, write

EARLY, LATE = events(40, seed=21), events(20, seed=22)
POISON = [b"not json", b'{"specversion": "1.0", "type": "OrderLost"}']
MAPPING = """
[columns]
order_id = "no"
time = "when"
product_id = "item"
quantity = "count"
unit_price = "price"
customer_id = "who"

[constants]
currency = "EUR"
"""
SUBCOMMANDS = {
    "import": ["uci-online-retail", "csv"],
    "log": ["tail", "show"],
    "order": ["show"],
    "quarantine": ["discard", "export", "ls", "retry", "show", "summary"],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands of a usual day print with `--json`, and the home they leave."""
    folder = tmp_path_factory.mktemp("day")
    headrace = Headrace(folder / "home")
    early = write(folder / "early.ndjson", [*EARLY, *POISON])
    late = write(folder / "late.ndjson", LATE)
    return {
        "home": headrace.home,
        "early_file": early,
        "init": headrace.json("init", "--partitions", 3),
        "init again": headrace.json("init"),
        "append": headrace.json("append", early),
        "batch": headrace.json("batch", "--engine", "duckdb"),
        "append late": headrace.json("append", late),
        "speed": headrace.json("speed", "--once", "--commit-events", 30),
        "status": headrace.json("status"),
        "verify": headrace.json("verify"),
    }


@pytest.fixture
def headrace(told: dict[str, Any]) -> Headrace:
    """The command on that home; for reading only."""
    return Headrace(told["home"])


@pytest.fixture
def own(told: dict[str, Any], tmp_path: Path) -> Headrace:
    """The command on a copy of that home; for writing."""
    return Headrace(shutil.copytree(told["home"], tmp_path / "copy"))


def test_init_says_whether_it_made_the_home(told: dict[str, Any]) -> None:
    expected = {
        "home": str(told["home"]),
        "created": True,
        "partitions": 3,
        "business_zone": "UTC",
    }
    assert told["init"] == expected
    assert told["init again"] == {**expected, "created": False}


def test_append_accounts_for_every_line(told: dict[str, Any]) -> None:
    append = told["append"]
    assert (append["accepted"], append["quarantined"]) == (len(EARLY), len(POISON))
    assert append["skipped"] == {}
    assert sum(append["position"].values()) == len(EARLY)


def test_append_takes_standard_input(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    outcome = headrace.fed(b"\n".join(EARLY), "append", "-", "--json")
    assert outcome.json()["accepted"] == len(EARLY)


def test_batch_says_what_it_published(told: dict[str, Any]) -> None:
    batch = told["batch"]
    assert batch["published"] is True
    assert (batch["generation"], batch["base"]) == (1, 2)
    assert (batch["engine"], batch["mode"]) == ("duckdb", "full")
    assert batch["cut"] == told["append"]["position"]
    assert batch["events"] == batch["events_read"] == len(EARLY)
    assert batch["repeats"] == len(EARLY) - len(set(EARLY))
    assert batch["rows"]["orders"] == 40


def test_speed_says_what_it_committed(told: dict[str, Any]) -> None:
    speed = told["speed"]
    assert speed["events"] == len(LATE)
    assert speed["commits"] == 2
    assert speed["repeats"] == len(LATE) - len(set(LATE))
    assert speed["position"] == told["append late"]["position"]


def test_status_says_where_everything_stands(told: dict[str, Any]) -> None:
    status = told["status"]
    both = [*EARLY, *LATE]
    expected = {
        "home": str(told["home"]), "events": len(both), "repeats": len(both) - len(set(both)),
        "quarantined": 2, "generation": 1, "base": 2, "engine": "duckdb full", "lag_events": 0,
        "speed": "not running", "certificate": None, "cut": told["batch"]["cut"],
        "position": told["speed"]["position"], "end": told["append late"]["position"],
    }  # fmt: skip
    assert {name: status[name] for name in expected} == expected
    newest = max(json.loads(line)["time"] for line in both)
    assert status["newest_event"] == newest
    assert status["topic"] is None
    for found in status["partitions"]:
        assert found["position"] == found["end"] == status["end"][str(found["partition"])]
        assert (found["lag_events"], found["lag_seconds"]) == (0, 0.0)


def test_status_says_which_partition_is_behind_and_since_when(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    headrace.json("append", write(tmp_path / "lines.ndjson", events(3, seed=41)), partitions=2)
    status = headrace.json("status")
    assert sum(p["lag_events"] for p in status["partitions"]) == status["lag_events"] > 0
    for found in status["partitions"]:
        assert found["position"] == 0
        assert found["lag_events"] == found["end"]
        assert found["lag_seconds"] >= 0
    text = headrace.run("status").out
    assert f"{status['lag_events']} events behind" in text


def test_verify_prints_the_certificate_that_status_shows(
    told: dict[str, Any], headrace: Headrace
) -> None:
    verify = told["verify"]
    assert (verify["equal"], verify["wrong"], verify["differences"]) == (True, 0, [])
    assert verify["cells"] > verify["rows"] > 100
    assert set(verify["by_view"]) == {
        "orders", "ledger", "revenue_by_day", "revenue_by_minute", "product_sales",
        "customer_value", "order_funnel", "country_sales", "basket_by_day", "customer_days",
        "customer_history", "customers_by_day", "cohorts", "repeat_rate",
    }  # fmt: skip
    stored = headrace.json("status")["certificate"]
    assert (stored["equal"], stored["position"]) == (True, verify["position"])


def test_query_prints_columns_rows_and_what_they_are_worth(
    told: dict[str, Any], headrace: Headrace
) -> None:
    answer = headrace.json(
        "query", "SELECT day, currency, orders, net, NULL AS nothing FROM revenue_by_day ORDER BY 1"
    )
    assert answer["columns"] == ["day", "currency", "orders", "net", "nothing"]
    assert (answer["cut"], answer["position"]) == (told["batch"]["cut"], told["speed"]["position"])
    assert re.fullmatch(r"[0-9a-f]{12}", answer["logic"])
    assert (answer["generation"], answer["truncated"]) == (1, False)
    day, currency, orders, net, nothing = answer["rows"][0]
    assert (day, currency) == (FIRST_DAY.date().isoformat(), currency)
    assert isinstance(orders, int)
    assert re.fullmatch(r"-?[0-9]+\.[0-9]{4}", net)
    assert nothing is None


def test_query_is_exact(headrace: Headrace) -> None:
    Truth.of([*EARLY, *LATE]).check(headrace)


def test_query_gives_back_no_more_rows_than_asked_and_says_so(headrace: Headrace) -> None:
    answer = headrace.json("query", "FROM orders", "--max-rows", 3)
    assert (len(answer["rows"]), answer["truncated"]) == (3, True)
    assert "only the first 3 rows" in headrace.run("query", "FROM orders", "--max-rows", 3).out


def test_query_at_a_position_answers_as_if_the_log_ended_there(
    told: dict[str, Any], headrace: Headrace
) -> None:
    at = json.dumps(told["append"]["position"])
    sql = "SELECT day, currency, net FROM revenue_by_day"
    answer = headrace.json("query", sql, "--at", at)
    found = {(row[0], row[1]): Decimal(row[2]) for row in answer["rows"]}
    assert found == Truth.of(EARLY).net
    assert answer["position"] == told["append"]["position"]
    now = headrace.json("query", sql, "--at", json.dumps(told["speed"]["position"]))
    assert sorted(now["rows"]) == sorted(headrace.rows(sql))


def test_query_at_a_time_answers_at_the_position_of_that_time(headrace: Headrace) -> None:
    sql = "SELECT count(*), sum(event_count) FROM orders"
    begin = headrace.json("query", sql, "--at", "2026-03-01")
    assert begin["rows"] == [[0, None]]
    assert sum(begin["position"].values()) == 0
    end = headrace.json("query", sql, "--at", "2026-04-01T00:00:00+02:00")
    assert end["rows"] == headrace.rows(sql)
    assert end["position"] == headrace.json("status")["end"]


def test_views_lists_tables_views_and_files_that_wait(own: Headrace) -> None:
    before = own.json("views")
    assert before["waiting"] == []
    by_name = {view["name"]: view for view in before["views"]}
    assert list(by_name["revenue_by_day"]["columns"]) == [
        "day", "currency", "orders", "gross", "cancelled", "returned", "net", "average_order",
    ]  # fmt: skip
    assert by_name["revenue_by_day"]["key"] == ["day", "currency"]
    assert by_name["orders"]["kind"] == "table"
    sql = "SELECT channel, count(*) AS n FROM orders GROUP BY channel"
    (own.home / "views" / "channels.sql").write_text(sql)
    assert own.json("views")["waiting"] == ["channels"]


def test_a_view_of_ones_own_goes_live_by_replay_and_promote(own: Headrace) -> None:
    sql = "SELECT kind, count(*) AS n, sum(amount) AS net FROM ledger GROUP BY kind"
    (own.home / "views" / "kinds.sql").write_text(sql)
    replayed = own.json("replay", "--from", "beginning")
    assert replayed["added"] == ["kinds"]
    assert (replayed["equal"], replayed["logic_changed"], replayed["promotable"]) == (True,) * 3
    assert own.run("query", "FROM kinds").code == 1
    promoted = own.json("promote", replayed["generation"])
    assert promoted["generation"] == replayed["generation"] == 2
    by_hand = "SELECT kind, count(*), sum(amount) FROM ledger GROUP BY kind ORDER BY 1"
    assert own.rows("SELECT * FROM kinds ORDER BY 1") == own.rows(by_hand)
    listed = own.json("generations")["generations"]
    assert [(g["generation"], g["live"], "kinds" in g["views"]) for g in listed] == [
        (1, False, False),
        (2, True, True),
    ]
    assert own.json("rollback")["generation"] == 1
    assert own.run("query", "FROM kinds").code == 1
    assert own.json("verify")["equal"] is True
    assert own.json("verify", "--generation", 2)["equal"] is True


def test_log_tail_and_show_give_the_original_lines(headrace: Headrace) -> None:
    tail = headrace.json("log", "tail", "-n", 5)["events"]
    assert len(tail) == 5
    assert {event["raw"].encode() for event in tail} <= set(LATE)
    one = tail[-1]
    place = ("--partition", one["partition"], "--offset", one["offset"])
    assert headrace.json("log", "show", *place)["events"] == [one]
    shown = headrace.json("log", "show", "--order", one["order_id"])["events"]
    wanted = [line for line in LATE if json.loads(line)["subject"] == one["order_id"]]
    assert [event["raw"].encode() for event in shown] == wanted
    assert [event["offset"] for event in shown] == sorted(event["offset"] for event in shown)


def test_quarantine_shows_origin_reason_and_bytes(told: dict[str, Any], headrace: Headrace) -> None:
    listed = headrace.json("quarantine", "ls")
    assert listed["total"] == len(listed["entries"]) == len(POISON)
    origins = [entry["origin"] for entry in listed["entries"]]
    assert origins == [f"{told['early_file']}:{len(EARLY) + n}" for n in (1, 2)]
    for entry, raw in zip(listed["entries"], POISON, strict=True):
        shown = headrace.json("quarantine", "show", entry["id"][:8])
        assert (shown["raw"], shown["reason"]) == (raw.decode(), entry["reason"])


def test_a_retry_accepts_what_the_rules_allow_now_and_keeps_the_rest(
    own: Headrace, tmp_path: Path
) -> None:
    more = events(3, seed=23)
    long = [line[:-1] + b', "note": "' + b"x" * 3_000 + b'"}' for line in more]
    file = write(tmp_path / "long.ndjson", long)
    done = own.run("append", file, max_event_bytes=2_000)
    assert (done.code, f"{len(long)} quarantined" in done.out) == (1, True)
    kept = {"accepted": 0, "still_quarantined": len(long) + len(POISON)}
    assert own.json("quarantine", "retry", max_event_bytes=2_000) == kept
    gone = own.json("quarantine", "retry", max_event_bytes=4_000)
    assert gone == {"accepted": len(long), "still_quarantined": len(POISON)}
    assert own.json("quarantine", "ls")["total"] == len(POISON)
    own.json("speed", "--once")
    Truth.of([*EARLY, *LATE, *more]).check(own)


def test_a_redelivery_with_other_content_changes_nothing_and_is_listed(
    own: Headrace, tmp_path: Path
) -> None:
    changed = LATE[0].replace(b'"shop/test"', b'"shop/test", "note": "changed"')
    own.json("append", write(tmp_path / "again.ndjson", [changed]))
    own.json("speed", "--once")
    Truth.of([*EARLY, *LATE]).check(own)
    conflicts = [e for e in own.json("quarantine", "ls")["entries"] if "conflict" in e["reason"]]
    assert len(conflicts) == 1


def test_csv_files_come_in_through_a_mapping(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv"
    rows = ["A1,2026-03-01,c1,mug,2,7.50", "A2,2026-03-02,c2,cup,1,3.25", "A3,never,c3,cup,1,1"]
    orders.write_text("\n".join(["no,when,who,item,count,price", *rows]))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING)
    headrace = Headrace(tmp_path / "home")
    told = headrace.json("import", "csv", "--mapping", mapping, orders)
    assert told["quarantined"] == 1
    headrace.json("speed", "--once")
    by_day = headrace.rows("SELECT day, orders, net FROM revenue_by_day ORDER BY day")
    assert by_day == [["2026-03-01", 1, "15.0000"], ["2026-03-02", 1, "3.2500"]]
    (entry,) = headrace.json("quarantine", "ls")["entries"]
    assert entry["origin"] == f"{orders}:4"


def test_the_same_seed_generates_the_same_bytes(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    faults = ("--duplicates", 0.1, "--disorder", 0.1, "--late", 0.1, "--poison", 0.05)
    calls = [
        headrace.run("generate", "--orders", 50, "--seed", seed, *faults) for seed in (1, 1, 2)
    ]
    assert calls[0].out == calls[1].out != calls[2].out
    assert len(calls[0].out.splitlines()) > 100
    assert not headrace.home.exists()


def test_generated_events_go_in_and_are_proved_equal(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    faults = ["--duplicates", "0.1", "--disorder", "0.1", "--late", "0.1", "--poison", "0.05"]
    file = tmp_path / "events.ndjson"
    with file.open("wb") as out:
        command: list[str | Path] = [SCRIPT, "generate", "--orders", "60", "--seed", "3", *faults]
        subprocess.run(command, stdout=out, check=True)
    told = headrace.json("append", file)
    lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    assert told["accepted"] + told["quarantined"] == len(lines)
    assert told["quarantined"] > 0
    headrace.json("speed", "--once", "--commit-events", 60)
    assert headrace.json("verify")["equal"] is True


def test_a_home_that_was_moved_works_in_its_new_place(own: Headrace, tmp_path: Path) -> None:
    before = own.rows("SELECT * FROM revenue_by_minute ORDER BY ALL")
    moved = Headrace(tmp_path / "elsewhere" / "it is here")
    moved.home.parent.mkdir()
    shutil.move(own.home, moved.home)
    assert moved.rows("SELECT * FROM revenue_by_minute ORDER BY ALL") == before
    more = events(5, seed=24)
    moved.json("append", write(tmp_path / "more.ndjson", more))
    moved.json("speed", "--once")
    moved.json("batch", "--engine", "duckdb", "--incremental")
    Truth.of([*EARLY, *LATE, *more]).check(moved)
    assert moved.json("verify")["equal"] is True


def test_maintenance_changes_no_number(own: Headrace, tmp_path: Path) -> None:
    before = own.rows("SELECT * FROM ledger ORDER BY ALL")
    done = own.json("maintain", keep_snapshots=0)
    assert set(done) == {"files_merged", "generations_dropped", "files_deleted"}
    assert own.rows("SELECT * FROM ledger ORDER BY ALL") == before
    assert own.json("verify")["equal"] is True


@pytest.mark.parametrize(
    "command",
    [[name] for name in _COMMANDS] + [[n, sub] for n, subs in SUBCOMMANDS.items() for sub in subs],
    ids=" ".join,
)
def test_every_command_explains_itself_without_a_home(tmp_path: Path, command: list[str]) -> None:
    headrace = Headrace(tmp_path / "none")
    outcome = headrace.run(*command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: headrace {' '.join(command)} ")
    assert not headrace.home.exists()


def test_the_command_lists_all_its_commands(tmp_path: Path) -> None:
    out = Headrace(tmp_path / "none").process("--help").out
    assert [name for name in _COMMANDS if f"\n  {name} " not in out] == []


def test_a_result_is_the_only_thing_on_standard_output(own: Headrace, tmp_path: Path) -> None:
    outcome = own.process("query", "SELECT 1 AS one")
    assert outcome.out == "one\n───\n  1\n"
    assert outcome.err.startswith("at {0: ")
