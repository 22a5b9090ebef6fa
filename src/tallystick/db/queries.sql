-- name: server_facts
-- The server's version as a number, and the encoding of this database.
SELECT current_setting('server_version_num')::integer, pg_encoding_to_char(encoding)
FROM pg_catalog.pg_database WHERE datname = current_database();

-- name: create_owner
-- Makes the owner, which nobody can log in as; roles belong to the whole cluster, so another database may have made it.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tally_owner') THEN
    CREATE ROLE tally_owner NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- another database's migration made it in this very moment
END $$;

-- name: become_member
-- A role that is no superuser must be able to act as the owner; from PostgreSQL 16 on being its member is not enough.
DO $$
BEGIN
  IF NOT pg_has_role(current_user, 'tally_owner',
                     CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
    EXECUTE format('GRANT tally_owner TO %I', current_user);
  END IF;
END $$;

-- name: create_schema
-- Makes the schema, whose owner is nobody that can log in.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'tally') THEN
    CREATE SCHEMA tally AUTHORIZATION tally_owner;
    COMMENT ON SCHEMA tally IS 'Tallystick: rows as evidence. A guest in this database; everything it owns is in here.';
  END IF;
END $$;

-- name: leave_owner
-- Membership ends with the migration: the owner of the evidence has no members.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m
             WHERE m.roleid = 'tally_owner'::regrole AND m.member = current_user::regrole AND m.grantor = current_user::regrole) THEN
    EXECUTE format('REVOKE tally_owner FROM %I', current_user);
  END IF;
END $$;

-- name: create_ledger
-- The list of what was applied; it exists before the first migration, since that one is written into it.
CREATE TABLE IF NOT EXISTS tally.schema_migrations (
  number integer PRIMARY KEY,
  name text NOT NULL,
  sha256 bytea NOT NULL CONSTRAINT checksum_is_sha256 CHECK (octet_length(sha256) = 32),
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  duration_ms integer NOT NULL
);

-- name: ledger_exists
-- Whether any migration was ever applied here.
SELECT to_regclass('tally.schema_migrations') IS NOT NULL;

-- name: applied_migrations
-- Every applied migration with its checksum.
SELECT number, sha256 FROM tally.schema_migrations ORDER BY number;

-- name: record_migration
-- One migration was applied.
INSERT INTO tally.schema_migrations (number, name, sha256, duration_ms)
VALUES (%(number)s, %(name)s, %(sha256)s, %(duration_ms)s);
