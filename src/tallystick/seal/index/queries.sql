-- name: lock_index
-- One process a log computes its map; the lock ends with the transaction. A step may take longer than a request.
SELECT
  CASE WHEN %(wait)s THEN pg_advisory_xact_lock(1952541820, %(log_id)s)::text IS NOT NULL
       ELSE pg_try_advisory_xact_lock(1952541820, %(log_id)s) END,
  set_config('statement_timeout', '300s', true), set_config('work_mem', '64MB', true), set_config('jit', 'off', true);

-- name: index_state
-- A log, its heads, and how far its map has come.
SELECT
  l.log_id, l.log_name, l.status::text, l.enabled, l.freeze_requested_at IS NOT NULL, l.control_leaves, l.minimum_index,
  coalesce((SELECT h.tree_size FROM tally.log_heads AS h WHERE h.log_id = l.log_id), 0),
  coalesce((SELECT p.tree_size FROM tally.published_checkpoints AS p WHERE p.log_id = l.log_id), 0),
  coalesce(x.covered_size, 0), k.tree_size, coalesce(k.leaf_index, tally.map_leaf(k.log_id, k.tree_size, k.seq)), k.root_hash
FROM tally.verification_logs AS l
LEFT JOIN tally.key_indexes AS x ON x.log_id = l.log_id
LEFT JOIN LATERAL (
  SELECT m.log_id, m.tree_size, m.root_hash, m.seq, m.leaf_index FROM tally.key_index_maps AS m
  WHERE m.log_id = l.log_id ORDER BY m.tree_size DESC LIMIT 1
) AS k ON true
WHERE l.log_name = %(log_name)s;

-- name: extend_entries
-- Puts some leaves into their keys' chains, and returns the buckets that changed.
WITH fresh AS MATERIALIZED (
  SELECT tally.index_key(m.source_table, m.source_key) AS key_hash, m.leaf_index
  FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.leaf_index >= %(first)s AND m.leaf_index < %(end)s
    AND m.source_table IS NOT NULL AND tally.is_indexed(m.leaf)
), chained AS (
  SELECT f.key_hash, tally.chain_indexes(coalesce(e.chain, f.key_hash), f.leaf_index ORDER BY f.leaf_index) AS chain
  FROM fresh AS f LEFT JOIN tally.key_index_entries AS e ON e.log_id = %(log_id)s AND e.key_hash = f.key_hash
  GROUP BY f.key_hash
), written AS (
  INSERT INTO tally.key_index_entries AS e (log_id, key_hash, chain, at_size)
  SELECT %(log_id)s, c.key_hash, c.chain, %(end)s FROM chained AS c ORDER BY c.key_hash
  ON CONFLICT (log_id, key_hash) DO UPDATE SET
    chain = excluded.chain, at_size = excluded.at_size,
    former_chain = CASE WHEN e.at_size <= %(served)s THEN e.chain ELSE e.former_chain END
  RETURNING key_hash
)
SELECT DISTINCT get_byte(w.key_hash, 0) * 256 + get_byte(w.key_hash, 1) AS bucket FROM written AS w ORDER BY bucket;

-- name: touched_buckets
-- The buckets that any step changed since a map.
SELECT DISTINCT get_byte(e.key_hash, 0) * 256 + get_byte(e.key_hash, 1) AS bucket
FROM tally.key_index_entries AS e WHERE e.log_id = %(log_id)s AND e.at_size > %(since)s ORDER BY bucket;

-- name: hash_buckets
-- The leaf hashes of some buckets, as their entries stand now.
SELECT
  b.bucket,
  sha256('\x0074616c6c79737469636b2f7365616c2d696e6465782d6275636b65742f76310a00'::bytea || coalesce((
    SELECT string_agg(e.key_hash || e.chain, ''::bytea ORDER BY e.key_hash) FROM tally.key_index_entries AS e
    WHERE e.log_id = %(log_id)s AND e.key_hash BETWEEN b.lowest AND b.lowest || decode(repeat('ff', 30), 'hex')), ''::bytea))
FROM (
  SELECT n AS bucket, substr(int4send(n), 3) AS lowest FROM unnest(%(buckets)s::integer[]) AS u (n)
) AS b;

-- name: read_tiles
-- Some tiles of the tree over the buckets, as they stand now.
SELECT t.level, t.tile_index, t.hashes
FROM unnest(%(levels)s::smallint[], %(indexes)s::smallint[]) AS w (level, tile_index)
INNER JOIN tally.key_index_tiles AS t ON t.log_id = %(log_id)s AND t.level = w.level AND t.tile_index = w.tile_index;

-- name: write_tiles
-- Replaces some tiles, and keeps what they were in the map that is served.
INSERT INTO tally.key_index_tiles AS t (log_id, level, tile_index, hashes, at_size)
SELECT %(log_id)s, w.level, w.tile_index, w.hashes, %(end)s
FROM unnest(%(levels)s::smallint[], %(indexes)s::smallint[], %(hashes)s::bytea[]) AS w (level, tile_index, hashes)
ON CONFLICT (log_id, level, tile_index) DO UPDATE SET
  hashes = excluded.hashes, at_size = excluded.at_size,
  former_hashes = CASE WHEN t.at_size <= %(served)s THEN t.hashes ELSE t.former_hashes END;

-- name: set_covered
-- Entries and tiles have come so far.
INSERT INTO tally.key_indexes (log_id, covered_size) VALUES (%(log_id)s, %(end)s)
ON CONFLICT (log_id) DO UPDATE SET covered_size = excluded.covered_size;

-- name: place_map
-- Remembers where the newest map's leaf was sealed.
UPDATE tally.key_index_maps SET leaf_index = %(leaf_index)s
WHERE log_id = %(log_id)s AND tree_size = %(tree_size)s AND leaf_index IS NULL;

-- name: seal_map
-- Queues the root of a map as a control leaf.
SELECT tally.seal_key_index_v1(%(log_id)s, %(tree_size)s, %(root)s);

-- name: due_logs
-- The logs whose map is to be computed again, or whose computation was interrupted.
SELECT l.log_name
FROM tally.verification_logs AS l
LEFT JOIN tally.key_indexes AS x ON x.log_id = l.log_id
LEFT JOIN LATERAL (
  SELECT m.tree_size, m.computed_at FROM tally.key_index_maps AS m
  WHERE m.log_id = l.log_id ORDER BY m.tree_size DESC LIMIT 1
) AS k ON true
WHERE l.key_index_interval_seconds IS NOT NULL AND l.enabled AND l.status = 'active' AND l.freeze_requested_at IS NULL
  AND l.control_leaves AND l.origin IS NOT NULL AND coalesce(x.covered_size, 0) >= l.minimum_index
  AND (k.computed_at IS NULL OR x.covered_size > k.tree_size
       OR k.computed_at + make_interval(secs => l.key_index_interval_seconds) <= tally.clock())
ORDER BY l.log_id;

-- name: set_interval
-- How often the map is computed; NULL: only when somebody asks.
UPDATE tally.verification_logs SET key_index_interval_seconds = %(seconds)s WHERE log_name = %(log_name)s;

-- name: forget_entries
-- Entries are made anew from the leaves.
DELETE FROM tally.key_index_entries WHERE log_id = %(log_id)s;

-- name: forget_tiles
-- So are tiles.
DELETE FROM tally.key_index_tiles WHERE log_id = %(log_id)s;

-- name: forget_index
-- The computation begins at the first leaf.
DELETE FROM tally.key_indexes WHERE log_id = %(log_id)s;

-- name: forget_maps
-- No map is served until the next one is sealed.
DELETE FROM tally.key_index_maps WHERE log_id = %(log_id)s;

-- name: sealed_maps
-- The control leaves that name roots of maps, the newest first.
SELECT m.leaf_index, m.leaf FROM tally.merkle_log AS m
WHERE m.log_id = %(log_id)s AND m.source_table IS NULL AND m.source_key = '[]' AND m.op = 'C' AND m.leaf_index < %(size)s
  AND tally.leaf_record(m.leaf) ->> 'op' = 'index'
ORDER BY m.leaf_index DESC LIMIT %(limit)s;

-- name: recompute_buckets
-- Every bucket of the map of a size that is not empty, from the leaves alone.
SELECT get_byte(c.key_hash, 0) * 256 + get_byte(c.key_hash, 1) AS bucket,
  sha256('\x0074616c6c79737469636b2f7365616c2d696e6465782d6275636b65742f76310a00'::bytea
    || string_agg(c.key_hash || c.chain, ''::bytea ORDER BY c.key_hash))
FROM (
  SELECT f.key_hash, tally.chain_indexes(f.key_hash, f.leaf_index ORDER BY f.leaf_index) AS chain
  FROM (
    SELECT tally.index_key(m.source_table, m.source_key) AS key_hash, m.leaf_index
    FROM tally.merkle_log AS m
    WHERE m.log_id = %(log_id)s AND m.leaf_index < %(size)s AND m.source_table IS NOT NULL AND tally.is_indexed(m.leaf)
  ) AS f
  GROUP BY f.key_hash
) AS c
GROUP BY bucket;

-- name: kept_buckets
-- Every bucket of the map that is served, from the entries that are kept: all that there is where leaves were pruned.
SELECT get_byte(c.key_hash, 0) * 256 + get_byte(c.key_hash, 1) AS bucket,
  sha256('\x0074616c6c79737469636b2f7365616c2d696e6465782d6275636b65742f76310a00'::bytea
    || string_agg(c.key_hash || c.chain, ''::bytea ORDER BY c.key_hash))
FROM (
  SELECT e.key_hash, CASE WHEN e.at_size <= %(size)s THEN e.chain ELSE e.former_chain END AS chain
  FROM tally.key_index_entries AS e WHERE e.log_id = %(log_id)s
) AS c
WHERE c.chain IS NOT NULL
GROUP BY bucket;
