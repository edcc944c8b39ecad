"""Plain DuckDB over the file, all of it each time: the yardstick of the others.

Exact decimals. There is no state: after a crash, or one more event, everything is read again.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from bench.peers import Rows, run

EVENTS = """
CREATE TEMP TABLE e AS
SELECT DISTINCT ON (source, id)
  type, subject AS order_id, CAST(substr(time, 1, 10) AS DATE) AS day, data.currency AS currency,
  data.lines AS lines, coalesce(data.shipping, 0) - coalesce(data.discount, 0) AS extra
FROM read_json($path, format = 'newline_delimited', columns = {
  source: 'VARCHAR', id: 'VARCHAR', type: 'VARCHAR', subject: 'VARCHAR', time: 'VARCHAR',
  data: 'STRUCT(currency VARCHAR, shipping DECIMAL(18,4), discount DECIMAL(18,4),
    lines STRUCT(product_id VARCHAR, quantity BIGINT, unit_price DECIMAL(18,4),
      refund DECIMAL(18,4))[])'})
"""
LINES = """
CREATE TEMP TABLE l AS
SELECT type, day, currency, l.product_id AS product_id,
  CASE WHEN type = 'OrderPlaced' THEN CAST(l.quantity * l.unit_price AS DECIMAL(38,4)) ELSE 0 END
    AS gross,
  CASE WHEN type = 'ItemsReturned' THEN -l.refund ELSE 0 END AS returned
FROM (
  SELECT type, day, currency, unnest(lines) AS l FROM e
  WHERE type IN ('OrderPlaced', 'ItemsReturned')
)
"""
VIEWS = {
    "revenue_by_day": """
SELECT day, currency, sum(orders), sum(gross), sum(returned)
FROM (
  SELECT day, currency, 0 AS orders, gross, returned FROM l
  UNION ALL SELECT day, currency, 1, extra, 0 FROM e WHERE type = 'OrderPlaced'
)
GROUP BY day, currency""",
    "order_funnel": """
SELECT day, count(*), count(paid), count(shipped), count(delivered), count(cancelled)
FROM (
  SELECT min(day) FILTER (type = 'OrderPlaced') AS day,
    max(day) FILTER (type = 'PaymentCaptured') AS paid,
    max(day) FILTER (type = 'OrderShipped') AS shipped,
    max(day) FILTER (type = 'OrderDelivered') AS delivered,
    max(day) FILTER (type = 'OrderCancelled') AS cancelled
  FROM e GROUP BY order_id
)
WHERE day IS NOT NULL GROUP BY day""",
    "product_sales": """
SELECT product_id, currency, sum(gross), sum(returned) FROM l GROUP BY product_id, currency""",
}


def compute(events: str, _: Path) -> dict[str, Rows]:
    """The three views."""
    with duckdb.connect() as con:
        con.execute(EVENTS, {"path": events})
        con.execute(LINES)
        return {view: con.execute(sql).fetchall() for view, sql in VIEWS.items()}


if __name__ == "__main__":
    run("duckdb", compute)
