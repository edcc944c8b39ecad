"""A batch in Spark, `local[*]`, written by hand in Spark's SQL. Exact decimals.

The session is up before the clock starts; the wall time of the process has it.
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from bench.peers import Rows, run
from bench.peers.duckdb import VIEWS

SCHEMA = """
source STRING, id STRING, type STRING, subject STRING, time STRING,
data STRUCT<currency: STRING, shipping: STRING, discount: STRING,
  lines: ARRAY<STRUCT<product_id: STRING, quantity: BIGINT, unit_price: STRING, refund: STRING>>>
"""
EVENTS = """
SELECT type, subject AS order_id, substr(time, 1, 10) AS day, data.currency AS currency,
  data.lines AS lines,
  CAST(coalesce(data.shipping, '0') AS DECIMAL(18,4))
    - CAST(coalesce(data.discount, '0') AS DECIMAL(18,4)) AS extra
FROM raw
"""
LINES = """
SELECT type, day, currency, l.product_id AS product_id,
  CASE WHEN type = 'OrderPlaced'
    THEN CAST(l.quantity * CAST(l.unit_price AS DECIMAL(18,4)) AS DECIMAL(28,4)) ELSE 0 END
    AS gross,
  CASE WHEN type = 'ItemsReturned' THEN -CAST(l.refund AS DECIMAL(18,4)) ELSE 0 END AS returned
FROM (
  SELECT type, day, currency, explode(lines) AS l FROM e
  WHERE type IN ('OrderPlaced', 'ItemsReturned')
)
"""


def main() -> None:
    """Start Spark, then compute."""
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.memory", "4g")
        .getOrCreate()
    )

    def compute(events: str, _: Path) -> dict[str, Rows]:
        raw = spark.read.schema(SCHEMA).json(events).dropDuplicates(["source", "id"])
        raw.createOrReplaceTempView("raw")
        spark.sql(EVENTS).cache().createOrReplaceTempView("e")
        spark.sql(LINES).createOrReplaceTempView("l")
        found = {}
        for view, sql in VIEWS.items():
            text = sql.replace("FILTER (type", "FILTER (WHERE type")
            found[view] = [tuple(row) for row in spark.sql(text).collect()]
        return found

    run("pyspark", compute)
    spark.stop()


if __name__ == "__main__":
    main()
