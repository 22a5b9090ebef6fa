-- name: listen
-- From now on this session hears of new heads.
LISTEN tally_checkpoint;

-- name: changed_heads
-- The published head of every log that is not as the caller knows it, with the newest cosignature of each witness.
SELECT
  l.log_id, l.log_name, l.origin, l.description, l.created_at, l.status::text, l.mode::text, l.visibility::text,
  l.minimum_index, l.predecessor_log_id, l.witness_quorum, k.tree_size, k.root_hash, k.note, k.signed_at,
  ARRAY(
    SELECT DISTINCT ON (s.witness_name) s.line FROM tally.cosignatures AS s
    WHERE s.log_id = k.log_id AND s.tree_size = k.tree_size
    ORDER BY s.witness_name, s.signed_at_seconds DESC LIMIT 60),
  w.cosignatures, concat_ws(' ', l.xmin, f.family), f.family
FROM tally.verification_logs AS l
LEFT JOIN tally.log_shards AS f ON f.log_id = l.log_id
LEFT JOIN tally.published_checkpoints AS p ON p.log_id = l.log_id
-- Before its first quorum a log has published the empty tree.
INNER JOIN tally.checkpoints AS k ON k.log_id = l.log_id AND k.tree_size = coalesce(p.tree_size, 0)
CROSS JOIN LATERAL (
  SELECT count(*) AS cosignatures FROM tally.cosignatures AS s
  WHERE s.log_id = k.log_id AND s.tree_size = k.tree_size
) AS w
LEFT JOIN unnest(
  %(log_ids)s::integer[], %(sizes)s::bigint[], %(cosignatures)s::bigint[], %(versions)s::text[]
) AS known (log_id, tree_size, cosignatures, version) ON known.log_id = l.log_id
WHERE (k.tree_size, w.cosignatures, concat_ws(' ', l.xmin, f.family))
  IS DISTINCT FROM (known.tree_size, known.cosignatures, known.version);

-- name: tiles
-- Rows of some tiles, by primary key.
SELECT t.log_id, t.level, t.tile_index, t.hashes
FROM unnest(%(log_ids)s::integer[], %(levels)s::smallint[], %(indexes)s::bigint[]) AS w (log_id, level, tile_index)
INNER JOIN tally.log_tiles AS t ON t.log_id = w.log_id AND t.level = w.level AND t.tile_index = w.tile_index;

-- name: leaves
-- The bytes of consecutive leaves.
SELECT leaf FROM tally.merkle_log
WHERE log_id = %(log_id)s AND leaf_index >= %(first)s AND leaf_index < %(end)s
ORDER BY leaf_index;

-- name: entries
-- Consecutive leaves, as many as the bound on their bytes allows, but at least one.
SELECT e.leaf_index, e.leaf, e.leaf_hash
FROM (
  SELECT
    m.leaf_index, m.leaf, m.leaf_hash,
    sum(octet_length(m.leaf)) OVER (ORDER BY m.leaf_index) - octet_length(m.leaf) AS bytes_before
  FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.leaf_index >= %(first)s AND m.leaf_index < %(end)s
  ORDER BY m.leaf_index LIMIT %(limit)s
) AS e
WHERE e.bytes_before < %(max_bytes)s
ORDER BY e.leaf_index;

-- name: checkpoint_from
-- The smallest signed checkpoint of at least a size, and at most the published one.
SELECT tree_size, root_hash, note, signed_at, batch_rows, seal_ms FROM tally.checkpoints
WHERE log_id = %(log_id)s AND tree_size >= %(at_least)s AND tree_size <= %(published)s
ORDER BY tree_size LIMIT 1;

-- name: checkpoints
-- Signed checkpoints from the published one downwards.
SELECT tree_size, root_hash, note, signed_at, batch_rows, seal_ms FROM tally.checkpoints
WHERE log_id = %(log_id)s AND tree_size <= %(at_most)s
ORDER BY tree_size DESC LIMIT %(limit)s;

-- name: cosignature_lines
-- The newest cosignature of each witness under one checkpoint.
SELECT DISTINCT ON (witness_name) line FROM tally.cosignatures
WHERE log_id = %(log_id)s AND tree_size = %(tree_size)s
ORDER BY witness_name, signed_at_seconds DESC LIMIT 60;

-- name: size_of_root
-- The size at which a root was signed.
SELECT tree_size FROM tally.checkpoints
WHERE log_id = %(log_id)s AND root_hash = %(root_hash)s AND tree_size <= %(published)s
ORDER BY tree_size LIMIT 1;

-- name: indexes_of_hash
-- The leaves of a hash within a tree, the first ones first; equal leaves are several.
SELECT leaf_index FROM tally.merkle_log
WHERE log_id = %(log_id)s AND tally.hash_start(leaf_hash) = %(start)s AND leaf_hash = %(leaf_hash)s
  AND leaf_index < %(tree_size)s
ORDER BY leaf_index LIMIT %(limit)s;

-- name: indexes_of_key
-- The leaves of a key within a tree, the first ones first.
SELECT leaf_index FROM tally.merkle_log
WHERE log_id = %(log_id)s AND source_table = %(source_table)s AND source_key = %(source_key)s
  AND leaf_index < %(tree_size)s
ORDER BY leaf_index LIMIT %(limit)s;

-- name: last_index_of_key
-- The newest leaf of a key within a tree.
SELECT leaf_index FROM tally.merkle_log
WHERE log_id = %(log_id)s AND source_table = %(source_table)s AND source_key = %(source_key)s
  AND leaf_index < %(tree_size)s
ORDER BY leaf_index DESC LIMIT 1;

-- name: is_index_of_key
-- Whether a leaf is one of a key's.
SELECT EXISTS (
  SELECT FROM tally.merkle_log
  WHERE log_id = %(log_id)s AND leaf_index = %(leaf_index)s
    AND source_table = %(source_table)s AND source_key = %(source_key)s);

-- name: row_history
-- A key's versions in a chain of logs, the oldest first; a log that continues another stands behind it.
SELECT c.place, v.log_name, v.leaf_index, v.source_table, v.source_key, v.op::text, v.via::text, v.leaf, v.leaf_hash
FROM unnest(%(log_ids)s::integer[], %(sizes)s::bigint[], %(afters)s::bigint[])
  WITH ORDINALITY AS c (log_id, tree_size, after_index, place)
CROSS JOIN LATERAL (
  SELECT m.log_name, m.leaf_index, m.source_table, m.source_key, m.op, m.via, m.leaf, m.leaf_hash
  FROM tally.merkle_log AS m
  WHERE m.log_id = c.log_id AND m.source_table = %(source_table)s AND m.source_key = %(source_key)s
    AND m.leaf_index < c.tree_size AND m.leaf_index > c.after_index
  ORDER BY m.leaf_index LIMIT %(limit)s
) AS v
ORDER BY c.place, v.leaf_index LIMIT %(limit)s;

-- name: row_at
-- The last word of a log's tree on a key: its newest leaf, or a later truncate of its table.
SELECT 1::bigint, v.log_name, v.leaf_index, v.source_table, v.source_key, v.op::text, v.via::text, v.leaf, v.leaf_hash
FROM (
  (SELECT m.log_name, m.leaf_index, m.source_table, m.source_key, m.op, m.via, m.leaf, m.leaf_hash
   FROM tally.merkle_log AS m
   WHERE m.log_id = %(log_id)s AND m.source_table = %(source_table)s AND m.source_key = %(source_key)s
     AND m.leaf_index < %(tree_size)s
   ORDER BY m.leaf_index DESC LIMIT 1)
  UNION ALL
  (SELECT m.log_name, m.leaf_index, m.source_table, m.source_key, m.op, m.via, m.leaf, m.leaf_hash
   FROM tally.merkle_log AS m
   WHERE m.log_id = %(log_id)s AND m.source_table = %(source_table)s AND m.source_key = '[]' AND m.op = 'T'
     AND m.leaf_index < %(tree_size)s
   ORDER BY m.leaf_index DESC LIMIT 1)
) AS v
ORDER BY v.leaf_index DESC LIMIT 1;

-- name: search
-- What matches among a bounded number of leaves, read downwards; the record is only taken apart where the rest matches.
SELECT 1::bigint, m.log_name, m.leaf_index, m.source_table, m.source_key, m.op::text, m.via::text, m.leaf, m.leaf_hash
FROM (
  SELECT m.log_name, m.leaf_index, m.source_table, m.source_key, m.op, m.via, m.leaf, m.leaf_hash
  FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.leaf_index < %(before)s AND m.leaf_index >= %(first)s
  ORDER BY m.leaf_index DESC
) AS m
WHERE (%(source_table)s::text IS NULL OR m.source_table = %(source_table)s)
  AND (%(op)s::text IS NULL OR m.op = %(op)s::"char")
  AND CASE WHEN %(reads_record)s THEN (
    SELECT coalesce(
      (%(control)s::text IS NULL OR r.record ->> 'op' = %(control)s)
      AND (%(role)s::text IS NULL OR r.record ->> 'role' = %(role)s)
      AND (%(actor)s::text IS NULL OR r.record ->> 'actor' = %(actor)s)
      AND (%(at_from)s::text IS NULL OR (r.record ->> 'at') COLLATE "C" >= %(at_from)s)
      AND (%(at_to)s::text IS NULL OR (r.record ->> 'at') COLLATE "C" < %(at_to)s)
      AND (%(columns)s::jsonb IS NULL OR r.record -> 'row' @> %(columns)s::jsonb), false)
    FROM (SELECT tally.leaf_record(m.leaf)) AS r (record)
  ) ELSE true END
ORDER BY m.leaf_index DESC LIMIT %(limit)s;

-- name: map_served
-- The newest map whose leaf is in the published tree; there are at most two that could be.
SELECT k.tree_size, k.root_hash, k.leaf_index
FROM (
  SELECT m.tree_size, m.root_hash, coalesce(m.leaf_index, tally.map_leaf(m.log_id, m.tree_size, m.seq)) AS leaf_index
  FROM tally.key_index_maps AS m WHERE m.log_id = %(log_id)s ORDER BY m.tree_size DESC LIMIT 2
) AS k
WHERE k.leaf_index < %(published)s
ORDER BY k.tree_size DESC LIMIT 1;

-- name: map_entries
-- One bucket of a map, side by side.
SELECT coalesce(string_agg(c.key_hash || c.chain, ''::bytea ORDER BY c.key_hash), ''::bytea)
FROM (
  SELECT e.key_hash, CASE WHEN e.at_size <= %(map_size)s THEN e.chain ELSE e.former_chain END AS chain
  FROM tally.key_index_entries AS e
  WHERE e.log_id = %(log_id)s
    AND e.key_hash BETWEEN substr(int4send(%(bucket)s), 3) AND substr(int4send(%(bucket)s), 3) || decode(repeat('ff', 30), 'hex')
) AS c
WHERE c.chain IS NOT NULL;

-- name: map_tiles
-- Some tiles of the tree over a map's buckets.
SELECT c.level, c.tile_index, c.hashes
FROM (
  SELECT t.level, t.tile_index, CASE WHEN t.at_size <= %(map_size)s THEN t.hashes ELSE t.former_hashes END AS hashes
  FROM unnest(%(levels)s::smallint[], %(indexes)s::smallint[]) AS w (level, tile_index)
  INNER JOIN tally.key_index_tiles AS t ON t.log_id = %(log_id)s AND t.level = w.level AND t.tile_index = w.tile_index
) AS c
WHERE c.hashes IS NOT NULL;

-- name: map_excludes
-- Whether leaves of a table, or of the key itself, are digests, which a map does not cover.
SELECT EXISTS (
  SELECT FROM tally.verification_sources AS s
  WHERE s.log_id = %(log_id)s AND s.source_table = %(source_table)s AND s.leaf_form <> 'record'
) OR EXISTS (
  SELECT FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.source_table = %(source_table)s AND m.source_key = %(source_key)s
    AND m.leaf_index < %(map_size)s AND NOT tally.is_indexed(m.leaf));

-- name: key_leaves
-- The leaves of a key that a map covers, in their order; one more than the bound on their bytes allows.
SELECT e.leaf_index, e.leaf, e.leaf_hash
FROM (
  SELECT
    m.leaf_index, m.leaf, m.leaf_hash,
    sum(octet_length(m.leaf)) OVER (ORDER BY m.leaf_index) - octet_length(m.leaf) AS bytes_before
  FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.source_table = %(source_table)s AND m.source_key = %(source_key)s
    AND m.leaf_index < %(map_size)s AND tally.is_indexed(m.leaf)
  ORDER BY m.leaf_index LIMIT %(limit)s
) AS e
WHERE e.bytes_before <= %(max_bytes)s
ORDER BY e.leaf_index;

-- name: witnesses
-- Who is asked to cosign a log's checkpoints.
SELECT name, vkey, url, enabled, status::text, last_size, last_seen_at, last_error
FROM tally.witnesses WHERE log_id = %(log_id)s AND name > %(after)s ORDER BY name LIMIT %(limit)s;

-- name: health
-- What an operator must know at once: the schema, failed logs, the oldest row that waits, witnesses that are behind.
SELECT
  (SELECT max(s.number) FROM tally.schema_migrations AS s),
  (SELECT count(*) FROM tally.verification_logs AS l WHERE l.status = 'failed'),
  (SELECT extract(epoch FROM tally.clock() - min(q.captured_at))::float8
   FROM tally.verification_logs AS l
   CROSS JOIN LATERAL (
     SELECT c.captured_at FROM tally.capture AS c WHERE c.log_id = l.log_id ORDER BY c.seq LIMIT 1) AS q
   WHERE l.enabled AND l.status = 'active'),
  (SELECT count(*) FROM tally.log_heads AS h
   WHERE h.tree_size > (SELECT p.tree_size FROM tally.published_checkpoints AS p WHERE p.log_id = h.log_id)
      OR NOT EXISTS (SELECT FROM tally.published_checkpoints AS p WHERE p.log_id = h.log_id)),
  (SELECT count(*) FROM tally.witnesses AS w WHERE w.status = 'conflict'),
  (SELECT s.status::text FROM tally.sealing AS s);

-- name: waited_for
-- Why heads are not published: the witnesses that have not cosigned them, and those in conflict.
SELECT h.log_name, h.tree_size, p.tree_size, w.name, w.status::text, w.last_size, w.last_error
FROM tally.witnesses AS w
INNER JOIN tally.log_heads AS h ON h.log_id = w.log_id
INNER JOIN tally.published_checkpoints AS p ON p.log_id = w.log_id
WHERE p.tree_size < h.tree_size AND (w.status = 'conflict' OR (w.enabled AND coalesce(w.last_size, -1) < h.tree_size))
ORDER BY h.log_name, w.name LIMIT %(limit)s;

-- name: log_gauges
-- The measures of every log.
SELECT
  h.log_name, h.tree_size, coalesce(p.tree_size, 0), g.rows_waiting,
  coalesce(extract(epoch FROM tally.clock() - g.oldest_captured_at), 0)::float8,
  (SELECT count(*) FROM tally.capture_quarantine AS q WHERE q.log_id = h.log_id AND q.resolved_at IS NULL),
  (SELECT count(*) FROM tally.verification_sources AS s WHERE s.log_id = h.log_id AND s.status = 'broken'),
  (SELECT count(*) FROM tally.witnesses AS w
   WHERE w.log_id = h.log_id AND w.enabled AND coalesce(w.last_size, 0) < h.tree_size)
FROM tally.log_heads AS h
LEFT JOIN tally.published_checkpoints AS p ON p.log_id = h.log_id
INNER JOIN tally.log_lag AS g ON g.log_id = h.log_id
ORDER BY h.log_id;

-- name: server_gauges
-- The age of the oldest event without a position, and of the oldest open transaction, in seconds.
SELECT
  coalesce((SELECT extract(epoch FROM tally.clock() - min(e.created_at)) FROM tally.outbox_events AS e
            WHERE e.position IS NULL), 0)::float8,
  coalesce((SELECT extract(epoch FROM clock_timestamp() - min(t.xact_start)) FROM tally.long_transactions AS t), 0)::float8;
