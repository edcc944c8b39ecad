-- Customers who placed an order on a day ($business_zone), each once, whatever they paid in.
--
-- customers   how many
-- new         of these, on the day of their first order
-- returning   the others
SELECT
  day,
  count(DISTINCT d.customer_id) AS customers,
  count(DISTINCT d.customer_id) FILTER (WHERE day = first_day) AS new,
  customers - new AS returning
FROM customer_days AS d
LEFT JOIN customer_history AS h ON d.customer_id = h.customer_id
WHERE d.orders > 0
GROUP BY day
