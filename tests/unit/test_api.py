"""`import headrace`: its names, what the import costs, and what goes in and comes out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import headrace
from headrace.pipelines import errors
from tests.unit.pages import ROOT

NAMES = [
    "Answer",
    "Attachment",
    "BrokerError",
    "Certificate",
    "ContractError",
    "DamageError",
    "HeadraceError",
    "HomeError",
    "JobError",
    "LockError",
    "LogError",
    "Position",
    "PromotionError",
    "QueryError",
    "SeamError",
    "Serving",
    "StorageError",
    "UsageError",
    "ViewError",
    "append",
    "attach",
    "backup",
    "batch",
    "check",
    "check_view",
    "connect",
    "erase",
    "generate",
    "imports",
    "load_views",
    "preview",
    "promote",
    "publish",
    "replay",
    "restore",
    "rollback",
    "speed",
    "verify",
    "views",
    "void",
]


def placed(order: str = "o-1", **data: Any) -> dict[str, Any]:
    line = {"product_id": "mug", "quantity": 2, "unit_price": "7.50"}
    return {
        "specversion": "1.0", "id": f"{order}-1", "source": "shop/eu", "type": "OrderPlaced",
        "subject": order, "time": "2026-03-01T09:30:00Z",
        "data": {"customer_id": "c-7", "currency": "EUR", "lines": [line], **data},
    }  # fmt: skip


def net(home: Path) -> object:
    headrace.speed(home)
    with headrace.connect(home) as lake:
        return lake.query("SELECT sum(net) FROM orders").rows[0][0]


def test_the_public_names_are_these() -> None:
    assert sorted(headrace.__all__) == sorted(NAMES)
    assert dir(headrace) == sorted(NAMES)
    for name in NAMES:
        assert getattr(headrace, name).__name__ == name


def test_each_public_name_is_explained_on_the_page() -> None:
    text = (ROOT / "docs/api.md").read_text("utf-8")
    assert {name for name in NAMES if not re.search(rf"`{name}\b", text)} == set()


def test_every_error_of_the_tree_is_public() -> None:
    tree = {n for n, e in vars(errors).items() if isinstance(e, type)}
    assert tree == {name for name in NAMES if name.endswith("Error")}


def test_a_name_that_is_not_there_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'publsh'"):
        headrace.publsh  # noqa: B018


def test_the_import_loads_nothing_heavy() -> None:
    heavy = "{'duckdb', 'pyarrow', 'numpy', 'polars', 'pandas', 'sqlglot', 'pydantic', 'click'}"
    code = f"import sys, headrace; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_events_go_in_as_text_bytes_dicts_and_files(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(placed("o-4")) + "\n", encoding="utf-8")
    given = [json.dumps(placed("o-1")), json.dumps(placed("o-2")).encode(), placed("o-3"), file]
    total = headrace.append(tmp_path / "home", given)
    assert (total.accepted, total.quarantined) == (4, 0)
    assert net(tmp_path / "home") == Decimal("60.0000")


def test_ndjson_text_is_many_events(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(placed(f"o-{n}")) for n in range(3))
    assert headrace.append(tmp_path / "home", text).accepted == 3


def test_a_decimal_and_a_time_with_a_zone_go_in_exactly(tmp_path: Path) -> None:
    event = placed(lines=[{"product_id": "x", "quantity": 1, "unit_price": Decimal("0.0001")}])
    event["time"] = datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)
    assert headrace.append(tmp_path / "home", event).accepted == 1
    assert net(tmp_path / "home") == Decimal("0.0001")
    with headrace.connect(tmp_path / "home") as lake:
        (at,) = lake.query("SELECT placed_at FROM orders").rows[0]
    assert at == datetime(2026, 3, 1, 9, 30, 0, 123456)  # noqa: DTZ001 - naive UTC


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (placed(shipping=4.99), "event 1, data, shipping is the float 4.99"),
        (
            placed() | {"time": datetime(2026, 3, 1)},  # noqa: DTZ001
            "event 1, time is 2026-03-01T00:00:00 without a zone",
        ),
        (17, "event 1 is a int"),
        (placed(shipping={1, 2}), "event 1, data, shipping is a set"),
    ],
)
def test_what_has_no_exact_form_is_refused(tmp_path: Path, event: Any, said: str) -> None:
    with pytest.raises(headrace.UsageError, match=re.escape(said)):
        headrace.append(tmp_path / "home", [event])


def frame() -> pa.Table:
    line = pa.struct(
        {"product_id": pa.string(), "quantity": pa.int64(), "unit_price": pa.decimal128(18, 4)}
    )
    data = pa.struct(
        {
            "customer_id": pa.string(),
            "currency": pa.string(),
            "country": pa.string(),
            "lines": pa.list_(line),
        }
    )
    rows = []
    for number, country in ((1, "DE"), (2, None)):
        price = Decimal("1.2500") * number
        lines = [{"product_id": "p", "quantity": 3, "unit_price": price}]
        details = {"customer_id": "c", "currency": "EUR", "country": country, "lines": lines}
        rows.append({**placed(f"o-{number}"), "data": details})
        rows[-1]["time"] = datetime(2026, 3, number, tzinfo=UTC)
    times = pa.timestamp("us", "UTC")
    schema = pa.schema(
        [(n, pa.string()) for n in ("specversion", "id", "source", "type", "subject")]
    )
    return pa.Table.from_pylist(rows, schema.append(pa.field("time", times)).append(
        pa.field("data", data)))  # fmt: skip


def test_arrow_and_polars_frames_go_in_a_row_an_event(tmp_path: Path) -> None:
    for name, events in (("arrow", frame()), ("polars", pl.from_arrow(frame()))):
        total = headrace.append(tmp_path / name, events)  # type: ignore[arg-type]
        assert (total.accepted, total.quarantined) == (2, 0)
        assert net(tmp_path / name) == Decimal("11.2500")


def test_an_answer_is_a_table_with_decimals(tmp_path: Path) -> None:
    headrace.append(tmp_path / "home", placed())
    headrace.speed(tmp_path / "home")
    sql = (
        "SELECT sum(net) AS net, count(*) AS n, min(placed_at) AS at, sum(units) AS units, "
        "NULL::DECIMAL(10, 2) AS nothing, [1, 2] AS list FROM orders"
    )
    with headrace.connect(tmp_path / "home") as lake:
        answer = lake.query(sql)
    table = answer.arrow()
    assert table.schema.field("net").type == pa.decimal128(38, 4)
    assert table.schema.field("units").type == pa.decimal128(38, 0)
    assert table.to_pylist()[0]["net"] == Decimal("15.0000")
    assert answer.polars()["net"].to_list() == [Decimal("15.0000")]
    assert answer.polars().schema["net"] == pl.Decimal(38, 4)
    assert answer.pandas()["net"].tolist() == [Decimal("15.0000")]
    assert answer.polars()["n"].to_list() == [1]


def test_an_answer_without_rows_has_its_columns(tmp_path: Path) -> None:
    headrace.append(tmp_path / "home", placed())
    with headrace.connect(tmp_path / "home") as lake:
        answer = lake.query("SELECT order_id, net FROM orders WHERE false")
    assert answer.polars().schema == {"order_id": pl.String, "net": pl.Decimal(38, 4)}


def test_what_reads_does_not_make_a_home(tmp_path: Path) -> None:
    headrace.append(tmp_path / "my-shop", placed())
    for verb in (headrace.connect, headrace.verify, headrace.replay, headrace.batch):
        with pytest.raises(headrace.UsageError, match=r"did you mean --home \S*my-shop\?"):
            verb(tmp_path / "my-shp")
    assert not (tmp_path / "my-shp").exists()
