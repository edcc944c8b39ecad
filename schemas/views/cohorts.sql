-- What became of the customers of a month, by the month of their first order and currency.
--
-- cohort      first day of that month; NULL for money of customers who never placed an order
-- months      months since: 0 is the month of the first order
-- customers   of the cohort, those who placed an order in that month
-- net         all movements of the cohort in that month
SELECT
  CAST(date_trunc('month', first_day) AS DATE) AS cohort,
  (extract(year FROM day) - extract(year FROM first_day)) * 12
    + extract(month FROM day) - extract(month FROM first_day) AS months,
  currency,
  count(DISTINCT d.customer_id) FILTER (WHERE d.orders > 0) AS customers,
  coalesce(sum(net), 0) AS net
FROM customer_days AS d
LEFT JOIN customer_history AS h ON d.customer_id = h.customer_id
GROUP BY cohort, months, currency
