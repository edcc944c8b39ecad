-- Money by minute ($business_zone) and currency: the live curve.
--
-- minute   the minute in which the movement was booked
-- orders   orders placed
-- gross    sales, shipping and discounts
-- net      all movements
SELECT
  date_trunc('minute', booked_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone) AS minute,
  currency,
  count(*) FILTER (WHERE kind = 'placed') AS orders,
  coalesce(sum(amount) FILTER (WHERE kind IN ('sale', 'shipping', 'discount')), 0) AS gross,
  coalesce(sum(amount), 0) AS net
FROM ledger
GROUP BY minute, currency
