-- The fold: from the set of an order's events to its `orders` row and its `ledger` rows.
--
-- Steps run in this order; each is one SELECT that may read `events` and the steps before it.
-- `events` has the columns of the log (schemas/tables.py). The same text runs in DuckDB and,
-- through sqlglot, in Spark. Nothing here depends on the order in which events arrive: a
-- redelivered event counts once, at its lowest offset; every other choice is made by content.

-- step: repeats
-- Later deliveries of an event that is already in the log, and the offset of the first one.
SELECT e."partition", e."offset", r.kept AS first_offset
FROM events AS e
JOIN (
  SELECT order_id, source, id, min("offset") AS kept
  FROM events
  GROUP BY order_id, source, id
  HAVING count(*) > 1
) AS r
  ON e.order_id = r.order_id AND e.source = r.source AND e.id = r.id AND e."offset" > r.kept;

-- step: voided
-- Events that their own source took back. A void names them, so it means the same whether it comes
-- before or after them. It cannot itself be taken back.
SELECT e."partition", e."offset"
FROM events AS e
JOIN (
  SELECT order_id, source, l.product_id AS id
  FROM (
    SELECT v.order_id, v.source, unnest(v.lines) AS l
    FROM events AS v
    LEFT JOIN repeats AS r ON v."partition" = r."partition" AND v."offset" = r."offset"
    WHERE v.type = 'EventsVoided' AND r."offset" IS NULL
  ) AS named
  GROUP BY order_id, source, l.product_id
) AS n ON e.order_id = n.order_id AND e.source = n.source AND e.id = n.id
WHERE e.type <> 'EventsVoided';

-- step: placements
SELECT e."partition", e."offset", e.order_id, e.time, e.sequence, e.source, e.id
FROM events AS e
LEFT JOIN repeats AS r ON e."partition" = r."partition" AND e."offset" = r."offset"
LEFT JOIN voided AS v ON e."partition" = v."partition" AND e."offset" = v."offset"
WHERE e.type = 'OrderPlaced' AND r."offset" IS NULL AND v."offset" IS NULL;

-- step: surplus
-- An order is placed once: of several OrderPlaced events the earliest counts.
SELECT "partition", "offset"
FROM (
  SELECT p."partition", p."offset", row_number() OVER (
    PARTITION BY p.order_id
    ORDER BY p.time, p.sequence IS NULL, p.sequence, p.source, p.id
  ) AS nth
  FROM placements AS p
  JOIN (
    SELECT order_id FROM placements GROUP BY order_id HAVING count(*) > 1
  ) AS c ON p.order_id = c.order_id
) AS ranked
WHERE nth > 1;

-- step: counted
-- Every event once, with the role that it plays in its order.
SELECT e.*, CASE
    WHEN v."offset" IS NOT NULL THEN 'voided'
    WHEN s."offset" IS NOT NULL THEN 'surplus'
    ELSE e.type
  END AS role
FROM events AS e
LEFT JOIN repeats AS r ON e."partition" = r."partition" AND e."offset" = r."offset"
LEFT JOIN voided AS v ON e."partition" = v."partition" AND e."offset" = v."offset"
LEFT JOIN surplus AS s ON e."partition" = s."partition" AND e."offset" = s."offset"
WHERE r."offset" IS NULL;

-- step: facts
-- One row an order: who, where and when.
SELECT
  order_id,
  coalesce(
    min(customer_id) FILTER (WHERE role = 'OrderPlaced'),
    min(customer_id) FILTER (WHERE role = 'ItemsReturned')
  ) AS customer_id,
  coalesce(
    min(currency) FILTER (WHERE role = 'OrderPlaced'),
    min(currency) FILTER (WHERE role = 'ItemsReturned'),
    min(currency) FILTER (WHERE role = 'AdjustmentBooked')
  ) AS currency,
  coalesce(
    min(country) FILTER (WHERE role = 'OrderPlaced'),
    min(country) FILTER (WHERE role = 'ItemsReturned')
  ) AS country,
  min(channel) FILTER (WHERE role = 'OrderPlaced') AS channel,
  min(time) FILTER (WHERE role = 'OrderPlaced') AS placed_at,
  min(time) FILTER (WHERE role = 'PaymentCaptured') AS paid_at,
  min(time) FILTER (WHERE role = 'OrderShipped') AS shipped_at,
  min(time) FILTER (WHERE role = 'OrderDelivered') AS delivered_at,
  min(time) FILTER (WHERE role = 'OrderCancelled') AS cancelled_at,
  sum(amount) FILTER (WHERE role = 'PaymentCaptured') AS paid,
  count(*) FILTER (WHERE role = 'ItemsReturned') AS returns,
  count(*) FILTER (WHERE role = 'AdjustmentBooked') AS adjustments,
  count(*) FILTER (WHERE role IN ('voided', 'EventsVoided')) AS voids,
  count(*) AS event_count,
  min("offset") AS first_offset,
  max("offset") AS last_offset,
  min("partition") AS "partition"
FROM counted
GROUP BY order_id;

-- step: movements
-- Goods that left and came back, one row a line.
SELECT order_id, role, time, currency, l.product_id, l.quantity, l.amount
FROM (
  SELECT order_id, role, time, currency, unnest(lines) AS l
  FROM counted
  WHERE role IN ('OrderPlaced', 'ItemsReturned')
) AS exploded;

-- step: balance
-- What was sold and what came back of it, by product, for the orders where it matters.
SELECT
  m.order_id,
  m.product_id,
  coalesce(sum(m.quantity) FILTER (WHERE m.role = 'OrderPlaced'), 0) AS sold,
  coalesce(sum(m.amount) FILTER (WHERE m.role = 'OrderPlaced'), 0) AS sold_amount,
  coalesce(sum(m.quantity) FILTER (WHERE m.role = 'ItemsReturned'), 0) AS returned,
  coalesce(sum(m.amount) FILTER (WHERE m.role = 'ItemsReturned'), 0) AS returned_amount
FROM movements AS m
JOIN facts AS f ON m.order_id = f.order_id AND m.currency = f.currency
WHERE f.placed_at IS NOT NULL AND (f.cancelled_at IS NOT NULL OR f.returns > 0)
GROUP BY m.order_id, m.product_id;

-- step: charges
-- Money of an order that belongs to no product.
SELECT order_id, time, currency, 'placed' AS kind, CAST(0 AS DECIMAL(18, 4)) AS amount
FROM counted WHERE role = 'OrderPlaced'
UNION ALL
SELECT order_id, time, currency, 'shipping' AS kind, shipping AS amount
FROM counted WHERE role = 'OrderPlaced' AND shipping <> 0
UNION ALL
SELECT order_id, time, currency, 'discount' AS kind, CAST(-discount AS DECIMAL(18, 4)) AS amount
FROM counted WHERE role = 'OrderPlaced' AND discount <> 0
UNION ALL
SELECT order_id, time, currency, 'adjustment' AS kind, amount
FROM counted WHERE role = 'AdjustmentBooked';

-- step: entries
SELECT order_id, product_id, CASE WHEN role = 'OrderPlaced' THEN 'sale' ELSE 'return' END AS kind,
  time AS booked_at, currency,
  CASE WHEN role = 'OrderPlaced' THEN quantity ELSE -quantity END AS quantity,
  CASE WHEN role = 'OrderPlaced' THEN amount ELSE CAST(-amount AS DECIMAL(18, 4)) END AS amount
FROM movements
UNION ALL
SELECT order_id, CAST(NULL AS VARCHAR) AS product_id, kind, time AS booked_at, currency,
  CAST(0 AS BIGINT) AS quantity, amount
FROM charges
UNION ALL
SELECT b.order_id, b.product_id, 'cancellation' AS kind, f.cancelled_at AS booked_at, f.currency,
  CAST(-greatest(b.sold - b.returned, 0) AS BIGINT) AS quantity,
  CAST(-greatest(b.sold_amount - b.returned_amount, 0) AS DECIMAL(18, 4)) AS amount
FROM balance AS b
JOIN facts AS f ON b.order_id = f.order_id
WHERE f.cancelled_at IS NOT NULL
  AND (b.sold > b.returned OR b.sold_amount > b.returned_amount)
UNION ALL
SELECT c.order_id, CAST(NULL AS VARCHAR) AS product_id, 'cancellation' AS kind,
  f.cancelled_at AS booked_at, c.currency, CAST(0 AS BIGINT) AS quantity,
  CAST(-c.amount AS DECIMAL(18, 4)) AS amount
FROM charges AS c
JOIN facts AS f ON c.order_id = f.order_id
WHERE f.cancelled_at IS NOT NULL AND c.kind IN ('shipping', 'discount');

-- step: ledger
SELECT e.order_id, f.customer_id, e.product_id, f.country, f.channel, e.kind, e.booked_at, e.currency,
  CAST(e.quantity AS BIGINT) AS quantity, CAST(e.amount AS DECIMAL(18, 4)) AS amount
FROM entries AS e
JOIN facts AS f ON e.order_id = f.order_id;

-- step: sums
-- An order's own sums are the sums of its ledger, in its own currency.
SELECT
  order_id,
  currency,
  sum(amount) FILTER (WHERE kind IN ('sale', 'shipping', 'discount')) AS gross,
  sum(amount) FILTER (WHERE kind = 'return') AS returned,
  sum(amount) AS net,
  sum(quantity) AS units
FROM entries
GROUP BY order_id, currency;

-- step: kept
-- Orders of which something sold has not come back.
SELECT order_id FROM balance WHERE sold > returned GROUP BY order_id;

-- step: orders
SELECT
  f.order_id, f.customer_id, f.currency, f.country, f.channel,
  CASE
    WHEN f.event_count = f.voids THEN 'voided'
    WHEN f.placed_at IS NULL AND (f.returns > 0 OR f.adjustments > 0) THEN 'unplaced'
    WHEN f.placed_at IS NOT NULL AND f.returns > 0 AND k.order_id IS NULL THEN 'returned'
    WHEN f.cancelled_at IS NOT NULL THEN 'cancelled'
    WHEN f.delivered_at IS NOT NULL THEN 'delivered'
    WHEN f.shipped_at IS NOT NULL THEN 'shipped'
    WHEN f.paid_at IS NOT NULL THEN 'paid'
    ELSE 'placed'
  END AS status,
  f.placed_at, f.paid_at, f.shipped_at, f.delivered_at, f.cancelled_at,
  CAST(coalesce(s.gross, 0) AS DECIMAL(38, 4)) AS gross,
  CAST(coalesce(f.paid, 0) AS DECIMAL(38, 4)) AS paid,
  CAST(coalesce(-s.returned, 0) AS DECIMAL(38, 4)) AS refunded,
  CAST(coalesce(s.net, 0) AS DECIMAL(38, 4)) AS net,
  CAST(coalesce(s.units, 0) AS BIGINT) AS units,
  CAST(f.event_count AS BIGINT) AS event_count,
  f.first_offset, f.last_offset, f."partition"
FROM facts AS f
LEFT JOIN sums AS s ON f.order_id = s.order_id AND f.currency = s.currency
LEFT JOIN kept AS k ON f.order_id = k.order_id;
