"""Who may see and change what of human proofs (identity.md, section 2)."""

from __future__ import annotations

import psycopg
import pytest

FUNCTIONS = """
SELECT p.proname::text FROM pg_proc AS p
WHERE p.pronamespace = 'tally'::regnamespace AND has_function_privilege(%s, p.oid, 'EXECUTE')
"""
INNER = {
    "lock_prover",
    "lock_open_challenge",
    "lock_proof",
    "spend_attempt",
    "claim_nullifiers",
    "announce_proof",
    "refuse_proof_step",
    "keep_decided_proof",
}
OURS = {
    "issue_challenge_v1",
    "refuse_challenge_v1",
    "verify_challenge_v1",
    "create_human_proof_v1",
    "update_human_proof_v1",
    "mark_human_proof_verified_v1",
    "reject_human_proof_v1",
    "revoke_human_proof_v1",
    "delete_human_proof_v1",
    "delete_expired_human_proofs_v1",
}


def as_reader(bench, user_id, statement):
    """The rows that a reader sees who is *user_id*; None is nobody."""
    with psycopg.connect(bench.database.url, autocommit=True) as connection:
        connection.execute("SET ROLE tally_reader")
        if user_id is not None:
            connection.execute("SELECT set_config('tally.current_user_id', %s, false)", (user_id,))
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    "relation", ["human_proof_challenges", "human_proofs", "v_valid_human_proofs"]
)
def test_readers_see_their_own_rows(bench, relation):
    """identity 14: a reader sees his own challenges and proofs, and nobody's without his name."""
    bench.prove("alice")
    bench.prove("bob")
    query = f"SELECT user_id FROM tally.{relation}"
    assert as_reader(bench, "alice", query) == [("alice",)]
    assert as_reader(bench, "bob", query) == [("bob",)]
    assert as_reader(bench, None, query) == []
    assert as_reader(bench, "carol", query) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM tally.human_nullifiers",
        "INSERT INTO tally.human_proofs (user_id) VALUES ('alice')",
        "UPDATE tally.human_proofs SET status = 'revoked'",
        "DELETE FROM tally.human_proofs",
        "UPDATE tally.human_proof_challenges SET attempts_left = 3",
        "SELECT tally.revoke_human_proof_v1(gen_random_uuid(), 'x', 'db:x')",
        "SELECT tally.claim_nullifiers('alice', 'unsafe', NULL, NULL, false)",
    ],
)
def test_readers_change_nothing(bench, statement):
    """identity 14: a reader has no right to nullifiers, to any change or to any function."""
    bench.prove()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_reader(bench, "alice", statement)


@pytest.mark.parametrize("table", ["human_proof_challenges", "human_proofs", "human_nullifiers"])
@pytest.mark.parametrize("change", ["INSERT INTO tally.{} DEFAULT VALUES", "DELETE FROM tally.{}"])
def test_the_server_changes_rows_by_functions_alone(bench, table, change):
    """The server's role reads every row, and writes none but by the functions of section 3."""
    bench.prove()
    with psycopg.connect(bench.database.url, autocommit=True) as connection:
        connection.execute("SET ROLE tally_app")
        assert connection.execute(f"SELECT count(*) FROM tally.{table}").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(change.format(table))


@pytest.mark.parametrize(
    ("role", "expected"), [("tally_app", OURS), ("tally_reader", set()), ("tally_auditor", set())]
)
def test_functions_are_the_servers(bench, role, expected):
    """identity 14: of the functions of human proofs a role may call those of its duty alone."""
    found = {name for (name,) in bench.sql(FUNCTIONS, role)}
    assert found & OURS == expected
    assert not found & INNER
