-- Money by country and currency. Orders without a country are one row, NULL.
--
-- orders   orders placed
-- net      all movements of the country's orders
SELECT
  country,
  currency,
  count(*) FILTER (WHERE kind = 'placed') AS orders,
  coalesce(sum(amount), 0) AS net
FROM ledger
GROUP BY country, currency
