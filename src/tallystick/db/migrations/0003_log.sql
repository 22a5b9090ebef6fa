-- The log: what is sealed, the queue, the leaves, the tiles (log.md, section 2).

CREATE TYPE tally.log_status AS ENUM ('active', 'frozen', 'failed');
COMMENT ON TYPE tally.log_status IS 'Whether a log grows, has ended, or contradicts itself.';
CREATE TYPE tally.log_mode AS ENUM ('full', 'digest');
COMMENT ON TYPE tally.log_mode IS 'Whether leaves are records or digests.';
CREATE TYPE tally.log_visibility AS ENUM ('private', 'hashes', 'public');
COMMENT ON TYPE tally.log_visibility IS 'What may be read without a key: nothing, hashes and proofs, everything.';
CREATE TYPE tally.source_status AS ENUM ('backfilling', 'active', 'broken', 'detached');
COMMENT ON TYPE tally.source_status IS 'Where a source stands between installation and its end.';
CREATE TYPE tally.capture_mode AS ENUM ('trigger', 'poll');
COMMENT ON TYPE tally.capture_mode IS 'How changes reach the queue.';
CREATE TYPE tally.leaf_form AS ENUM ('record', 'salted', 'column');
COMMENT ON TYPE tally.leaf_form IS 'What the leaf bytes of a source are.';
CREATE TYPE tally.capture_rule AS ENUM ('record', 'ignore', 'refuse');
COMMENT ON TYPE tally.capture_rule IS 'What happens to a changed row: a leaf, nothing, or an error to the writer.';
CREATE TYPE tally.truncate_rule AS ENUM ('record', 'expand', 'ignore', 'refuse');
COMMENT ON TYPE tally.truncate_rule IS 'What happens on TRUNCATE: one leaf, a leaf per row, nothing, or an error to the writer.';
CREATE TYPE tally.key_status AS ENUM ('pending', 'active', 'retired');
COMMENT ON TYPE tally.key_status IS 'Whether a key will sign, signs, or has signed.';
CREATE TYPE tally.key_purpose AS ENUM ('log', 'witness', 'outbox');
COMMENT ON TYPE tally.key_purpose IS 'What a key signs; no key signs two kinds of things.';

-- Logs -----------------------------------------------------------------------------------------

CREATE TABLE tally.verification_logs (
  log_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_name text COLLATE "C" NOT NULL UNIQUE CONSTRAINT log_name_is_plain CHECK (log_name ~ '^[a-z][a-z0-9_]{0,47}$'),
  origin text COLLATE "C" UNIQUE
    CONSTRAINT origin_is_a_note_name CHECK (origin !~ '[\s+]' AND octet_length(origin) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  description text,
  enabled boolean NOT NULL DEFAULT true,
  status tally.log_status NOT NULL DEFAULT 'active',
  failure jsonb,
  mode tally.log_mode NOT NULL DEFAULT 'full',
  visibility tally.log_visibility NOT NULL DEFAULT 'private',
  batch_size integer NOT NULL DEFAULT 65536 CONSTRAINT batch_size_is_bounded CHECK (batch_size BETWEEN 1 AND 1000000),
  batch_interval_ms integer NOT NULL DEFAULT 500
    CONSTRAINT batch_interval_is_bounded CHECK (batch_interval_ms BETWEEN 20 AND 3600000),
  witness_quorum integer NOT NULL DEFAULT 0 CONSTRAINT quorum_is_a_count CHECK (witness_quorum >= 0),
  witness_patience_seconds integer CONSTRAINT patience_is_a_time CHECK (witness_patience_seconds >= 0),
  accepts_entries boolean NOT NULL DEFAULT false,
  control_leaves boolean NOT NULL,
  predecessor_log_id integer REFERENCES tally.verification_logs ON DELETE RESTRICT,
  freeze_requested_at timestamptz,
  minimum_index bigint NOT NULL DEFAULT 0 CONSTRAINT minimum_index_is_an_index CHECK (minimum_index >= 0),
  retain_until timestamptz,
  CONSTRAINT failure_iff_failed CHECK ((status = 'failed') = (failure IS NOT NULL))
);
SELECT tally.describe('tally.verification_logs', 'One row per log.', '{
  "log_id": "Number of the log; leads every key of the log''s tables.",
  "log_name": "Name of the log; immutable.",
  "origin": "Checkpoint origin and key name; given once, at the latest when the sequencer first looks at the log.",
  "created_at": "When the log was made.",
  "description": "What the log is for.",
  "enabled": "False: sealing pauses; capture and reading go on.",
  "status": "State; see status_transitions.",
  "failure": "Why the log failed, with the notes that contradict each other.",
  "mode": "What leaf forms its sources may have; immutable.",
  "visibility": "What may be read without a key.",
  "batch_size": "Most leaves between two checkpoints.",
  "batch_interval_ms": "Pause between two looks at the queue, in milliseconds.",
  "witness_quorum": "Witnesses whose cosignatures publishing waits for.",
  "witness_patience_seconds": "After so many seconds publish without the quorum; NULL: never.",
  "accepts_entries": "Whether entries may be pushed.",
  "control_leaves": "Whether control leaves (genesis, schema, gap, freeze) are sealed.",
  "predecessor_log_id": "The log that this one continues.",
  "freeze_requested_at": "Set: pushes are refused, and the log freezes once its queue is empty.",
  "minimum_index": "Entries below it were pruned; only grows.",
  "retain_until": "No pruning before this time."}');

CREATE FUNCTION tally.guard_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  frozen_column text := CASE
    WHEN NEW.log_id <> OLD.log_id THEN 'log_id'
    WHEN NEW.log_name <> OLD.log_name THEN 'log_name'
    WHEN OLD.origin IS NOT NULL AND NEW.origin IS DISTINCT FROM OLD.origin THEN 'origin'
    WHEN NEW.mode <> OLD.mode THEN 'mode'
    WHEN NEW.control_leaves <> OLD.control_leaves THEN 'control_leaves'
    WHEN NEW.minimum_index < OLD.minimum_index THEN 'minimum_index'
    WHEN OLD.predecessor_log_id IS NOT NULL AND NEW.predecessor_log_id IS DISTINCT FROM OLD.predecessor_log_id
      THEN 'predecessor_log_id'
  END;
BEGIN
  IF frozen_column IS NOT NULL THEN
    PERFORM tally.refuse('TS002', format('verification_logs.%s of log %s is immutable', frozen_column, OLD.log_name),
      jsonb_build_object('table', 'verification_logs', 'column', frozen_column));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_log() IS 'Keeps a log''s identity immutable and its pruning bound growing.';
CREATE TRIGGER guard_log BEFORE UPDATE ON tally.verification_logs FOR EACH ROW EXECUTE FUNCTION tally.guard_log();
SELECT tally.keep_evidence('tally.verification_logs', 'DELETE OR TRUNCATE');

CREATE FUNCTION tally.complete_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  NEW.control_leaves := coalesce(NEW.control_leaves, NEW.mode = 'full');
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.complete_log() IS 'Control leaves default to on in full logs and off in digest logs.';
CREATE TRIGGER complete_log BEFORE INSERT ON tally.verification_logs FOR EACH ROW EXECUTE FUNCTION tally.complete_log();

-- Sources --------------------------------------------------------------------------------------

CREATE TABLE tally.verification_sources (
  source_table text COLLATE "C" NOT NULL,
  log_name text COLLATE "C" NOT NULL REFERENCES tally.verification_logs (log_name) ON DELETE RESTRICT,
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  source_no integer GENERATED ALWAYS AS IDENTITY CONSTRAINT source_no_is_unique UNIQUE,
  relation oid,
  capture tally.capture_mode NOT NULL DEFAULT 'trigger',
  leaf_form tally.leaf_form NOT NULL,
  hash_column text COLLATE "C",
  order_column text COLLATE "C",
  timestamp_column text COLLATE "C",
  key_columns text[] COLLATE "C",
  include_columns text[] COLLATE "C",
  exclude_columns text[] COLLATE "C",
  private_columns text[] COLLATE "C" NOT NULL DEFAULT '{}',
  on_update tally.capture_rule NOT NULL DEFAULT 'record',
  on_delete tally.capture_rule NOT NULL DEFAULT 'record',
  on_truncate tally.truncate_rule NOT NULL DEFAULT 'record',
  enabled boolean NOT NULL DEFAULT true,
  status tally.source_status NOT NULL DEFAULT 'backfilling',
  problem jsonb,
  poll_cursor text,
  poll_lookback integer CONSTRAINT lookback_is_a_length CHECK (poll_lookback >= 0),
  backfill_after text[],
  reconcile_interval_seconds integer CONSTRAINT reconcile_interval_is_a_time CHECK (reconcile_interval_seconds > 0),
  schema_fingerprint bigint,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  checked_at timestamptz,
  reconciled_at timestamptz,
  PRIMARY KEY (source_table, log_name),
  CONSTRAINT hash_column_iff_column_form CHECK ((leaf_form = 'column') = (hash_column IS NOT NULL)),
  CONSTRAINT columns_are_included_or_excluded CHECK (include_columns IS NULL OR exclude_columns IS NULL),
  CONSTRAINT only_polls_have_an_order CHECK (capture = 'poll' OR (order_column IS NULL AND timestamp_column IS NULL))
);
CREATE INDEX verification_sources_by_log ON tally.verification_sources (log_id);
SELECT tally.describe('tally.verification_sources', 'Which tables feed which log.', '{
  "source_table": "The table, as regclass prints it under search_path = public.",
  "log_name": "Name of the log.",
  "log_id": "Number of the log.",
  "source_no": "Names the source''s triggers and function: tally_<n>_insert, tally.capture_<n>().",
  "relation": "The table''s oid; another table under the same name is not accepted. NULL until installed.",
  "capture": "How changes reach the queue.",
  "leaf_form": "What the leaf bytes are.",
  "hash_column": "The column that is the leaf, with form column.",
  "order_column": "Monotone column, for poll.",
  "timestamp_column": "Monotone timestamp, for poll.",
  "key_columns": "The key, in order; empty: keyed by full row. NULL until installed: the primary key.",
  "include_columns": "Only these columns and the key are recorded; NULL: all.",
  "exclude_columns": "All columns but these are recorded; NULL: all.",
  "private_columns": "Columns that appear as commitments only.",
  "on_update": "What an update of a row does.",
  "on_delete": "What a delete of a row does.",
  "on_truncate": "What a truncate of the table does.",
  "enabled": "False: triggers are disabled, and a gap leaf says so.",
  "status": "State; see status_transitions.",
  "problem": "Why it is broken.",
  "poll_cursor": "Highest order value queued, for poll.",
  "poll_lookback": "How far behind the cursor a poll looks again.",
  "backfill_after": "Key of the last row that the backfill has queued.",
  "reconcile_interval_seconds": "How often it is reconciled; NULL: never by itself.",
  "schema_fingerprint": "Hash of the table''s columns when the functions were last generated.",
  "created_at": "When the source was added.",
  "checked_at": "When it was last validated.",
  "reconciled_at": "When it was last reconciled."}');

CREATE FUNCTION tally.complete_source() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
BEGIN
  -- The earlier log service's SQL names the log by log_name alone.
  SELECT * INTO log FROM tally.verification_logs AS l
  WHERE l.log_id = NEW.log_id OR (NEW.log_id IS NULL AND l.log_name = NEW.log_name);
  NEW.log_id := log.log_id;
  NEW.log_name := coalesce(NEW.log_name, log.log_name);
  IF NEW.log_name <> log.log_name THEN
    RAISE EXCEPTION 'log_id % is not log %', NEW.log_id, NEW.log_name USING ERRCODE = 'foreign_key_violation';
  END IF;
  NEW.leaf_form := coalesce(NEW.leaf_form, CASE
    WHEN NEW.hash_column IS NOT NULL THEN 'column'
    WHEN log.mode = 'digest' THEN 'salted'
    ELSE 'record' END::tally.leaf_form);
  IF log.mode = 'digest' AND NEW.leaf_form = 'record' THEN
    RAISE EXCEPTION 'a digest log takes no records' USING ERRCODE = 'check_violation', CONSTRAINT = 'form_fits_the_mode';
  END IF;
  IF NEW.order_column IS NOT NULL OR NEW.timestamp_column IS NOT NULL THEN
    NEW.capture := 'poll';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.complete_source() IS 'Completes a source row from its log, and refuses a leaf form that the log''s mode does not take.';
CREATE TRIGGER complete_source BEFORE INSERT ON tally.verification_sources
  FOR EACH ROW EXECUTE FUNCTION tally.complete_source();
SELECT tally.keep_evidence('tally.verification_sources', 'DELETE OR TRUNCATE');

-- The queue ------------------------------------------------------------------------------------

-- CACHE 1: a session that drew numbers ahead would give one row's versions the wrong order.
CREATE SEQUENCE tally.capture_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE tally.capture_seq IS 'The order of the queue; drawn under the changed row''s lock. CACHE must be 1.';

CREATE TABLE tally.capture (
  log_id integer NOT NULL,
  -- xid stands before seq, so that a transaction has its xid before it draws a seq: the sequencer's floor builds on it.
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint NOT NULL DEFAULT nextval('tally.capture_seq'),
  source_no integer,
  -- No CHECK on these two: PostgreSQL parses each check once a statement, and two of them are a third of what capture costs a row.
  op "char" NOT NULL,
  via "char" NOT NULL,
  source_key text COLLATE "C" NOT NULL,
  source_id bigint,
  leaf bytea,
  salt bytea,
  record bytea,
  problem text,
  captured_at timestamptz NOT NULL,
  PRIMARY KEY (log_id, seq),
  CONSTRAINT leaf_iff_no_problem CHECK ((leaf IS NULL) = (problem IS NOT NULL))
) WITH (
  fillfactor = 100,
  -- The table is a queue: every row is deleted soon, and dead index entries in front of it are what a look pays for.
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000
);
ALTER TABLE tally.capture ALTER COLUMN leaf SET STORAGE EXTERNAL, ALTER COLUMN record SET STORAGE EXTERNAL;
SELECT tally.describe('tally.capture', 'The queue: one row per changed row per log, until it is sealed.', '{
  "log_id": "The log that will seal it.",
  "xid": "Transaction of the change.",
  "seq": "Place in the queue; one row''s versions are in their true order.",
  "source_no": "Source it comes from; NULL where it was pushed or is a control leaf.",
  "op": "I insert, U update, D delete, T truncate, A pushed, C control.",
  "via": "t trigger, p poll, b backfill, r reconcile, a API, c control.",
  "source_key": "The row''s key as a JSON array of key texts.",
  "source_id": "The key, where it is one integer column.",
  "leaf": "The leaf bytes; NULL where it cannot be sealed.",
  "salt": "Salt of a salted digest or of commitments.",
  "record": "The plain record, where the leaf does not hold all of it.",
  "problem": "Why it cannot be sealed; such a row goes to quarantine.",
  "captured_at": "When it was captured."}');

CREATE TABLE tally.capture_quarantine (
  quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  xid xid8 NOT NULL,
  seq bigint NOT NULL,
  source_no integer,
  op "char" NOT NULL,
  via "char" NOT NULL,
  source_key text COLLATE "C" NOT NULL,
  source_id bigint,
  leaf bytea,
  salt bytea,
  record bytea,
  problem text NOT NULL,
  captured_at timestamptz NOT NULL,
  source_table text COLLATE "C",
  quarantined_at timestamptz NOT NULL DEFAULT tally.clock(),
  resolved_at timestamptz,
  CONSTRAINT quarantined_once UNIQUE (log_id, seq)
);
CREATE INDEX capture_quarantine_open ON tally.capture_quarantine (log_id, source_no) WHERE resolved_at IS NULL;
-- A hash, because a key may be quarantined for its very length, which a tree would refuse.
CREATE INDEX capture_quarantine_by_key ON tally.capture_quarantine USING hash (source_key) WHERE resolved_at IS NULL;
SELECT tally.describe('tally.capture_quarantine', 'Queue rows that cannot be sealed; they never block their source.', '{
  "quarantine_id": "Number of the entry.",
  "log_id": "The log that would have sealed it.",
  "xid": "Transaction of the change.",
  "seq": "Place it had in the queue.",
  "source_no": "Source it comes from.",
  "op": "Operation, as in capture.",
  "via": "Way, as in capture.",
  "source_key": "The row''s key.",
  "source_id": "The key, where it is one integer column.",
  "leaf": "As in capture: NULL, or bytes that are no leaf.",
  "salt": "As in capture.",
  "record": "As in capture.",
  "problem": "Why it cannot be sealed.",
  "captured_at": "When it was captured.",
  "source_table": "The table, as named when it was quarantined.",
  "quarantined_at": "When it was quarantined.",
  "resolved_at": "When the key''s present state was queued in its place."}');

-- The leaves -----------------------------------------------------------------------------------

-- No foreign key to the log: no log is ever deleted, and the check would cost a quarter of sealing.
-- Wide columns first and narrow ones together: padding would cost 8 bytes a leaf.
CREATE TABLE tally.merkle_log (
  leaf_index bigint NOT NULL CONSTRAINT leaf_index_is_an_index CHECK (leaf_index >= 0),
  id bigint GENERATED ALWAYS AS (leaf_index + 1) STORED,
  seq bigint NOT NULL,
  source_id bigint,
  processed_at timestamptz NOT NULL,
  log_id integer NOT NULL,
  op "char" NOT NULL,
  via "char" NOT NULL,
  log_name text COLLATE "C" NOT NULL,
  source_table text COLLATE "C",
  source_key text COLLATE "C" NOT NULL,
  leaf_hash bytea NOT NULL CONSTRAINT leaf_hash_is_sha256 CHECK (octet_length(leaf_hash) = 32),
  leaf bytea NOT NULL CONSTRAINT leaf_fits_an_entry_bundle CHECK (octet_length(leaf) BETWEEN 1 AND 65535),
  -- Leaves come in the order of their indexes: pages are filled once and for all.
  PRIMARY KEY (log_id, leaf_index) WITH (fillfactor = 100)
);
ALTER TABLE tally.merkle_log ALTER COLUMN leaf SET STORAGE EXTERNAL;
CREATE INDEX merkle_log_by_key ON tally.merkle_log (log_id, source_table, source_key, leaf_index);
CREATE INDEX merkle_log_by_hash ON tally.merkle_log (log_id, tally.hash_prefix(leaf_hash));
SELECT tally.describe('tally.merkle_log', 'The leaves: evidence, append-only.', '{
  "log_id": "The log.",
  "leaf_index": "Index of the leaf, gapless from 0 per log.",
  "id": "The earlier ordering column: leaf_index + 1.",
  "log_name": "Name of the log, as sealed.",
  "source_table": "Table of the row, as sealed; NULL where pushed or a control leaf of the log.",
  "source_id": "The key, where it is one integer column.",
  "source_key": "JSON array of key texts.",
  "op": "I insert, U update, D delete, T truncate, A pushed, C control.",
  "via": "t trigger, p poll, b backfill, r reconcile, a API, c control.",
  "seq": "Place in the queue; information, not evidence.",
  "leaf": "The leaf bytes: what is hashed.",
  "leaf_hash": "RFC 6962 leaf hash: SHA-256(0x00 || leaf).",
  "processed_at": "When it was sealed."}');

CREATE FUNCTION tally.guard_pruning() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  -- Facts decide, not the caller: only what lies below the log's minimum_index may go.
  IF OLD.leaf_index >= (SELECT l.minimum_index FROM tally.verification_logs AS l WHERE l.log_id = OLD.log_id) THEN
    PERFORM tally.refuse('TS002', format('%s is append-only: DELETE is refused', TG_TABLE_NAME),
      jsonb_build_object('table', TG_TABLE_NAME, 'operation', 'DELETE'));
  END IF;
  RETURN OLD;
END $$;
COMMENT ON FUNCTION tally.guard_pruning() IS 'Lets leaves go only below their log''s minimum_index.';
SELECT tally.keep_evidence('tally.merkle_log', 'UPDATE OR TRUNCATE');
CREATE TRIGGER guard_pruning BEFORE DELETE ON tally.merkle_log FOR EACH ROW EXECUTE FUNCTION tally.guard_pruning();
ALTER TABLE tally.merkle_log ENABLE ALWAYS TRIGGER guard_pruning;

CREATE TABLE tally.log_tiles (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  level smallint NOT NULL CONSTRAINT level_is_a_tile_level CHECK (level BETWEEN 0 AND 7),
  tile_index bigint NOT NULL CONSTRAINT tile_index_is_an_index CHECK (tile_index >= 0),
  hashes bytea NOT NULL
    CONSTRAINT tile_is_whole_hashes CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
  PRIMARY KEY (log_id, level, tile_index)
);
ALTER TABLE tally.log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
SELECT tally.describe('tally.log_tiles', 'The tree, in tiles of 256 hashes (C2SP tlog-tiles); a partial tile is a prefix of its row.', '{
  "log_id": "The log.",
  "level": "Tile level: hashes of complete subtrees of 256^level leaves.",
  "tile_index": "Index of the tile within its level.",
  "hashes": "1 to 256 hashes of 32 bytes."}');

CREATE FUNCTION tally.guard_tile() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  IF (NEW.log_id, NEW.level, NEW.tile_index) IS DISTINCT FROM (OLD.log_id, OLD.level, OLD.tile_index)
     OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) IS DISTINCT FROM OLD.hashes THEN
    PERFORM tally.refuse('TS002', 'log_tiles is append-only: a tile may only grow',
      jsonb_build_object('table', TG_TABLE_NAME, 'operation', 'UPDATE'));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_tile() IS 'Lets a tile only grow.';
SELECT tally.keep_evidence('tally.log_tiles', 'DELETE OR TRUNCATE');
CREATE TRIGGER guard_tile BEFORE UPDATE ON tally.log_tiles FOR EACH ROW EXECUTE FUNCTION tally.guard_tile();
ALTER TABLE tally.log_tiles ENABLE ALWAYS TRIGGER guard_tile;

CREATE TABLE tally.leaf_records (
  log_id integer NOT NULL,
  leaf_index bigint NOT NULL,
  salt bytea CONSTRAINT salt_is_32_bytes CHECK (octet_length(salt) = 32),
  record bytea NOT NULL,
  PRIMARY KEY (log_id, leaf_index)
);
ALTER TABLE tally.leaf_records ALTER COLUMN record SET STORAGE EXTERNAL;
SELECT tally.describe('tally.leaf_records', 'The plain records behind salted leaves, private columns and large values; what redaction erases.', '{
  "log_id": "The log.",
  "leaf_index": "The leaf.",
  "salt": "Salt of the digest or of the commitments; NULL for large values alone.",
  "record": "The plain record."}');

CREATE TABLE tally.redactions (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  leaf_index bigint NOT NULL,
  actor text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  legal_basis text NOT NULL,
  at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (log_id, leaf_index)
);
SELECT tally.describe('tally.redactions', 'One row per erased record; sealed in the house log.', '{
  "log_id": "The log.",
  "leaf_index": "The leaf whose record was erased.",
  "actor": "Who erased it.",
  "reason": "Why.",
  "legal_basis": "On what legal basis.",
  "at": "When."}');
SELECT tally.keep_evidence('tally.redactions');

CREATE TABLE tally.log_keys (
  log_id integer REFERENCES tally.verification_logs ON DELETE RESTRICT,
  purpose tally.key_purpose NOT NULL,
  name text COLLATE "C" NOT NULL,
  key_id bytea NOT NULL CONSTRAINT key_id_is_4_bytes CHECK (octet_length(key_id) = 4),
  algorithm smallint NOT NULL CONSTRAINT algorithm_is_known CHECK (algorithm IN (1, 4)),
  public_key bytea NOT NULL CONSTRAINT public_key_is_32_bytes CHECK (octet_length(public_key) = 32),
  vkey text COLLATE "C" NOT NULL UNIQUE,
  status tally.key_status NOT NULL DEFAULT 'pending',
  from_size bigint,
  to_size bigint,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (name, key_id),
  CONSTRAINT log_keys_have_a_log CHECK ((purpose = 'log') = (log_id IS NOT NULL)),
  CONSTRAINT period_runs_forward CHECK (to_size >= from_size)
);
CREATE INDEX log_keys_by_log ON tally.log_keys (log_id);
SELECT tally.describe('tally.log_keys', 'Public keys; the private halves are files.', '{
  "log_id": "The log it signs; NULL for witness and outbox keys.",
  "purpose": "What it signs.",
  "name": "Key name: the origin, for log keys.",
  "key_id": "First 4 bytes of SHA-256(name || 0x0A || algorithm || public key).",
  "algorithm": "1 Ed25519 (signed note), 4 Ed25519 cosignature.",
  "public_key": "The public key, 32 bytes.",
  "vkey": "Verifier key: name+id+base64.",
  "status": "State; see status_transitions.",
  "from_size": "Signs checkpoints from this size on.",
  "to_size": "Signs checkpoints up to this size; NULL while active.",
  "created_at": "When it was made."}');
SELECT tally.keep_evidence('tally.log_keys', 'DELETE OR TRUNCATE');

CREATE TABLE tally.prunings (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  from_index bigint NOT NULL,
  to_index bigint NOT NULL,
  export_url text NOT NULL,
  manifest_sha256 bytea NOT NULL CONSTRAINT manifest_is_sha256 CHECK (octet_length(manifest_sha256) = 32),
  actor text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (log_id, from_index),
  CONSTRAINT range_is_not_empty CHECK (to_index > from_index)
);
SELECT tally.describe('tally.prunings', 'What a raised minimum_index requires: the verified export that holds the pruned entries.', '{
  "log_id": "The log.",
  "from_index": "First pruned index.",
  "to_index": "First index that was kept.",
  "export_url": "Where the export lies.",
  "manifest_sha256": "SHA-256 of the export''s log.json.",
  "actor": "Who pruned.",
  "reason": "Why.",
  "at": "When."}');
SELECT tally.keep_evidence('tally.prunings');

CREATE TABLE tally.audits (
  audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  kind text COLLATE "C" NOT NULL CONSTRAINT audit_kind_is_known CHECK (kind IN ('audit', 'reconcile', 'export')),
  snapshot text NOT NULL,
  tree_size bigint NOT NULL,
  root_hash bytea NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL DEFAULT tally.clock(),
  counts jsonb NOT NULL,
  verdict text COLLATE "C" NOT NULL CONSTRAINT verdict_is_known CHECK (verdict IN ('clean', 'findings'))
);
CREATE INDEX audits_by_log ON tally.audits (log_id, audit_id);
SELECT tally.describe('tally.audits', 'Every audit, reconcile and export check that ended, with its verdict.', '{
  "audit_id": "Number of the audit.",
  "log_id": "The log.",
  "kind": "What was done.",
  "snapshot": "The snapshot it worked in.",
  "tree_size": "Size of the log in that snapshot.",
  "root_hash": "Root in that snapshot.",
  "started_at": "When it began.",
  "finished_at": "When it ended.",
  "counts": "What was looked at, and how many findings of each kind.",
  "verdict": "clean or findings."}');
SELECT tally.keep_evidence('tally.audits');

CREATE TABLE tally.audit_findings (
  finding_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  audit_id bigint NOT NULL REFERENCES tally.audits ON DELETE RESTRICT,
  source_table text COLLATE "C",
  source_key text COLLATE "C",
  leaf_index bigint,
  kind text COLLATE "C" NOT NULL CONSTRAINT finding_kind_is_known CHECK (kind IN (
    'leaf_changed', 'leaf_missing', 'tile_changed', 'root_mismatch', 'bad_signature', 'row_changed', 'row_missing',
    'row_unlogged', 'row_resurrected', 'trigger_disabled', 'trigger_missing', 'source_unreadable')),
  expected_digest bytea,
  actual_digest bytea,
  columns text[] COLLATE "C"
);
CREATE INDEX audit_findings_by_audit ON tally.audit_findings (audit_id);
SELECT tally.describe('tally.audit_findings', 'What audits found; digests and names, never a value.', '{
  "finding_id": "Number of the finding.",
  "audit_id": "The audit.",
  "source_table": "The table, where it concerns a row.",
  "source_key": "The row''s key.",
  "leaf_index": "The leaf, where it concerns one.",
  "kind": "What is wrong.",
  "expected_digest": "Digest of what the log says.",
  "actual_digest": "Digest of what was found.",
  "columns": "Columns that differ."}');
SELECT tally.keep_evidence('tally.audit_findings');

-- State machines -------------------------------------------------------------------------------

INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('verification_logs', 'status', NULL, 'active', 'create_log_v1', 'key loaded; writes the checkpoint of size 0 and queues the genesis leaf'),
  ('verification_logs', 'status', 'active', 'frozen', 'freeze_log_v1', 'freeze requested, no source attached, queue empty; seals the freeze leaf and the last checkpoint'),
  ('verification_logs', 'status', 'active', 'failed', 'fail_log_v1', 'head, tiles, guard or witness disagree; nothing is signed'),
  ('verification_logs', 'status', 'frozen', 'failed', 'fail_log_v1', 'head, tiles, guard or witness disagree; nothing is signed'),
  ('verification_logs', 'status', 'failed', 'active', 'recover_log_v1', 'an audit begun after the failure is clean; back to where it was'),
  ('verification_logs', 'status', 'failed', 'frozen', 'recover_log_v1', 'an audit begun after the failure is clean; back to where it was'),
  ('verification_sources', 'status', NULL, 'backfilling', 'add_source_v1', 'an empty table goes on to active in the same transaction'),
  ('verification_sources', 'status', 'backfilling', 'active', 'source_ready_v1', 'every row has a leaf or queue row'),
  ('verification_sources', 'status', 'backfilling', 'broken', 'break_source_v1', 'table, column, trigger or permission is missing or replaced'),
  ('verification_sources', 'status', 'active', 'broken', 'break_source_v1', 'table, column, trigger or permission is missing or replaced'),
  ('verification_sources', 'status', 'broken', 'active', 'source_ready_v1', 'validation passes, after a reconcile'),
  ('verification_sources', 'status', 'backfilling', 'detached', 'detach_source_v1', 'triggers dropped, row kept; terminal'),
  ('verification_sources', 'status', 'active', 'detached', 'detach_source_v1', 'triggers dropped, row kept; terminal'),
  ('verification_sources', 'status', 'broken', 'detached', 'detach_source_v1', 'triggers dropped, row kept; terminal'),
  ('log_keys', 'status', NULL, 'pending', 'create_key_v1', 'a key is made and does not sign yet'),
  ('log_keys', 'status', 'pending', 'active', 'activate_key_v1', 'it signs from the next checkpoint on'),
  ('log_keys', 'status', 'active', 'retired', 'retire_key_v1', 'it signs no more; a log keeps an active key');
SELECT tally.guard_status('tally.verification_logs', 'status');
SELECT tally.guard_status('tally.verification_sources', 'status');
SELECT tally.guard_status('tally.log_keys', 'status');
