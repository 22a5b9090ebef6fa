-- Users, their risk, API keys, scopes, tiers and exact limits (identity.md, sections 2, 4.1 to 4.3, 5).
-- Locks are taken in the order users, api_keys, then buckets (u: before k:), rows of one table by key.

-- Types ------------------------------------------------------------------------------------------

CREATE DOMAIN tally.evm_address AS text COLLATE "C"
  CONSTRAINT address_is_20_bytes_in_lower_case CHECK (VALUE ~ '^0x[0-9a-f]{40}$');
COMMENT ON DOMAIN tally.evm_address IS 'An account of an EVM chain in lower case; tally.address takes any case.';

CREATE DOMAIN tally.evm_hash AS text COLLATE "C"
  CONSTRAINT hash_is_32_bytes_in_lower_case CHECK (VALUE ~ '^0x[0-9a-f]{64}$');
COMMENT ON DOMAIN tally.evm_hash IS 'A hash of an EVM chain, of a transaction or a block, in lower case.';

CREATE DOMAIN tally.principal AS text COLLATE "C"
  CONSTRAINT principal_names_its_kind CHECK (VALUE ~ '^(user|key|db|system):.' AND octet_length(VALUE) <= 300);
COMMENT ON DOMAIN tally.principal IS 'Who acts: user:<id>, key:<id>, db:<role> or system:<worker>.';

CREATE FUNCTION tally.address(p_text text) RETURNS tally.evm_address
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
BEGIN
  IF p_text !~ '^0[xX][0-9a-fA-F]{40}$' THEN
    RAISE EXCEPTION USING ERRCODE = 'TSI05', MESSAGE = 'an address is 0x and 40 hexadecimal digits', DETAIL = '{}';
  END IF;
  RETURN lower(p_text);
END $$;
COMMENT ON FUNCTION tally.address(text) IS
  'An address as it is stored, from any case. The EIP-55 checksum is the programs'' to check: it needs Keccak-256.';
GRANT EXECUTE ON FUNCTION tally.address(text) TO PUBLIC;

-- Users ------------------------------------------------------------------------------------------

CREATE TYPE tally.risk_change AS ENUM ('set', 'adjust', 'blacklist', 'unblacklist');
COMMENT ON TYPE tally.risk_change IS 'What was done to a user: his score set or adjusted, he himself blacklisted or not any more.';

CREATE TABLE tally.users (
  id text COLLATE "C" PRIMARY KEY DEFAULT gen_random_uuid()::text
    CONSTRAINT id_has_1_to_200_bytes CHECK (octet_length(id) BETWEEN 1 AND 200),
  wallet_address tally.evm_address CONSTRAINT wallet_belongs_to_one_user UNIQUE,
  username text COLLATE "C" CONSTRAINT username_belongs_to_one_user UNIQUE
    CONSTRAINT username_has_1_to_64_characters CHECK (char_length(username) BETWEEN 1 AND 64),
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  last_activity timestamptz,
  risk_score numeric(5, 2) NOT NULL DEFAULT 0 CONSTRAINT risk_score_is_0_to_100 CHECK (risk_score BETWEEN 0 AND 100),
  is_blacklisted boolean GENERATED ALWAYS AS (blacklisted_at IS NOT NULL) STORED,
  tags text[] COLLATE "C" NOT NULL DEFAULT '{}'
    CONSTRAINT tags_are_at_most_100 CHECK (cardinality(tags) <= 100 AND octet_length(array_to_string(tags, '')) <= 6400)
    CONSTRAINT tags_are_words CHECK (array_position(tags, NULL) IS NULL AND array_position(tags, '') IS NULL),
  blacklisted_at timestamptz,
  blacklisted_by tally.principal,
  blacklist_reason text CONSTRAINT blacklist_reason_has_1_to_500_characters CHECK (char_length(blacklist_reason) BETWEEN 1 AND 500),
  deleted_at timestamptz,
  deleted_by tally.principal,
  version integer NOT NULL DEFAULT 1 CONSTRAINT version_counts_from_one CHECK (version >= 1),
  CONSTRAINT blacklist_is_explained CHECK (num_nulls(blacklisted_at, blacklisted_by, blacklist_reason) IN (0, 3)),
  CONSTRAINT deletion_is_explained CHECK (num_nulls(deleted_at, deleted_by) IN (0, 2))
) WITH (fillfactor = 80);
CREATE INDEX users_by_risk ON tally.users (risk_score DESC, id DESC);
CREATE INDEX users_by_blacklisting ON tally.users (blacklisted_at DESC, id DESC) WHERE blacklisted_at IS NOT NULL;
CREATE INDEX users_by_age ON tally.users (created_at DESC, id DESC);
CREATE INDEX users_by_tag ON tally.users USING gin (tags);
SELECT tally.describe('tally.users', 'The one table of users.', '{
  "id": "Identity, text; a UUID unless an earlier system gave another.",
  "wallet_address": "His wallet, NULL where he named none or was erased; one wallet belongs to one user.",
  "username": "A name that no other has; NULL where he has none or was erased.",
  "created_at": "When he was added.",
  "last_activity": "When he last did something, to the minute; it never moves back.",
  "risk_score": "How much speaks against him, 0 to 100; each change has its row in user_risk_history.",
  "is_blacklisted": "Whether he is blacklisted: from blacklisted_at.",
  "tags": "Words that operators put on him.",
  "blacklisted_at": "Since when he is blacklisted; NULL where he is not.",
  "blacklisted_by": "Who gave the present reason.",
  "blacklist_reason": "Why, as of last.",
  "deleted_at": "When he was deleted; his row stays, his wallet and name stay reserved until he is erased.",
  "deleted_by": "Who deleted him.",
  "version": "Counts updates; an update names the one that it has read."}');

CREATE TABLE tally.user_risk_history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id text COLLATE "C" NOT NULL CONSTRAINT user_is_known REFERENCES tally.users ON DELETE RESTRICT,
  kind tally.risk_change NOT NULL,
  old_score numeric(5, 2) NOT NULL,
  new_score numeric(5, 2) NOT NULL CONSTRAINT new_score_is_0_to_100 CHECK (new_score BETWEEN 0 AND 100),
  reason_code text COLLATE "C" NOT NULL CONSTRAINT reason_code_is_a_word CHECK (reason_code ~ '^[a-z][a-z0-9_]{0,63}$'),
  reason text NOT NULL CONSTRAINT reason_has_1_to_500_characters CHECK (char_length(reason) BETWEEN 1 AND 500),
  actor tally.principal NOT NULL,
  source_kind text COLLATE "C" CONSTRAINT source_kind_is_a_word CHECK (source_kind ~ '^[a-z][a-z0-9_]{0,63}$'),
  source_id text COLLATE "C" CONSTRAINT source_id_has_1_to_200_bytes CHECK (octet_length(source_id) BETWEEN 1 AND 200),
  at timestamptz NOT NULL DEFAULT tally.clock(),
  CONSTRAINT source_is_whole CHECK (num_nulls(source_kind, source_id) IN (0, 2))
);
CREATE UNIQUE INDEX source_counts_once ON tally.user_risk_history (user_id, source_kind, source_id) WHERE source_id IS NOT NULL;
CREATE INDEX user_risk_history_by_user ON tally.user_risk_history (user_id, id DESC);
SELECT tally.keep_evidence('tally.user_risk_history');
SELECT tally.describe('tally.user_risk_history', 'Every change of a risk score and every (un)blacklisting, with actor and reason; append-only.', '{
  "id": "Order of the changes.",
  "user_id": "Whose risk it is.",
  "kind": "What was done.",
  "old_score": "Score before.",
  "new_score": "Score after; the same where the user was (un)blacklisted.",
  "reason_code": "Why, as a word to count by.",
  "reason": "Why, for people.",
  "actor": "Who did it.",
  "source_kind": "What kind of thing caused an adjustment; NULL where nothing did.",
  "source_id": "Which of them; the same one counts once for a user.",
  "at": "When."}');

-- Scopes and tiers -------------------------------------------------------------------------------

CREATE TABLE tally.api_scopes (
  scope text COLLATE "C" PRIMARY KEY CONSTRAINT scope_is_noun_and_verb CHECK (scope ~ '^[a-z]+:[a-z]+$'),
  slice text COLLATE "C" NOT NULL CONSTRAINT slice_is_a_word CHECK (slice ~ '^[a-z]+$'),
  description text NOT NULL
);
SELECT tally.describe('tally.api_scopes', 'Every scope that an API key may have; one implies no other.', '{
  "scope": "The scope.",
  "slice": "The slice whose routes ask for it.",
  "description": "What it opens."}');
INSERT INTO tally.api_scopes (scope, slice, description) VALUES
  ('log:read', 'log', 'Read heads, tiles and proofs of private logs.'),
  ('entries:read', 'log', 'Read entries, records and rows, and search them.'),
  ('log:append', 'log', 'Push entries into a log.'),
  ('log:admin', 'log', 'Manage logs, sources, keys and witnesses; pause and stop.'),
  ('log:audit', 'log', 'Audit and reconcile, and read findings.'),
  ('proof:read', 'proof', 'Read proofs and their progress.'),
  ('proof:request', 'proof', 'Request proofs.'),
  ('proof:bulk', 'proof', 'Download proofs in bulk.'),
  ('proof:attest', 'proof', 'Attest as a validator: members and statements.'),
  ('proof:admin', 'proof', 'Manage validators, batches and anchors.'),
  ('gate:read', 'gate', 'Read commands and their history.'),
  ('gate:propose', 'gate', 'Propose commands.'),
  ('gate:approve', 'gate', 'Approve or refuse proposed commands.'),
  ('gate:execute', 'gate', 'Execute commands as a remote executor that the definition names.'),
  ('gate:govern', 'gate', 'Change policies and definitions.'),
  ('gate:brake', 'gate', 'Pull and release brakes.'),
  ('gate:audit', 'gate', 'Read the gate''s audit.'),
  ('chain:read', 'chain', 'Read networks, transactions, prices and contracts.'),
  ('chain:admin', 'chain', 'Manage networks, transactions, prices and contracts.'),
  ('settle:read', 'settle', 'Read points, escrow and payments of the key''s own user.'),
  ('settle:write', 'settle', 'Move points and escrow of the key''s own user.'),
  ('settle:admin', 'settle', 'Manage challenges, escrow and payments of everybody.'),
  ('identity:read', 'identity', 'Read any user, key and proof; never secrets.'),
  ('identity:admin', 'identity', 'Manage users, keys, tiers and proofs.'),
  ('threat:read', 'threat', 'Export threat signals.'),
  ('threat:write', 'threat', 'Write threat signals.'),
  ('threat:publish', 'threat', 'Publish threat signals.'),
  ('genome:write', 'threat', 'Write genomes.'),
  ('exploit:submit', 'threat', 'Submit exploits.'),
  ('exploit:vote', 'threat', 'Vote on exploits.'),
  ('exploit:judge', 'threat', 'Judge exploits.'),
  ('exploit:pay', 'threat', 'Pay for exploits.');

CREATE TABLE tally.api_tiers (
  tier text COLLATE "C" PRIMARY KEY CONSTRAINT tier_is_a_word CHECK (tier ~ '^[a-z]{1,30}$'),
  rate_limit integer NOT NULL CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0),
  daily_quota integer CONSTRAINT daily_quota_is_positive CHECK (daily_quota > 0),
  changed_by tally.principal
);
SELECT tally.describe('tally.api_tiers', 'How much a user may ask for; all keys of one user and tier share it.', '{
  "tier": "Name of the tier; no key has anonymous, which is for callers without one.",
  "rate_limit": "Requests in any 60 seconds.",
  "daily_quota": "Requests in a day of UTC; NULL is no limit.",
  "changed_by": "Who set the limits last; NULL as installed."}');
INSERT INTO tally.api_tiers (tier, rate_limit, daily_quota) VALUES
  ('anonymous', 10, 1000), ('free', 100, 10000), ('paid', 1000, 500000), ('enterprise', 10000, NULL);

-- API keys ---------------------------------------------------------------------------------------

CREATE TYPE tally.api_client_type AS ENUM ('auditor', 'service', 'institution', 'developer', 'internal');
COMMENT ON TYPE tally.api_client_type IS 'Who uses an API key.';

CREATE TABLE tally.api_keys (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  key_hash tally.sha256 NOT NULL CONSTRAINT key_hash_is_one_keys UNIQUE,
  prefix text COLLATE "C" NOT NULL CONSTRAINT prefix_is_one_keys UNIQUE
    CONSTRAINT prefix_is_tly_and_nine CHECK (prefix ~ '^tly_[0-9A-Za-z]{9}$'),
  user_id text COLLATE "C" NOT NULL CONSTRAINT user_is_known REFERENCES tally.users ON DELETE RESTRICT,
  name text NOT NULL CONSTRAINT name_has_1_to_255_characters CHECK (char_length(name) BETWEEN 1 AND 255),
  tier text COLLATE "C" NOT NULL DEFAULT 'free' CONSTRAINT tier_is_known REFERENCES tally.api_tiers ON DELETE RESTRICT
    CONSTRAINT tier_is_not_anonymous CHECK (tier <> 'anonymous'),
  rate_limit integer NOT NULL CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0),
  requests_today integer NOT NULL DEFAULT 0 CONSTRAINT requests_today_are_counted CHECK (requests_today >= 0),
  requests_day date,
  last_used timestamptz,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  expires_at timestamptz,
  scopes text[] COLLATE "C" NOT NULL DEFAULT '{}',
  revoked_at timestamptz,
  revoked_by tally.principal,
  revoke_reason text CONSTRAINT revoke_reason_has_1_to_500_characters CHECK (char_length(revoke_reason) BETWEEN 1 AND 500),
  revoked boolean GENERATED ALWAYS AS (revoked_at IS NOT NULL) STORED,
  rotated_from uuid CONSTRAINT key_has_one_successor UNIQUE CONSTRAINT predecessor_is_known REFERENCES tally.api_keys ON DELETE RESTRICT,
  client_type tally.api_client_type NOT NULL DEFAULT 'developer',
  description text CONSTRAINT description_has_at_most_4000_characters CHECK (char_length(description) <= 4000),
  contact_email text CONSTRAINT contact_email_has_at_most_320_characters CHECK (char_length(contact_email) <= 320),
  changed_by tally.principal NOT NULL,
  version integer NOT NULL DEFAULT 1 CONSTRAINT version_counts_from_one CHECK (version >= 1),
  key_id uuid GENERATED ALWAYS AS (id) STORED,
  client_name text GENERATED ALWAYS AS (name) STORED,
  rate_limit_per_min integer GENERATED ALWAYS AS (rate_limit) STORED,
  last_used_at timestamptz GENERATED ALWAYS AS (last_used) STORED,
  is_active boolean GENERATED ALWAYS AS (revoked_at IS NULL) STORED,
  can_read_proofs boolean GENERATED ALWAYS AS ('proof:read' = ANY (scopes)) STORED,
  can_request_proofs boolean GENERATED ALWAYS AS ('proof:request' = ANY (scopes)) STORED,
  can_bulk_download boolean GENERATED ALWAYS AS ('proof:bulk' = ANY (scopes)) STORED,
  CONSTRAINT revocation_is_explained CHECK (num_nulls(revoked_at, revoked_by, revoke_reason) IN (0, 3)),
  CONSTRAINT requests_have_a_day CHECK (requests_today = 0 OR requests_day IS NOT NULL)
-- Room in each page: what a flush writes is in no index, and stays out of all of them where the new row finds place beside the old.
) WITH (fillfactor = 70);
CREATE INDEX api_keys_by_user ON tally.api_keys (user_id, created_at DESC, id DESC);
CREATE INDEX api_keys_by_tier ON tally.api_keys (tier, created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_by_expiry ON tally.api_keys (expires_at, id) WHERE revoked_at IS NULL;
SELECT tally.describe('tally.api_keys', 'The one table of API keys; of a secret only its hash is here.', '{
  "id": "Identity.",
  "key_hash": "SHA-256 of a tag and the 32 bytes of the secret.",
  "prefix": "How the key begins, tly_ and nine; what logs and pages show of it.",
  "user_id": "Its owner.",
  "name": "What it is for.",
  "tier": "Whose limits its owner has with it.",
  "rate_limit": "Requests in any 60 seconds with this key.",
  "requests_today": "Requests on requests_day, as of the last flush.",
  "requests_day": "The day of UTC that requests_today counts.",
  "last_used": "When it was last used, to the minute, as of the last flush.",
  "created_at": "When it was made.",
  "expires_at": "From when on it is refused; NULL is never.",
  "scopes": "What it may do, sorted; each is a row of api_scopes.",
  "revoked_at": "When it was revoked; there is no way back.",
  "revoked_by": "Who revoked it.",
  "revoke_reason": "Why.",
  "revoked": "Whether it was revoked: from revoked_at.",
  "rotated_from": "The key that it succeeded; a key has one successor.",
  "client_type": "Who uses it.",
  "description": "What else its owner says of it.",
  "contact_email": "Whom to write to about it.",
  "changed_by": "Who made it, or changed it last.",
  "version": "Counts updates; an update names the one that it has read.",
  "key_id": "The id, under its earlier name.",
  "client_name": "The name, under its earlier name.",
  "rate_limit_per_min": "The rate limit, under its earlier name.",
  "last_used_at": "last_used, under its earlier name.",
  "is_active": "Whether it was not revoked; it may have expired.",
  "can_read_proofs": "Whether it has the scope proof:read.",
  "can_request_proofs": "Whether it has the scope proof:request.",
  "can_bulk_download": "Whether it has the scope proof:bulk."}');

CREATE TABLE tally.api_key_usage (
  key_id uuid NOT NULL CONSTRAINT key_is_known REFERENCES tally.api_keys ON DELETE RESTRICT,
  day date NOT NULL,
  requests bigint NOT NULL CONSTRAINT requests_are_counted CHECK (requests >= 0),
  PRIMARY KEY (key_id, day)
);
SELECT tally.describe('tally.api_key_usage', 'Requests by key and day, as of the last flush.', '{
  "key_id": "The key.",
  "day": "A day of UTC.",
  "requests": "How many of its requests were admitted."}');

-- Without a CHECK: each is read and planned anew by every statement, which each request would pay for twice.
CREATE UNLOGGED TABLE tally.rate_limits (
  bucket text COLLATE "C" PRIMARY KEY,
  tat timestamptz NOT NULL,
  day date NOT NULL,
  used integer NOT NULL,
  previous_day date,
  previous_used integer,
  seen_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
SELECT tally.describe('tally.rate_limits', 'Buckets of running requests; unlogged, so a crash forgets them and what was not flushed.', '{
  "bucket": "u:<user>:<tier>, k:<key> or ip:<network>.",
  "tat": "Theoretical arrival time (GCRA): when the bucket would be full again.",
  "day": "The day of UTC that used counts.",
  "used": "Admitted requests on that day.",
  "previous_day": "The day before that one on which it was used; the flush after midnight still finds its end.",
  "previous_used": "Admitted requests on the previous day.",
  "seen_at": "When it was last charged, or made."}');

CREATE VIEW tally.api_key_usage_view WITH (security_invoker = true) AS
SELECT k.id AS key_id, k.name AS client_name, k.user_id, k.tier, s.day, s.requests
FROM tally.api_key_usage AS s INNER JOIN tally.api_keys AS k ON k.id = s.key_id;
SELECT tally.describe('tally.api_key_usage_view', 'Requests by key and day with whose key it is.', '{
  "key_id": "The key.",
  "client_name": "Its name.",
  "user_id": "Its owner.",
  "tier": "Its tier as of now.",
  "day": "A day of UTC.",
  "requests": "How many of its requests were admitted."}');

-- What rows must not do ---------------------------------------------------------------------------

CREATE FUNCTION tally.check_risk_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- The rows of one user are a chain: the newest ends at his present score, so a change without its own row breaks it.
  IF NEW.risk_score <> OLD.risk_score AND NEW.risk_score IS DISTINCT FROM (
    SELECT h.new_score FROM tally.user_risk_history AS h WHERE h.user_id = NEW.id ORDER BY h.id DESC LIMIT 1) THEN
    PERFORM tally.refuse('TSI04', 'a risk score changes with a row of its history', '{"field": "risk_score"}');
  END IF;
  IF (NEW.blacklisted_at, NEW.blacklisted_by, NEW.blacklist_reason) IS DISTINCT FROM
     (OLD.blacklisted_at, OLD.blacklisted_by, OLD.blacklist_reason)
     AND NOT coalesce((
       SELECT CASE WHEN h.kind = 'unblacklist' THEN NEW.blacklisted_at IS NULL
                   ELSE coalesce(h.actor = NEW.blacklisted_by AND h.reason = NEW.blacklist_reason, false) END
       FROM tally.user_risk_history AS h
       WHERE h.user_id = NEW.id AND h.kind IN ('blacklist', 'unblacklist') ORDER BY h.id DESC LIMIT 1), false) THEN
    PERFORM tally.refuse('TSI04', 'a user is blacklisted with a row of his history', '{"field": "blacklisted_at"}');
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.check_risk_change() IS 'Refuses a change of risk or blacklist that has no row in user_risk_history, whoever makes it.';
CREATE TRIGGER check_risk_change BEFORE UPDATE OF risk_score, blacklisted_at, blacklisted_by, blacklist_reason ON tally.users
  FOR EACH ROW EXECUTE FUNCTION tally.check_risk_change();

CREATE FUNCTION tally.check_key_scopes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  unknown text[] := ARRAY(
    SELECT n.scope FROM unnest(NEW.scopes) AS n (scope)
    WHERE NOT EXISTS (SELECT FROM tally.api_scopes AS s WHERE s.scope = n.scope) ORDER BY n.scope);
BEGIN
  IF unknown <> '{}' THEN
    PERFORM tally.refuse('TSI04', format('there is no scope %s', array_to_string(unknown, ', ', 'null')),
      jsonb_build_object('field', 'scopes', 'unknown', to_jsonb(unknown)));
  END IF;
  NEW.scopes := ARRAY(SELECT DISTINCT n.scope FROM unnest(NEW.scopes) AS n (scope) ORDER BY n.scope);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.check_key_scopes() IS 'Refuses scopes that are no rows of api_scopes; sorts the others.';
CREATE TRIGGER check_key_scopes BEFORE INSERT OR UPDATE OF scopes ON tally.api_keys
  FOR EACH ROW EXECUTE FUNCTION tally.check_key_scopes();

CREATE FUNCTION tally.keep_revocation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  IF OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.revoked_by, NEW.revoke_reason) IS DISTINCT FROM
     (OLD.revoked_at, OLD.revoked_by, OLD.revoke_reason) THEN
    PERFORM tally.refuse('TSI08', 'the API key was revoked, and there is no way back', jsonb_build_object('prefix', OLD.prefix));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.keep_revocation() IS 'Refuses a change of a revocation once it stands (TSI08).';
CREATE TRIGGER keep_revocation BEFORE UPDATE OF revoked_at, revoked_by, revoke_reason ON tally.api_keys
  FOR EACH ROW EXECUTE FUNCTION tally.keep_revocation();
ALTER TABLE tally.api_keys ENABLE ALWAYS TRIGGER keep_revocation;

CREATE FUNCTION tally.keep_used_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  key_bucket CONSTANT text := 'k:' || OLD.id;
  is_used boolean;
BEGIN
  is_used := OLD.last_used IS NOT NULL OR OLD.requests_today > 0
    OR EXISTS (SELECT FROM tally.api_key_usage AS s WHERE s.key_id = OLD.id)
    OR EXISTS (SELECT FROM tally.api_keys AS k WHERE k.rotated_from = OLD.id);
  -- A first request that is on its way holds its bucket: wait for it. One that comes later finds no bucket, and no key.
  INSERT INTO tally.rate_limits (bucket, tat, day, used, seen_at)
  VALUES (key_bucket, tally.clock(), (tally.clock() AT TIME ZONE 'UTC')::date, 0, tally.clock()) ON CONFLICT (bucket) DO NOTHING;
  is_used := is_used OR EXISTS (
    SELECT FROM (SELECT b.used, b.previous_used FROM tally.rate_limits AS b WHERE b.bucket = key_bucket FOR UPDATE) AS held
    WHERE held.used > 0 OR held.previous_used > 0);
  IF is_used THEN
    PERFORM tally.refuse('TSI16', 'a key that was used, or has a successor, is evidence and is not deleted', jsonb_build_object('prefix', OLD.prefix));
  END IF;
  DELETE FROM tally.rate_limits WHERE bucket = key_bucket;
  RETURN OLD;
END $$;
COMMENT ON FUNCTION tally.keep_used_key() IS 'Refuses to delete a key that was ever used (TSI16).';
CREATE TRIGGER keep_used_key BEFORE DELETE ON tally.api_keys FOR EACH ROW EXECUTE FUNCTION tally.keep_used_key();
ALTER TABLE tally.api_keys ENABLE ALWAYS TRIGGER keep_used_key;
-- Users stay, deleted and erased as they may be: rows of every slice name them.
SELECT tally.keep_evidence('tally.users', 'DELETE OR TRUNCATE');
SELECT tally.keep_evidence('tally.api_keys', 'TRUNCATE');

-- Risk -------------------------------------------------------------------------------------------

CREATE FUNCTION tally.lock_user(p_user_id text) RETURNS tally.users
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  found_user tally.users;
BEGIN
  SELECT * INTO found_user FROM tally.users AS u WHERE u.id = p_user_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such user', '{"what": "user"}');
  END IF;
  RETURN found_user;
END $$;
COMMENT ON FUNCTION tally.lock_user(text) IS 'Locks a user, the first lock of every operation on what is his, and returns him; TSI01 where there is none.';

CREATE FUNCTION tally.set_risk_v1(p_user_id text, p_score numeric, p_reason_code text, p_reason text, p_actor text)
RETURNS tally.user_risk_history
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_user tally.users := tally.lock_user(p_user_id);
  entry tally.user_risk_history;
BEGIN
  -- NaN is greater than every number.
  IF p_score IS NULL OR p_score < 0 OR p_score > 100 THEN
    PERFORM tally.refuse('TSI04', 'a risk score is 0 to 100', '{"field": "score"}');
  END IF;
  INSERT INTO tally.user_risk_history (user_id, kind, old_score, new_score, reason_code, reason, actor)
  VALUES (p_user_id, 'set', changed_user.risk_score, p_score, p_reason_code, p_reason, p_actor)
  RETURNING * INTO entry;
  UPDATE tally.users SET risk_score = entry.new_score WHERE id = p_user_id;
  RETURN entry;
END $$;
COMMENT ON FUNCTION tally.set_risk_v1(text, numeric, text, text, text) IS 'Sets a user''s risk score, with its row of history, which it returns.';

CREATE FUNCTION tally.adjust_risk_v1(
  p_user_id text, p_delta numeric, p_source_kind text, p_source_id text, p_reason_code text, p_reason text, p_actor text
) RETURNS tally.user_risk_history
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_user tally.users := tally.lock_user(p_user_id);
  entry tally.user_risk_history;
BEGIN
  SELECT * INTO entry FROM tally.user_risk_history AS h
  WHERE h.user_id = p_user_id AND h.source_kind = p_source_kind AND h.source_id = p_source_id;
  IF FOUND THEN
    RETURN entry;
  END IF;
  IF p_delta IS NULL OR p_delta = 'NaN' THEN
    PERFORM tally.refuse('TSI04', 'a risk score is adjusted by a number', '{"field": "delta"}');
  ELSIF p_source_kind IS NULL OR p_source_id IS NULL THEN
    PERFORM tally.refuse('TSI04', 'an adjustment names what caused it', '{"field": "source_id"}');
  END IF;
  INSERT INTO tally.user_risk_history (user_id, kind, old_score, new_score, reason_code, reason, actor, source_kind, source_id)
  VALUES (p_user_id, 'adjust', changed_user.risk_score, greatest(0, least(100, changed_user.risk_score + p_delta)),
          p_reason_code, p_reason, p_actor, p_source_kind, p_source_id)
  RETURNING * INTO entry;
  UPDATE tally.users SET risk_score = entry.new_score WHERE id = p_user_id;
  RETURN entry;
END $$;
COMMENT ON FUNCTION tally.adjust_risk_v1(text, numeric, text, text, text, text, text) IS
  'Adds to a user''s risk score within 0 to 100, once for each source: the same source again returns its first row of history.';

CREATE FUNCTION tally.blacklist_user_v1(p_user_id text, p_reason text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_user tally.users := tally.lock_user(p_user_id);
BEGIN
  IF changed_user.blacklist_reason = p_reason THEN
    RETURN false;
  END IF;
  INSERT INTO tally.user_risk_history (user_id, kind, old_score, new_score, reason_code, reason, actor)
  VALUES (p_user_id, 'blacklist', changed_user.risk_score, changed_user.risk_score, 'blacklist', p_reason, p_actor);
  UPDATE tally.users
  SET blacklisted_at = coalesce(blacklisted_at, tally.clock()), blacklisted_by = p_actor, blacklist_reason = p_reason
  WHERE id = p_user_id;
  INSERT INTO tally.outbox_events (topic, key, user_id, payload)
  VALUES ('identity.user.blacklisted', p_user_id, p_user_id,
          jsonb_build_object('user_id', p_user_id, 'reason', p_reason, 'actor', p_actor));
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.blacklist_user_v1(text, text, text) IS
  'Blacklists a user, or gives another reason; his keys stay and are refused. False where that reason stood already.';

CREATE FUNCTION tally.unblacklist_user_v1(p_user_id text, p_reason text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_user tally.users := tally.lock_user(p_user_id);
BEGIN
  IF changed_user.blacklisted_at IS NULL THEN
    RETURN false;
  END IF;
  INSERT INTO tally.user_risk_history (user_id, kind, old_score, new_score, reason_code, reason, actor)
  VALUES (p_user_id, 'unblacklist', changed_user.risk_score, changed_user.risk_score, 'unblacklist', p_reason, p_actor);
  UPDATE tally.users SET blacklisted_at = NULL, blacklisted_by = NULL, blacklist_reason = NULL WHERE id = p_user_id;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.unblacklist_user_v1(text, text, text) IS 'Takes a user off the blacklist; false where he was not on it.';

-- Keys -------------------------------------------------------------------------------------------

CREATE FUNCTION tally.key_of(p_actor text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog
AS $$ SELECT CASE WHEN p_actor ~ '^key:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN substr(p_actor, 5)::uuid END $$;
COMMENT ON FUNCTION tally.key_of(text) IS 'The key that a principal is, or NULL.';

CREATE FUNCTION tally.check_held(p_actor text, p_scopes text[], p_tier text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  held text[] := '{}';
  held_tier text := 'free';
  lacking text[];
BEGIN
  -- The operator's key is a file beside the data: whoever holds it could as well log in as the database's owner.
  IF p_actor ~ '^(db:|system:|key:operator$)' THEN
    RETURN;
  END IF;
  -- SHARE: the actor's own key keeps its scopes until what they allow is committed.
  SELECT k.scopes, k.tier INTO held, held_tier
  FROM tally.api_keys AS k INNER JOIN tally.users AS u ON u.id = k.user_id
  WHERE k.id = tally.key_of(p_actor) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > tally.clock())
    AND u.blacklisted_at IS NULL AND u.deleted_at IS NULL
  FOR SHARE OF k;
  held := coalesce(held, '{}');
  lacking := ARRAY(SELECT s.scope FROM unnest(p_scopes) AS s (scope) WHERE s.scope <> ALL (held) ORDER BY s.scope);
  -- Limits are a right as well: a key gives its own tier on, or free; any other is for those who manage tiers.
  IF p_tier NOT IN ('free', coalesce(held_tier, 'free')) AND 'identity:admin' <> ALL (held) THEN
    lacking := lacking || 'identity:admin'::text;
  END IF;
  IF lacking <> '{}' THEN
    PERFORM tally.refuse('TSI10', format('%s lacks %s', split_part(p_actor, ':', 1), array_to_string(lacking, ', ')),
      jsonb_build_object('needed', to_jsonb(lacking), 'held', to_jsonb(held)));
  END IF;
END $$;
COMMENT ON FUNCTION tally.check_held(text, text[], text) IS
  'Refuses (TSI10) scopes that an actor lacks, and a tier above his; db: and system: principals and key:operator hold every scope, a user: principal none.';

CREATE FUNCTION tally.lock_owner(p_user_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  key_owner tally.users := tally.lock_user(p_user_id);
BEGIN
  IF num_nonnulls(key_owner.blacklisted_at, key_owner.deleted_at) > 0 THEN
    PERFORM tally.refuse('TSI06', 'the user is blacklisted or deleted', '{"what": "user"}');
  END IF;
END $$;
COMMENT ON FUNCTION tally.lock_owner(text) IS 'Locks a user who is to get a key; TSI06 where he is blacklisted or deleted.';

CREATE FUNCTION tally.check_key_count(p_user_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  -- Under the user's lock, so that two keys cannot both be the fiftieth.
  IF (SELECT count(*) FROM tally.api_keys AS k
      WHERE k.user_id = p_user_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > tally.clock())) > 50 THEN
    PERFORM tally.refuse('TSI04', 'a user has at most 50 active keys', '{"field": "user"}');
  END IF;
END $$;
COMMENT ON FUNCTION tally.check_key_count(text) IS 'Refuses a key that would be a user''s fifty-first active one, after it was inserted.';

CREATE FUNCTION tally.announce_key(p_topic text, p_key tally.api_keys, p_actor text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog
AS $$
  INSERT INTO tally.outbox_events (topic, key, user_id, payload)
  VALUES (p_topic, p_key.id::text, p_key.user_id, jsonb_build_object(
    'key_id', p_key.id, 'prefix', p_key.prefix, 'user_id', p_key.user_id, 'actor', p_actor,
    'rotated_from', p_key.rotated_from, 'reason', p_key.revoke_reason))
$$;
COMMENT ON FUNCTION tally.announce_key(text, tally.api_keys, text) IS 'Writes an event of a key into the outbox; nothing in it is secret.';

CREATE FUNCTION tally.create_api_key_v1(
  p_user_id text, p_key_hash bytea, p_prefix text, p_name text, p_scopes text[], p_tier text, p_rate_limit integer,
  p_expires_at timestamptz, p_client_type text, p_description text, p_contact_email text, p_actor text
) RETURNS tally.api_keys
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  new_key tally.api_keys;
BEGIN
  PERFORM tally.lock_owner(p_user_id);
  IF p_expires_at <= tally.clock() THEN
    PERFORM tally.refuse('TSI04', 'a key expires in the future', '{"field": "expires_at"}');
  END IF;
  INSERT INTO tally.api_keys (
    user_id, key_hash, prefix, name, scopes, tier, rate_limit, expires_at, client_type, description, contact_email, changed_by)
  VALUES (
    p_user_id, p_key_hash, p_prefix, p_name, p_scopes, p_tier,
    -- An unknown tier has no rate, and the foreign key is what refuses it.
    coalesce(p_rate_limit, (SELECT t.rate_limit FROM tally.api_tiers AS t WHERE t.tier = p_tier), 1),
    p_expires_at, p_client_type::tally.api_client_type, p_description, p_contact_email, p_actor)
  RETURNING * INTO new_key;
  PERFORM tally.check_held(p_actor, new_key.scopes, p_tier);
  PERFORM tally.check_key_count(p_user_id);
  PERFORM tally.announce_key('identity.key.created', new_key, p_actor);
  RETURN new_key;
END $$;
COMMENT ON FUNCTION tally.create_api_key_v1(text, bytea, text, text, text[], text, integer, timestamptz, text, text, text, text) IS
  'Makes an API key of scopes that the actor holds; of the secret it is given only the hash.';

CREATE FUNCTION tally.owner_of_key(p_key_id uuid) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  owner_id text;
BEGIN
  SELECT k.user_id INTO owner_id FROM tally.api_keys AS k WHERE k.id = p_key_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such API key', '{"what": "api_key"}');
  END IF;
  RETURN owner_id;
END $$;
COMMENT ON FUNCTION tally.owner_of_key(uuid) IS 'The user whose key it is, for ever, who is to be locked before it; TSI01 where there is none.';

CREATE FUNCTION tally.lock_keys(p_key_id uuid, p_actor text) RETURNS tally.api_keys
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  changed_key tally.api_keys;
BEGIN
  -- The key and the actor's own, by id, so that two keys that change each other do not wait in a circle.
  PERFORM FROM tally.api_keys AS k WHERE k.id IN (p_key_id, tally.key_of(p_actor)) ORDER BY k.id FOR NO KEY UPDATE;
  SELECT * INTO changed_key FROM tally.api_keys AS k WHERE k.id = p_key_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such API key', '{"what": "api_key"}');
  END IF;
  RETURN changed_key;
END $$;
COMMENT ON FUNCTION tally.lock_keys(uuid, text) IS 'Locks a key, and the actor''s own, and returns the first; TSI01 where there is none.';

CREATE FUNCTION tally.update_api_key_v1(p_key_id uuid, p_expected_version integer, p_changes jsonb, p_actor text)
RETURNS tally.api_keys
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_key tally.api_keys;
  wanted text[] := ARRAY(SELECT s.scope FROM jsonb_array_elements_text(p_changes -> 'scopes') AS s (scope));
  wanted_tier text;
  lasts_longer boolean;
BEGIN
  PERFORM tally.lock_user(tally.owner_of_key(p_key_id));
  changed_key := tally.lock_keys(p_key_id, p_actor);
  IF changed_key.revoked_at IS NOT NULL THEN
    PERFORM tally.refuse('TSI08', 'the API key was revoked, and there is no way back', jsonb_build_object('prefix', changed_key.prefix));
  ELSIF changed_key.version <> p_expected_version THEN
    PERFORM tally.refuse('TSI03', format('the API key has version %s, not %s', changed_key.version, p_expected_version),
      jsonb_build_object('expected', p_expected_version, 'actual', changed_key.version));
  END IF;
  wanted := CASE WHEN p_changes ? 'scopes' THEN wanted ELSE changed_key.scopes END;
  wanted_tier := coalesce(p_changes ->> 'tier', changed_key.tier);
  lasts_longer := p_changes ? 'expires_at' AND changed_key.expires_at IS NOT NULL
    AND coalesce((p_changes ->> 'expires_at')::timestamptz > changed_key.expires_at, true);
  -- What it had it may keep, whoever changes it; what it gets must be the actor's, and was so before, if it is his own key.
  -- A key that lasts longer gets everything anew: an expired one would come back with what its changer lacks.
  PERFORM tally.check_held(p_actor,
    ARRAY(SELECT s.scope FROM unnest(wanted) AS s (scope) WHERE lasts_longer OR s.scope <> ALL (changed_key.scopes)),
    CASE WHEN wanted_tier = changed_key.tier AND NOT lasts_longer THEN 'free' ELSE wanted_tier END);
  UPDATE tally.api_keys AS k SET
    name = CASE WHEN p_changes ? 'name' THEN p_changes ->> 'name' ELSE k.name END,
    tier = wanted_tier,
    rate_limit = CASE WHEN p_changes ? 'rate_limit' THEN (p_changes ->> 'rate_limit')::integer ELSE k.rate_limit END,
    scopes = wanted,
    expires_at = CASE WHEN p_changes ? 'expires_at' THEN (p_changes ->> 'expires_at')::timestamptz ELSE k.expires_at END,
    changed_by = p_actor, version = k.version + 1
  WHERE k.id = p_key_id;
  SELECT * INTO changed_key FROM tally.api_keys AS k WHERE k.id = p_key_id;
  PERFORM tally.check_key_count(changed_key.user_id);
  RETURN changed_key;
END $$;
COMMENT ON FUNCTION tally.update_api_key_v1(uuid, integer, jsonb, text) IS
  'Changes the named fields of a key that is not revoked: name, tier, rate_limit, scopes, expires_at.';

CREATE FUNCTION tally.rotate_api_key_v1(p_key_id uuid, p_key_hash bytea, p_prefix text, p_overlap interval, p_actor text)
RETURNS tally.api_keys
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  old_key tally.api_keys;
  new_key tally.api_keys;
BEGIN
  PERFORM tally.lock_owner(tally.owner_of_key(p_key_id));
  old_key := tally.lock_keys(p_key_id, p_actor);
  IF old_key.revoked_at IS NOT NULL THEN
    PERFORM tally.refuse('TSI08', 'the API key was revoked, and there is no way back', jsonb_build_object('prefix', old_key.prefix));
  ELSIF old_key.expires_at <= tally.clock() THEN
    PERFORM tally.refuse('TSI09', 'the API key has expired', jsonb_build_object('prefix', old_key.prefix));
  ELSIF p_overlap NOT BETWEEN interval '0' AND interval '365 days' THEN
    PERFORM tally.refuse('TSI04', 'an overlap is 0 to 365 days', '{"field": "overlap"}');
  END IF;
  PERFORM tally.check_held(p_actor, old_key.scopes, old_key.tier);
  INSERT INTO tally.api_keys (
    user_id, key_hash, prefix, name, scopes, tier, rate_limit, expires_at, client_type, description, contact_email,
    changed_by, rotated_from)
  VALUES (
    old_key.user_id, p_key_hash, p_prefix, old_key.name, old_key.scopes, old_key.tier, old_key.rate_limit, old_key.expires_at,
    old_key.client_type, old_key.description, old_key.contact_email, p_actor, p_key_id)
  RETURNING * INTO new_key;
  -- least passes over NULL: a key that never expired does so now.
  UPDATE tally.api_keys AS k
  SET expires_at = least(k.expires_at, tally.clock() + p_overlap), changed_by = p_actor, version = k.version + 1
  WHERE k.id = p_key_id;
  PERFORM tally.check_key_count(old_key.user_id);
  PERFORM tally.announce_key('identity.key.created', new_key, p_actor);
  RETURN new_key;
END $$;
COMMENT ON FUNCTION tally.rotate_api_key_v1(uuid, bytea, text, interval, text) IS
  'Makes the one successor of a key, with its settings; the old key expires after the overlap at the latest.';

CREATE FUNCTION tally.revoke_api_keys_v1(p_user_id text, p_key_id uuid, p_reason text, p_actor text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  revoked_keys integer;
BEGIN
  IF p_key_id IS NOT NULL AND NOT EXISTS (SELECT FROM tally.api_keys AS k WHERE k.id = p_key_id) THEN
    PERFORM tally.refuse('TSI01', 'there is no such API key', '{"what": "api_key"}');
  ELSIF p_key_id IS NULL THEN
    -- Whoever makes a key of his holds this lock: it is committed and found here, or refused after.
    PERFORM tally.lock_user(p_user_id);
  END IF;
  WITH held AS MATERIALIZED (
    SELECT k.id FROM tally.api_keys AS k
    WHERE (k.id = p_key_id OR (p_key_id IS NULL AND k.user_id = p_user_id)) AND k.revoked_at IS NULL
    ORDER BY k.id FOR NO KEY UPDATE
  ), gone AS (
    UPDATE tally.api_keys AS k SET revoked_at = tally.clock(), revoked_by = p_actor, revoke_reason = p_reason
    FROM held AS h WHERE k.id = h.id RETURNING k.*
  ), announced AS (
    INSERT INTO tally.outbox_events (topic, key, user_id, payload)
    SELECT 'identity.key.revoked', g.id::text, g.user_id, jsonb_build_object(
      'key_id', g.id, 'prefix', g.prefix, 'user_id', g.user_id, 'actor', p_actor, 'rotated_from', g.rotated_from, 'reason', p_reason)
    FROM gone AS g ORDER BY g.id
  )
  SELECT count(*) INTO revoked_keys FROM gone;
  RETURN revoked_keys;
END $$;
COMMENT ON FUNCTION tally.revoke_api_keys_v1(text, uuid, text, text) IS
  'Revokes one key, or all of a user where none is named; those that are revoked stay as they are. How many it revoked.';

CREATE FUNCTION tally.set_tier_limits_v1(p_tier text, p_rate_limit integer, p_daily_quota integer, p_actor text) RETURNS tally.api_tiers
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  changed_tier tally.api_tiers;
BEGIN
  UPDATE tally.api_tiers AS t SET rate_limit = p_rate_limit, daily_quota = p_daily_quota, changed_by = p_actor
  WHERE t.tier = p_tier RETURNING * INTO changed_tier;
  IF NOT FOUND THEN
    PERFORM tally.refuse('TSI01', 'there is no such tier', '{"what": "tier"}');
  END IF;
  RETURN changed_tier;
END $$;
COMMENT ON FUNCTION tally.set_tier_limits_v1(text, integer, integer, text) IS 'Sets the limits of a tier, from the next request on.';

CREATE FUNCTION tally.delete_user_v1(p_user_id text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  deleted_user tally.users := tally.lock_user(p_user_id);
BEGIN
  IF deleted_user.deleted_at IS NOT NULL THEN
    RETURN false;
  END IF;
  UPDATE tally.users SET deleted_at = tally.clock(), deleted_by = p_actor, version = version + 1 WHERE id = p_user_id;
  PERFORM tally.revoke_api_keys_v1(p_user_id, NULL, 'user deleted', p_actor);
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.delete_user_v1(text, text) IS 'Deletes a user: his row stays, his keys are revoked. False where he was deleted already.';

CREATE FUNCTION tally.erase_user_v1(p_user_id text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  erased_user tally.users := tally.lock_user(p_user_id);
BEGIN
  IF erased_user.deleted_at IS NULL THEN
    PERFORM tally.refuse('TSI16', 'a user is deleted before he is erased', '{"what": "user"}');
  END IF;
  UPDATE tally.api_keys AS k SET name = 'erased', description = NULL, contact_email = NULL, changed_by = p_actor, version = k.version + 1
  WHERE k.id IN (
    SELECT i.id FROM tally.api_keys AS i
    WHERE i.user_id = p_user_id AND (i.name <> 'erased' OR num_nonnulls(i.description, i.contact_email) > 0)
    ORDER BY i.id FOR NO KEY UPDATE);
  -- The text that was signed names the wallet; that it was signed stays in the proof.
  UPDATE tally.human_proof_challenges AS c SET message = 'erased' WHERE c.user_id = p_user_id AND c.message <> 'erased';
  UPDATE tally.human_proofs AS p SET proof_data = '{}' WHERE p.user_id = p_user_id AND p.proof_data <> '{}';
  IF num_nonnulls(erased_user.wallet_address, erased_user.username) = 0 AND erased_user.tags = '{}' THEN
    RETURN false;
  END IF;
  UPDATE tally.users SET wallet_address = NULL, username = NULL, tags = '{}', version = version + 1 WHERE id = p_user_id;
  IF erased_user.tags <> '{}' THEN
    -- The planner's samples of tags are taken anew, without his; with none at all a list by a common tag would sort everybody.
    ANALYZE tally.users (tags);
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.erase_user_v1(text, text) IS
  'Takes what names a deleted user out of his row, his keys, challenges and proofs; false where he was erased already. His nullifiers stay.';

-- Limits -----------------------------------------------------------------------------------------

-- Neither is STRICT: the planner takes a function apart into its expression only where it could not return NULL otherwise.
CREATE FUNCTION tally.gcra_burst(p_rate integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT greatest(1, p_rate OPERATOR(pg_catalog./) 10) $$;
COMMENT ON FUNCTION tally.gcra_burst(integer) IS 'How many requests a bucket of a rate admits at once: a tenth of a minute''s, at least 1.';

CREATE FUNCTION tally.gcra_interval(p_rate integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  -- 60 s by rate - burst + 1, rounded up to the microsecond: then burst + (rate - burst) is the most of any 60 seconds.
  SELECT (60000000::pg_catalog.int8 OPERATOR(pg_catalog.+) p_rate OPERATOR(pg_catalog.-) tally.gcra_burst(p_rate)) OPERATOR(pg_catalog./)
    (p_rate OPERATOR(pg_catalog.-) tally.gcra_burst(p_rate) OPERATOR(pg_catalog.+) 1) OPERATOR(pg_catalog.*) '1 microsecond'::pg_catalog.interval
$$;
COMMENT ON FUNCTION tally.gcra_interval(integer) IS 'The pause between two requests of a bucket of a rate whose burst is spent.';

CREATE FUNCTION tally.make_bucket(p_bucket text, p_used bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog
AS $$
  INSERT INTO tally.rate_limits (bucket, tat, day, used, seen_at)
  -- Full since a minute ago: the request that it is made for came before now.
  SELECT p_bucket, c.at - interval '1 minute', (c.at AT TIME ZONE 'UTC')::date, least(p_used, 2147483646), c.at
  FROM (SELECT tally.clock() AS at) AS c
  ON CONFLICT (bucket) DO NOTHING
$$;
COMMENT ON FUNCTION tally.make_bucket(text, bigint) IS 'Makes a full bucket that goes on from a day''s flushed count; one that another made stays.';

CREATE FUNCTION tally.make_key_buckets(p_key_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  today CONSTANT date := (tally.clock() AT TIME ZONE 'UTC')::date;
BEGIN
  PERFORM tally.make_bucket('u:' || k.user_id || ':' || k.tier, (
    SELECT coalesce(sum(s.requests), 0) FROM tally.api_keys AS o INNER JOIN tally.api_key_usage AS s ON s.key_id = o.id
    WHERE o.user_id = k.user_id AND o.tier = k.tier AND s.day = today)::bigint)
  FROM tally.api_keys AS k WHERE k.id = p_key_id;
  -- The owner's bucket is held before the key's is made, as everywhere: who finds it charges it and waits for the key's.
  PERFORM FROM tally.rate_limits AS b
  WHERE b.bucket = (SELECT 'u:' || k.user_id || ':' || k.tier FROM tally.api_keys AS k WHERE k.id = p_key_id) FOR NO KEY UPDATE;
  PERFORM tally.make_bucket('k:' || p_key_id, coalesce((
    SELECT s.requests FROM tally.api_key_usage AS s WHERE s.key_id = p_key_id AND s.day = today), 0));
END $$;
COMMENT ON FUNCTION tally.make_key_buckets(uuid) IS 'Makes the two buckets of a key where they are missing, each with today''s flushed count.';

CREATE FUNCTION tally.admit_anonymous_v1(
  p_bucket text, OUT refusal text, OUT rate_limit integer, OUT remaining integer, OUT reset_seconds double precision,
  OUT retry_after double precision
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  quota integer;
  held record;
  at timestamptz;
  today date;
  used_today integer;
  step interval;
  slack interval;
BEGIN
  SELECT t.rate_limit, t.daily_quota INTO rate_limit, quota FROM tally.api_tiers AS t WHERE t.tier = 'anonymous';
  step := tally.gcra_interval(rate_limit);
  slack := step * (tally.gcra_burst(rate_limit) - 1);
  LOOP
    SELECT b.tat, b.day, b.used INTO held FROM tally.rate_limits AS b WHERE b.bucket = p_bucket FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    PERFORM tally.make_bucket(p_bucket, 0);
  END LOOP;
  at := tally.clock();
  today := (at AT TIME ZONE 'UTC')::date;
  used_today := CASE WHEN held.day < today THEN 0 ELSE held.used END;
  IF used_today >= quota THEN
    refusal := 'TSI12';
    retry_after := date_part('epoch', ((today + 1)::timestamp AT TIME ZONE 'UTC') - at);
  ELSIF held.tat > at + slack THEN
    refusal := 'TSI11';
    retry_after := date_part('epoch', held.tat - slack - at);
  ELSE
    held.tat := greatest(held.tat, at) + step;
    UPDATE tally.rate_limits AS b SET
      tat = held.tat, used = used_today + 1, seen_at = at, day = greatest(b.day, today),
      previous_day = CASE WHEN b.day < today THEN b.day ELSE b.previous_day END,
      previous_used = CASE WHEN b.day < today THEN b.used ELSE b.previous_used END
    WHERE b.bucket = p_bucket;
    used_today := used_today + 1;
  END IF;
  remaining := greatest(0, least(
    quota - used_today, floor(date_part('epoch', at + slack + step - held.tat) / date_part('epoch', step) + 1e-9)));
  reset_seconds := greatest(0, date_part('epoch', held.tat - at));
END $$;
COMMENT ON FUNCTION tally.admit_anonymous_v1(text) IS
  'Charges the bucket of a network with the tier anonymous. A refusal is a value, the SQLSTATE of its error: so that the caller''s commit keeps what was charged.';

CREATE FUNCTION tally.admit_v1(
  p_key_hash bytea, p_prefix text, p_any_of text[], p_anonymous_bucket text,
  OUT refusal text, OUT user_id text, OUT key_id uuid, OUT scopes text[], OUT rate_limit integer, OUT remaining integer,
  OUT reset_seconds double precision, OUT retry_after double precision
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  at timestamptz := tally.clock();
  today date := (at AT TIME ZONE 'UTC')::date;
  prefix text;
  revoked_at timestamptz;
  expires_at timestamptz;
  barred_at timestamptz;
  quota integer;
  user_bucket text;
  key_bucket text;
  user_step interval;
  key_step interval;
  user_slack interval;
  key_slack interval;
  user_tat timestamptz;
  key_tat timestamptz;
  used_today integer;
  used_on date;
BEGIN
  -- 1. The key as it is now, with its owner and tier. Nothing here is locked: what a later commit says holds for later requests.
  SELECT k.id, k.user_id, k.prefix, k.scopes, k.revoked_at, k.expires_at, coalesce(u.blacklisted_at, u.deleted_at),
         least(t.rate_limit, k.rate_limit), t.daily_quota, 'u:' || k.user_id || ':' || k.tier, 'k:' || k.id,
         tally.gcra_interval(t.rate_limit), tally.gcra_interval(t.rate_limit) * (tally.gcra_burst(t.rate_limit) - 1),
         tally.gcra_interval(k.rate_limit), tally.gcra_interval(k.rate_limit) * (tally.gcra_burst(k.rate_limit) - 1)
  INTO key_id, user_id, prefix, scopes, revoked_at, expires_at, barred_at, rate_limit, quota, user_bucket, key_bucket,
       user_step, user_slack, key_step, key_slack
  FROM tally.api_keys AS k
  INNER JOIN tally.users AS u ON u.id = k.user_id
  INNER JOIN tally.api_tiers AS t ON t.tier = k.tier
  WHERE k.key_hash = p_key_hash;
  IF prefix = p_prefix AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > at) THEN
    IF barred_at IS NOT NULL THEN
      refusal := 'TSI06';
      RETURN;
    ELSIF NOT scopes && p_any_of AND p_any_of <> '{}' THEN
      refusal := 'TSI10';
      RETURN;
    END IF;
  ELSE
    refusal := CASE WHEN prefix IS DISTINCT FROM p_prefix THEN 'TSI07' WHEN revoked_at IS NOT NULL THEN 'TSI08' ELSE 'TSI09' END;
    user_id := NULL;
    key_id := NULL;
    scopes := NULL;
    rate_limit := NULL;
    -- Whoever tries keys is limited like whoever has none; an answer about the key is not worth more than his bucket holds.
    IF p_anonymous_bucket IS NOT NULL THEN
      SELECT coalesce(a.refusal, admit_v1.refusal), a.rate_limit, a.remaining, a.reset_seconds, a.retry_after
      INTO refusal, rate_limit, remaining, reset_seconds, retry_after
      FROM tally.admit_anonymous_v1(p_anonymous_bucket) AS a;
    END IF;
    RETURN;
  END IF;

  -- 2. The owner's bucket is charged, then the key's, each only where it admits; the locks are taken in this order.
  LOOP
    UPDATE tally.rate_limits AS b SET
      tat = greatest(b.tat, at) + user_step, used = CASE WHEN b.day < today THEN 1 ELSE b.used + 1 END,
      day = greatest(b.day, today), seen_at = at,
      previous_day = CASE WHEN b.day < today THEN b.day ELSE b.previous_day END,
      previous_used = CASE WHEN b.day < today THEN b.used ELSE b.previous_used END
    WHERE b.bucket = user_bucket AND b.tat <= at + user_slack AND (quota IS NULL OR b.used < quota OR b.day < today)
    RETURNING b.tat, b.used INTO user_tat, used_today;
    IF FOUND THEN
      UPDATE tally.rate_limits AS b SET
        tat = greatest(b.tat, at) + key_step, used = CASE WHEN b.day < today THEN 1 ELSE b.used + 1 END,
        day = greatest(b.day, today), seen_at = at,
        previous_day = CASE WHEN b.day < today THEN b.day ELSE b.previous_day END,
        previous_used = CASE WHEN b.day < today THEN b.used ELSE b.previous_used END
      WHERE b.bucket = key_bucket AND b.tat <= at + key_slack
      RETURNING b.tat INTO key_tat;
      EXIT WHEN FOUND;
      -- 3. The key refuses: the owner's charge is taken back under its lock. A time before now became now, which is as full.
      UPDATE tally.rate_limits AS b SET tat = b.tat - user_step, used = b.used - 1 WHERE b.bucket = user_bucket
      RETURNING b.tat, b.used INTO user_tat, used_today;
      SELECT b.tat INTO key_tat FROM tally.rate_limits AS b WHERE b.bucket = key_bucket;
      -- As it is read it must refuse: one that was made, or given back to, in between is asked again.
      CONTINUE WHEN key_tat <= at + key_slack;
      IF FOUND THEN
        refusal := 'TSI11';
        retry_after := greatest(date_part('epoch', key_tat - key_slack - at), date_part('epoch', user_tat - user_slack - at));
        EXIT;
      END IF;
    ELSE
      SELECT b.tat, b.used, b.day INTO user_tat, used_today, used_on FROM tally.rate_limits AS b WHERE b.bucket = user_bucket;
      IF FOUND THEN
        SELECT coalesce((SELECT b.tat FROM tally.rate_limits AS b WHERE b.bucket = key_bucket), at) INTO key_tat;
        used_today := CASE WHEN used_on < today THEN 0 ELSE used_today END;
        IF used_today >= quota THEN
          refusal := 'TSI12';
          retry_after := date_part('epoch', ((today + 1)::timestamp AT TIME ZONE 'UTC') - at);
        ELSIF user_tat > at + user_slack THEN
          refusal := 'TSI11';
          retry_after := greatest(date_part('epoch', user_tat - user_slack - at), date_part('epoch', key_tat - key_slack - at));
        ELSE
          CONTINUE;
        END IF;
        EXIT;
      END IF;
    END IF;
    -- A bucket is missing. A key that was never used may have been deleted since it was read, and its bucket with it.
    PERFORM tally.make_key_buckets(key_id);
    IF NOT EXISTS (SELECT FROM tally.api_keys AS k WHERE k.id = admit_v1.key_id) THEN
      refusal := 'TSI07';
      RETURN;
    END IF;
  END LOOP;

  -- How many more pass at once: whole steps within the slack, in both buckets, and the quota. Steps are whole microseconds,
  -- so that a billionth heals what floats lose and reaches no other number.
  remaining := greatest(0, least(
    quota - used_today,
    floor(date_part('epoch', at + user_slack + user_step - user_tat) / date_part('epoch', user_step) + 1e-9),
    floor(date_part('epoch', at + key_slack + key_step - key_tat) / date_part('epoch', key_step) + 1e-9)));
  reset_seconds := greatest(0, date_part('epoch', greatest(user_tat, key_tat) - at));
END $$;
COMMENT ON FUNCTION tally.admit_v1(bytea, text, text[], text) IS
  'Decides on one request and charges both buckets of its key. A refusal is a value, the SQLSTATE of its error: so that the caller''s commit keeps what was charged.';

-- Usage ------------------------------------------------------------------------------------------

CREATE FUNCTION tally.flush_usage_v1() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  flushed_keys integer;
BEGIN
  -- One at a time: what another counts just now is counted.
  IF NOT pg_try_advisory_xact_lock(1952541817, -22) THEN
    RETURN 0;
  END IF;
  -- The keys first, in their order: a row of usage locks its key too, and who waits for one must hold none behind it.
  WITH counted AS MATERIALIZED (
    SELECT substr(b.bucket, 3)::uuid AS key_id, b.day, b.used, date_trunc('minute', b.seen_at) AS minute
    FROM tally.rate_limits AS b WHERE starts_with(b.bucket, 'k:') AND b.used > 0
  ), held AS MATERIALIZED (
    SELECT k.id, c.day, c.used, c.minute
    FROM counted AS c INNER JOIN tally.api_keys AS k ON k.id = c.key_id
    WHERE k.requests_day IS NULL OR k.requests_day < c.day OR (k.requests_day = c.day AND k.requests_today < c.used)
      OR k.last_used IS NULL OR k.last_used < c.minute
    ORDER BY k.id FOR NO KEY UPDATE OF k
  )
  UPDATE tally.api_keys AS k SET
    requests_today = CASE WHEN k.requests_day = h.day THEN greatest(k.requests_today, h.used) ELSE h.used END,
    requests_day = h.day, last_used = greatest(k.last_used, h.minute)
  FROM held AS h WHERE k.id = h.id;
  GET DIAGNOSTICS flushed_keys = ROW_COUNT;

  INSERT INTO tally.api_key_usage AS s (key_id, day, requests)
  SELECT c.key_id, c.day, c.used
  FROM (
    SELECT substr(b.bucket, 3)::uuid AS key_id, d.day, d.used
    FROM tally.rate_limits AS b CROSS JOIN LATERAL (VALUES (b.day, b.used), (b.previous_day, b.previous_used)) AS d (day, used)
    WHERE starts_with(b.bucket, 'k:') AND d.used > 0
  ) AS c
  INNER JOIN tally.api_keys AS k ON k.id = c.key_id
  LEFT JOIN tally.api_key_usage AS stored ON stored.key_id = c.key_id AND stored.day = c.day
  WHERE c.used > coalesce(stored.requests, 0)
  ORDER BY c.key_id, c.day
  ON CONFLICT (key_id, day) DO UPDATE SET requests = greatest(s.requests, excluded.requests);

  -- A bucket that nobody asked for a day is full, and its day is flushed; one that is just now charged is skipped.
  DELETE FROM tally.rate_limits AS b WHERE b.bucket IN (
    SELECT i.bucket FROM tally.rate_limits AS i
    WHERE i.seen_at < (SELECT tally.clock()) - interval '1 day' FOR UPDATE SKIP LOCKED);
  RETURN flushed_keys;
END $$;
COMMENT ON FUNCTION tally.flush_usage_v1() IS
  'Writes what the buckets counted into api_key_usage and api_keys, never lowering what stands there, and deletes idle buckets. How many keys changed.';

CREATE FUNCTION tally.count_requests_v1(p_key_id uuid, p_requests integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  today CONSTANT date := (tally.clock() AT TIME ZONE 'UTC')::date;
  counted_key tally.api_keys;
  more integer;
BEGIN
  PERFORM pg_advisory_xact_lock(1952541817, -22);
  counted_key := tally.lock_keys(p_key_id, NULL);
  IF p_requests IS NULL OR p_requests < 0 THEN
    PERFORM tally.refuse('TSI04', 'requests are counted from 0', '{"field": "requests"}');
  END IF;
  more := p_requests - greatest(
    coalesce((SELECT s.requests FROM tally.api_key_usage AS s WHERE s.key_id = p_key_id AND s.day = today), 0),
    coalesce((SELECT b.used FROM tally.rate_limits AS b WHERE b.bucket = 'k:' || p_key_id AND b.day = today), 0));
  IF more <= 0 THEN
    RETURN;
  END IF;
  INSERT INTO tally.api_key_usage (key_id, day, requests) VALUES (p_key_id, today, p_requests)
  ON CONFLICT (key_id, day) DO UPDATE SET requests = excluded.requests;
  UPDATE tally.api_keys AS k SET requests_today = p_requests, requests_day = today WHERE k.id = p_key_id;
  UPDATE tally.rate_limits AS b SET
    used = CASE WHEN b.day < today THEN more ELSE b.used + more END, day = today,
    previous_day = CASE WHEN b.day < today THEN b.day ELSE b.previous_day END,
    previous_used = CASE WHEN b.day < today THEN b.used ELSE b.previous_used END
  WHERE b.bucket = 'u:' || counted_key.user_id || ':' || counted_key.tier;
  UPDATE tally.rate_limits AS b SET
    used = p_requests, day = today,
    previous_day = CASE WHEN b.day < today THEN b.day ELSE b.previous_day END,
    previous_used = CASE WHEN b.day < today THEN b.used ELSE b.previous_used END
  WHERE b.bucket = 'k:' || p_key_id;
END $$;
COMMENT ON FUNCTION tally.count_requests_v1(uuid, integer) IS
  'Raises today''s count of a key to what an importer knows, in both buckets too; a lower number changes nothing.';

CREATE FUNCTION tally.reset_daily_count_v1(p_key_id uuid, p_actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  today CONSTANT date := (tally.clock() AT TIME ZONE 'UTC')::date;
  reset_key tally.api_keys;
  used_at timestamptz;
BEGIN
  -- Without a flush in between, which would put the old count back.
  PERFORM pg_advisory_xact_lock(1952541817, -22);
  reset_key := tally.lock_keys(p_key_id, p_actor);
  UPDATE tally.api_key_usage AS s SET requests = 0 WHERE s.key_id = p_key_id AND s.day = today;
  UPDATE tally.rate_limits AS b SET used = 0 WHERE b.bucket = 'u:' || reset_key.user_id || ':' || reset_key.tier AND b.day = today;
  SELECT CASE WHEN b.used > 0 THEN date_trunc('minute', b.seen_at) END INTO used_at
  FROM tally.rate_limits AS b WHERE b.bucket = 'k:' || p_key_id FOR NO KEY UPDATE;
  UPDATE tally.rate_limits AS b SET used = 0 WHERE b.bucket = 'k:' || p_key_id AND b.day = today;
  -- That it was used stays known: such a key is not deleted.
  UPDATE tally.api_keys AS k SET requests_today = 0, requests_day = today, last_used = greatest(k.last_used, used_at), changed_by = p_actor
  WHERE k.id = p_key_id;
END $$;
COMMENT ON FUNCTION tally.reset_daily_count_v1(uuid, text) IS 'Gives a key and its owner''s bucket today''s quota anew.';

-- Who may do what ---------------------------------------------------------------------------------

GRANT SELECT ON
  tally.users, tally.user_risk_history, tally.api_scopes, tally.api_tiers, tally.api_keys, tally.api_key_usage, tally.rate_limits,
  tally.api_key_usage_view
  TO tally_app, tally_auditor;
GRANT INSERT (id, wallet_address, username, created_at, last_activity, tags) ON tally.users TO tally_app;
GRANT UPDATE (wallet_address, username, last_activity, tags, version) ON tally.users TO tally_app;
GRANT UPDATE (last_used) ON tally.api_keys TO tally_app;
GRANT DELETE ON tally.api_keys TO tally_app;

-- tally_reader: a user's own rows, by the setting that his session's maker has given it; never a key's hash.
GRANT SELECT ON tally.users, tally.user_risk_history TO tally_reader;
GRANT SELECT (
  id, prefix, user_id, name, tier, rate_limit, requests_today, requests_day, last_used, created_at, expires_at, scopes,
  revoked_at, revoked_by, revoke_reason, revoked, rotated_from, client_type, description, contact_email, changed_by, version,
  key_id, client_name, rate_limit_per_min, last_used_at, is_active, can_read_proofs, can_request_proofs, can_bulk_download)
  ON tally.api_keys TO tally_reader;

DO $$
DECLARE
  owned text;
BEGIN
  FOREACH owned IN ARRAY ARRAY['users', 'user_risk_history', 'api_keys'] LOOP
    EXECUTE format('ALTER TABLE tally.%I ENABLE ROW LEVEL SECURITY', owned);
    EXECUTE format('CREATE POLICY app_reads_all ON tally.%I TO tally_app, tally_auditor USING (true) WITH CHECK (true)', owned);
    EXECUTE format('CREATE POLICY reader_reads_own ON tally.%I FOR SELECT TO tally_reader USING (%I = current_setting(''tally.current_user_id'', true))',
      owned, CASE WHEN owned = 'users' THEN 'id' ELSE 'user_id' END);
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION
  tally.check_risk_change(), tally.check_key_scopes(), tally.keep_revocation(), tally.keep_used_key(), tally.lock_user(text),
  tally.set_risk_v1(text, numeric, text, text, text), tally.adjust_risk_v1(text, numeric, text, text, text, text, text),
  tally.blacklist_user_v1(text, text, text), tally.unblacklist_user_v1(text, text, text), tally.key_of(text),
  tally.check_held(text, text[], text), tally.lock_owner(text), tally.check_key_count(text),
  tally.announce_key(text, tally.api_keys, text),
  tally.create_api_key_v1(text, bytea, text, text, text[], text, integer, timestamptz, text, text, text, text),
  tally.owner_of_key(uuid), tally.lock_keys(uuid, text), tally.update_api_key_v1(uuid, integer, jsonb, text),
  tally.rotate_api_key_v1(uuid, bytea, text, interval, text), tally.revoke_api_keys_v1(text, uuid, text, text),
  tally.set_tier_limits_v1(text, integer, integer, text), tally.delete_user_v1(text, text), tally.erase_user_v1(text, text),
  tally.gcra_burst(integer), tally.gcra_interval(integer),
  tally.make_bucket(text, bigint), tally.make_key_buckets(uuid), tally.admit_anonymous_v1(text),
  tally.admit_v1(bytea, text, text[], text), tally.flush_usage_v1(), tally.count_requests_v1(uuid, integer),
  tally.reset_daily_count_v1(uuid, text)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.set_risk_v1(text, numeric, text, text, text), tally.adjust_risk_v1(text, numeric, text, text, text, text, text),
  tally.blacklist_user_v1(text, text, text), tally.unblacklist_user_v1(text, text, text),
  tally.create_api_key_v1(text, bytea, text, text, text[], text, integer, timestamptz, text, text, text, text),
  tally.update_api_key_v1(uuid, integer, jsonb, text),
  tally.rotate_api_key_v1(uuid, bytea, text, interval, text), tally.revoke_api_keys_v1(text, uuid, text, text),
  tally.set_tier_limits_v1(text, integer, integer, text), tally.delete_user_v1(text, text), tally.erase_user_v1(text, text),
  tally.admit_anonymous_v1(text), tally.admit_v1(bytea, text, text[], text), tally.flush_usage_v1(),
  tally.count_requests_v1(uuid, integer), tally.reset_daily_count_v1(uuid, text)
  TO tally_app;
