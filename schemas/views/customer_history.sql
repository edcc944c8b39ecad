-- A customer's orders over time. Customers who never placed an order are not in it.
--
-- first_day, last_day   days of the first and the newest order
-- days                  days with an order
-- orders                orders placed
SELECT
  customer_id,
  min(day) AS first_day,
  max(day) AS last_day,
  count(DISTINCT day) AS days,
  sum(orders) AS orders
FROM customer_days
WHERE orders > 0
GROUP BY customer_id
