-- How far the orders of a day got, by the day on which they were placed ($business_zone).
-- An order counts in every step it reached: a delivered one in all of the first four.
--
-- placed, paid, shipped, delivered, cancelled   orders that have such an event
SELECT
  CAST(placed_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone AS DATE) AS day,
  count(*) AS placed,
  count(paid_at) AS paid,
  count(shipped_at) AS shipped,
  count(delivered_at) AS delivered,
  count(cancelled_at) AS cancelled
FROM orders
WHERE placed_at IS NOT NULL
GROUP BY day
