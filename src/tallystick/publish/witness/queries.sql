-- name: watched
-- What our witness knows of a log.
SELECT origin, vkeys, tree_size, root_hash, note, cosigned_at, enabled, contact
FROM tally.witnessed_logs WHERE origin = %(origin)s;

-- name: watched_locked
-- The same, with everybody else who would cosign this log waiting behind us until we have committed.
SELECT origin, vkeys, tree_size, root_hash, note, cosigned_at, enabled, contact
FROM tally.witnessed_logs WHERE origin = %(origin)s FOR UPDATE;

-- name: watched_by_hash
-- The last cosigned checkpoint of a log, by the hash of its origin.
SELECT note FROM tally.witnessed_logs WHERE origin_hash = %(origin_hash)s;

-- name: all_watched
-- Every log that our witness watches, by origin.
SELECT origin, vkeys, tree_size, root_hash, note, cosigned_at, enabled, contact FROM tally.witnessed_logs ORDER BY origin;

-- name: some_watched
-- Logs that our witness watches, by origin behind one, without those named.
SELECT origin, vkeys, tree_size, root_hash, note, cosigned_at, enabled, contact FROM tally.witnessed_logs
WHERE origin > %(after)s AND origin <> ALL (%(without)s::text[]) ORDER BY origin LIMIT %(limit)s;

-- name: now_seconds
-- The time of a cosignature, in seconds since 1970.
SELECT floor(extract(epoch FROM tally.clock()))::bigint;

-- name: remember
-- What is cosigned now; it never goes back.
UPDATE tally.witnessed_logs
SET tree_size = %(tree_size)s, root_hash = %(root_hash)s, note = %(note)s, cosigned_at = tally.clock()
WHERE origin = %(origin)s;

-- name: watch
-- Lets our witness watch a log, or changes how.
SELECT tally.watch_log_v1(%(origin)s, %(vkeys)s, %(contact)s, %(enabled)s);

-- name: active_key
-- The key that our witness signs with: the newest.
SELECT key_id, name, vkey FROM tally.log_keys
WHERE purpose = 'witness' AND status = 'active' AND (%(name)s::text IS NULL OR name = %(name)s)
ORDER BY created_at DESC LIMIT 1;

-- name: create_key
-- Makes a key of our witness known.
SELECT tally.create_key_v1('witness', NULL, %(name)s, %(key_id)s, 4::smallint, %(public_key)s, %(vkey)s);

-- name: activate_key
-- Lets it sign.
SELECT tally.activate_key_v1(%(name)s, %(key_id)s);
