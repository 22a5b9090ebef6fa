-- name: record_price
-- Records a price.
SELECT tally.price_record_v1(%(symbol)s, %(usd)s, %(source)s, %(observed_at)s);

-- name: latest_price
-- The price of a symbol that was taken last.
SELECT p.id, p.usd, p.source, p.observed_at FROM tally.price_snapshots AS p
WHERE p.symbol = %(symbol)s ORDER BY p.taken_at DESC, p.id DESC LIMIT 1;

-- name: native_symbol
-- The symbol of a network's own coin.
SELECT n.native_symbol FROM tally.networks AS n WHERE n.chain_id = %(chain_id)s;

-- name: list_latest_prices
-- The price of each symbol that was taken last.
WITH RECURSIVE symbols AS (
  (SELECT p.symbol FROM tally.price_snapshots AS p ORDER BY p.symbol LIMIT 1)
  UNION ALL
  SELECT (SELECT p.symbol FROM tally.price_snapshots AS p WHERE p.symbol > s.symbol ORDER BY p.symbol LIMIT 1)
  FROM symbols AS s WHERE s.symbol IS NOT NULL
)
SELECT l.id, l.symbol, l.usd, l.source, l.observed_at, l.taken_at
FROM symbols AS s CROSS JOIN LATERAL (
  SELECT p.id, p.symbol, p.usd, p.source, p.observed_at, p.taken_at FROM tally.price_snapshots AS p
  WHERE p.symbol = s.symbol ORDER BY p.taken_at DESC, p.id DESC LIMIT 1
) AS l ORDER BY l.symbol;

-- name: read_price
-- One price.
SELECT p.id, p.symbol, p.usd, p.source, p.observed_at, p.taken_at FROM tally.price_snapshots AS p WHERE p.id = %(id)s;

-- name: list_prices
-- Prices of one symbol, or of all, newest first, behind a number.
SELECT p.id, p.symbol, p.usd, p.source, p.observed_at, p.taken_at FROM tally.price_snapshots AS p
WHERE (%(symbol)s::text IS NULL OR p.symbol = %(symbol)s::text) AND (%(after)s::bigint IS NULL OR p.id < %(after)s::bigint)
ORDER BY p.id DESC LIMIT %(limit)s;

-- name: is_known
-- Whether the price that was taken last from a source is this one: then there is nothing to record.
SELECT coalesce((
  SELECT p.usd = %(usd)s AND (%(observed_at)s::timestamptz IS NULL OR p.observed_at = %(observed_at)s::timestamptz)
  FROM tally.price_snapshots AS p WHERE p.symbol = %(symbol)s AND p.source = %(source)s ORDER BY p.taken_at DESC, p.id DESC LIMIT 1), false);
