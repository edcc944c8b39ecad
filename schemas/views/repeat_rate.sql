-- How many customers came back. One row.
--
-- customers   who placed an order
-- returned    of these, who placed an order on another day as well
-- rate        returned / customers, exact to 4 digits
-- orders      orders of all of them
SELECT
  'all' AS scope,
  count(*) AS customers,
  count(*) FILTER (WHERE days > 1) AS returned,
  returned / customers AS rate,
  coalesce(sum(orders), 0) AS orders
FROM customer_history
GROUP BY scope
