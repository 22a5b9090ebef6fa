-- Proofs that a wallet is somebody's and behaves like a person's (identity.md, sections 2, 3, 4.4 and 4.5).
-- Locks are taken in the order users, challenges, nullifiers, proofs, rows of one table by key.

CREATE TYPE tally.human_challenge_status AS ENUM ('pending', 'verified', 'failed');
COMMENT ON TYPE tally.human_challenge_status IS 'Whether a challenge can still be answered; that its time is over is read from expires_at.';
CREATE TYPE tally.human_proof_status AS ENUM ('pending', 'verified', 'rejected', 'revoked');
COMMENT ON TYPE tally.human_proof_status IS 'Whether a proof was decided, and how; that it has expired is read from expires_at.';

CREATE DOMAIN tally.verifier_name AS text COLLATE "C"
  CONSTRAINT verifier_name_is_plain CHECK (VALUE ~ '^[a-z][a-z0-9_]{0,62}$');
COMMENT ON DOMAIN tally.verifier_name IS 'The name of a verifier''s entry point.';
CREATE DOMAIN tally.refusal_code AS text COLLATE "C"
  CONSTRAINT refusal_code_is_plain CHECK (VALUE ~ '^[a-z][a-z0-9_]{0,62}$');
COMMENT ON DOMAIN tally.refusal_code IS 'Why a proof is none: wrong_signer, too_regular and others of identity.md, section 4.5.';

-- Challenges -------------------------------------------------------------------------------------

CREATE TABLE tally.human_proof_challenges (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id text COLLATE "C" NOT NULL REFERENCES tally.users ON DELETE RESTRICT,
  verifier tally.verifier_name NOT NULL CONSTRAINT wallet_is_no_verifier CHECK (verifier <> 'wallet'),
  chain_id bigint NOT NULL CONSTRAINT chain_id_is_positive CHECK (chain_id > 0),
  nonce bytea NOT NULL UNIQUE CONSTRAINT nonce_has_32_bytes CHECK (octet_length(nonce) = 32),
  message text NOT NULL CONSTRAINT message_is_short CHECK (octet_length(message) BETWEEN 1 AND 16000),
  issued_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL CONSTRAINT challenge_lives_5_minutes CHECK (expires_at - issued_at = interval '5 minutes'),
  attempts_left smallint NOT NULL DEFAULT 3 CONSTRAINT attempts_are_three CHECK (attempts_left BETWEEN 0 AND 3),
  status tally.human_challenge_status NOT NULL DEFAULT 'pending',
  CONSTRAINT failed_after_the_last_attempt CHECK ((status = 'failed') = (attempts_left = 0))
);
CREATE INDEX human_proof_challenges_open ON tally.human_proof_challenges (user_id) WHERE status = 'pending';
-- The sweep finds what it may delete without reading the verified ones, which stay.
CREATE INDEX human_proof_challenges_expiring ON tally.human_proof_challenges (expires_at) WHERE status <> 'verified';
SELECT tally.describe('tally.human_proof_challenges', 'What wallets are asked to sign, each answered once at most.', '{
  "id": "Key; the Request ID of the message.",
  "user_id": "Who is to prove something.",
  "verifier": "Who decides.",
  "chain_id": "EIP-155 id of the chain that the wallet is looked at on.",
  "nonce": "32 random bytes, the Nonce of the message.",
  "message": "Exactly what is signed; once its user is erased, that word.",
  "issued_at": "From when on, to the second.",
  "expires_at": "Until when it can be answered.",
  "attempts_left": "How many answers may still be tried; with the last refused one it has failed.",
  "status": "State; see status_transitions."}');

-- Nullifiers -------------------------------------------------------------------------------------

CREATE TABLE tally.human_nullifiers (
  verifier tally.verifier_name NOT NULL,
  nullifier tally.sha256 NOT NULL,
  user_id text COLLATE "C" NOT NULL REFERENCES tally.users ON DELETE RESTRICT,
  first_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (verifier, nullifier),
  CONSTRAINT nullifier_is_one_users UNIQUE (verifier, nullifier, user_id)
);
SELECT tally.describe('tally.human_nullifiers', 'What stands for a wallet at a verifier, bound to its first user for ever.', '{
  "verifier": "The verifier that it holds for; wallet: all of them and every chain, where the wallet''s own key signed.",
  "nullifier": "32 bytes that stand for the wallet and nothing else.",
  "user_id": "The first who proved with it, and the only one.",
  "first_at": "When he did."}');
SELECT tally.keep_evidence('tally.human_nullifiers');

-- Proofs -----------------------------------------------------------------------------------------

CREATE TABLE tally.human_proofs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id text COLLATE "C" NOT NULL REFERENCES tally.users ON DELETE RESTRICT,
  proof_hash tally.sha256 NOT NULL UNIQUE,
  proof_data jsonb NOT NULL DEFAULT '{}' CONSTRAINT proof_data_is_a_small_object
    CHECK (jsonb_typeof(proof_data) = 'object' AND octet_length(proof_data::text) <= 65536),
  verified boolean NOT NULL GENERATED ALWAYS AS (status = 'verified') STORED,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  verified_at timestamptz,
  verifier_address tally.evm_address,
  tx_hash tally.evm_hash,
  expires_at timestamptz NOT NULL,
  challenge_id uuid UNIQUE REFERENCES tally.human_proof_challenges ON DELETE RESTRICT,
  verifier tally.verifier_name NOT NULL CONSTRAINT wallet_is_no_verifier CHECK (verifier <> 'wallet'),
  verifier_version integer NOT NULL CONSTRAINT verifier_version_counts_from_one CHECK (verifier_version >= 1),
  assurance smallint CONSTRAINT assurance_is_1_to_3 CHECK (assurance BETWEEN 1 AND 3),
  score numeric(4, 3) CONSTRAINT score_is_0_to_1 CHECK (score BETWEEN 0 AND 1),
  nullifier tally.sha256,
  status tally.human_proof_status NOT NULL DEFAULT 'pending',
  rejection_code tally.refusal_code,
  revoked_at timestamptz,
  revoked_by tally.principal,
  revoke_reason text CONSTRAINT revoke_reason_is_short CHECK (char_length(revoke_reason) BETWEEN 1 AND 500),
  chain_id bigint CONSTRAINT chain_id_is_positive CHECK (chain_id > 0),
  CONSTRAINT nullifier_is_the_users FOREIGN KEY (verifier, nullifier, user_id)
    REFERENCES tally.human_nullifiers (verifier, nullifier, user_id) ON DELETE RESTRICT,
  CONSTRAINT verified_has_its_facts CHECK (
    num_nulls(verified_at, assurance, score) = CASE WHEN status IN ('verified', 'revoked') THEN 0 ELSE 3 END),
  CONSTRAINT rejection_has_its_code CHECK ((status = 'rejected') = (rejection_code IS NOT NULL)),
  CONSTRAINT revocation_is_explained CHECK (
    num_nulls(revoked_at, revoked_by, revoke_reason) = CASE WHEN status = 'revoked' THEN 0 ELSE 3 END)
);
CREATE INDEX human_proofs_by_user ON tally.human_proofs (user_id, created_at DESC, id DESC);
CREATE INDEX human_proofs_by_expiry ON tally.human_proofs (expires_at) WHERE verified;
CREATE INDEX human_proofs_undecided ON tally.human_proofs (expires_at) WHERE status = 'pending';
SELECT tally.describe('tally.human_proofs', 'Proofs of users about their wallets: submitted, decided, and kept once they counted.', '{
  "id": "Key.",
  "user_id": "Who proved it.",
  "proof_hash": "SHA-256 of the message identity-human-proof: challenge, submission, user, verifier and its version.",
  "proof_data": "What the verifier measured, never what the prover claims; empty once its user is erased.",
  "verified": "Whether it was found true and was not revoked; whether it still counts depends on expires_at too.",
  "created_at": "When it was submitted.",
  "verified_at": "When it was found true.",
  "verifier_address": "The contract that verified it, for a verifier on a chain; never the wallet.",
  "tx_hash": "The transaction in which that contract did; never one of the wallet''s own.",
  "expires_at": "Until when it counts, or may still be decided.",
  "challenge_id": "The challenge that it answers; NULL where a verifier needs none.",
  "verifier": "Who decides.",
  "verifier_version": "By which version of his rules.",
  "assurance": "1: control of the wallet; 2: behaviour; 3: evidence from elsewhere.",
  "score": "How well the rules are met, 0 to 1.",
  "nullifier": "What stands for the wallet; one user alone has it.",
  "status": "State; see status_transitions.",
  "rejection_code": "Why it is none.",
  "revoked_at": "When it was taken back.",
  "revoked_by": "Who took it back.",
  "revoke_reason": "Why, in words.",
  "chain_id": "EIP-155 id of the chain that the wallet was looked at on."}');
SELECT tally.keep_evidence('tally.human_proofs', 'TRUNCATE');

CREATE FUNCTION tally.keep_decided_proof() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  IF OLD.status <> 'pending' THEN
    PERFORM tally.refuse('TSI16', format('a %s proof is evidence and is not deleted', OLD.status),
      jsonb_build_object('proof_id', OLD.id, 'status', OLD.status));
  END IF;
  RETURN OLD;
END $$;
COMMENT ON FUNCTION tally.keep_decided_proof() IS 'Refuses to delete a human proof that was decided (TSI16).';
CREATE TRIGGER keep_decided BEFORE DELETE ON tally.human_proofs FOR EACH ROW EXECUTE FUNCTION tally.keep_decided_proof();
ALTER TABLE tally.human_proofs ENABLE ALWAYS TRIGGER keep_decided;

CREATE VIEW tally.v_valid_human_proofs WITH (security_invoker = true) AS
SELECT p.id, p.user_id, p.proof_hash, p.proof_data, p.verified, p.created_at, p.verified_at, p.verifier_address, p.tx_hash,
       p.expires_at, p.challenge_id, p.verifier, p.verifier_version, p.assurance, p.score, p.nullifier, p.chain_id
FROM tally.human_proofs AS p
JOIN tally.users AS u ON u.id = p.user_id
WHERE p.verified AND p.expires_at > tally.clock() AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL;
SELECT tally.describe('tally.v_valid_human_proofs', 'Proofs that count now: verified, not expired, of users neither blacklisted nor deleted.', '{
  "id": "Key.",
  "user_id": "Who proved it.",
  "proof_hash": "What names the proof.",
  "proof_data": "What the verifier measured.",
  "verified": "True.",
  "created_at": "When it was submitted.",
  "verified_at": "When it was found true.",
  "verifier_address": "The contract that verified it, for a verifier on a chain.",
  "tx_hash": "The transaction in which that contract did.",
  "expires_at": "Until when it counts.",
  "challenge_id": "The challenge that it answers.",
  "verifier": "Who decided.",
  "verifier_version": "By which version of his rules.",
  "assurance": "1: control of the wallet; 2: behaviour; 3: evidence from elsewhere.",
  "score": "How well the rules are met, 0 to 1.",
  "nullifier": "What stands for the wallet.",
  "chain_id": "EIP-155 id of the chain."}');

-- States -----------------------------------------------------------------------------------------

INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('human_proof_challenges', 'status', NULL, 'pending', 'issue_challenge_v1',
   'the user is neither blacklisted nor deleted, has a wallet and fewer than 5 open challenges'),
  ('human_proof_challenges', 'status', 'pending', 'verified', 'verify_challenge_v1',
   'before expires_at; the verdict accepts, and the proof is made in the same transaction'),
  ('human_proof_challenges', 'status', 'pending', 'failed', 'refuse_challenge_v1', 'the third refused attempt'),
  ('human_proofs', 'status', NULL, 'pending', 'create_human_proof_v1', 'a verifier that decides later'),
  ('human_proofs', 'status', NULL, 'verified', 'verify_challenge_v1',
   'before the challenge expires; score and assurance are set; the nullifier is free or this user''s'),
  ('human_proofs', 'status', 'pending', 'verified', 'mark_human_proof_verified_v1',
   'before expires_at; score and assurance are set; the nullifier is free or this user''s'),
  ('human_proofs', 'status', 'pending', 'rejected', 'reject_human_proof_v1', 'with rejection_code'),
  ('human_proofs', 'status', 'verified', 'revoked', 'revoke_human_proof_v1', 'with reason and actor');
SELECT tally.guard_status('tally.human_proof_challenges', 'status');
SELECT tally.guard_status('tally.human_proofs', 'status');

-- Challenges: operations -------------------------------------------------------------------------

CREATE FUNCTION tally.lock_prover(p_user_id text) RETURNS tally.users
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  prover tally.users := tally.lock_user(p_user_id);
BEGIN
  IF prover.deleted_at IS NOT NULL THEN
    PERFORM tally.refuse('TSI06', 'the user is deleted', '{"what": "user"}');
  ELSIF prover.blacklisted_at IS NOT NULL THEN
    PERFORM tally.refuse('TSI06', 'the user is blacklisted', '{"what": "user"}');
  END IF;
  RETURN prover;
END $$;
COMMENT ON FUNCTION tally.lock_prover(text) IS 'A user who may prove something, his row locked; refuses others by name.';

CREATE FUNCTION tally.issue_challenge_v1(
  p_id uuid, p_user_id text, p_address tally.evm_address, p_verifier text, p_chain_id bigint, p_nonce bytea, p_message text,
  p_issued_at timestamptz, p_expires_at timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  most_open CONSTANT integer := 5;
  prover tally.users := tally.lock_prover(p_user_id);
  moment timestamptz := tally.clock();
  open_challenges integer;
  first_expiry timestamptz;
BEGIN
  IF prover.wallet_address IS NULL THEN
    PERFORM tally.refuse('TSI04', 'the user has no wallet to prove anything with', jsonb_build_object('field', 'wallet_address'));
  ELSIF prover.wallet_address <> p_address THEN
    -- The message names the wallet that was read before the row was locked.
    PERFORM tally.refuse('TSI03', 'the user''s wallet was changed meanwhile; ask again', jsonb_build_object('actual', prover.version));
  END IF;
  SELECT count(*), min(c.expires_at) INTO open_challenges, first_expiry
  FROM tally.human_proof_challenges AS c
  WHERE c.user_id = p_user_id AND c.status = 'pending' AND c.expires_at > moment;
  IF open_challenges >= most_open THEN
    PERFORM tally.refuse('TSI11', format('the user has %s open challenges; answer one, or wait for one to expire', open_challenges),
      jsonb_build_object('retry_after', extract(epoch FROM first_expiry - moment)));
  END IF;
  INSERT INTO tally.human_proof_challenges (id, user_id, verifier, chain_id, nonce, message, issued_at, expires_at)
  VALUES (p_id, p_user_id, p_verifier, p_chain_id, p_nonce, p_message, p_issued_at, p_expires_at);
END $$;
COMMENT ON FUNCTION tally.issue_challenge_v1(uuid, text, tally.evm_address, text, bigint, bytea, text, timestamptz, timestamptz) IS
  'Stores a challenge whose message names this wallet; at most 5 are open for one user (TSI11 with the time to wait).';

CREATE FUNCTION tally.lock_open_challenge(p_challenge_id uuid, p_proof_hash bytea) RETURNS tally.human_proof_challenges
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  challenge tally.human_proof_challenges;
  evidence CONSTANT jsonb := jsonb_build_object('what', 'challenge', 'challenge_id', p_challenge_id);
BEGIN
  -- The user's row comes first in the order of locks; a challenge never changes its user.
  SELECT c.* INTO challenge FROM tally.human_proof_challenges AS c WHERE c.id = p_challenge_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such challenge', evidence);
  END IF;
  PERFORM tally.lock_prover(challenge.user_id);
  SELECT c.* INTO challenge FROM tally.human_proof_challenges AS c WHERE c.id = p_challenge_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such challenge', evidence);
  ELSIF challenge.status = 'verified' AND EXISTS (
    SELECT FROM tally.human_proofs AS p WHERE p.challenge_id = p_challenge_id AND p.proof_hash = p_proof_hash
  ) THEN
    PERFORM tally.refuse('TSI02', 'this submission was accepted before',
      evidence || jsonb_build_object('constraint', 'human_proofs_proof_hash_key'));
  ELSIF challenge.status <> 'pending' THEN
    PERFORM tally.refuse('TSI14', format('the challenge is %s already; ask for another', challenge.status), evidence);
  ELSIF challenge.expires_at <= tally.clock() THEN
    PERFORM tally.refuse('TSI13', 'the challenge has expired; ask for another', evidence);
  END IF;
  RETURN challenge;
END $$;
COMMENT ON FUNCTION tally.lock_open_challenge(uuid, bytea) IS
  'A challenge that can be answered now, it and its user locked; refuses others, and a submission that was accepted, by name.';

CREATE FUNCTION tally.spend_attempt(p_challenge tally.human_proof_challenges) RETURNS smallint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  UPDATE tally.human_proof_challenges AS c SET
    attempts_left = c.attempts_left - 1,
    status = CASE WHEN c.attempts_left = 1 THEN 'failed' ELSE c.status END
  WHERE c.id = ($1).id
  RETURNING c.attempts_left;
$$;
COMMENT ON FUNCTION tally.spend_attempt(tally.human_proof_challenges) IS
  'Takes one attempt from a locked challenge, which fails with the last; returns how many are left.';

CREATE FUNCTION tally.refuse_challenge_v1(p_challenge_id uuid, p_proof_hash bytea) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  RETURN tally.spend_attempt(tally.lock_open_challenge(p_challenge_id, p_proof_hash));
END $$;
COMMENT ON FUNCTION tally.refuse_challenge_v1(uuid, bytea) IS 'Counts a refused attempt and returns how many are left; at 0 the challenge has failed.';

CREATE FUNCTION tally.claim_nullifiers(
  p_user_id text, p_verifier text, p_nullifier bytea, p_wallet_nullifier bytea, p_signed_by_key boolean
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  every_verifier CONSTANT text := 'wallet';
BEGIN
  -- Waits for whoever is claiming the same one; what he committed, the next statement sees.
  INSERT INTO tally.human_nullifiers (verifier, nullifier, user_id)
  SELECT c.verifier, c.nullifier, p_user_id
  FROM (VALUES
    (p_verifier, p_nullifier), (every_verifier, CASE WHEN p_signed_by_key THEN p_wallet_nullifier END)) AS c (verifier, nullifier)
  WHERE c.nullifier IS NOT NULL
  ORDER BY c.verifier COLLATE "C", c.nullifier
  ON CONFLICT (verifier, nullifier) DO NOTHING;
  -- Another user's key is looked for whoever signs: a key may lend its wallet a contract's code, on one chain or on all.
  IF EXISTS (
    SELECT FROM tally.human_nullifiers AS n
    WHERE (n.verifier, n.nullifier) IN ((p_verifier, p_nullifier), (every_verifier, p_wallet_nullifier)) AND n.user_id <> p_user_id
  ) THEN
    -- Raised, so that the end of this block gives back whichever of the two was free.
    PERFORM tally.refuse('TSI02', 'the wallet belongs to a proof of another user',
      jsonb_build_object('constraint', 'human_nullifiers_pkey'));
  END IF;
  RETURN true;
EXCEPTION WHEN SQLSTATE 'TSI02' THEN
  RETURN false;
END $$;
COMMENT ON FUNCTION tally.claim_nullifiers(text, text, bytea, bytea, boolean) IS
  'Binds a verifier''s nullifier, and a wallet whose own key signed, to their first user; false, and neither, where one is another''s.';

CREATE FUNCTION tally.announce_proof(p_proof_id uuid, p_topic text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.outbox_events (topic, key, user_id, payload)
  SELECT p_topic, p.id::text, p.user_id, jsonb_build_object(
    'proof_id', p.id, 'user_id', p.user_id, 'verifier', p.verifier, 'assurance', p.assurance, 'chain_id', p.chain_id,
    'proof_hash', encode(p.proof_hash, 'hex'), 'expires_at', p.expires_at)
  FROM tally.human_proofs AS p WHERE p.id = p_proof_id;
$$;
COMMENT ON FUNCTION tally.announce_proof(uuid, text) IS 'Writes the event of a proof; nothing that it measured is in it.';

CREATE FUNCTION tally.verify_challenge_v1(
  p_challenge_id uuid, p_verifier text, p_verifier_version integer, p_assurance smallint, p_score numeric, p_validity interval,
  p_wallet tally.evm_address, p_nullifier bytea, p_wallet_nullifier bytea, p_signed_by_key boolean,
  p_verifier_address tally.evm_address, p_tx_hash tally.evm_hash, p_proof_hash bytea, p_proof_data jsonb,
  OUT proof_id uuid, OUT refusal text, OUT attempts_left smallint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  challenge tally.human_proof_challenges := tally.lock_open_challenge(p_challenge_id, p_proof_hash);
  moment timestamptz := tally.clock();
BEGIN
  attempts_left := challenge.attempts_left;
  IF challenge.verifier <> p_verifier THEN
    PERFORM tally.refuse('TSI04', 'the verdict is of another verifier than the challenge', jsonb_build_object('field', 'verifier'));
  END IF;
  refusal := CASE
    -- What was signed names the wallet of then; his wallet now has proved nothing.
    WHEN p_wallet IS NOT NULL
      AND p_wallet IS DISTINCT FROM (SELECT u.wallet_address FROM tally.users AS u WHERE u.id = challenge.user_id)
      THEN 'wrong_message'
    WHEN NOT tally.claim_nullifiers(challenge.user_id, p_verifier, p_nullifier, p_wallet_nullifier, p_signed_by_key)
      THEN 'nullifier_taken'
  END;
  IF refusal IS NOT NULL THEN
    attempts_left := tally.spend_attempt(challenge);
    RETURN;
  END IF;
  INSERT INTO tally.human_proofs (
    user_id, proof_hash, proof_data, created_at, verified_at, verifier_address, tx_hash, expires_at, challenge_id, verifier,
    verifier_version, assurance, score, nullifier, status, chain_id)
  VALUES (
    challenge.user_id, p_proof_hash, p_proof_data, moment, moment, p_verifier_address, p_tx_hash, moment + p_validity, challenge.id,
    p_verifier, p_verifier_version, p_assurance, p_score, p_nullifier, 'verified', challenge.chain_id)
  RETURNING id INTO proof_id;
  UPDATE tally.human_proof_challenges AS c SET status = 'verified' WHERE c.id = challenge.id;
  PERFORM tally.adjust_risk_v1(
    p_user_id => challenge.user_id, p_delta => -10, p_source_kind => 'human_proof_challenge', p_source_id => challenge.id::text,
    p_reason_code => 'human_proof', p_reason => format('proved by %s', p_verifier), p_actor => 'user:' || challenge.user_id);
  PERFORM tally.announce_proof(proof_id, 'identity.proof.verified');
END $$;
COMMENT ON FUNCTION tally.verify_challenge_v1(
  uuid, text, integer, smallint, numeric, interval, tally.evm_address, bytea, bytea, boolean, tally.evm_address, tally.evm_hash,
    bytea, jsonb) IS
  'Makes proof, verified challenge, lowered risk and event at once; where the wallet is not the user''s or was another''s, counts a refused attempt.';

-- Proofs: operations -----------------------------------------------------------------------------

CREATE FUNCTION tally.lock_proof(p_id uuid) RETURNS tally.human_proofs
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  proof tally.human_proofs;
BEGIN
  SELECT p.* INTO proof FROM tally.human_proofs AS p WHERE p.id = p_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such proof', jsonb_build_object('what', 'proof', 'proof_id', p_id));
  END IF;
  RETURN proof;
END $$;
COMMENT ON FUNCTION tally.lock_proof(uuid) IS 'A proof, its row locked; refuses an unknown one (TSI01).';

CREATE FUNCTION tally.refuse_proof_step(p_from text, p_to text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog
AS $$
  SELECT tally.refuse('TS001', format('human_proofs.status cannot go from %s to %s', p_from, p_to),
    jsonb_build_object('table', 'human_proofs', 'column', 'status', 'from', p_from, 'to', p_to));
$$;
COMMENT ON FUNCTION tally.refuse_proof_step(text, text) IS 'Refuses a step that no function of proofs makes, also from a state to itself.';

CREATE FUNCTION tally.create_human_proof_v1(
  p_user_id text, p_proof_hash bytea, p_proof_data jsonb, p_verifier text, p_verifier_version integer, p_chain_id bigint,
  p_validity interval
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  moment timestamptz := tally.clock();
  proof_id uuid;
BEGIN
  PERFORM tally.lock_prover(p_user_id);
  INSERT INTO tally.human_proofs (user_id, proof_hash, proof_data, created_at, expires_at, verifier, verifier_version, chain_id)
  VALUES (p_user_id, p_proof_hash, p_proof_data, moment, moment + p_validity, p_verifier, p_verifier_version, p_chain_id)
  RETURNING id INTO proof_id;
  RETURN proof_id;
END $$;
COMMENT ON FUNCTION tally.create_human_proof_v1(text, bytea, jsonb, text, integer, bigint, interval) IS
  'Stores a proof that its verifier decides later.';

CREATE FUNCTION tally.update_human_proof_v1(p_id uuid, p_proof_data jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  proof tally.human_proofs;
BEGIN
  -- His user's row comes first in the order of locks; what was erased of a deleted user is not written again.
  PERFORM tally.lock_prover(p.user_id) FROM tally.human_proofs AS p WHERE p.id = p_id;
  proof := tally.lock_proof(p_id);
  IF proof.status <> 'pending' THEN
    PERFORM tally.refuse('TSI16', format('a %s proof is evidence: what was measured stays', proof.status),
      jsonb_build_object('proof_id', p_id, 'status', proof.status));
  END IF;
  UPDATE tally.human_proofs SET proof_data = p_proof_data WHERE id = p_id;
END $$;
COMMENT ON FUNCTION tally.update_human_proof_v1(uuid, jsonb) IS 'Replaces what was measured of a proof that is not decided yet.';

CREATE FUNCTION tally.mark_human_proof_verified_v1(
  p_id uuid, p_score numeric, p_assurance smallint, p_nullifier bytea, p_verifier_address tally.evm_address,
  p_tx_hash tally.evm_hash
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  proof tally.human_proofs;
  moment timestamptz;
BEGIN
  -- A proof never changes its user, whose row and nullifier come first in the order of locks.
  SELECT p.* INTO proof FROM tally.human_proofs AS p WHERE p.id = p_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such proof', jsonb_build_object('what', 'proof', 'proof_id', p_id));
  END IF;
  PERFORM tally.lock_prover(proof.user_id);
  IF NOT tally.claim_nullifiers(proof.user_id, proof.verifier, p_nullifier, NULL, false) THEN
    PERFORM tally.refuse('TSI02', 'the wallet belongs to a proof of another user',
      jsonb_build_object('constraint', 'human_nullifiers_pkey'));
  END IF;
  proof := tally.lock_proof(p_id);
  -- Read under the locks: who waited for them past the expiry came too late.
  moment := tally.clock();
  IF proof.status <> 'pending' THEN
    PERFORM tally.refuse_proof_step(proof.status::text, 'verified');
  ELSIF proof.expires_at <= moment THEN
    PERFORM tally.refuse('TSI13', 'the proof has expired undecided', jsonb_build_object('what', 'proof', 'proof_id', p_id));
  END IF;
  UPDATE tally.human_proofs SET
    status = 'verified', verified_at = moment, score = p_score, assurance = p_assurance, nullifier = p_nullifier,
    verifier_address = p_verifier_address, tx_hash = p_tx_hash
  WHERE id = p_id;
  PERFORM tally.announce_proof(p_id, 'identity.proof.verified');
END $$;
COMMENT ON FUNCTION tally.mark_human_proof_verified_v1(uuid, numeric, smallint, bytea, tally.evm_address, tally.evm_hash) IS
  'Decides that a pending proof is true; one that was decided stays as it is.';

CREATE FUNCTION tally.reject_human_proof_v1(p_id uuid, p_code text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  proof tally.human_proofs := tally.lock_proof(p_id);
BEGIN
  IF proof.status <> 'pending' THEN
    PERFORM tally.refuse_proof_step(proof.status::text, 'rejected');
  END IF;
  UPDATE tally.human_proofs SET status = 'rejected', rejection_code = p_code WHERE id = p_id;
END $$;
COMMENT ON FUNCTION tally.reject_human_proof_v1(uuid, text) IS 'Decides that a pending proof is none, with the code that says why.';

CREATE FUNCTION tally.revoke_human_proof_v1(p_id uuid, p_reason text, p_actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  proof tally.human_proofs := tally.lock_proof(p_id);
BEGIN
  IF proof.status <> 'verified' THEN
    PERFORM tally.refuse_proof_step(proof.status::text, 'revoked');
  END IF;
  UPDATE tally.human_proofs SET status = 'revoked', revoked_at = tally.clock(), revoked_by = p_actor, revoke_reason = p_reason
  WHERE id = p_id;
  PERFORM tally.announce_proof(p_id, 'identity.proof.revoked');
END $$;
COMMENT ON FUNCTION tally.revoke_human_proof_v1(uuid, text, text) IS 'Takes back a proof that counted; other proofs of its user go on counting.';

CREATE FUNCTION tally.delete_human_proof_v1(p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  DELETE FROM tally.human_proofs WHERE id = p_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such proof', jsonb_build_object('what', 'proof', 'proof_id', p_id));
  END IF;
END $$;
COMMENT ON FUNCTION tally.delete_human_proof_v1(uuid) IS 'Deletes a proof that was never decided; any other is evidence (TSI16).';

CREATE FUNCTION tally.delete_expired_human_proofs_v1(p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  until timestamptz := least(p_before, tally.clock());
  gone_challenges integer;
  gone_proofs integer;
BEGIN
  -- Rows that somebody is deciding on are left for the next time.
  WITH expired AS (
    SELECT c.id FROM tally.human_proof_challenges AS c
    WHERE c.status <> 'verified' AND c.expires_at <= until
    ORDER BY c.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED
  )
  DELETE FROM tally.human_proof_challenges AS c USING expired WHERE c.id = expired.id;
  GET DIAGNOSTICS gone_challenges = ROW_COUNT;
  WITH expired AS (
    SELECT p.id FROM tally.human_proofs AS p
    WHERE p.status = 'pending' AND p.expires_at <= until
    ORDER BY p.expires_at LIMIT p_limit - gone_challenges FOR UPDATE SKIP LOCKED
  )
  DELETE FROM tally.human_proofs AS p USING expired WHERE p.id = expired.id;
  GET DIAGNOSTICS gone_proofs = ROW_COUNT;
  RETURN gone_challenges + gone_proofs;
END $$;
COMMENT ON FUNCTION tally.delete_expired_human_proofs_v1(timestamptz, integer) IS
  'Deletes at most so many challenges and undecided proofs that expired by then; what was verified stays.';

-- Rights -----------------------------------------------------------------------------------------

GRANT SELECT ON tally.human_proof_challenges, tally.human_nullifiers, tally.human_proofs, tally.v_valid_human_proofs
  TO tally_app, tally_auditor;
GRANT SELECT ON tally.human_proof_challenges, tally.human_proofs, tally.v_valid_human_proofs TO tally_reader;

DO $$
DECLARE
  personal text;
BEGIN
  FOREACH personal IN ARRAY ARRAY['human_proof_challenges', 'human_proofs'] LOOP
    EXECUTE format('ALTER TABLE tally.%I ENABLE ROW LEVEL SECURITY', personal);
    EXECUTE format('CREATE POLICY app_reads_all ON tally.%I TO tally_app, tally_auditor USING (true) WITH CHECK (true)', personal);
    EXECUTE format(
      'CREATE POLICY reader_reads_own ON tally.%I FOR SELECT TO tally_reader
       USING (user_id = current_setting(''tally.current_user_id'', true))', personal);
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION
  tally.keep_decided_proof(),
  tally.lock_prover(text),
  tally.issue_challenge_v1(uuid, text, tally.evm_address, text, bigint, bytea, text, timestamptz, timestamptz),
  tally.lock_open_challenge(uuid, bytea),
  tally.spend_attempt(tally.human_proof_challenges),
  tally.refuse_challenge_v1(uuid, bytea),
  tally.claim_nullifiers(text, text, bytea, bytea, boolean),
  tally.announce_proof(uuid, text),
  tally.verify_challenge_v1(
    uuid, text, integer, smallint, numeric, interval, tally.evm_address, bytea, bytea, boolean, tally.evm_address, tally.evm_hash,
    bytea, jsonb),
  tally.lock_proof(uuid),
  tally.refuse_proof_step(text, text),
  tally.create_human_proof_v1(text, bytea, jsonb, text, integer, bigint, interval),
  tally.update_human_proof_v1(uuid, jsonb),
  tally.mark_human_proof_verified_v1(uuid, numeric, smallint, bytea, tally.evm_address, tally.evm_hash),
  tally.reject_human_proof_v1(uuid, text),
  tally.revoke_human_proof_v1(uuid, text, text),
  tally.delete_human_proof_v1(uuid),
  tally.delete_expired_human_proofs_v1(timestamptz, integer)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.issue_challenge_v1(uuid, text, tally.evm_address, text, bigint, bytea, text, timestamptz, timestamptz),
  tally.refuse_challenge_v1(uuid, bytea),
  tally.verify_challenge_v1(
    uuid, text, integer, smallint, numeric, interval, tally.evm_address, bytea, bytea, boolean, tally.evm_address, tally.evm_hash,
    bytea, jsonb),
  tally.create_human_proof_v1(text, bytea, jsonb, text, integer, bigint, interval),
  tally.update_human_proof_v1(uuid, jsonb),
  tally.mark_human_proof_verified_v1(uuid, numeric, smallint, bytea, tally.evm_address, tally.evm_hash),
  tally.reject_human_proof_v1(uuid, text),
  tally.revoke_human_proof_v1(uuid, text, text),
  tally.delete_human_proof_v1(uuid),
  tally.delete_expired_human_proofs_v1(timestamptz, integer)
  TO tally_app;
