-- name: append_entries
-- Queues entries of one log; the log's state is looked at once for all of them.
SELECT tree_size, seqs, indexes FROM tally.append_entries_v1(
  %(log_id)s, %(entries)b::bytea[], %(deduplicate)b::boolean[], %(max_backlog)s);

-- name: log_id
-- The number of a log.
SELECT log_id FROM tally.verification_logs WHERE log_name = %(log_name)s;

-- name: find_sealed
-- Where entries are that waited: only leaves are read that were sealed since each log was looked at last.
SELECT w.log_id, coalesce(h.tree_size, w.tree_size), m.seq, m.leaf_index
FROM unnest(%(log_ids)s::integer[], %(sizes)s::bigint[]) AS w (log_id, tree_size)
CROSS JOIN LATERAL (SELECT max(c.tree_size) AS tree_size FROM tally.checkpoints AS c WHERE c.log_id = w.log_id) AS h
LEFT JOIN tally.merkle_log AS m
  ON m.log_id = w.log_id AND m.leaf_index >= w.tree_size AND m.leaf_index < h.tree_size AND m.seq = ANY (%(seqs)s::bigint[]);

-- name: ask_for_sealing
-- Tells sequencers that somebody waits for these logs; in a transaction of its own, as NOTIFY serialises commits.
SELECT pg_notify('tally_push', w.log_id::text) FROM unnest(%(log_ids)s::integer[]) AS w (log_id);

-- name: wait_shortly
-- This session serves every log, so it waits for no transaction that holds one of them.
SELECT set_config('lock_timeout', %(milliseconds)s::text, false);

-- name: listen
-- From now on this session hears of new heads.
LISTEN tally_checkpoint;
