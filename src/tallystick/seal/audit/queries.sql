-- name: export_snapshot
-- Lets other connections read what this transaction reads.
SELECT pg_export_snapshot();

-- name: audited_log
-- The log, its head, and when the audit began. A minimum index that no pruning bears out excuses no missing leaf.
SELECT
  l.log_id, l.log_name, l.origin, l.mode::text,
  least(l.minimum_index, coalesce((SELECT max(p.to_index) FROM tally.prunings AS p WHERE p.log_id = l.log_id), 0)),
  h.tree_size, h.root_hash, tally.clock()
FROM tally.verification_logs AS l INNER JOIN tally.log_heads AS h ON h.log_id = l.log_id
WHERE l.log_name = %(log_name)s;

-- name: checkpoint_notes
-- Every stored checkpoint above a size, the smallest first.
SELECT tree_size, root_hash, note FROM tally.checkpoints
WHERE log_id = %(log_id)s AND tree_size > %(since)s ORDER BY tree_size;

-- name: checkpoint_at
-- One stored checkpoint.
SELECT tree_size, root_hash, note FROM tally.checkpoints WHERE log_id = %(log_id)s AND tree_size = %(tree_size)s;

-- name: key_periods
-- The keys that may sign the log's checkpoints, with the sizes that they sign.
SELECT vkey, coalesce(from_size, 0), to_size FROM tally.log_keys WHERE log_id = %(log_id)s AND purpose = 'log';

-- name: cosignature_lines
-- Every stored cosignature, with its witness's key, if there is such a witness, and the note that it is over.
SELECT s.tree_size, s.witness_name, s.line, w.vkey, c.note
FROM tally.cosignatures AS s
LEFT JOIN tally.witnesses AS w ON w.log_id = s.log_id AND w.name = s.witness_name
INNER JOIN tally.checkpoints AS c ON c.log_id = s.log_id AND c.tree_size = s.tree_size
WHERE s.log_id = %(log_id)s AND s.tree_size > %(since)s ORDER BY s.tree_size, s.witness_name;

-- name: stored_leaves
-- Some leaves in a few large values: no row becomes a Python object.
SELECT
  coalesce(array_agg(b.leaf_index), '{}'), coalesce(array_agg(octet_length(b.leaf)), '{}'),
  coalesce(string_agg(b.leaf, ''::bytea), ''::bytea), coalesce(string_agg(b.leaf_hash, ''::bytea), ''::bytea),
  coalesce(array_agg(b.log_name), '{}'), coalesce(array_agg(b.source_table), '{}'),
  coalesce(array_agg(b.source_key), '{}'), coalesce(array_agg(b.op::text), '{}'), coalesce(array_agg(b.via::text), '{}')
FROM (
  SELECT m.leaf_index, m.leaf, m.leaf_hash, m.log_name, m.source_table, m.source_key, m.op, m.via
  FROM tally.merkle_log AS m
  WHERE m.log_id = %(log_id)s AND m.leaf_index >= %(first)s AND m.leaf_index < %(end)s
  ORDER BY m.leaf_index
) AS b;

-- name: stored_records
-- The plain records kept beside some leaves, with those leaves.
SELECT k.leaf_index, m.leaf, k.salt, k.record, m.log_name, m.source_table, m.source_key, m.op::text, m.via::text
FROM tally.leaf_records AS k
INNER JOIN tally.merkle_log AS m ON m.log_id = k.log_id AND m.leaf_index = k.leaf_index
WHERE k.log_id = %(log_id)s AND k.leaf_index >= %(first)s AND k.leaf_index < %(end)s
ORDER BY k.leaf_index;

-- name: missing_records
-- Leaves that hide values by their source's settings, and have neither a record nor a redaction.
SELECT m.leaf_index, m.source_table, m.source_key
FROM tally.verification_sources AS s
INNER JOIN tally.merkle_log AS m ON m.log_id = s.log_id AND m.source_table = s.source_table
WHERE s.log_id = %(log_id)s AND (s.leaf_form <> 'record' OR s.private_columns <> '{}')
  AND m.leaf_index >= %(first)s AND m.leaf_index < %(end)s
  AND CASE s.leaf_form WHEN 'salted' THEN m.op IN ('I', 'U', 'D', 'T') WHEN 'column' THEN m.op IN ('D', 'T')
           ELSE m.op IN ('I', 'U', 'D') END
  AND NOT EXISTS (SELECT FROM tally.leaf_records AS k WHERE k.log_id = m.log_id AND k.leaf_index = m.leaf_index)
  AND NOT EXISTS (SELECT FROM tally.redactions AS r WHERE r.log_id = m.log_id AND r.leaf_index = m.leaf_index)
  -- The delete that a reconcile made of an erased record repeats its commitments, and has nothing that opens them.
  AND NOT (m.op = 'D' AND m.via = 'r' AND EXISTS (
    SELECT FROM tally.merkle_log AS e INNER JOIN tally.redactions AS r ON r.log_id = e.log_id AND r.leaf_index = e.leaf_index
    WHERE e.log_id = m.log_id AND e.source_table = m.source_table AND e.source_key = m.source_key AND e.leaf_index < m.leaf_index))
ORDER BY m.leaf_index;

-- name: redacted
-- How many leaves from an index on were redacted, and how many of them are the last word on a row that stands.
SELECT count(*), count(*) FILTER (WHERE last.leaf_index = r.leaf_index AND last.op IN ('I', 'U'))
FROM tally.redactions AS r
INNER JOIN tally.merkle_log AS m ON m.log_id = r.log_id AND m.leaf_index = r.leaf_index
LEFT JOIN LATERAL (
  SELECT o.leaf_index, o.op FROM tally.merkle_log AS o
  WHERE o.log_id = m.log_id AND o.source_table = m.source_table AND o.source_key = m.source_key
  ORDER BY o.leaf_index DESC LIMIT 1
) AS last ON true
WHERE r.log_id = %(log_id)s AND r.leaf_index >= %(since)s;

-- name: stray_leaves
-- Leaves beyond the head: the tree does not cover them, and no look wrote them.
SELECT leaf_index, source_table, source_key FROM tally.merkle_log
WHERE log_id = %(log_id)s AND leaf_index >= %(size)s ORDER BY leaf_index LIMIT 1000;

-- name: stray_tiles
-- Tiles beyond the tree's right edge.
SELECT level, tile_index FROM tally.log_tiles
WHERE log_id = %(log_id)s AND tile_index * 256 >= %(size)s::bigint >> (8 * level) ORDER BY level, tile_index LIMIT 1000;

-- name: heads_seen
-- What the log itself has written down of its heads, and has no checkpoint of, or one with another root.
SELECT 'audit ' || a.audit_id AS said_by, a.tree_size, a.root_hash AS expected, c.root_hash AS found
FROM tally.audits AS a LEFT JOIN tally.checkpoints AS c ON c.log_id = a.log_id AND c.tree_size = a.tree_size
WHERE a.log_id = %(log_id)s AND c.root_hash IS DISTINCT FROM a.root_hash
UNION ALL
SELECT 'witness ' || w.name, w.last_size, NULL, NULL
FROM tally.witnesses AS w
WHERE w.log_id = %(log_id)s AND w.last_size IS NOT NULL
  AND NOT EXISTS (SELECT FROM tally.checkpoints AS c WHERE c.log_id = w.log_id AND c.tree_size = w.last_size)
ORDER BY tree_size, said_by;

-- name: stored_tiles
-- The hashes of a run of tiles of one level, side by side.
SELECT coalesce(string_agg(t.hashes, ''::bytea ORDER BY t.tile_index), ''::bytea)
FROM tally.log_tiles AS t
WHERE t.log_id = %(log_id)s AND t.level = %(level)s AND t.tile_index >= %(first)s AND t.tile_index < %(end)s;

-- name: high_tiles
-- The tiles from level 2 up: one hash in them stands for 65,536 leaves.
SELECT level, tile_index, hashes FROM tally.log_tiles
WHERE log_id = %(log_id)s AND level >= 2 ORDER BY level, tile_index;

-- name: insert_audit
-- An audit ended.
INSERT INTO tally.audits (log_id, kind, snapshot, tree_size, root_hash, started_at, counts, verdict)
VALUES (%(log_id)s, %(kind)s, %(snapshot)s, %(tree_size)s, %(root_hash)s, %(started_at)s, %(counts)s, %(verdict)s)
RETURNING audit_id;

-- name: insert_findings
-- What it found.
INSERT INTO tally.audit_findings (
  audit_id, source_table, source_key, leaf_index, kind, expected_digest, actual_digest, columns)
SELECT
  %(audit_id)s, f.source_table, f.source_key, f.leaf_index, f.kind, decode(f.expected, 'hex'), decode(f.actual, 'hex'),
  f.columns
FROM jsonb_to_recordset(%(findings)s) AS f (
  source_table text, source_key text, leaf_index bigint, kind text, expected text, actual text, columns text[]);

-- name: findings
-- The findings of a log's audits, the newest audit first.
SELECT f.finding_id, a.audit_id, a.kind, a.finished_at, f.kind, f.source_table, f.source_key, f.leaf_index, f.columns
FROM tally.audit_findings AS f INNER JOIN tally.audits AS a ON a.audit_id = f.audit_id
WHERE a.log_id = %(log_id)s AND f.finding_id < %(before)s
ORDER BY f.finding_id DESC LIMIT %(limit)s;

-- name: audits
-- The newest audits of a log below a number, the newest first.
SELECT audit_id, kind, verdict, tree_size, root_hash, started_at, finished_at, counts
FROM tally.audits WHERE log_id = %(log_id)s AND audit_id < %(before)s ORDER BY audit_id DESC LIMIT %(limit)s;

-- name: findings_of
-- The first findings of some audits, so many of each.
SELECT f.audit_id, f.kind, f.source_table, f.source_key, f.leaf_index, f.expected_digest, f.actual_digest, f.columns
FROM unnest(%(audit_ids)s::bigint[]) AS w (audit_id)
CROSS JOIN LATERAL (
  SELECT * FROM tally.audit_findings AS a WHERE a.audit_id = w.audit_id ORDER BY a.finding_id LIMIT %(limit)s
) AS f
ORDER BY f.finding_id;

-- name: comparable_sources
-- The sources whose tables can be compared with the log: installed, attached, and there.
SELECT s.source_no, s.source_table, s.on_delete = 'ignore' OR s.on_truncate = 'ignore', s.status::text, s.capture = 'poll'
FROM tally.verification_sources AS s INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.relation
WHERE s.log_id = %(log_id)s AND s.status IN ('active', 'broken') AND s.schema_fingerprint IS NOT NULL
ORDER BY s.source_no;

-- name: count_rows
-- How many rows a source's table has.
SELECT tally.count_rows(%(source_no)s);

-- name: compare_rows
-- What differs between a source's table and its log.
SELECT kind, source_key, leaf_index, expected, actual, columns
FROM tally.compare_rows(%(source_no)s) ORDER BY source_key LIMIT %(limit)s;

-- name: lock_source
-- Nobody writes the table while findings are looked at again; readers go on. Waits 2 seconds.
SELECT tally.lock_table(s.relation, false) FROM tally.verification_sources AS s WHERE s.source_no = %(source_no)s;

-- name: repair_rows
-- Queues what differs for some keys; nothing where the source ended before its table was locked, for its log may be frozen.
SELECT CASE WHEN s.status = 'detached' THEN 0 ELSE tally.repair_rows_v1(s.source_no, %(keys)s) END
FROM tally.verification_sources AS s WHERE s.source_no = %(source_no)s;

-- name: repair_polled
-- Queues what a polled table and its log differ in.
SELECT differences, rows_queued FROM tally.repair_polled_v1(%(source_no)s, %(limit)s);

-- name: lock_upkeep
-- One process at a time reconciles what is due; the class is that of polls, whose sources begin at 1.
SELECT pg_try_advisory_xact_lock(1952541819, 0);

-- name: due_sources
-- Sources whose interval has passed, and broken ones that were not reconciled since they broke.
SELECT s.source_no, s.log_name, s.source_table, s.status::text
FROM tally.verification_sources AS s
WHERE s.relation IS NOT NULL AND s.enabled
  -- What reading the WAL has broken is repaired by whoever reads it.
  AND (s.capture::text <> 'wal' OR s.wal_epoch IS NOT NULL AND coalesce(s.problem ->> 'code', '') NOT IN ('wal_lost', 'wal_truncated'))
  AND EXISTS (SELECT FROM tally.checkpoints AS c WHERE c.log_id = s.log_id)
  AND CASE s.status
    WHEN 'active' THEN s.reconcile_interval_seconds IS NOT NULL
      AND coalesce(s.reconciled_at < tally.clock() - make_interval(secs => s.reconcile_interval_seconds), true)
    WHEN 'broken' THEN coalesce(s.reconciled_at <= (s.problem ->> 'since')::timestamptz, true)
    ELSE false END
ORDER BY s.reconciled_at NULLS FIRST, s.source_no;

-- name: set_reconciled
-- A reconcile of the source ended.
UPDATE tally.verification_sources SET reconciled_at = tally.clock() WHERE source_no = %(source_no)s;
