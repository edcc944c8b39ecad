-- What moved for a customer on a day ($business_zone), by currency. Without guests (no customer_id).
-- The views of customers below read it: customer_history, customers_by_day, cohorts, repeat_rate.
--
-- orders   orders placed
-- net      all movements
SELECT
  customer_id,
  CAST(booked_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone AS DATE) AS day,
  currency,
  count(*) FILTER (WHERE kind = 'placed') AS orders,
  coalesce(sum(amount), 0) AS net
FROM ledger
WHERE customer_id IS NOT NULL
GROUP BY customer_id, day, currency
