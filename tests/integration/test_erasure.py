"""After an erasure no byte below the home names the customer, and no number has moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import LogError, UsageError, ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import erasures
from headrace.pipelines.operations import maintenance
from headrace.pipelines.operations.doctor.examine import examine, wrong
from headrace.pipelines.operations.erasure import Erased, erase
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.serving.query import Serving
from headrace.pipelines.serving.time_travel import query_at
from headrace.pipelines.settings import load
from headrace.pipelines.speed.layer import Speed

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

WHO = "Zoë O'Hara 4711"
LIKE = f"{WHO}0"
ALIKE = "4711"
SECRETS = ("TRACK-4711", "TX-4711", "because-4711", "phone-4711")


def event(kind: str, order: str, nth: int, **data: Any) -> bytes:
    extra = {"note": "phone-4711"} if data.pop("secret", False) else {}
    return json.dumps(
        {
            "specversion": "1.0", "id": f"{order}-{nth}", "source": "shop", "type": kind,
            "subject": order, "time": f"2026-03-0{nth}T09:30:00Z", "data": data, **extra,
        },
        ensure_ascii=nth % 2 == 0,
    ).encode()  # fmt: skip


def placed(order: str, who: str | None, product: str = "mug", nth: int = 1) -> bytes:
    lines = [{"product_id": product, "quantity": 2, "unit_price": "7.50"}]
    if who == WHO:
        lines[0]["gift_to"] = "phone-4711"
    return event(
        "OrderPlaced", order, nth, customer_id=who, currency="EUR", country="DE", lines=lines
    )


FIRST = [
    placed("a-1", WHO),
    event("PaymentCaptured", "a-1", 2, amount="15.00", transaction_id="TX-4711", secret=True),
    event("OrderShipped", "a-1", 3, carrier="dhl", tracking="TRACK-4711"),
    placed("a-2", WHO),
    event("OrderCancelled", "a-2", 2, reason="because-4711"),
    placed("b-1", LIKE),
    event("OrderShipped", "b-1", 2, tracking="other-9"),
    placed("g-1", None),
    event("OrderShipped", "g-1", 2, tracking="guest-track-1"),
]
LATER = [
    event("ItemsReturned", "a-1", 4, currency="EUR", customer_id=WHO, reason="because-4711",
          lines=[{"product_id": "mug", "quantity": 1, "refund": "7.50"}]),
    placed("b-2", LIKE, product=ALIKE),
    event("AdjustmentBooked", "a-1", 5, currency="EUR", amount="-1.25", reason="because-4711"),
]  # fmt: skip
BAD = [
    f'{{"customer_id": "{WHO}", "broken'.encode(),
    event("OrderShipped", "a-1", 6).replace(b'"2026-03-06T09:30:00Z"', b'"no time"'),
    f'{{"customer_id": "{LIKE}", "broken'.encode(),
]


def put(lake: Lake, *lines: bytes) -> None:
    Log(lake).append(lines, [f"line {n}" for n, _ in enumerate(lines)])


def speed(lake: Lake) -> None:
    with Speed.open(lake) as layer:
        layer.run()


@pytest.fixture(scope="module")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and deltas, quarantine, copies, certificates, a conflict; old files lie around."""
    home = tmp_path_factory.mktemp("filled") / "home"
    with open_lake(load(home, environ={}, threads=1, partitions=2)) as lake:
        put(lake, *FIRST[:5])
        speed(lake)
        put(lake, *FIRST[5:], *BAD)
        speed(lake)
        batch.run(lake, engine="duckdb")
        put(lake, *LATER, FIRST[0], placed("a-1", WHO, product="jug"))
        speed(lake)
        verify(lake)
    return home


@pytest.fixture
def lake(_filled: Path, tmp_path: Path, make_lake: MakeLake) -> Lake:
    """A copy of that home, at the fixture's usual place."""
    shutil.copytree(_filled, tmp_path / "home")
    return make_lake()


def holding(home: Path, name: str) -> list[str]:
    """The files below a home that hold a name: in their bytes, or in a Parquet file's columns."""
    found = []
    for file in (f for f in home.rglob("*") if f.is_file()):
        raw = file.read_bytes()
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            raw += repr(
                [[bytes(v).decode() if isinstance(v, bytes) else v for v in c.to_pylist()]
                 for n, c in zip(table.column_names, table.columns, strict=True)
                 if n not in {"product_id", "lines"}]
            ).encode()  # fmt: skip
        raw = raw.replace(LIKE.encode(), b"").replace(json.dumps(LIKE)[1:-1].encode(), b"")
        if any(form in raw for form in (name.encode(), json.dumps(name)[1:-1].encode())):
            found.append(str(file.relative_to(home)))
    return found


NUMBERS = (
    "FROM revenue_by_day ORDER BY ALL",
    "FROM product_sales ORDER BY ALL",
    "SELECT * EXCLUDE (customer_id) FROM orders ORDER BY ALL",
    "SELECT * EXCLUDE (customer_id) FROM ledger ORDER BY ALL",
    "SELECT orders, net FROM customer_value ORDER BY ALL",
)


def numbers(lake: Lake) -> list[Any]:
    return [lake.rows(sql) for sql in NUMBERS]


def test_no_byte_names_the_customer_and_no_number_moves(
    lake: Lake,
) -> None:
    home = lake.home.path
    (home / "tmp").mkdir(exist_ok=True)
    (home / "tmp" / "job.log").write_text(f"spilt {WHO}", encoding="utf-8")
    before = numbers(lake)
    assert holding(home, WHO)

    done = erase(lake, WHO, "asked by letter")

    assert (done.orders, done.events, done.entries) == (2, 9, 3)
    assert {name: holding(home, name) for name in (WHO, *SECRETS)} == {
        name: [] for name in (WHO, *SECRETS)
    }
    assert numbers(lake) == before
    renamed = "SELECT orders FROM customer_value WHERE starts_with(customer_id, 'erased-')"
    assert lake.rows(renamed) == [(2,)]
    certificate = verify(lake)
    assert certificate.equal
    assert certificate.erasures == (1,)
    lake.close()
    assert wrong(examine(lake.settings)) == []


@pytest.mark.thorough
def test_products_and_longer_names_that_look_alike_stay(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2)
    others = [placed("b-1", "c-10"), placed("b-2", "c-10", product="c-1"), placed("b-3", "my c-1")]
    put(lake, placed("a-1", "c-1", product="c-1"), *others, b"c-10,broken", b"c-1,broken")
    speed(lake)

    erase(lake, "c-1", "asked by letter")

    kept = lake.rows("SELECT raw FROM sys.events WHERE order_id <> 'a-1' ORDER BY order_id")
    assert [raw.encode() for (raw,) in kept] == others
    assert lake.rows("SELECT units FROM product_sales WHERE product_id = 'c-1'") == [(4,)]
    assert {e.raw for e in quarantine.entries(lake)} == {b"c-10,broken", b"erased"}
    assert verify(lake).equal


@pytest.mark.thorough
def test_what_comes_again_is_a_redelivery_and_brings_nothing_back(
    lake: Lake,
) -> None:
    erase(lake, WHO, "asked by letter")
    before, listed = numbers(lake)[0], quarantine.count(lake)

    put(lake, *FIRST, *LATER, BAD[1])
    speed(lake)

    assert quarantine.count(lake) == listed + 1
    assert numbers(lake)[0] == before
    assert verify(lake).equal
    assert {name: holding(lake.home.path, name) for name in (WHO, "TX-4711")} == {
        WHO: [], "TX-4711": [],
    }  # fmt: skip


@pytest.mark.thorough
def test_a_speed_layer_that_ran_meanwhile_writes_nothing_of_the_customer(
    lake: Lake, make_lake: MakeLake
) -> None:
    other = make_lake()
    put(lake, event("OrderShipped", "a-2", 6, tracking="TRACK-4711"))
    with Speed.open(other) as layer:
        layer.run()
        erase(lake, WHO, "asked by letter")
        put(lake, event("OrderDelivered", "a-1", 7))
        layer.run()
    assert verify(lake).equal
    assert holding(lake.home.path, WHO) == []


@pytest.mark.thorough
def test_earlier_positions_a_batch_and_a_rollback_still_answer(
    lake: Lake, make_lake: MakeLake
) -> None:
    from headrace.pipelines.replay import build, promote

    build.replay(lake, None)
    promote.promote(lake)
    at = registry.read(lake, 1).cut
    old = query_at(make_lake(read_only=True), NUMBERS[0], at).rows

    erase(lake, WHO, "asked by letter")

    assert query_at(make_lake(read_only=True), NUMBERS[0], at).rows == old
    assert all(verify(lake, number).equal for number in registry.numbers(lake))
    promote.rollback(lake)
    batch.run(lake, engine="duckdb")
    assert verify(lake).equal


@pytest.mark.thorough
def test_a_reader_meets_all_of_it_or_nothing(lake: Lake, make_lake: MakeLake) -> None:
    serving = Serving(make_lake(read_only=True))
    sql = "SELECT customer_id FROM orders WHERE order_id IN ('a-1', 'a-2')"
    assert {row[0] for row in serving.query(sql).rows} == {WHO}

    done = erase(lake, WHO, "asked by letter")

    assert {row[0] for row in serving.query(sql).rows} == {done.pseudonym}


@pytest.mark.thorough
def test_a_dry_run_counts_and_writes_nothing(lake: Lake) -> None:
    files = {f: f.stat().st_mtime_ns for f in lake.home.data.rglob("*") if f.is_file()}
    told = erase(lake, WHO, "asked by letter", dry_run=True)
    assert (told.events, told.orders, told.entries) == (9, 2, 3)
    assert told.files > 0
    assert {f: f.stat().st_mtime_ns for f in lake.home.data.rglob("*") if f.is_file()} == files
    assert erasures(lake) == []


@pytest.mark.thorough
def test_what_cannot_be_done_is_refused_and_changes_nothing(lake: Lake) -> None:
    snapshot = lake.snapshot()
    assert erase(lake, WHO[:-1], "asked by letter").nothing
    with pytest.raises(UsageError, match="reason names the id"):
        erase(lake, WHO, f"{WHO.upper()} asked")
    with pytest.raises(LogError, match="has a customer"):
        erase(lake, None, "asked by letter", order="a-1")
    assert lake.snapshot() == snapshot


@pytest.mark.thorough
def test_the_guest_of_an_order_loses_what_identifies(lake: Lake) -> None:
    done = erase(lake, None, "asked by letter", order="g-1")
    assert (done.events, done.orders) == (2, 1)
    assert holding(lake.home.path, "guest-track-1") == []
    assert verify(lake).equal


@pytest.mark.thorough
def test_a_view_that_computes_with_the_id_is_named(make_lake: MakeLake) -> None:
    own = {"by_letter": "SELECT upper(customer_id) AS who, count(*) AS n FROM orders GROUP BY 1"}
    own = {"by_letter": own["by_letter"].replace("upper(customer_id)", "customer_id || '!'")}
    lake = make_lake(partitions=2, views=own)
    put(lake, *FIRST)
    with pytest.raises(ViewError, match="by_letter"):
        erase(lake, WHO, "asked by letter")


@pytest.mark.thorough
def test_a_later_append_still_finds_the_pseudonym_by_its_bounds(lake: Lake) -> None:
    done = erase(lake, WHO, "asked by letter")
    put(lake, placed("z-1", "~last"))
    speed(lake)
    maintenance.maintain(lake)
    sql = f"SELECT orders FROM customer_value WHERE customer_id = '{done.pseudonym}'"
    assert lake.rows(sql) == [(2,)]
    assert [e.erasure_no for e in erasures(lake)] == [1]
    assert isinstance(done, Erased)
    assert verify(lake).equal
