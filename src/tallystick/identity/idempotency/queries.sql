-- name: claim
-- Takes a key for this transaction; a row is the answer that it already has.
SELECT status, body FROM tally.idempotency_claim_v1(%(principal)s, %(key)s, %(digest)s)

-- name: keep
-- Keeps the answer of the write that took the key.
SELECT tally.idempotency_keep_v1(%(principal)s, %(key)s, %(status)s, %(body)s)

-- name: sweep
-- Deletes what is older than a day.
SELECT tally.idempotency_sweep_v1()
