-- name: take_heads
-- Queues the notes of new published heads; the function is one statement for all logs.
SELECT tally.take_heads_v1(%(log_name)s, make_interval(secs => %(pause_seconds)s));
