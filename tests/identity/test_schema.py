"""What the schema of identity is, and who sees what of it (identity.md, section 2)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.identity import (
    SCOPES,
    SLICE_OF_SCOPE,
    APIKeyRepository,
    NewUser,
    UserRepository,
    admit,
)
from tests.identity.people import SYSTEM, execute, fetch, flush, make_key, make_user

if TYPE_CHECKING:
    from tallystick.db import Database

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "identity.md"
beside_the_pages = pytest.mark.skipif(
    not SPEC.exists(), reason="the specification's pages are not beside the project"
)
OTHERS = {"idempotency_keys", "human_proof_challenges", "human_nullifiers", "human_proofs"}
"""Tables of the page that other tests look at."""


def spec_section(begin: str, end: str) -> str:
    """The text of the page between two headings."""
    return SPEC.read_text().partition(begin)[2].partition(end)[0]


def spec_tables() -> dict[str, str]:
    """Each table of section 2 with its cell of columns."""
    found = {}
    for line in spec_section("## 2. Tables", "- A nullifier").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and cells[0] != "table" and "---" not in line:
            found[cells[0].partition(" ")[0]] = cells[1]
    return found


@beside_the_pages
def test_every_table_and_column_is_there(shared_database: Database) -> None:
    """identity 1: Each table of section 2 is there, and each of its columns with a comment."""
    tables = spec_tables()
    assert {"users", "api_keys", "rate_limits", "idempotency_keys"} <= tables.keys()
    for table in tables.keys() - OTHERS:
        columns = dict(
            fetch(
                shared_database,
                "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute"
                " WHERE attrelid = %(t)s::regclass AND attnum > 0",
                t=f"tally.{table}",
            )
        )
        assert all(columns.values()), table
        text = re.sub(r"`[^`]*`|\([^()]*\)", " ", tables[table])
        named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)) - {"user_risk_history"}
        unknown = {name for name in named if name not in columns}
        # Words with an underscore that are types, functions or other tables.
        assert unknown <= {"evm_address", "evm_hash", "gen_random_uuid", "api_scopes"}, table


@beside_the_pages
def test_every_function_and_view_is_there(shared_database: Database) -> None:
    """identity 1: The functions, views and types that section 2 names are there."""
    text = spec_section("## 2. Tables", "## 3. States")
    named = set(re.findall(r"`([a-z_]+_v1)`", text)) | {"address"}
    found = {name for (name,) in fetch(shared_database, "SELECT proname::text FROM pg_proc")}
    assert {"admit_v1", "admit_anonymous_v1", "adjust_risk_v1"} <= named <= found
    relations = fetch(
        shared_database, "SELECT relname::text, reloptions::text FROM pg_class WHERE relkind = 'v'"
    )
    assert ("api_key_usage_view", "{security_invoker=true}") in relations


def test_earlier_selects_run_unchanged(database: Database) -> None:
    """identity 2: Both earlier shapes of api_keys and the earlier users are read as they were."""
    user = make_user(database, 1, username="alice", tags=["vip"])
    key, text = make_key(database, user, scopes=["proof:read", "proof:bulk"], name="ci")
    admit(database, text)
    flush(database)
    with psycopg.connect(database.url) as connection:
        connection.execute("SET search_path = tally, public")
        connection.execute("SET ROLE tally_app")
        assert connection.execute(
            "SELECT id, wallet_address, created_at IS NOT NULL, last_activity, risk_score,"
            " is_blacklisted, tags FROM users WHERE risk_score < 50 AND NOT is_blacklisted"
        ).fetchall() == [(user.id, user.wallet_address, True, None, 0, False, ["vip"])]
        assert connection.execute(
            "SELECT id, user_id, name, tier, rate_limit, requests_today, expires_at, revoked,"
            " last_used IS NOT NULL, length(key_hash) FROM api_keys WHERE NOT revoked"
        ).fetchall() == [(key.id, user.id, "ci", "free", 100, 1, None, False, True, 32)]
        assert connection.execute(
            "SELECT key_id, client_name, client_type, rate_limit_per_min, can_read_proofs,"
            " can_request_proofs, can_bulk_download, is_active, last_used_at = last_used,"
            " description, contact_email FROM api_keys"
            " WHERE is_active AND client_type = 'developer'"
        ).fetchall() == [
            (key.id, "ci", "developer", 100, True, False, True, True, True, None, None)
        ]


def test_generated_columns_refuse_writes(database: Database) -> None:
    """What is derived follows what it is derived from, and nobody writes it."""
    make_key(database, make_user(database))
    with psycopg.connect(database.url) as connection:
        with pytest.raises(psycopg.errors.GeneratedAlways), connection.transaction():
            connection.execute("UPDATE tally.api_keys SET revoked = true")
        connection.execute(
            "UPDATE tally.api_keys SET scopes = '{proof:request,proof:read,proof:read}'"
        )
        assert connection.execute(
            "SELECT scopes, can_read_proofs, can_request_proofs, can_bulk_download"
            " FROM tally.api_keys"
        ).fetchone() == (["proof:read", "proof:request"], True, True, False)


def as_reader(database: Database, user_id: str | None, query: str) -> list[tuple[Any, ...]]:
    """What a reader with that user sees."""
    with psycopg.connect(database.url) as connection:
        if user_id is not None:
            connection.execute("SELECT set_config('tally.current_user_id', %s, false)", (user_id,))
        connection.execute("SET ROLE tally_reader")
        return connection.execute(query.encode()).fetchall()


def test_readers_see_their_own(database: Database) -> None:
    """identity 14: A reader sees his own user, history and keys, and no key's hash."""
    people = [make_user(database, n) for n in (1, 2)]
    for user in people:
        make_key(database, user)
        with database.transaction() as tx:
            UserRepository(tx).update_risk_score(
                user.id, 5, reason_code="review", reason="why", actor=SYSTEM
            )
    for user in people:
        assert as_reader(database, user.id, "SELECT id FROM tally.users") == [(user.id,)]
        for table in ("api_keys", "user_risk_history"):
            seen = as_reader(database, user.id, f"SELECT user_id FROM tally.{table}")
            assert seen == [(user.id,)]
    for table in ("users", "api_keys", "user_risk_history"):
        for nobody in (None, "", "nobody"):
            assert as_reader(database, nobody, f"SELECT 1 FROM tally.{table}") == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT key_hash FROM tally.api_keys",
        "SELECT * FROM tally.api_keys",
        "SELECT * FROM tally.rate_limits",
        "SELECT * FROM tally.api_tiers",
        "SELECT * FROM tally.api_scopes",
        "SELECT * FROM tally.api_key_usage",
        "SELECT * FROM tally.api_key_usage_view",
        "UPDATE tally.users SET username = 'mine'",
        "SELECT tally.set_risk_v1('x', 0, 'a', 'b', 'db:x')",
        "SELECT * FROM tally.admit_anonymous_v1('ip:1.2.3.4/32')",
        "SELECT tally.flush_usage_v1()",
    ],
)
def test_readers_see_no_more(shared_database: Database, query: str) -> None:
    """identity 14: A reader is refused all other tables, views, functions and writes."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_reader(shared_database, "anybody", query)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tally.users SET risk_score = 0",
        "UPDATE tally.users SET blacklisted_at = NULL",
        "UPDATE tally.users SET deleted_at = NULL",
        "INSERT INTO tally.users (risk_score) VALUES (5)",
        "INSERT INTO tally.user_risk_history (user_id) VALUES ('x')",
        "UPDATE tally.api_keys SET scopes = '{log:admin}'",
        "UPDATE tally.api_keys SET revoked_at = NULL",
        "UPDATE tally.api_tiers SET rate_limit = 1",
        "UPDATE tally.rate_limits SET used = 0",
        "INSERT INTO tally.api_scopes (scope, slice, description) VALUES ('a:b', 'a', 'b')",
        "SELECT tally.check_held('db:x', '{}', 'free')",
    ],
)
def test_the_server_goes_through_functions(shared_database: Database, statement: str) -> None:
    """The server's own role changes risk, blacklist, scopes and limits by functions alone."""
    with psycopg.connect(shared_database.url) as connection:
        connection.execute("SET ROLE tally_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_servers_role_is_enough(database: Database) -> None:
    """Everything that the repositories and admission do, the role tally_app may do."""
    with database.transaction() as tx:
        tx.connection.execute("SET LOCAL ROLE tally_app")
        users, keys = UserRepository(tx), APIKeyRepository(tx)
        user = users.create("0x" + "ab" * 20, username="alice", tags=["t"])
        users.update(user.id, expected_version=1, username="bob")
        users.update_risk_score(user.id, 5, reason_code="review", reason="why", actor=SYSTEM)
        users.update_last_activity([user.id])
        users.blacklist(user.id, reason="fraud", actor=SYSTEM)
        users.remove_blacklist(user.id, reason="error", actor=SYSTEM)
        key, text = keys.create(user.id, name="key", actor=SYSTEM)
        unused, _ = keys.create(user.id, name="key", actor=SYSTEM)
        keys.delete(unused.id)
        keys.admit(text, address="192.0.2.1")
        keys.admit_anonymous("192.0.2.1")
        keys.flush_usage()
        keys.usage(key.id)
        keys.update_last_used(key.id)
        keys.update_request_count(key.id, 5)
        keys.reset_daily_count(key.id, actor=SYSTEM)
        keys.update(key.id, expected_version=1, name="new", actor=SYSTEM)
        keys.rotate(key.id, actor=SYSTEM)
        keys.revoke_all(user.id, reason="all", actor=SYSTEM)
        keys.set_tier_limits("free", rate_limit=5, daily_quota=5, actor=SYSTEM)
        users.delete(user.id, actor=SYSTEM)
        users.erase(user.id, actor=SYSTEM)


def test_scopes_are_one_set(shared_database: Database) -> None:
    """identity 17: The scopes of the code are the rows of api_scopes, words and slices too."""
    stored = fetch(shared_database, "SELECT scope, slice, description FROM tally.api_scopes")
    assert sorted(stored) == sorted((s, SLICE_OF_SCOPE[s], said) for s, said in SCOPES.items())


@beside_the_pages
def test_scopes_are_those_of_the_specification() -> None:
    """identity 17: The scopes of the code are those of section 5.2."""
    table = spec_section("### 5.2", "- A route names")
    assert set(re.findall(r"`([a-z]+:[a-z]+)`", table)) == set(SCOPES)


def test_statistics_hold_nothing_that_is_erased(database: Database) -> None:
    """No column that an erasure empties has values in the planner's statistics."""
    tagged = [NewUser(username=f"canary{n}", tags=("canary",)) for n in range(50)]
    with database.transaction() as tx:
        users = UserRepository(tx).create_many(tagged)
        for user in users:
            APIKeyRepository(tx).create(
                user.id,
                name="canary",
                description="canary",
                contact_email="canary",
                actor=SYSTEM,
            )
    execute(database, "ANALYZE tally.api_keys")
    execute(database, "ANALYZE tally.users")
    with database.transaction() as tx:
        for user in users:
            UserRepository(tx).delete(user.id, actor=SYSTEM)
            UserRepository(tx).erase(user.id, actor=SYSTEM)
    found = fetch(
        database,
        "SELECT s.attname::text FROM pg_stats AS s WHERE s.schemaname = 'tally' AND strpos(concat("
        " s.most_common_vals::text, s.histogram_bounds::text, s.most_common_elems::text),"
        " 'canary') > 0",
    )
    assert found == []
