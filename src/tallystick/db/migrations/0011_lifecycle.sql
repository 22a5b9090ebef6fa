-- Keys in turn, logs that continue logs, tables that move between them, shards by period (log.md, sections 3.1, 4.4, 5.7, 5.8).

-- Logs -------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tally.guard_log() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  -- New here: what must be retained is never promised for a shorter time than before.
  frozen_column text := CASE
    WHEN NEW.log_id <> OLD.log_id THEN 'log_id'
    WHEN NEW.log_name <> OLD.log_name THEN 'log_name'
    WHEN OLD.origin IS NOT NULL AND NEW.origin IS DISTINCT FROM OLD.origin THEN 'origin'
    WHEN NEW.mode <> OLD.mode THEN 'mode'
    WHEN NEW.control_leaves <> OLD.control_leaves THEN 'control_leaves'
    WHEN NEW.minimum_index < OLD.minimum_index THEN 'minimum_index'
    WHEN OLD.retain_until IS NOT NULL AND (NEW.retain_until IS NULL OR NEW.retain_until < OLD.retain_until) THEN 'retain_until'
    WHEN OLD.predecessor_log_id IS NOT NULL AND NEW.predecessor_log_id IS DISTINCT FROM OLD.predecessor_log_id
      THEN 'predecessor_log_id'
  END;
BEGIN
  IF frozen_column IS NOT NULL THEN
    PERFORM tally.refuse('TS002', format('verification_logs.%s of log %s is immutable%s', frozen_column, OLD.log_name,
        CASE WHEN frozen_column IN ('minimum_index', 'retain_until') THEN ' but for growth' ELSE '' END),
      jsonb_build_object('table', 'verification_logs', 'column', frozen_column));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_log() IS 'Keeps a log''s identity immutable, and its pruning bound and retention growing.';

-- Histories are chains: a log that two others continued would have two ends.
CREATE UNIQUE INDEX one_successor_a_log ON tally.verification_logs (predecessor_log_id);

CREATE OR REPLACE FUNCTION tally.open_log_v1(
  p_log_id integer, p_origin text, p_key_id bytea, p_public_key bytea, p_vkey text, p_note text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
  predecessor jsonb := '{"origin": null, "size": null, "root": null}';
BEGIN
  UPDATE tally.verification_logs SET origin = p_origin WHERE log_id = p_log_id RETURNING * INTO log;
  INSERT INTO tally.log_keys (log_id, purpose, name, key_id, algorithm, public_key, vkey, from_size)
  VALUES (p_log_id, 'log', p_origin, p_key_id, 1, p_public_key, p_vkey, 0);
  UPDATE tally.log_keys SET status = 'active' WHERE name = p_origin AND key_id = p_key_id;
  INSERT INTO tally.checkpoints (log_id, tree_size, root_hash, note, batch_rows, seal_ms)
  VALUES (p_log_id, 0, tally.empty_root(), p_note, 0, 0);
  IF log.control_leaves THEN
    IF log.predecessor_log_id IS NOT NULL THEN
      -- New here: the head that a failed predecessor also signed, where its failure knows one.
      SELECT jsonb_build_object('origin', p.origin, 'size', h.tree_size, 'root', encode(h.root_hash, 'hex'))
        || CASE WHEN p.failure -> 'fork' <> 'null' THEN jsonb_build_object('fork', p.failure -> 'fork') ELSE '{}' END
      INTO predecessor
      FROM tally.verification_logs AS p LEFT JOIN tally.log_heads AS h ON h.log_id = p.log_id
      WHERE p.log_id = log.predecessor_log_id;
    END IF;
    PERFORM tally.queue_control(p_log_id, NULL, 'genesis', predecessor);
  END IF;
END $$;
COMMENT ON FUNCTION tally.open_log_v1(integer, text, bytea, bytea, text, text) IS
  'Gives a log its origin, its first key, its checkpoint of size 0 and its genesis leaf, which names the predecessor and, if that failed, its fork.';

CREATE OR REPLACE FUNCTION tally.recover_log_v1(p_log_id integer, p_actor text, p_reason text) RETURNS tally.log_status
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
  successor text;
BEGIN
  SELECT * INTO log FROM tally.verification_logs WHERE log_id = p_log_id FOR UPDATE;
  IF log.status <> 'failed' THEN
    RETURN log.status;
  END IF;
  -- New here: a failed log stays failed once another continues it, or two logs would go on from one head.
  SELECT s.log_name INTO successor FROM tally.verification_logs AS s WHERE s.predecessor_log_id = p_log_id;
  IF successor IS NOT NULL THEN
    PERFORM tally.refuse('TS108', format('log %s stays failed: log %s continues it', log.log_name, successor),
      jsonb_build_object('log', log.log_name, 'successor', successor));
  END IF;
  IF NOT EXISTS (SELECT FROM tally.audits AS a WHERE a.log_id = p_log_id AND a.kind = 'audit' AND a.verdict = 'clean'
                 AND a.started_at > (log.failure ->> 'at')::timestamptz) THEN
    PERFORM tally.refuse('TS108', format('log %s needs a clean audit begun after its failure', log.log_name),
      jsonb_build_object('log', log.log_name));
  END IF;
  UPDATE tally.verification_logs SET status = (log.failure ->> 'was')::tally.log_status, failure = NULL
  WHERE log_id = p_log_id;
  INSERT INTO tally.outbox_events (topic, key, payload)
  VALUES ('log.recovered', log.log_name, jsonb_build_object('log', log.log_name, 'actor', p_actor, 'reason', p_reason));
  RETURN (log.failure ->> 'was')::tally.log_status;
END $$;
COMMENT ON FUNCTION tally.recover_log_v1(integer, text, text) IS
  'Takes a failed log back to where it was, after a clean audit begun since; never one that another log continues.';

-- Keys -------------------------------------------------------------------------------------------

ALTER TABLE tally.log_keys DROP CONSTRAINT period_runs_forward;
-- A key that was retired before it signed anything has the empty period that ends where it begins.
ALTER TABLE tally.log_keys ADD CONSTRAINT period_runs_forward CHECK (to_size >= from_size - 1);
COMMENT ON COLUMN tally.log_keys.to_size IS
  'Signs checkpoints up to this size; NULL while active; one below from_size where it was retired before it signed any.';

CREATE FUNCTION tally.hold_signing(p_log_id integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  size bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a key changes its state under READ COMMITTED, where a statement after the lock sees the last checkpoint'
      USING ERRCODE = 'invalid_transaction_state';
  END IF;
  -- A batch holds this lock from before it reads the log's keys until its checkpoint is committed. Sequencers only ever try for
  -- it, so we are next when the batch in flight ends; a look that finds it taken comes again after its pause.
  PERFORM pg_advisory_xact_lock(1952541817, p_log_id);
  SELECT max(c.tree_size) INTO size FROM tally.checkpoints AS c WHERE c.log_id = p_log_id;
  RETURN size;
END $$;
COMMENT ON FUNCTION tally.hold_signing(integer) IS
  'Waits for the batch in flight, keeps the next one out until the transaction ends, and returns the size of the last checkpoint.';

CREATE OR REPLACE FUNCTION tally.activate_key_v1(p_name text, p_key_id bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  key tally.log_keys;
  size bigint;
BEGIN
  SELECT * INTO key FROM tally.log_keys WHERE name = p_name AND key_id = p_key_id;
  -- New here: under the batch's own lock, so that the period is exactly what the notes carry.
  IF key.purpose = 'log' THEN
    size := tally.hold_signing(key.log_id);
  END IF;
  -- A log's key signs from the next checkpoint on; others have no sizes.
  UPDATE tally.log_keys AS k
  SET status = 'active', from_size = CASE WHEN k.purpose = 'log' THEN coalesce(size + 1, 0) END
  WHERE k.name = p_name AND k.key_id = p_key_id AND k.status <> 'active';
END $$;

CREATE OR REPLACE FUNCTION tally.retire_key_v1(p_name text, p_key_id bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  key tally.log_keys;
  size bigint;
BEGIN
  SELECT * INTO key FROM tally.log_keys WHERE name = p_name AND key_id = p_key_id;
  -- New here: as in activate_key_v1; the lock also lets two retirements of one log follow one another.
  IF key.purpose = 'log' THEN
    size := tally.hold_signing(key.log_id);
  END IF;
  SELECT * INTO key FROM tally.log_keys WHERE name = p_name AND key_id = p_key_id FOR UPDATE;
  IF key.purpose = 'log' AND key.status = 'active' AND NOT EXISTS (
    SELECT FROM tally.log_keys AS k
    WHERE k.log_id = key.log_id AND k.purpose = 'log' AND k.status = 'active' AND k.key_id <> p_key_id
  ) THEN
    PERFORM tally.refuse('TS104', format('%s keeps an active key', p_name), jsonb_build_object('name', p_name));
  END IF;
  UPDATE tally.log_keys AS k
  SET status = 'retired', to_size = CASE WHEN k.purpose = 'log' THEN size END
  WHERE k.name = p_name AND k.key_id = p_key_id AND k.status <> 'retired';
END $$;

-- Tables that move ---------------------------------------------------------------------------------

ALTER TABLE tally.verification_sources
  ADD COLUMN continues_source_no integer CONSTRAINT source_is_continued_once UNIQUE
    REFERENCES tally.verification_sources (source_no) ON DELETE RESTRICT;
COMMENT ON COLUMN tally.verification_sources.continues_source_no IS
  'The source of the same table in a predecessor log that this one continues: its leaves are what is known of the keys.';

CREATE FUNCTION tally.source_line(p_source_no integer)
RETURNS TABLE (era integer, source_no integer, log_id integer, source_table text)
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  WITH RECURSIVE line AS (
    SELECT 0 AS era, s.source_no, s.log_id, s.source_table, s.continues_source_no
    FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
    UNION ALL
    SELECT l.era - 1, s.source_no, s.log_id, s.source_table, s.continues_source_no
    FROM line AS l INNER JOIN tally.verification_sources AS s ON s.source_no = l.continues_source_no
  )
  SELECT l.era, l.source_no, l.log_id, l.source_table FROM line AS l
$$;
COMMENT ON FUNCTION tally.source_line(integer) IS
  'A source (era 0) and those that it continues (-1, -2, ...): what any of them said of a key, the later eras said last.';

CREATE FUNCTION tally.line_sql(p_source_no integer, p_filter text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- In each era the leaves come before the queue: what waits there will be sealed behind them, and before any later era.
  SELECT string_agg(format($f$
    SELECT %1$s AS era, m.leaf_index AS place, CASE WHEN %1$s = 0 THEN m.leaf_index END AS leaf_index, m.source_key, m.op, m.leaf, k.salt, k.record
    FROM tally.merkle_log AS m LEFT JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
    WHERE m.log_id = %3$s AND m.source_table = %4$L AND m.op IN ('I', 'U', 'D', 'T') AND (%6$s)
    UNION ALL
    SELECT %2$s, c.seq, NULL, c.source_key, c.op, c.leaf, c.salt, c.record
    FROM tally.capture AS c
    WHERE c.log_id = %3$s AND c.source_no = %5$s AND c.op IN ('I', 'U', 'D', 'T') AND c.problem IS NULL AND (%7$s)$f$,
    2 * l.era, 2 * l.era + 1, l.log_id, l.source_table, l.source_no,
    replace(p_filter, '~', 'm'), replace(p_filter, '~', 'c')), ' UNION ALL ' ORDER BY l.era)
  FROM tally.source_line(p_source_no) AS l
$$;
COMMENT ON FUNCTION tally.line_sql(integer, text) IS
  'The query of everything that a source and those that it continues said of keys, in their order by (era, place); ~ is the row in the filter.';

CREATE OR REPLACE FUNCTION tally.said_sql(p_source_no integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- New here: a source that continues another.
  IF source.continues_source_no IS NOT NULL THEN
    RETURN format($f$
      SELECT DISTINCT ON (v.source_key)
        v.source_key, v.leaf_index, v.leaf, v.salt, v.record, v.op <> 'D' AND (v.era, v.place) > (ends.era, ends.place) AS is_present
      FROM (%s) AS v
      CROSS JOIN (
        SELECT -1000000 AS era, -1::bigint AS place UNION ALL (SELECT t.era, t.place FROM (%s) AS t)
        ORDER BY era DESC, place DESC LIMIT 1
      ) AS ends
      ORDER BY v.source_key DESC, v.era DESC, v.place DESC$f$,
      tally.line_sql(p_source_no, '~.op <> ''T'' AND ($1 IS NULL OR ~.source_key = ANY ($1))'),
      tally.line_sql(p_source_no, '~.op = ''T'' AND ~.source_key = ''[]'''));
  END IF;
  -- The last leaf of each key, or, if there is one, its last queue row; a truncate ends all keys before it.
  RETURN format($f$
    SELECT
      coalesce(q.source_key, l.source_key) AS source_key, l.leaf_index,
      CASE WHEN q.source_key IS NULL THEN l.leaf ELSE q.leaf END AS leaf,
      CASE WHEN q.source_key IS NULL THEN l.salt ELSE q.salt END AS salt,
      CASE WHEN q.source_key IS NULL THEN l.record ELSE q.record END AS record,
      CASE WHEN q.source_key IS NOT NULL THEN q.op <> 'D' AND q.seq > ends.seq
           ELSE l.op <> 'D' AND l.leaf_index > ends.leaf_index AND ends.seq = -1 END AS is_present
    FROM (
      SELECT DISTINCT ON (m.source_key) m.source_key, m.leaf_index, m.op, m.leaf, k.salt, k.record
      FROM tally.merkle_log AS m LEFT JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
      WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.op IN ('I', 'U', 'D') AND ($1 IS NULL OR m.source_key = ANY ($1))
      ORDER BY m.source_key DESC, m.leaf_index DESC
    ) AS l
    FULL JOIN (
      SELECT DISTINCT ON (c.source_key) c.source_key, c.seq, c.op, c.leaf, c.salt, c.record
      FROM tally.capture AS c
      WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op IN ('I', 'U', 'D') AND c.problem IS NULL
        AND ($1 IS NULL OR c.source_key = ANY ($1))
      ORDER BY c.source_key DESC, c.seq DESC
    ) AS q ON q.source_key = l.source_key
    CROSS JOIN (
      SELECT
        coalesce((SELECT max(m.leaf_index) FROM tally.merkle_log AS m
                  WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.source_key = '[]' AND m.op = 'T'), -1) AS leaf_index,
        coalesce((SELECT max(c.seq) FROM tally.capture AS c WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op = 'T'), -1) AS seq
    ) AS ends$f$, source.log_id, source.source_table, source.source_no);
END $$;
COMMENT ON FUNCTION tally.said_sql(integer) IS
  'The query of what log and queue last say of each key of a source, or of one that it continues; $1 limits it to some keys.';

CREATE FUNCTION tally.compare_line_counts(p_source_no integer, p_keys text[])
RETURNS TABLE (kind text, source_key text, leaf_index bigint, expected bytea, actual bytea, columns text[], surplus bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
BEGIN
  -- As compare_counts, over all eras of the source.
  RETURN QUERY EXECUTE format($f$
    WITH ends AS MATERIALIZED (
      SELECT -1000000 AS era, -1::bigint AS place UNION ALL (SELECT t.era, t.place FROM (%1$s) AS t)
      ORDER BY era DESC, place DESC LIMIT 1
    ), said AS (
      SELECT u.source_key, sum(CASE u.op WHEN 'I' THEN 1 ELSE -1 END) AS rows, max(u.leaf_index) AS leaf_index
      FROM (%2$s) AS u CROSS JOIN ends
      WHERE (u.era, u.place) > (ends.era, ends.place)
      GROUP BY u.source_key
    ), found AS (
      SELECT %3$s AS source_key, count(*) AS rows FROM %4$s AS t WHERE $1 IS NULL OR %3$s = ANY ($1) GROUP BY 1
    )
    SELECT
      CASE WHEN coalesce(f.rows, 0) < coalesce(s.rows, 0) THEN 'row_missing' ELSE 'row_unlogged' END,
      coalesce(s.source_key, f.source_key), s.leaf_index, NULL::bytea, NULL::bytea, NULL::text[],
      abs(coalesce(f.rows, 0) - coalesce(s.rows, 0))::bigint
    FROM said AS s FULL JOIN found AS f ON f.source_key = s.source_key
    WHERE coalesce(f.rows, 0) <> coalesce(s.rows, 0)$f$,
    tally.line_sql(p_source_no, '~.op = ''T'' AND ~.source_key = ''[]'''),
    tally.line_sql(p_source_no, '~.op IN (''I'', ''D'') AND ($1 IS NULL OR ~.source_key = ANY ($1))'),
    tally.key_expression(p_source_no, 't'),
    (SELECT s.relation::regclass FROM tally.verification_sources AS s WHERE s.source_no = p_source_no))
    USING p_keys;
END $$;
COMMENT ON FUNCTION tally.compare_line_counts(integer, text[]) IS
  'As compare_counts, for a source that continues another: inserts minus deletes over all eras against rows.';

CREATE OR REPLACE FUNCTION tally.unknown_key(p_source tally.verification_sources, p_key_sql text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- NOT IN, because its set is always hashed: the queue is read once a page, whatever the planner knows of it. The leaves
  -- are asked by index, key by key. Pages ascend, so at first none of the backfill's own rows can be met again. New here: the
  -- sources that this one continues are asked too.
  SELECT string_agg(format(
    '%1$s NOT IN (SELECT q.source_key FROM tally.capture AS q WHERE q.log_id = %2$s AND q.source_no = %3$s%5$s)'
    ' AND (SELECT m.leaf_index FROM tally.merkle_log AS m WHERE m.log_id = %2$s AND m.source_table = %4$L AND m.source_key = %1$s LIMIT 1) IS NULL'
    ' AND (SELECT z.seq FROM tally.capture_quarantine AS z WHERE z.log_id = %2$s AND z.source_no = %3$s AND z.source_key = %1$s'
    ' AND z.resolved_at IS NULL LIMIT 1) IS NULL',
    '(' || p_key_sql || ')', l.log_id, l.source_no, l.source_table,
    CASE WHEN p_source.status = 'backfilling' THEN ' AND q.via <> ''b''' ELSE '' END), ' AND ' ORDER BY l.era DESC)
  FROM tally.source_line(p_source.source_no) AS l
$$;

CREATE OR REPLACE FUNCTION tally.next_op(p_source tally.verification_sources, p_key_sql text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- A truncate, whose key is [], ends every key before it. New here: the sources that this one continues are asked too.
  SELECT 'CASE WHEN coalesce(' || string_agg(format(
    '(SELECT q.op FROM tally.capture AS q WHERE q.log_id = %2$s AND q.source_no = %3$s AND q.problem IS NULL AND q.op <> ''C'''
    ' AND q.source_key IN (%1$s, ''[]'') ORDER BY q.seq DESC LIMIT 1),'
    '(SELECT m.op FROM tally.merkle_log AS m WHERE m.log_id = %2$s AND m.source_table = %4$L AND m.op <> ''C'''
    ' AND m.source_key IN (%1$s, ''[]'') ORDER BY m.leaf_index DESC LIMIT 1)',
    '(' || p_key_sql || ')', l.log_id, l.source_no, l.source_table), ', ' ORDER BY l.era DESC)
    || ') IN (''I'', ''U'') THEN ''U''::"char" ELSE ''I''::"char" END'
  FROM tally.source_line(p_source.source_no) AS l
$$;

CREATE FUNCTION tally.lock_tables(p_relations oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '500ms'
AS $$
DECLARE
  tables text;
BEGIN
  -- Shorter than deadlock_timeout: where a writer holds one of the tables and waits for another, it is we who give way.
  SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY r.nth) INTO tables
  FROM unnest(p_relations) WITH ORDINALITY AS r (relation, nth) INNER JOIN pg_class AS c ON c.oid = r.relation;
  IF tables IS NOT NULL THEN
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tables);
  END IF;
END $$;
COMMENT ON FUNCTION tally.lock_tables(oid[]) IS
  'Locks tables and their descendants against writers, in the given order, with the caller''s rights; waits half a second for each.';

CREATE FUNCTION tally.move_source_v1(p_source_no integer, p_log_id integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  log tally.verification_logs;
  new_source_no CONSTANT integer := nextval(pg_get_serial_sequence('tally.verification_sources', 'source_no'));
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  -- The lock keeps the log from freezing while a source comes to it.
  SELECT * INTO log FROM tally.verification_logs WHERE log_id = p_log_id FOR SHARE;
  IF log.status = 'frozen' OR log.freeze_requested_at IS NOT NULL THEN
    PERFORM tally.refuse('TS107', format('log %s takes no more sources', log.log_name), jsonb_build_object('log', log.log_name));
  ELSIF log.status = 'failed' THEN
    PERFORM tally.refuse('TS108', format('log %s has failed; recover it first', log.log_name), jsonb_build_object('log', log.log_name));
  END IF;
  ASSERT source.status <> 'detached', 'a source moves once';
  -- Every column as it is, also those that later migrations add; what a backfill has still to do is done where the source goes.
  INSERT INTO tally.verification_sources OVERRIDING SYSTEM VALUE
  SELECT (jsonb_populate_record(NULL::tally.verification_sources, to_jsonb(source) || jsonb_build_object(
    'log_id', log.log_id, 'log_name', log.log_name, 'source_no', new_source_no, 'continues_source_no', p_source_no,
    'status', 'backfilling', 'problem', NULL, 'created_at', tally.clock()))).*;
  IF source.status = 'active' AND source.backfill_relations = '{}' THEN
    PERFORM tally.source_ready_v1(new_source_no);
  ELSIF source.status = 'active' THEN
    -- New partitions are still to be queued; source_ready_v1 would forget them.
    UPDATE tally.verification_sources SET status = 'active' WHERE source_no = new_source_no;
  ELSIF source.status = 'broken' THEN
    PERFORM tally.break_source_v1(new_source_no, source.problem - 'gap' - 'since');
  END IF;
  PERFORM tally.detach_source_v1(p_source_no);
  RETURN new_source_no;
EXCEPTION WHEN unique_violation THEN
  PERFORM tally.refuse('TS112', format('table %s feeds log %s already, or was detached from it', source.source_table, log.log_name),
    jsonb_build_object('table', source.source_table, 'log', log.log_name));
END $$;
COMMENT ON FUNCTION tally.move_source_v1(integer, integer) IS
  'Continues a source in another log, from the queue row on that comes next; the caller holds the table''s lock and changes its triggers.';

-- A failed log seals nothing more: what waits in its queue goes to the log that continues it -------------------

CREATE FUNCTION tally.relabelled(p_bytes bytea, p_from text, p_to text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
  -- The first one: what stands before the member `log` in a record is no object with such a text, and inside of a string its
  -- quotes have backslashes.
  SELECT CASE WHEN w.place = 0 THEN p_bytes
    ELSE substr(p_bytes, 1, w.place - 1) || convert_to(format(',"log":"%s","op":"', p_to), 'UTF8')
         || substr(p_bytes, w.place + octet_length(w.text)) END
  FROM (SELECT t.text, position(t.text IN p_bytes) AS place
        FROM (SELECT convert_to(format(',"log":"%s","op":"', p_from), 'UTF8') AS text) AS t) AS w
$$;
COMMENT ON FUNCTION tally.relabelled(bytea, text, text) IS 'The bytes of a record with another log''s name in it; bytes that are none as they are.';

CREATE FUNCTION tally.relabelled_leaf(p_leaf bytea, p_salt bytea, p_record bytea, p_from text, p_to text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
DECLARE
  salted_tag CONSTANT bytea := convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea;
  record CONSTANT bytea := tally.relabelled(p_record, p_from, p_to);
  whole_before CONSTANT bytea := convert_to(
    format('{"*":{"bytes":%s,"sha256":"%s"}}', octet_length(p_record), encode(sha256(p_record), 'hex')), 'UTF8');
  leaf bytea := tally.relabelled(p_leaf, p_from, p_to);
  place integer;
BEGIN
  IF p_salt IS NOT NULL AND p_record IS NOT NULL AND p_leaf = sha256(salted_tag || p_salt || p_record) THEN
    RETURN sha256(salted_tag || p_salt || record);
  END IF;
  -- A record that is too large for a leaf is named there by length and digest.
  place := position(whole_before IN leaf);
  IF place > 0 THEN
    leaf := substr(leaf, 1, place - 1)
      || convert_to(format('{"*":{"bytes":%s,"sha256":"%s"}}', octet_length(record), encode(sha256(record), 'hex')), 'UTF8')
      || substr(leaf, place + octet_length(whole_before));
  END IF;
  RETURN leaf;
END $$;
COMMENT ON FUNCTION tally.relabelled_leaf(bytea, bytea, bytea, text, text) IS
  'The leaf that the capture of the same change for another log would have made.';

CREATE FUNCTION tally.carry_queue_v1(p_from integer, p_to integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET jit = off
AS $$
DECLARE
  old_log tally.verification_logs;
  new_log tally.verification_logs;
  carried bigint;
BEGIN
  SELECT * INTO STRICT old_log FROM tally.verification_logs WHERE log_id = p_from;
  SELECT * INTO STRICT new_log FROM tally.verification_logs WHERE log_id = p_to;
  IF old_log.status <> 'failed' OR new_log.predecessor_log_id IS DISTINCT FROM p_from THEN
    PERFORM tally.refuse('TS001', format('log %s seals its own queue', old_log.log_name), jsonb_build_object('log', old_log.log_name));
  END IF;
  -- In their order, behind the new log's genesis; the old log's own genesis, if it was not sealed, stays where it is.
  UPDATE tally.capture AS c
  SET log_id = p_to, seq = w.new_seq, xid = pg_current_xact_id(),
      source_no = coalesce((SELECT s.source_no FROM tally.verification_sources AS s
                            WHERE s.continues_source_no = c.source_no AND s.log_id = p_to), c.source_no),
      leaf = CASE WHEN c.op = 'A' THEN c.leaf
                  ELSE tally.relabelled_leaf(c.leaf, c.salt, c.record, old_log.log_name, new_log.log_name) END,
      record = tally.relabelled(c.record, old_log.log_name, new_log.log_name)
  FROM (
    SELECT q.seq, nextval('tally.capture_seq') AS new_seq
    FROM (SELECT k.seq FROM tally.capture AS k
          WHERE k.log_id = p_from AND NOT (k.op = 'C' AND k.source_no IS NULL) ORDER BY k.seq) AS q
  ) AS w
  WHERE c.log_id = p_from AND c.seq = w.seq;
  GET DIAGNOSTICS carried = ROW_COUNT;
  RETURN carried;
END $$;
COMMENT ON FUNCTION tally.carry_queue_v1(integer, integer) IS
  'Hands the queue of a failed log to the log that continues it, in the transaction that makes that log; how many rows.';

-- Shards by period -----------------------------------------------------------------------------------

CREATE TABLE tally.log_shards (
  family text COLLATE "C" PRIMARY KEY CONSTRAINT family_leaves_room_for_a_suffix CHECK (family ~ '^[a-z][a-z0-9_]{0,31}$'),
  log_id integer NOT NULL CONSTRAINT log_is_of_one_family UNIQUE REFERENCES tally.verification_logs ON DELETE RESTRICT,
  period text COLLATE "C" NOT NULL CONSTRAINT period_is_known CHECK (period ~ '^(year|month|week|day|hour|[1-9][0-9]{0,8}s)$'),
  next_at timestamptz NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.log_shards', 'Families of logs: at each turn of a period the current log is succeeded by the next.', '{
  "family": "Name of the family, which no log has; shards are <family>_<period>.",
  "log_id": "The current shard.",
  "period": "year, month, week, day or hour of UTC, or a number of seconds since 1970, as 3600s.",
  "next_at": "When the next shard begins.",
  "enabled": "False: the current shard goes on.",
  "created_at": "When the family was made."}');
SELECT tally.keep_evidence('tally.log_shards', 'DELETE OR TRUNCATE');

CREATE FUNCTION tally.guard_family() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  name CONSTANT text := CASE TG_TABLE_NAME WHEN 'log_shards' THEN to_jsonb(NEW) ->> 'family' ELSE to_jsonb(NEW) ->> 'log_name' END;
BEGIN
  -- Of one name that is a log's and a family's nobody could say which is meant.
  PERFORM pg_advisory_xact_lock(hashtextextended('tally.family.' || name, 0));
  IF EXISTS (SELECT FROM tally.log_shards AS f WHERE f.family = name AND TG_TABLE_NAME <> 'log_shards')
     OR EXISTS (SELECT FROM tally.verification_logs AS l WHERE l.log_name = name AND TG_TABLE_NAME = 'log_shards') THEN
    PERFORM tally.refuse('TS111', format('%s is the name of a %s', name,
      CASE TG_TABLE_NAME WHEN 'log_shards' THEN 'log' ELSE 'family of logs' END), jsonb_build_object('log', name));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_family() IS 'Keeps the names of logs and of families apart.';
CREATE TRIGGER guard_family BEFORE INSERT ON tally.log_shards FOR EACH ROW EXECUTE FUNCTION tally.guard_family();
CREATE TRIGGER guard_family BEFORE INSERT ON tally.verification_logs FOR EACH ROW EXECUTE FUNCTION tally.guard_family();

CREATE FUNCTION tally.shard_log_v1(p_family text, p_log_id integer, p_period text, p_next_at timestamptz, p_enabled boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.log_shards AS f (family, log_id, period, next_at, enabled)
  VALUES (p_family, p_log_id, p_period, p_next_at, p_enabled)
  ON CONFLICT (family) DO UPDATE SET period = p_period, next_at = p_next_at, enabled = p_enabled;
$$;
COMMENT ON FUNCTION tally.shard_log_v1(text, integer, text, timestamptz, boolean) IS
  'Makes a log the first shard of a family, or gives a family another period.';

CREATE FUNCTION tally.turn_shard_v1(p_family text, p_next_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  -- An operator may have continued the current shard by hand, more than once.
  WITH RECURSIVE chain AS (
    SELECT f.log_id, 0 AS nth FROM tally.log_shards AS f WHERE f.family = p_family
    UNION ALL
    SELECT l.log_id, c.nth + 1 FROM chain AS c INNER JOIN tally.verification_logs AS l ON l.predecessor_log_id = c.log_id
  )
  UPDATE tally.log_shards AS f
  SET next_at = p_next_at, log_id = (SELECT c.log_id FROM chain AS c ORDER BY c.nth DESC LIMIT 1)
  WHERE f.family = p_family;
$$;
COMMENT ON FUNCTION tally.turn_shard_v1(text, timestamptz) IS 'Lets a family know its newest shard, and when the next one is due.';

-- Rights ---------------------------------------------------------------------------------------------

GRANT SELECT ON tally.log_shards TO tally_app, tally_auditor;
-- What a row lock asks for; whether a family turns is an operator's word.
GRANT UPDATE (enabled) ON tally.log_shards TO tally_app;
ALTER TABLE tally.log_shards ENABLE ROW LEVEL SECURITY;
CREATE POLICY app_reads_all ON tally.log_shards TO tally_app, tally_auditor USING (true) WITH CHECK (true);
CREATE POLICY reader_reads_public ON tally.log_shards FOR SELECT TO tally_reader USING (tally.is_public_log(log_id));
GRANT SELECT ON tally.log_shards TO tally_reader;

REVOKE EXECUTE ON FUNCTION
  tally.hold_signing(integer), tally.source_line(integer), tally.line_sql(integer, text),
  tally.compare_line_counts(integer, text[]), tally.lock_tables(oid[]),
  tally.move_source_v1(integer, integer), tally.relabelled(bytea, text, text),
  tally.relabelled_leaf(bytea, bytea, bytea, text, text), tally.carry_queue_v1(integer, integer), tally.guard_family(),
  tally.shard_log_v1(text, integer, text, timestamptz, boolean), tally.turn_shard_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.lock_tables(oid[]),
  tally.move_source_v1(integer, integer), tally.carry_queue_v1(integer, integer),
  tally.shard_log_v1(text, integer, text, timestamptz, boolean), tally.turn_shard_v1(text, timestamptz) TO tally_app;
