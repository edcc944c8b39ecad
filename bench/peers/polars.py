"""Plain Polars over the file, all of it each time. Exact decimals."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from bench.peers import STEPS, VALUES, Rows, run

MONEY = pl.Decimal(38, 4)
LINE = {
    "product_id": pl.String,
    "quantity": pl.Int64,
    "unit_price": pl.String,
    "refund": pl.String,
}
DATA = {
    "currency": pl.String,
    "shipping": pl.String,
    "discount": pl.String,
    "lines": pl.List(pl.Struct(LINE)),
}
NAMES = ("source", "id", "type", "subject", "time")
SCHEMA = {**dict.fromkeys(NAMES, pl.String), "data": pl.Struct(DATA)}


def compute(events: str, _: Path) -> dict[str, Rows]:
    """The three views."""
    zero = pl.lit("0").cast(MONEY)
    is_placed = pl.col("type") == "OrderPlaced"
    log = (
        pl.read_ndjson(events, schema=SCHEMA)
        .unique(["source", "id"], keep="first", maintain_order=False)
        .unnest("data")
        .with_columns(day=pl.col("time").str.slice(0, 10))
    )
    lines = (
        log.filter(pl.col("type").is_in(["OrderPlaced", "ItemsReturned"]))
        .select("type", "day", "currency", "lines")
        .explode("lines")
        .unnest("lines")
        .with_columns(
            orders=0,
            gross=pl.when(is_placed)
            .then(pl.col("unit_price").cast(MONEY) * pl.col("quantity").cast(pl.Decimal(38, 0)))
            .otherwise(zero)
            .cast(MONEY),
            returned=pl.when(is_placed).then(zero).otherwise(zero - pl.col("refund").cast(MONEY)),
        )
    )
    extras = log.filter(is_placed).select(
        "day",
        "currency",
        orders=1,
        gross=pl.col("shipping").cast(MONEY).fill_null(zero)
        - pl.col("discount").cast(MONEY).fill_null(zero),
        returned=zero,
    )
    revenue = pl.concat([lines.select(extras.columns), extras]).group_by("day", "currency")
    funnel = (
        log.group_by("subject")
        .agg(
            day=pl.col("day").filter(is_placed).min(),
            **{
                column: (pl.col("type") == step).any().cast(pl.Int64)
                for column, step in zip(VALUES["order_funnel"], STEPS, strict=True)
            },
        )
        .drop_nulls("day")
        .group_by("day")
        .agg(pl.col(*VALUES["order_funnel"]).sum())
    )
    products = lines.group_by("product_id", "currency").agg(pl.col("gross", "returned").sum())
    return {
        "revenue_by_day": revenue.agg(pl.col("orders", "gross", "returned").sum()).rows(),
        "order_funnel": funnel.rows(),
        "product_sales": products.rows(),
    }


if __name__ == "__main__":
    run("polars", compute)
