-- name: claim
-- Takes a key for this transaction; a row is the answer that it already has.
SELECT status, body FROM tally.idempotency_claim_v1(%(principal)s, %(key)s, %(digest)s)

-- name: keep
-- Keeps the answer of the write that took the key.
SELECT tally.idempotency_keep_v1(%(principal)s, %(key)s, %(status)s, %(body)s)

-- name: answer
-- The answer that a request got under the key, if it came before.
SELECT status, body FROM tally.idempotency_answer_v1(%(principal)s, %(key)s, %(digest)s)

-- name: erase_user
-- Empties the answers that name a user, or were given to his keys.
SELECT tally.idempotency_erase_user_v1(%(user_id)s)

-- name: sweep
-- Deletes what is older than a day.
SELECT tally.idempotency_sweep_v1()
