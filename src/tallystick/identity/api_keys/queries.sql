-- name: create_key
-- Makes a key of scopes that the actor holds.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.create_api_key_v1(
  %(user_id)s, %(key_hash)s, %(prefix)s, %(name)s, %(scopes)s::text[], %(tier)s, %(rate_limit)s::integer, %(expires_at)s,
  %(client_type)s, %(description)s, %(contact_email)s, %(actor)s) AS k;

-- name: find_presented
-- A key by the hash of its secret and its prefix, with what else decides on it.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version,
  coalesce(k.expires_at <= tally.clock(), false), num_nonnulls(u.blacklisted_at, u.deleted_at) > 0
FROM tally.api_keys AS k INNER JOIN tally.users AS u ON u.id = k.user_id
WHERE k.key_hash = %(key_hash)s;

-- name: find_admitted
-- A key by its id, with what else decides on it.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version,
  coalesce(k.expires_at <= tally.clock(), false), num_nonnulls(u.blacklisted_at, u.deleted_at) > 0
FROM tally.api_keys AS k INNER JOIN tally.users AS u ON u.id = k.user_id
WHERE k.id = %(key_id)s;

-- name: get_key
-- A key by id.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.api_keys AS k WHERE k.id = %(key_id)s;

-- name: list_by_user
-- A user's keys, newest first, behind a place.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.api_keys AS k
WHERE k.user_id = %(user_id)s AND (k.created_at, k.id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
  AND (NOT %(active_only)s OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > tally.clock())))
ORDER BY k.created_at DESC, k.id DESC LIMIT %(limit)s;

-- name: list_by_tier
-- A tier's active keys, newest first, behind a place.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.api_keys AS k
WHERE k.tier = %(tier)s AND (k.created_at, k.id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
  AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > tally.clock())
ORDER BY k.created_at DESC, k.id DESC LIMIT %(limit)s;

-- name: list_expiring
-- Active keys that expire within some days, soonest first, behind a place.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.api_keys AS k
WHERE k.revoked_at IS NULL AND (k.expires_at, k.id) > (greatest((SELECT tally.clock()), %(after_at)s::timestamptz), %(after_id)s::uuid)
  AND k.expires_at <= (SELECT tally.clock()) + make_interval(days => %(days)s)
ORDER BY k.expires_at, k.id LIMIT %(limit)s;

-- name: update_key
-- Changes the named fields of a key.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.update_api_key_v1(%(key_id)s, %(expected_version)s::integer, %(changes)s, %(actor)s) AS k;

-- name: rotate_key
-- Makes the successor of a key.
SELECT k.id, k.prefix, k.user_id, k.name, k.tier, k.rate_limit, k.requests_today, k.requests_day, k.last_used, k.created_at, k.expires_at,
  k.scopes, k.revoked_at, k.revoked_by, k.revoke_reason, k.rotated_from, k.client_type, k.description, k.contact_email, k.changed_by, k.version
FROM tally.rotate_api_key_v1(%(key_id)s, %(key_hash)s, %(prefix)s, %(overlap)s, %(actor)s) AS k;

-- name: revoke_keys
-- Revokes one key, or all of a user where no key is named.
SELECT tally.revoke_api_keys_v1(%(user_id)s, %(key_id)s, %(reason)s, %(actor)s);

-- name: delete_key
-- Deletes a key that was never used; a trigger refuses others.
DELETE FROM tally.api_keys AS k WHERE k.id = %(key_id)s;

-- name: delete_expired
-- Deletes keys that expired before a time and were never used.
DELETE FROM tally.api_keys AS d WHERE d.id IN (
  SELECT k.id FROM tally.api_keys AS k
  WHERE k.expires_at < least(%(before)s, (SELECT tally.clock())) AND k.last_used IS NULL AND k.requests_today = 0
    AND NOT EXISTS (SELECT FROM tally.api_key_usage AS s WHERE s.key_id = k.id)
    AND NOT EXISTS (SELECT FROM tally.api_keys AS n WHERE n.rotated_from = k.id)
    AND NOT EXISTS (SELECT FROM tally.rate_limits AS b WHERE b.bucket = 'k:' || k.id AND (b.used > 0 OR b.previous_used > 0))
  ORDER BY k.id FOR UPDATE OF k);

-- name: touch_key
-- Notes that a key was used now, to the minute.
UPDATE tally.api_keys AS k SET last_used = greatest(k.last_used, date_trunc('minute', tally.clock())) WHERE k.id = %(key_id)s;

-- name: count_requests
-- Raises today's count of a key.
SELECT tally.count_requests_v1(%(key_id)s, %(requests)s::integer);

-- name: reset_daily_count
-- Gives a key and its owner's bucket today's quota anew.
SELECT tally.reset_daily_count_v1(%(key_id)s, %(actor)s);

-- name: flush_usage
-- Writes down what the buckets counted; how many keys changed.
SELECT tally.flush_usage_v1();

-- name: usage_days
-- A key's requests by day, newest first, as of the last flush.
SELECT s.day, s.requests FROM tally.api_key_usage AS s
WHERE s.key_id = %(key_id)s AND s.day > (tally.clock() AT TIME ZONE 'UTC')::date - %(days)s::integer
ORDER BY s.day DESC;

-- name: usage_today
-- The quota of a key's tier and what its owner used of it today, as of the last flush.
SELECT t.daily_quota, coalesce((
  SELECT sum(s.requests) FROM tally.api_keys AS o INNER JOIN tally.api_key_usage AS s ON s.key_id = o.id
  WHERE o.user_id = k.user_id AND o.tier = k.tier AND s.day = (tally.clock() AT TIME ZONE 'UTC')::date), 0)::bigint
FROM tally.api_keys AS k INNER JOIN tally.api_tiers AS t ON t.tier = k.tier WHERE k.id = %(key_id)s;

-- name: set_tier_limits
-- Sets the limits of a tier.
SELECT t.tier, t.rate_limit, t.daily_quota, t.changed_by
FROM tally.set_tier_limits_v1(%(tier)s, %(rate_limit)s::integer, %(daily_quota)s::integer, %(actor)s) AS t;

-- name: list_tiers
-- Every tier, the narrowest first.
SELECT t.tier, t.rate_limit, t.daily_quota, t.changed_by FROM tally.api_tiers AS t ORDER BY t.rate_limit, t.tier;

-- name: count_by_tier
-- How many active keys each tier has.
SELECT k.tier, count(*) FROM tally.api_keys AS k
WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > (SELECT tally.clock())) GROUP BY k.tier ORDER BY k.tier;
