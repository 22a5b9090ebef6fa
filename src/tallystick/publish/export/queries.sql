-- name: log_keys
-- The keys that sign the log's checkpoints, with the sizes that they sign.
SELECT k.vkey, k.from_size, k.to_size FROM tally.log_keys AS k
WHERE k.log_id = %(log_id)s AND k.purpose = 'log' AND k.from_size IS NOT NULL ORDER BY k.from_size, k.vkey;

-- name: bundles
-- Entry bundles as they are served, each with the hashes of its entries: 256 leaves are one row.
SELECT
  m.leaf_index / 256, count(*),
  string_agg(substr(int4send(octet_length(m.leaf)), 3) || m.leaf, ''::bytea ORDER BY m.leaf_index),
  string_agg(sha256('\x00'::bytea || m.leaf), ''::bytea ORDER BY m.leaf_index)
FROM tally.merkle_log AS m
WHERE m.log_id = %(log_id)s AND m.leaf_index >= %(first)s AND m.leaf_index < %(end)s
GROUP BY m.leaf_index / 256 ORDER BY m.leaf_index / 256;

-- name: record_check
-- An export was checked: what its tree is, or where the check ended.
INSERT INTO tally.audits (log_id, kind, snapshot, tree_size, root_hash, started_at, counts, verdict)
VALUES (%(log_id)s, 'export', %(url)s, %(tree_size)s, %(root_hash)s, %(started_at)s, %(counts)s, %(verdict)s)
RETURNING audit_id;

-- name: record_finding
-- The first bad object of an export.
INSERT INTO tally.audit_findings (audit_id, kind) VALUES (%(audit_id)s, %(kind)s);

-- name: clock
-- The time of facts.
SELECT tally.clock();
