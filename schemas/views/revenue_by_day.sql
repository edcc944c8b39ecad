-- Money by day ($business_zone) and currency.
--
-- day            the day on which the movement was booked: a sale on the day the order
--                was placed, a return on the day it came back. A closed day changes
--                only when a late event belongs to it.
-- orders         orders placed
-- gross          sales, shipping and discounts
-- cancelled      what cancellations took back (0 or negative)
-- returned       what returns took back (0 or negative)
-- net            all movements: gross + cancelled + returned + adjustments
-- average_order  net / orders, exact to 4 digits; NULL on a day without new orders
SELECT
  CAST(booked_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone AS DATE) AS day,
  currency,
  count(*) FILTER (WHERE kind = 'placed') AS orders,
  coalesce(sum(amount) FILTER (WHERE kind IN ('sale', 'shipping', 'discount')), 0) AS gross,
  coalesce(sum(amount) FILTER (WHERE kind = 'cancellation'), 0) AS cancelled,
  coalesce(sum(amount) FILTER (WHERE kind = 'return'), 0) AS returned,
  coalesce(sum(amount), 0) AS net,
  net / orders AS average_order
FROM ledger
GROUP BY day, currency
