-- name: create_users
-- Makes users from a JSON array, in its order.
WITH wanted AS MATERIALIZED (
  SELECT gen_random_uuid()::text AS id, w.item, w.place
  FROM jsonb_array_elements(%(users)s::jsonb) WITH ORDINALITY AS w (item, place)
), made AS (
  INSERT INTO tally.users AS u (id, wallet_address, username, tags)
  SELECT w.id, w.item ->> 'wallet', w.item ->> 'username', ARRAY(SELECT t.tag FROM jsonb_array_elements_text(w.item -> 'tags') AS t (tag))
  FROM wanted AS w ORDER BY w.place
  RETURNING u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
    u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
)
SELECT m.id, m.wallet_address, m.username, m.created_at, m.last_activity, m.risk_score, m.is_blacklisted, m.tags,
  m.blacklisted_at, m.blacklisted_by, m.blacklist_reason, m.deleted_at, m.deleted_by, m.version
FROM made AS m INNER JOIN wanted AS w ON w.id = m.id ORDER BY w.place;

-- name: get_user
-- A user by id.
SELECT u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
FROM tally.users AS u WHERE u.id = %(user_id)s;

-- name: get_user_by_wallet
-- A user by wallet.
SELECT u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
FROM tally.users AS u WHERE u.wallet_address = %(wallet)s;

-- name: update_user
-- Changes the named fields of a live user who has the version that the caller read.
UPDATE tally.users AS u SET
  wallet_address = CASE WHEN %(changes)s::jsonb ? 'wallet' THEN %(changes)s::jsonb ->> 'wallet' ELSE u.wallet_address END,
  username = CASE WHEN %(changes)s::jsonb ? 'username' THEN %(changes)s::jsonb ->> 'username' ELSE u.username END,
  tags = CASE WHEN %(changes)s::jsonb ? 'tags'
    THEN ARRAY(SELECT t.tag FROM jsonb_array_elements_text(%(changes)s::jsonb -> 'tags') AS t (tag)) ELSE u.tags END,
  version = u.version + 1
WHERE u.id = %(user_id)s AND u.version = %(expected_version)s AND u.deleted_at IS NULL
RETURNING u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version;

-- name: set_risk
-- Sets a risk score with its row of history.
SELECT h.id, h.user_id, h.kind, h.old_score, h.new_score, h.reason_code, h.reason, h.actor, h.source_kind, h.source_id, h.at
FROM tally.set_risk_v1(%(user_id)s, %(score)s, %(reason_code)s, %(reason)s, %(actor)s) AS h;

-- name: adjust_risk
-- Adds to a risk score, once for each source.
SELECT h.id, h.user_id, h.kind, h.old_score, h.new_score, h.reason_code, h.reason, h.actor, h.source_kind, h.source_id, h.at
FROM tally.adjust_risk_v1(%(user_id)s, %(delta)s, %(source_kind)s, %(source_id)s, %(reason_code)s, %(reason)s, %(actor)s) AS h;

-- name: touch_users
-- Notes that users did something, at most once a minute each.
WITH held AS MATERIALIZED (
  SELECT u.id, c.at FROM tally.users AS u CROSS JOIN (SELECT tally.clock() AS at) AS c
  WHERE u.id = ANY(%(user_ids)s) AND (u.last_activity IS NULL OR u.last_activity <= c.at - interval '1 minute')
  ORDER BY u.id FOR NO KEY UPDATE OF u
)
UPDATE tally.users AS u SET last_activity = h.at FROM held AS h WHERE u.id = h.id;

-- name: blacklist
-- Blacklists a user, or gives another reason.
SELECT tally.blacklist_user_v1(%(user_id)s, %(reason)s, %(actor)s);

-- name: unblacklist
-- Takes a user off the blacklist.
SELECT tally.unblacklist_user_v1(%(user_id)s, %(reason)s, %(actor)s);

-- name: delete_user
-- Deletes a user softly and revokes his keys.
SELECT tally.delete_user_v1(%(user_id)s, %(actor)s);

-- name: erase_user
-- Takes what names a deleted user out of his rows.
SELECT tally.erase_user_v1(%(user_id)s, %(actor)s);

-- name: list_by_risk
-- Live users from a score up, highest first, behind a place.
SELECT u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
FROM tally.users AS u
WHERE u.risk_score >= %(threshold)s AND u.deleted_at IS NULL AND (u.risk_score, u.id) < (%(after_score)s::numeric, %(after_id)s)
ORDER BY u.risk_score DESC, u.id DESC LIMIT %(limit)s;

-- name: list_blacklisted
-- Live users who are blacklisted, newest first, behind a place.
SELECT u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
FROM tally.users AS u
WHERE u.blacklisted_at IS NOT NULL AND u.deleted_at IS NULL AND (u.blacklisted_at, u.id) < (%(after_at)s::timestamptz, %(after_id)s)
ORDER BY u.blacklisted_at DESC, u.id DESC LIMIT %(limit)s;

-- name: list_by_tag
-- Live users with a tag, newest first, behind a place.
SELECT u.id, u.wallet_address, u.username, u.created_at, u.last_activity, u.risk_score, u.is_blacklisted, u.tags,
  u.blacklisted_at, u.blacklisted_by, u.blacklist_reason, u.deleted_at, u.deleted_by, u.version
FROM tally.users AS u
WHERE u.tags @> ARRAY[%(tag)s::text] AND u.deleted_at IS NULL AND (u.created_at, u.id) < (%(after_at)s::timestamptz, %(after_id)s)
ORDER BY u.created_at DESC, u.id DESC LIMIT %(limit)s;

-- name: list_risk_history
-- A user's history, newest first, behind a place.
SELECT h.id, h.user_id, h.kind, h.old_score, h.new_score, h.reason_code, h.reason, h.actor, h.source_kind, h.source_id, h.at
FROM tally.user_risk_history AS h
WHERE h.user_id = %(user_id)s AND h.id < %(after_id)s::bigint
ORDER BY h.id DESC LIMIT %(limit)s;

-- name: count_users
-- How many users are not deleted.
SELECT count(*) FROM tally.users AS u WHERE u.deleted_at IS NULL;
