-- What an order of a day was worth when it was placed, by day ($business_zone) and currency.
--
-- orders   orders placed
-- median   half of them were worth at most this: exact to 4 digits, between two where they are even
-- p90      nine in ten were worth at most this
-- largest  the largest one
SELECT
  CAST(placed_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone AS DATE) AS day,
  currency,
  count(*) AS orders,
  median(gross) AS median,
  quantile_disc(gross, 0.9) AS p90,
  max(gross) AS largest
FROM orders
WHERE placed_at IS NOT NULL
GROUP BY day, currency
