-- name: read_prover
-- The wallet of a user who may be challenged, and the second in which this is read.
SELECT u.wallet_address, date_trunc('second', tally.clock())
FROM tally.users AS u WHERE u.id = %(user_id)s;

-- name: issue_challenge
-- Stores a challenge for the wallet that its message names.
SELECT tally.issue_challenge_v1(
  p_id => %(challenge_id)s, p_user_id => %(user_id)s, p_address => %(address)s, p_verifier => %(verifier)s,
  p_chain_id => %(chain_id)s, p_nonce => %(nonce)s, p_message => %(message)s,
  p_issued_at => %(issued_at)s, p_expires_at => %(expires_at)s);

-- name: read_challenge
-- A challenge with its user's present wallet and the proof that was made of it.
SELECT c.id, c.user_id, u.wallet_address, c.verifier, c.chain_id, c.nonce, c.message, c.issued_at, c.expires_at, c.attempts_left,
  CASE WHEN c.status = 'pending' AND c.expires_at <= tally.clock() THEN 'expired' ELSE c.status::text END, p.proof_hash
FROM tally.human_proof_challenges AS c
INNER JOIN tally.users AS u ON u.id = c.user_id
LEFT JOIN tally.human_proofs AS p ON p.challenge_id = c.id
WHERE c.id = %(challenge_id)s;

-- name: verify_challenge
-- Makes the proof of an accepted submission; the refusal is null where it was made.
SELECT v.proof_id, v.refusal, v.attempts_left
FROM tally.verify_challenge_v1(
  p_challenge_id => %(challenge_id)s, p_verifier => %(verifier)s, p_verifier_version => %(verifier_version)s,
  p_assurance => %(assurance)s::smallint, p_score => %(score)s, p_validity => %(validity)s, p_wallet => %(wallet)s,
  p_nullifier => %(nullifier)s, p_wallet_nullifier => %(wallet_nullifier)s, p_signed_by_key => %(signed_by_key)s,
  p_verifier_address => %(verifier_address)s, p_tx_hash => %(tx_hash)s, p_proof_hash => %(proof_hash)s,
  p_proof_data => %(proof_data)s) AS v;

-- name: refuse_challenge
-- Counts a refused attempt and returns how many are left.
SELECT tally.refuse_challenge_v1(p_challenge_id => %(challenge_id)s, p_proof_hash => %(proof_hash)s);

-- name: create_proof
-- Stores a proof that is decided later and returns its id.
SELECT tally.create_human_proof_v1(
  p_user_id => %(user_id)s, p_proof_hash => %(proof_hash)s, p_proof_data => %(proof_data)s, p_verifier => %(verifier)s,
  p_verifier_version => %(verifier_version)s, p_chain_id => %(chain_id)s, p_validity => %(validity)s);

-- name: proof_by_id
-- One proof, by its key.
SELECT p.id, p.user_id, p.proof_hash, p.proof_data, p.verified, p.created_at, p.verified_at, p.verifier_address, p.tx_hash,
  p.expires_at, p.challenge_id, p.verifier, p.verifier_version, p.assurance, p.score, p.nullifier, p.status::text,
  p.rejection_code, p.revoked_at, p.revoked_by, p.revoke_reason, p.chain_id,
  p.verified AND p.expires_at > tally.clock() AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL
FROM tally.human_proofs AS p INNER JOIN tally.users AS u ON u.id = p.user_id
WHERE p.id = %(proof_id)s;

-- name: proof_by_hash
-- One proof, by the hash that names it.
SELECT p.id, p.user_id, p.proof_hash, p.proof_data, p.verified, p.created_at, p.verified_at, p.verifier_address, p.tx_hash,
  p.expires_at, p.challenge_id, p.verifier, p.verifier_version, p.assurance, p.score, p.nullifier, p.status::text,
  p.rejection_code, p.revoked_at, p.revoked_by, p.revoke_reason, p.chain_id,
  p.verified AND p.expires_at > tally.clock() AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL
FROM tally.human_proofs AS p INNER JOIN tally.users AS u ON u.id = p.user_id
WHERE p.proof_hash = %(proof_hash)s;

-- name: list_proofs
-- A user's proofs, newest first, behind the one that the page before ended with.
SELECT p.id, p.user_id, p.proof_hash, p.proof_data, p.verified, p.created_at, p.verified_at, p.verifier_address, p.tx_hash,
  p.expires_at, p.challenge_id, p.verifier, p.verifier_version, p.assurance, p.score, p.nullifier, p.status::text,
  p.rejection_code, p.revoked_at, p.revoked_by, p.revoke_reason, p.chain_id,
  p.verified AND p.expires_at > tally.clock() AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL
FROM tally.human_proofs AS p INNER JOIN tally.users AS u ON u.id = p.user_id
WHERE p.user_id = %(user_id)s
  -- One comparison of rows, so that the 1000th page costs what the first does.
  AND (p.created_at, p.id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
  AND (NOT %(valid_only)s::boolean
       OR (p.verified AND p.expires_at > tally.clock() AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL))
ORDER BY p.created_at DESC, p.id DESC
LIMIT %(limit)s;

-- name: update_proof
-- Replaces what was measured of a pending proof.
SELECT tally.update_human_proof_v1(p_id => %(proof_id)s, p_proof_data => %(proof_data)s);

-- name: mark_verified
-- Decides that a pending proof is true.
SELECT tally.mark_human_proof_verified_v1(
  p_id => %(proof_id)s, p_score => %(score)s, p_assurance => %(assurance)s::smallint, p_nullifier => %(nullifier)s,
  p_verifier_address => %(verifier_address)s, p_tx_hash => %(tx_hash)s);

-- name: reject_proof
-- Decides that a pending proof is none.
SELECT tally.reject_human_proof_v1(p_id => %(proof_id)s, p_code => %(code)s);

-- name: revoke_proof
-- Takes back a verified proof.
SELECT tally.revoke_human_proof_v1(p_id => %(proof_id)s, p_reason => %(reason)s, p_actor => %(actor)s);

-- name: delete_proof
-- Deletes a pending proof.
SELECT tally.delete_human_proof_v1(p_id => %(proof_id)s);

-- name: delete_expired
-- Deletes expired challenges and pending proofs and returns how many.
SELECT tally.delete_expired_human_proofs_v1(p_before => %(before)s, p_limit => %(most)s);

-- name: has_valid
-- Whether a user has a proof of this assurance, by one of these verifiers, that counts now.
SELECT EXISTS (
  SELECT FROM tally.v_valid_human_proofs AS p
  WHERE p.user_id = %(user_id)s AND p.assurance >= %(min_assurance)s AND p.verifier = ANY(%(verifiers)s::text[]));

-- name: wallet_standing
-- The best proof by one of these verifiers that counts now for a wallet: one about another wallet of its user does not.
SELECT true, p.assurance, p.expires_at
FROM tally.v_valid_human_proofs AS p INNER JOIN tally.users AS u ON u.id = p.user_id
WHERE u.wallet_address = %(wallet)s AND p.verifier = ANY(%(verifiers)s::text[])
  AND coalesce(p.proof_data ->> 'wallet', u.wallet_address) = u.wallet_address
ORDER BY p.assurance DESC, p.expires_at DESC LIMIT 1;

-- name: count_proofs
-- How many proofs a user has submitted.
SELECT count(*) FROM tally.human_proofs AS p WHERE p.user_id = %(user_id)s;

-- name: count_verified
-- How many of a user's proofs count now, and how many were ever verified.
SELECT
  (SELECT count(*) FROM tally.v_valid_human_proofs AS v WHERE v.user_id = %(user_id)s),
  (SELECT count(*) FROM tally.human_proofs AS p WHERE p.user_id = %(user_id)s AND p.verified_at IS NOT NULL);

-- name: latest_verified_at
-- When a user's newest verified proof was verified, expired or revoked as it may be.
SELECT max(p.verified_at) FROM tally.human_proofs AS p WHERE p.user_id = %(user_id)s;

-- name: verification_score
-- How many of a user's proofs count now, and how many were submitted.
SELECT
  (SELECT count(*) FROM tally.v_valid_human_proofs AS v WHERE v.user_id = %(user_id)s),
  (SELECT count(*) FROM tally.human_proofs AS p WHERE p.user_id = %(user_id)s);
