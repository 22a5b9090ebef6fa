-- What catches an error begins a subtransaction, which no part of a parallel plan may do before version 17: a large log's
-- records were then refused (25000) as soon as the planner chose such a plan. From 17 on they may be read in parallel.
DO $$
BEGIN
  IF current_setting('server_version_num')::integer < 170000 THEN
    ALTER FUNCTION tally.leaf_record(bytea) PARALLEL UNSAFE;
    ALTER FUNCTION tally.record_members(bytea) PARALLEL UNSAFE;
  END IF;
END $$;
