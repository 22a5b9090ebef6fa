-- A clock that tests set. Installed only by `migrate(..., test=True)`: production has no such function.
CREATE TABLE IF NOT EXISTS tally.test_clock (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  at timestamptz NOT NULL,
  runs boolean NOT NULL,
  set_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE tally.test_clock OWNER TO tally_owner;
GRANT SELECT ON tally.test_clock TO PUBLIC;

CREATE OR REPLACE FUNCTION tally.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
BEGIN ATOMIC
  SELECT coalesce(
    (SELECT CASE WHEN runs THEN at + (clock_timestamp() - set_at) ELSE at END FROM tally.test_clock),
    clock_timestamp());
END;

CREATE OR REPLACE FUNCTION tally.set_test_clock(at timestamptz, runs boolean DEFAULT false) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.test_clock (at, runs) VALUES ($1, $2)
  ON CONFLICT (only_row) DO UPDATE SET at = excluded.at, runs = excluded.runs, set_at = clock_timestamp();
$$;
ALTER FUNCTION tally.set_test_clock(timestamptz, boolean) OWNER TO tally_owner;
