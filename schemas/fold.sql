-- The fold: from the set of an order's events to its `orders` row and its `ledger` rows.
--
-- Steps run in this order; each is one SELECT that may read `events` and the steps before it.
-- `events` has the columns of the log (schemas/tables.py). The same text runs in DuckDB and,
-- through sqlglot, in Spark. Nothing here depends on the order in which events arrive: a
-- redelivered event counts once, at its lowest offset; every other choice is made by content.
--
-- What is rare (redeliveries, voids, returns, adjustments, cancellations) is found first and joined
-- as few rows. All of an order's events are grouped once, and its placement is never grouped.

-- step: twins
-- Events that may be in the log twice: few. The hash only finds them; the next step compares text.
SELECT e."partition", e."offset", e.order_id, e.source, e.id
FROM events AS e
JOIN (
  SELECT hash(order_id, source, id) AS h FROM events GROUP BY 1 HAVING count(*) > 1
) AS t ON hash(e.order_id, e.source, e.id) = t.h;

-- step: repeats
-- Later deliveries of an event that is already in the log, and the offset of the first one.
SELECT e."partition", e."offset", r.kept AS first_offset
FROM twins AS e
JOIN (
  SELECT order_id, source, id, min("offset") AS kept
  FROM twins
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

-- step: odd
-- All events that do not simply count: 1 redelivered, 2 voided, 3 placed again.
SELECT "partition", "offset", min(what) AS what
FROM (
  SELECT "partition", "offset", 1 AS what FROM repeats
  UNION ALL SELECT "partition", "offset", 2 AS what FROM voided
  UNION ALL SELECT "partition", "offset", 3 AS what FROM surplus
) AS each_of
GROUP BY "partition", "offset";

-- step: booked
-- Events that book something, each once.
SELECT e.order_id, e.type, e.customer_id, e.country, e.channel, e.currency, e.time, e.amount,
  coalesce(e.shipping, 0) AS shipping, coalesce(e.discount, 0) AS discount, e.goods, e.units,
  e.lines
FROM events AS e
LEFT JOIN odd AS o ON e."partition" = o."partition" AND e."offset" = o."offset"
WHERE e.type IN ('OrderPlaced', 'ItemsReturned', 'AdjustmentBooked') AND o.what IS NULL;

-- step: placed
-- At most one an order.
SELECT *, CAST(goods AS DECIMAL(38, 4)) + shipping - discount AS gross
FROM booked WHERE type = 'OrderPlaced';

-- step: returned
SELECT * FROM booked WHERE type = 'ItemsReturned';

-- step: adjusted
SELECT * FROM booked WHERE type = 'AdjustmentBooked';

-- step: returners
-- Of orders with returns: who and where, should the placement not say it.
SELECT order_id, min(customer_id) AS customer_id, min(country) AS country,
  min(currency) AS currency, count(*) AS returns
FROM returned GROUP BY order_id;

-- step: adjusters
SELECT order_id, min(currency) AS currency, count(*) AS adjustments
FROM adjusted GROUP BY order_id;

-- step: course
-- One row an order: what happened when. A redelivery did not happen; what was voided did, no more.
SELECT
  e.order_id,
  min(e.time) FILTER (WHERE e.type = 'PaymentCaptured' AND o.what IS NULL) AS paid_at,
  min(e.time) FILTER (WHERE e.type = 'OrderShipped' AND o.what IS NULL) AS shipped_at,
  min(e.time) FILTER (WHERE e.type = 'OrderDelivered' AND o.what IS NULL) AS delivered_at,
  min(e.time) FILTER (WHERE e.type = 'OrderCancelled' AND o.what IS NULL) AS cancelled_at,
  sum(e.amount) FILTER (WHERE e.type = 'PaymentCaptured' AND o.what IS NULL) AS paid,
  count(*) FILTER (WHERE e.type = 'EventsVoided' OR o.what = 2) AS voids,
  count(*) AS event_count,
  min(e."offset") AS first_offset,
  max(e."offset") AS last_offset,
  min(e."partition") AS "partition"
FROM events AS e
LEFT JOIN odd AS o ON e."partition" = o."partition" AND e."offset" = o."offset"
WHERE o.what IS NULL OR o.what > 1
GROUP BY e.order_id;

-- step: moved
-- Orders to which something was booked after the placement.
SELECT order_id FROM course WHERE cancelled_at IS NOT NULL
UNION SELECT order_id FROM returners
UNION SELECT order_id FROM adjusters;

-- step: facts
-- One row for each of them: who, where and when.
SELECT
  c.order_id,
  coalesce(p.customer_id, r.customer_id) AS customer_id,
  coalesce(p.currency, r.currency, a.currency) AS currency,
  coalesce(p.country, r.country) AS country,
  p.channel, p.time AS placed_at, c.cancelled_at, coalesce(r.returns, 0) AS returns
FROM moved AS m
JOIN course AS c ON m.order_id = c.order_id
LEFT JOIN placed AS p ON m.order_id = p.order_id
LEFT JOIN returners AS r ON m.order_id = r.order_id
LEFT JOIN adjusters AS a ON m.order_id = a.order_id;

-- step: movements
-- Goods that left and came back, one row a line, of the orders where both matter.
SELECT b.order_id, true AS sale, b.l.product_id AS product_id, b.l.quantity AS quantity,
  b.l.amount AS amount
FROM (
  SELECT p.order_id, unnest(p.lines) AS l
  FROM placed AS p
  JOIN facts AS f ON p.order_id = f.order_id
  WHERE f.cancelled_at IS NOT NULL OR f.returns > 0
) AS b
UNION ALL
SELECT b.order_id, false AS sale, b.l.product_id AS product_id, b.l.quantity AS quantity,
  b.l.amount AS amount
FROM (
  SELECT r.order_id, unnest(r.lines) AS l
  FROM returned AS r
  JOIN facts AS f ON r.order_id = f.order_id AND r.currency = f.currency
  WHERE f.placed_at IS NOT NULL
) AS b;

-- step: balance
-- What was sold and what came back of it, by product, for the orders where it matters.
SELECT
  order_id,
  product_id,
  coalesce(sum(quantity) FILTER (WHERE sale), 0) AS sold,
  coalesce(sum(amount) FILTER (WHERE sale), 0) AS sold_amount,
  coalesce(sum(quantity) FILTER (WHERE NOT sale), 0) AS returned,
  coalesce(sum(amount) FILTER (WHERE NOT sale), 0) AS returned_amount
FROM movements
GROUP BY order_id, product_id;

-- step: later
-- What is booked after the placement.
SELECT b.order_id, b.customer_id, b.country, b.channel, b.l.product_id AS product_id,
  'return' AS kind, b.time AS booked_at, b.currency, -b.l.quantity AS quantity,
  CAST(-b.l.amount AS DECIMAL(18, 4)) AS amount
FROM (
  SELECT r.order_id, f.customer_id, f.country, f.channel, r.time, r.currency, unnest(r.lines) AS l
  FROM returned AS r JOIN facts AS f ON r.order_id = f.order_id
) AS b
UNION ALL
SELECT a.order_id, f.customer_id, f.country, f.channel, CAST(NULL AS VARCHAR) AS product_id,
  'adjustment' AS kind, a.time AS booked_at, a.currency, CAST(0 AS BIGINT) AS quantity, a.amount
FROM adjusted AS a JOIN facts AS f ON a.order_id = f.order_id
UNION ALL
SELECT b.order_id, f.customer_id, f.country, f.channel, b.product_id,
  'cancellation' AS kind, f.cancelled_at AS booked_at, f.currency,
  CAST(-greatest(b.sold - b.returned, 0) AS BIGINT) AS quantity,
  CAST(-greatest(b.sold_amount - b.returned_amount, 0) AS DECIMAL(18, 4)) AS amount
FROM balance AS b
JOIN facts AS f ON b.order_id = f.order_id
WHERE f.cancelled_at IS NOT NULL
  AND (b.sold > b.returned OR b.sold_amount > b.returned_amount)
UNION ALL
SELECT p.order_id, f.customer_id, f.country, f.channel, CAST(NULL AS VARCHAR) AS product_id,
  'cancellation' AS kind, f.cancelled_at AS booked_at, p.currency, CAST(0 AS BIGINT) AS quantity,
  CAST(-p.shipping AS DECIMAL(18, 4)) AS amount
FROM placed AS p JOIN facts AS f ON p.order_id = f.order_id
WHERE f.cancelled_at IS NOT NULL AND p.shipping <> 0
UNION ALL
SELECT p.order_id, f.customer_id, f.country, f.channel, CAST(NULL AS VARCHAR) AS product_id,
  'cancellation' AS kind, f.cancelled_at AS booked_at, p.currency, CAST(0 AS BIGINT) AS quantity,
  p.discount AS amount
FROM placed AS p JOIN facts AS f ON p.order_id = f.order_id
WHERE f.cancelled_at IS NOT NULL AND p.discount <> 0;

-- step: sold
-- Placements as the ledger shows them.
SELECT p.order_id, coalesce(p.customer_id, r.customer_id) AS customer_id,
  coalesce(p.country, r.country) AS country, p.channel, p.time, p.currency, p.shipping, p.discount,
  p.lines
FROM placed AS p LEFT JOIN returners AS r ON p.order_id = r.order_id;

-- step: ledger
SELECT s.order_id, s.customer_id, s.l.product_id AS product_id, s.country, s.channel,
  'sale' AS kind, s.time AS booked_at, s.currency, s.l.quantity AS quantity, s.l.amount AS amount
FROM (
  SELECT order_id, customer_id, country, channel, time, currency, unnest(lines) AS l FROM sold
) AS s
UNION ALL
SELECT order_id, customer_id, CAST(NULL AS VARCHAR) AS product_id, country, channel,
  'placed' AS kind, time AS booked_at, currency, CAST(0 AS BIGINT) AS quantity,
  CAST(0 AS DECIMAL(18, 4)) AS amount
FROM sold
UNION ALL
SELECT order_id, customer_id, CAST(NULL AS VARCHAR) AS product_id, country, channel,
  'shipping' AS kind, time AS booked_at, currency, CAST(0 AS BIGINT) AS quantity, shipping AS amount
FROM sold WHERE shipping <> 0
UNION ALL
SELECT order_id, customer_id, CAST(NULL AS VARCHAR) AS product_id, country, channel,
  'discount' AS kind, time AS booked_at, currency, CAST(0 AS BIGINT) AS quantity,
  CAST(-discount AS DECIMAL(18, 4)) AS amount
FROM sold WHERE discount <> 0
UNION ALL
SELECT order_id, customer_id, product_id, country, channel, kind, booked_at, currency, quantity,
  amount
FROM later;

-- step: sums
-- What later entries add to an order, in its own currency.
SELECT l.order_id,
  sum(l.amount) FILTER (WHERE l.kind = 'return') AS returned,
  sum(l.amount) AS amount, sum(l.quantity) AS quantity
FROM later AS l
JOIN facts AS f ON l.order_id = f.order_id AND l.currency = f.currency
GROUP BY l.order_id;

-- step: kept
-- Orders of which something sold has not come back.
SELECT order_id FROM balance WHERE sold > returned GROUP BY order_id;

-- step: orders
SELECT
  c.order_id,
  coalesce(p.customer_id, r.customer_id) AS customer_id,
  coalesce(p.currency, r.currency, a.currency) AS currency,
  coalesce(p.country, r.country) AS country,
  p.channel,
  CASE
    WHEN c.event_count = c.voids THEN 'voided'
    WHEN p.time IS NULL AND (r.returns > 0 OR a.adjustments > 0) THEN 'unplaced'
    WHEN p.time IS NOT NULL AND r.returns > 0 AND k.order_id IS NULL THEN 'returned'
    WHEN c.cancelled_at IS NOT NULL THEN 'cancelled'
    WHEN c.delivered_at IS NOT NULL THEN 'delivered'
    WHEN c.shipped_at IS NOT NULL THEN 'shipped'
    WHEN c.paid_at IS NOT NULL THEN 'paid'
    ELSE 'placed'
  END AS status,
  p.time AS placed_at, c.paid_at, c.shipped_at, c.delivered_at, c.cancelled_at,
  CAST(coalesce(p.gross, 0) AS DECIMAL(38, 4)) AS gross,
  CAST(coalesce(c.paid, 0) AS DECIMAL(38, 4)) AS paid,
  CAST(coalesce(-s.returned, 0) AS DECIMAL(38, 4)) AS refunded,
  CAST(coalesce(p.gross, 0) + coalesce(s.amount, 0) AS DECIMAL(38, 4)) AS net,
  CAST(coalesce(p.units, 0) + coalesce(s.quantity, 0) AS BIGINT) AS units,
  CAST(c.event_count AS BIGINT) AS event_count,
  c.first_offset, c.last_offset, c."partition"
FROM course AS c
LEFT JOIN placed AS p ON c.order_id = p.order_id
LEFT JOIN returners AS r ON c.order_id = r.order_id
LEFT JOIN adjusters AS a ON c.order_id = a.order_id
LEFT JOIN sums AS s ON c.order_id = s.order_id
LEFT JOIN kept AS k ON c.order_id = k.order_id;
