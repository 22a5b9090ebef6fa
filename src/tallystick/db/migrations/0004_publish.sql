-- Checkpoints, witnesses, cosignatures (log.md, section 2.6).

CREATE TYPE tally.witness_status AS ENUM ('active', 'conflict');
COMMENT ON TYPE tally.witness_status IS 'Whether a witness agrees with us.';

CREATE TABLE tally.checkpoints (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  tree_size bigint NOT NULL CONSTRAINT tree_size_is_a_size CHECK (tree_size >= 0),
  root_hash bytea NOT NULL CONSTRAINT root_hash_is_sha256 CHECK (octet_length(root_hash) = 32),
  note text NOT NULL,
  signed_at timestamptz NOT NULL DEFAULT tally.clock(),
  batch_rows integer NOT NULL,
  seal_ms integer NOT NULL,
  PRIMARY KEY (log_id, tree_size)
);
CREATE INDEX checkpoints_by_root ON tally.checkpoints (log_id, root_hash);
SELECT tally.describe('tally.checkpoints', 'Signed checkpoints; the one with the greatest size is the head, and there is no second copy of it.', '{
  "log_id": "The log.",
  "tree_size": "Number of leaves.",
  "root_hash": "RFC 6962 root of the tree of that size.",
  "note": "The signed note, without cosignatures.",
  "signed_at": "When it was signed.",
  "batch_rows": "Leaves since the checkpoint before.",
  "seal_ms": "How long the sealing transaction had taken when it was signed, in milliseconds."}');
SELECT tally.keep_evidence('tally.checkpoints');

CREATE TABLE tally.witnesses (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  name text COLLATE "C" NOT NULL,
  vkey text COLLATE "C" NOT NULL,
  public_key bytea NOT NULL CONSTRAINT public_key_is_32_bytes CHECK (octet_length(public_key) = 32),
  key_id bytea NOT NULL CONSTRAINT key_id_is_4_bytes CHECK (octet_length(key_id) = 4),
  url text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  status tally.witness_status NOT NULL DEFAULT 'active',
  last_size bigint,
  last_seen_at timestamptz,
  last_error text,
  PRIMARY KEY (log_id, name),
  CONSTRAINT one_key_is_one_witness UNIQUE (log_id, public_key)
);
SELECT tally.describe('tally.witnesses', 'Who is asked to cosign a log''s checkpoints.', '{
  "log_id": "The log.",
  "name": "Key name of the witness.",
  "vkey": "Verifier key.",
  "public_key": "The public key, 32 bytes.",
  "key_id": "Key id, 4 bytes.",
  "url": "Submission prefix.",
  "enabled": "Whether it is asked.",
  "status": "State; see status_transitions.",
  "last_size": "Greatest size it has cosigned.",
  "last_seen_at": "When it last answered.",
  "last_error": "What its last failure was."}');

CREATE TABLE tally.cosignatures (
  log_id integer NOT NULL,
  tree_size bigint NOT NULL,
  witness_name text COLLATE "C" NOT NULL,
  line text COLLATE "C" NOT NULL,
  signed_at_seconds bigint NOT NULL,
  received_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (log_id, tree_size, witness_name, signed_at_seconds),
  FOREIGN KEY (log_id, tree_size) REFERENCES tally.checkpoints ON DELETE RESTRICT
);
SELECT tally.describe('tally.cosignatures', 'Cosignatures of witnesses, inserted only after verification.', '{
  "log_id": "The log.",
  "tree_size": "Size of the cosigned checkpoint.",
  "witness_name": "Key name of the witness.",
  "line": "The signature line of the note.",
  "signed_at_seconds": "Time that the witness states, in seconds since 1970.",
  "received_at": "When it was stored."}');
SELECT tally.keep_evidence('tally.cosignatures');

CREATE TABLE tally.witnessed_logs (
  origin text COLLATE "C" PRIMARY KEY,
  vkeys text[] COLLATE "C" NOT NULL,
  tree_size bigint NOT NULL DEFAULT 0 CONSTRAINT tree_size_is_a_size CHECK (tree_size >= 0),
  root_hash bytea,
  note text,
  cosigned_at timestamptz,
  enabled boolean NOT NULL DEFAULT true,
  contact text
);
SELECT tally.describe('tally.witnessed_logs', 'What our own witness watches.', '{
  "origin": "Origin of the watched log.",
  "vkeys": "Its verifier keys.",
  "tree_size": "Size that was last cosigned; never falls.",
  "root_hash": "Root at that size.",
  "note": "The note that was cosigned.",
  "cosigned_at": "When.",
  "enabled": "Whether it is cosigned.",
  "contact": "Whom to ask about the log."}');

CREATE FUNCTION tally.guard_witnessed_size() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  IF NEW.tree_size < OLD.tree_size THEN
    PERFORM tally.refuse('TS106', format('%s was cosigned at size %s', OLD.origin, OLD.tree_size),
      jsonb_build_object('origin', OLD.origin, 'known', OLD.tree_size, 'offered', NEW.tree_size));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_witnessed_size() IS 'A witness never goes back (TS106).';
CREATE TRIGGER guard_witnessed_size BEFORE UPDATE ON tally.witnessed_logs
  FOR EACH ROW EXECUTE FUNCTION tally.guard_witnessed_size();

INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('witnesses', 'status', NULL, 'active', 'add_witness_v1', 'a witness is added'),
  ('witnesses', 'status', 'active', 'conflict', 'witness_conflict_v1', 'it knows a larger size or another root, or answers 422'),
  ('witnesses', 'status', 'conflict', 'active', 'clear_witness_v1', 'an operator, after an audit');
SELECT tally.guard_status('tally.witnesses', 'status');

-- Heads ----------------------------------------------------------------------------------------

CREATE VIEW tally.log_heads WITH (security_invoker) AS
SELECT l.log_id, l.log_name, l.origin, l.status, c.tree_size, c.root_hash, c.note, c.signed_at
FROM tally.verification_logs AS l
CROSS JOIN LATERAL (
  SELECT * FROM tally.checkpoints AS k WHERE k.log_id = l.log_id ORDER BY k.tree_size DESC LIMIT 1
) AS c;
SELECT tally.describe('tally.log_heads', 'The newest checkpoint of each log.', '{
  "log_id": "The log.", "log_name": "Its name.", "origin": "Its origin.", "status": "Its state.",
  "tree_size": "Size of the head.", "root_hash": "Root of the head.", "note": "The signed note.",
  "signed_at": "When it was signed."}');

CREATE VIEW tally.published_checkpoints WITH (security_invoker) AS
SELECT l.log_id, l.log_name, l.origin, c.tree_size, c.root_hash, c.note, c.signed_at
FROM tally.verification_logs AS l
CROSS JOIN LATERAL (
  SELECT * FROM tally.checkpoints AS k
  WHERE k.log_id = l.log_id
    AND (l.witness_quorum = 0
         OR l.witness_quorum <= (
              SELECT count(DISTINCT s.witness_name) FROM tally.cosignatures AS s
              WHERE s.log_id = k.log_id AND s.tree_size = k.tree_size)
         OR k.signed_at + make_interval(secs => l.witness_patience_seconds) <= tally.clock())
  ORDER BY k.tree_size DESC LIMIT 1
) AS c;
SELECT tally.describe('tally.published_checkpoints', 'The greatest checkpoint of each log whose distinct cosignatures reach its quorum.', '{
  "log_id": "The log.", "log_name": "Its name.", "origin": "Its origin.",
  "tree_size": "Size of the published head.", "root_hash": "Its root.", "note": "The signed note.",
  "signed_at": "When it was signed."}');
