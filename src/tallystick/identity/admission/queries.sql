-- name: admit
-- Decides on a request with a key and charges it; a refusal is a value.
SELECT a.refusal, a.user_id, a.key_id, a.scopes, a.rate_limit, a.remaining, a.reset_seconds, a.retry_after
FROM tally.admit_v1(%(key_hash)s, %(prefix)s, %(any_of)s::text[], %(anonymous_bucket)s) AS a;

-- name: admit_anonymous
-- Decides on a request without a key and charges its network; a refusal is a value.
SELECT a.refusal, NULL::text, NULL::uuid, NULL::text[], a.rate_limit, a.remaining, a.reset_seconds, a.retry_after
FROM tally.admit_anonymous_v1(%(bucket)s) AS a;
