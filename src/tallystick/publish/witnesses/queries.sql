-- name: lock
-- One process asks the witnesses of a database; the session's end frees the lock, however it ends.
SELECT pg_try_advisory_lock(1952541817, -2);

-- name: due
-- Each log's newest checkpoint, with the witnesses that have not cosigned it, or not within the last hour.
SELECT
  l.log_id, l.log_name, l.origin, l.witness_quorum, c.tree_size, c.root_hash, c.note, w.name, w.vkey, w.url, w.last_size
FROM tally.witnesses AS w
INNER JOIN tally.verification_logs AS l ON l.log_id = w.log_id
CROSS JOIN LATERAL (
  SELECT k.tree_size, k.root_hash, k.note FROM tally.checkpoints AS k
  WHERE k.log_id = w.log_id ORDER BY k.tree_size DESC LIMIT 1
) AS c
WHERE w.enabled AND w.status = 'active' AND l.status <> 'failed'
  AND (w.last_size IS DISTINCT FROM c.tree_size OR w.last_seen_at <= (SELECT tally.clock() - interval '1 hour'))
  AND (%(log_name)s::text IS NULL OR l.log_name = %(log_name)s)
ORDER BY w.log_id, w.name;

-- name: published
-- The published sizes of some logs.
SELECT log_id, log_name, tree_size FROM tally.published_checkpoints WHERE log_id = ANY (%(log_ids)s);

-- name: store_cosignatures
-- Verified cosignatures; the same one twice is one. A witness that was removed meanwhile is passed over.
INSERT INTO tally.cosignatures (log_id, tree_size, witness_name, line, signed_at_seconds)
SELECT a.log_id, a.tree_size, a.name, a.line, a.signed_at_seconds
FROM unnest(
  %(log_ids)s::integer[], %(sizes)s::bigint[], %(names)s::text[], %(lines)s::text[], %(times)s::bigint[]
) AS a (log_id, tree_size, name, line, signed_at_seconds)
INNER JOIN tally.witnesses AS w ON w.log_id = a.log_id AND w.name = a.name
ON CONFLICT DO NOTHING;

-- name: witnesses_cosigned
-- How far the witnesses have come that cosigned.
UPDATE tally.witnesses AS w
SET last_size = greatest(w.last_size, a.tree_size), last_seen_at = tally.clock(), last_error = NULL
FROM unnest(%(log_ids)s::integer[], %(sizes)s::bigint[], %(names)s::text[]) AS a (log_id, tree_size, name)
WHERE w.log_id = a.log_id AND w.name = a.name;

-- name: witnesses_declined
-- What the last failure of some witnesses was; whether one answered at all shows in when it was seen.
UPDATE tally.witnesses AS w
SET last_error = a.message, last_seen_at = CASE WHEN a.seen THEN tally.clock() ELSE w.last_seen_at END
FROM unnest(
  %(log_ids)s::integer[], %(names)s::text[], %(messages)s::text[], %(seen)s::boolean[]
) AS a (log_id, name, message, seen)
WHERE w.log_id = a.log_id AND w.name = a.name;

-- name: notify
-- Publishers look at once.
SELECT pg_notify('tally_checkpoint', %(log_id)s::text || ':' || %(tree_size)s::text);

-- name: conflict
-- A witness contradicts the log; false where it did before.
SELECT tally.witness_conflict_v1(%(log_id)s, %(name)s, %(conflict)s);

-- name: newest_size
-- The size of a log's head.
SELECT max(tree_size) FROM tally.checkpoints WHERE log_id = %(log_id)s;

-- name: log_vkeys
-- Every key that may have signed checkpoints of a log.
SELECT vkey FROM tally.log_keys WHERE log_id = %(log_id)s AND purpose = 'log' AND status <> 'pending' ORDER BY from_size, vkey;

-- name: add_witness
-- Lets a log ask a witness.
SELECT tally.add_witness_v1(%(log_id)s, %(name)s, %(vkey)s, %(public_key)s, %(key_id)s, %(url)s);

-- name: remove_witness
-- A witness is asked no more; false where there is none.
SELECT tally.remove_witness_v1(%(log_id)s, %(name)s);

-- name: clear_witness
-- Ends a conflict; false where no clean audit has begun since.
SELECT tally.clear_witness_v1(%(log_id)s, %(name)s, %(actor)s, %(reason)s);

-- name: witnesses
-- The witnesses of a log by name.
SELECT log_id, name, vkey, public_key, key_id, url, enabled, status::text, last_size, last_seen_at, last_error
FROM tally.witnesses WHERE log_id = %(log_id)s ORDER BY name;
