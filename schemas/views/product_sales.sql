-- What each product sold, by currency. Shipping, order discounts and adjustments belong
-- to no product and are left out, so these numbers do not add up to the whole revenue.
--
-- units     pieces sold, less what was cancelled or came back
-- gross     sales before anything came back
-- returned  what returns took back (0 or negative)
-- net       sales less cancellations and returns
SELECT
  product_id,
  currency,
  coalesce(sum(quantity), 0) AS units,
  coalesce(sum(amount) FILTER (WHERE kind = 'sale'), 0) AS gross,
  coalesce(sum(amount) FILTER (WHERE kind = 'return'), 0) AS returned,
  coalesce(sum(amount), 0) AS net
FROM ledger
WHERE product_id IS NOT NULL
GROUP BY product_id, currency
