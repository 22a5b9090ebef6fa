-- name: create_log
-- Makes a log, its first key and its checkpoint of size 0.
SELECT tally.create_log_v1(
  %(log_name)s, %(origin)s, %(description)s, %(mode)s::tally.log_mode, %(visibility)s::tally.log_visibility,
  %(batch_size)s, %(batch_interval_ms)s, %(witness_quorum)s, %(witness_patience_seconds)s, %(accepts_entries)s,
  %(control_leaves)s, %(predecessor_log_id)s, %(retain_until)s, %(key_id)s, %(public_key)s, %(vkey)s, %(note)s);

-- name: open_log
-- Gives a plainly inserted log what create_log would have given it.
SELECT tally.open_log_v1(%(log_id)s, %(origin)s, %(key_id)s, %(public_key)s, %(vkey)s, %(note)s);

-- name: logs
-- Every log, by name.
SELECT
  log_id, log_name, origin, created_at, description, enabled, status::text, failure, mode::text, visibility::text,
  batch_size, batch_interval_ms, witness_quorum, witness_patience_seconds, accepts_entries, control_leaves,
  predecessor_log_id, freeze_requested_at, minimum_index, retain_until
FROM tally.verification_logs ORDER BY log_name;

-- name: log_by_name
-- One log.
SELECT
  log_id, log_name, origin, created_at, description, enabled, status::text, failure, mode::text, visibility::text,
  batch_size, batch_interval_ms, witness_quorum, witness_patience_seconds, accepts_entries, control_leaves,
  predecessor_log_id, freeze_requested_at, minimum_index, retain_until
FROM tally.verification_logs WHERE log_name = %(log_name)s;

-- name: configure_log
-- Changes what may change of a log; NULL leaves a field as it is.
UPDATE tally.verification_logs SET
  description = coalesce(%(description)s, description),
  enabled = coalesce(%(enabled)s, enabled),
  visibility = coalesce(%(visibility)s::tally.log_visibility, visibility),
  batch_size = coalesce(%(batch_size)s, batch_size),
  batch_interval_ms = coalesce(%(batch_interval_ms)s, batch_interval_ms),
  witness_quorum = coalesce(%(witness_quorum)s, witness_quorum),
  witness_patience_seconds = coalesce(%(witness_patience_seconds)s, witness_patience_seconds),
  accepts_entries = coalesce(%(accepts_entries)s, accepts_entries),
  retain_until = greatest(retain_until, %(retain_until)s)
WHERE log_name = %(log_name)s;

-- name: request_freeze
-- From now on pushes are refused; the sequencer freezes the log once its queue is empty.
SELECT tally.request_freeze_v1(%(log_id)s);

-- name: fail_log
-- Stops a log that contradicts itself; false where it had failed before.
SELECT tally.fail_log_v1(%(log_id)s, %(failure)s);

-- name: recover_log
-- Takes a failed log back to where it was.
SELECT tally.recover_log_v1(%(log_id)s, %(actor)s, %(reason)s)::text;

-- name: unopened_logs
-- Logs that were plainly inserted and have no checkpoint yet.
SELECT l.log_id, l.log_name FROM tally.verification_logs AS l
WHERE NOT EXISTS (SELECT FROM tally.checkpoints AS c WHERE c.log_id = l.log_id) AND l.status = 'active'
ORDER BY l.log_id;

-- name: lock_unopened
-- One of them, unless another process opens it.
SELECT l.log_id FROM tally.verification_logs AS l
WHERE l.log_id = %(log_id)s AND l.status = 'active'
  AND NOT EXISTS (SELECT FROM tally.checkpoints AS c WHERE c.log_id = l.log_id)
FOR UPDATE OF l SKIP LOCKED;

-- name: log_keys
-- The keys of one log, the oldest first.
SELECT purpose::text, name, key_id, algorithm, public_key, vkey, status::text, from_size, to_size, created_at
FROM tally.log_keys WHERE log_id = %(log_id)s ORDER BY created_at, key_id;

-- name: create_key
-- Makes a key known; it does not sign yet.
SELECT tally.create_key_v1(
  %(purpose)s::tally.key_purpose, %(log_id)s, %(name)s, %(key_id)s, %(algorithm)s::smallint, %(public_key)s, %(vkey)s);

-- name: activate_key
-- Lets a key sign.
SELECT tally.activate_key_v1(%(name)s, %(key_id)s);

-- name: retire_key
-- Lets a key sign no more.
SELECT tally.retire_key_v1(%(name)s, %(key_id)s);

-- name: active_outbox_key
-- The key that signs webhooks.
SELECT key_id FROM tally.log_keys WHERE purpose = 'outbox' AND status = 'active' ORDER BY created_at DESC LIMIT 1;
