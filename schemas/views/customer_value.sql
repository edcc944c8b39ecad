-- What each customer is worth, by currency. Guests (no customer_id) are one row, NULL.
--
-- orders   orders placed
-- net      all movements of the customer's orders
SELECT
  customer_id,
  currency,
  count(*) FILTER (WHERE kind = 'placed') AS orders,
  coalesce(sum(amount), 0) AS net
FROM ledger
GROUP BY customer_id, currency
