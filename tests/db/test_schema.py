"""What the schema promises: states, append-only evidence, comments, keys, rights (log.md 2, 3)."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tallystick.db.errors import AppendOnlyError, IllegalTransitionError, PermissionDeniedError
from tallystick.db.sqlstate import translate

APPEND_ONLY = (
    "merkle_log",
    "checkpoints",
    "cosignatures",
    "redactions",
    "prunings",
    "audits",
    "audit_findings",
    "schema_migrations",
    "user_risk_history",
    "status_transitions",
)
OF_THE_LOG = (
    "verification_logs",
    "verification_sources",
    "log_keys",
    "outbox_cursors",
    "witnesses",
)
SPEC = Path(__file__).parents[3] / "shared" / "spec" / "log.md"


@pytest.fixture
def connection(database_url):
    """A superuser's connection in autocommit mode."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def rows(connection: psycopg.Connection, query: str) -> list[tuple]:
    """All rows of a query."""
    return connection.execute(query).fetchall()


def fill_evidence(connection: psycopg.Connection) -> None:
    """Put a row into each append-only table, so that row triggers have something to refuse."""
    connection.execute("INSERT INTO tally.verification_logs (log_name) VALUES ('one')")
    connection.execute(
        "INSERT INTO tally.merkle_log (log_id, leaf_index, log_name, source_key, op, via, seq,"
        " leaf, leaf_hash, processed_at)"
        " VALUES (1, 0, 'one', '[]', 'A', 'a', 1, 'x', sha256('x'), now())"
    )


@pytest.mark.parametrize("role", ["tally_owner", "tally_app"])
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "TRUNCATE"])
def test_evidence_is_append_only(connection, role, table, operation):
    """log 10: no role changes or removes evidence: the trigger refuses even tables' owner."""
    fill_evidence(connection)
    column = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND attgenerated = '' AND attidentity = '' ORDER BY attnum LIMIT 1",
        (f"tally.{table}",),
    ).fetchone()
    name = sql.Identifier("tally", table)
    statement = {
        "UPDATE": sql.SQL("UPDATE {} SET {} = {}").format(
            name, sql.Identifier(column[0]), sql.Identifier(column[0])
        ),
        "DELETE": sql.SQL("DELETE FROM {}").format(name),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE").format(name),
    }[operation]
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement)
    # Roles other than the owner are refused by their rights, before any trigger is asked.
    expected = AppendOnlyError if role == "tally_owner" else PermissionDeniedError
    assert isinstance(translate(raised.value), expected)


def test_replication_role_does_not_silence_the_triggers(connection):
    """log 10: session_replication_role = replica does not open evidence."""
    fill_evidence(connection)
    connection.execute("SET session_replication_role = replica")
    for statement in (
        "UPDATE tally.merkle_log SET leaf = 'y'",
        "DELETE FROM tally.merkle_log",
        "TRUNCATE tally.merkle_log",
    ):
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(statement)
        assert isinstance(translate(raised.value), AppendOnlyError)


def test_no_foreign_key_cascades(connection):
    """log 10: every foreign key of the schema restricts; none reaches evidence by a cascade."""
    cascading = rows(
        connection,
        "SELECT conname FROM pg_constraint WHERE contype = 'f'"
        " AND connamespace = 'tally'::regnamespace AND (confdeltype <> 'r' OR confupdtype <> 'a')",
    )
    assert cascading == []


def test_everything_has_a_comment(connection):
    """Every table, view, column and type of the schema has a comment."""
    without = rows(
        connection,
        """
        SELECT c.relname::text, a.attname::text FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'tally'::regnamespace AND c.relkind IN ('r', 'v')
          AND c.relname <> 'test_clock' AND col_description(c.oid, a.attnum) IS NULL
        UNION ALL
        SELECT c.relname::text, NULL FROM pg_class AS c
        WHERE c.relnamespace = 'tally'::regnamespace AND c.relkind IN ('r', 'v')
          AND c.relname <> 'test_clock' AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT t.typname::text, NULL FROM pg_type AS t
        WHERE t.typnamespace = 'tally'::regnamespace AND t.typtype IN ('e', 'd')
          AND obj_description(t.oid, 'pg_type') IS NULL
        """,
    )
    assert without == []


def test_every_function_has_a_comment(connection):
    """Every function of the schema says what it does, but those made for one source."""
    without = rows(
        connection,
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'tally'::regnamespace"
        " AND obj_description(oid, 'pg_proc') IS NULL AND proname NOT LIKE 'capture\\__%'"
        " AND proname NOT IN ('set_test_clock')",
    )
    assert without == []


def test_definer_functions_pin_their_search_path(connection):
    """A SECURITY DEFINER function without a pinned search_path would run anybody's code."""
    open_functions = rows(
        connection,
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'tally'::regnamespace AND prosecdef"
        " AND NOT coalesce(proconfig::text, '') LIKE '%search_path=%'",
    )
    assert open_functions == []


def spec_transitions() -> set[tuple[str, str | None, str]]:
    """The transitions of section 3 of the page: (table.column, from, to)."""
    found: set[tuple[str, str | None, str]] = set()
    text = SPEC.read_text().partition("### 3.1")[2].partition("### 3.3")[0]
    column = "verification_logs.status"
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3 or set(line) <= set("|-"):
            continue
        change = next((cell for cell in cells[:2] if "->" in cell and "from" not in cell), None)
        if change is None:
            continue
        if re.fullmatch(r"[a-z_]+\.status", cells[0]):
            column = cells[0]
        for alternative in change.replace("<->", "<>").split(";"):
            for pair in expand(alternative.strip()):
                found.add((column, *pair))
    return found


def expand(change: str) -> list[tuple[str | None, str]]:
    """`a, b -> c`, chains and `a <> b` as single steps; `-` is birth."""
    steps: list[tuple[str | None, str]] = []
    sides = [[word.strip() for word in side.split(",")] for side in re.split(r"->|<>", change)]
    arrows = re.findall(r"->|<>", change)
    for (before, after), arrow in zip(itertools.pairwise(sides), arrows, strict=True):
        for one, other in itertools.product(before, after):
            steps.append((None if one == "-" else one, other))
            if arrow == "<>":
                steps.append((other, one))
    return steps


@pytest.mark.skipif(
    not SPEC.exists(), reason="the specification's pages are not beside the project"
)
def test_transitions_are_those_of_the_specification(connection):
    """log 11: section 3 of the page equals `tally.status_transitions`."""
    stored = {
        (f"{table}.{column}", before, after)
        for table, column, before, after in rows(
            connection,
            "SELECT table_name, column_name, from_status, to_status FROM tally.status_transitions",
        )
        # Whether sealing runs is ours: the page speaks of it under 6.2 without a state machine.
        # The other slices' tables are compared with their own pages.
        if table in OF_THE_LOG
    }
    assert stored == spec_transitions()


STATUS_COLUMNS = {
    "verification_logs": "INSERT INTO tally.verification_logs (log_name) VALUES ('one')",
    "log_keys": (
        "INSERT INTO tally.log_keys (purpose, name, key_id, algorithm, public_key, vkey)"
        " VALUES ('outbox', 'k', '\\x01020304', 1, sha256('x'), 'v')"
    ),
    "outbox_cursors": "INSERT INTO tally.outbox_cursors (sink, kind) VALUES ('one', 'notify')",
    "verification_sources": (
        "INSERT INTO tally.verification_logs (log_name) VALUES ('one');"
        "INSERT INTO tally.verification_sources (source_table, log_name) VALUES ('t', 'one')"
    ),
    "sealing": "SELECT 1",
}


@pytest.mark.parametrize("table", STATUS_COLUMNS)
def test_every_other_transition_is_refused(connection, table):
    """log 11: a pair of states that is no row of status_transitions is TS001, for the owner too."""
    connection.execute(STATUS_COLUMNS[table])
    states = [
        state
        for (state,) in rows(
            connection,
            f"SELECT unnest(enum_range(NULL::{state_type(connection, table)}))::text",
        )
    ]
    legal = {
        (before, after)
        for before, after in rows(
            connection,
            "SELECT from_status, to_status FROM tally.status_transitions"
            f" WHERE table_name = '{table}' AND column_name = 'status'",
        )
    }
    for before, after in itertools.permutations(states, 2):
        if (before, after) in legal:
            continue
        with pytest.raises(psycopg.Error) as raised, connection.transaction():
            connection.execute(f"ALTER TABLE tally.{table} DISABLE TRIGGER guard_status")
            connection.execute(set_status(table, before))
            connection.execute(f"ALTER TABLE tally.{table} ENABLE TRIGGER guard_status")
            connection.execute("SET LOCAL ROLE tally_owner")
            connection.execute(set_status(table, after))
        assert isinstance(translate(raised.value), IllegalTransitionError), (before, after)


def state_type(connection: psycopg.Connection, table: str) -> str:
    """The enum type of a table's status column."""
    row = connection.execute(
        "SELECT atttypid::regtype::text FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = 'status'",
        (f"tally.{table}",),
    ).fetchone()
    return row[0]


def set_status(table: str, status: str) -> str:
    """The statement that sets a status, with what the table's other rules ask for."""
    failure = ", failure = " + ("'{}'" if status == "failed" else "NULL")
    return (
        f"UPDATE tally.{table} SET status = '{status}'"
        f"{failure if table == 'verification_logs' else ''}"
    )


def test_log_identity_is_immutable(connection):
    """A log's name, mode and pruning bound do not change backwards."""
    connection.execute("INSERT INTO tally.verification_logs (log_name) VALUES ('one')")
    for change in (
        "log_name = 'two'",
        "mode = 'digest'",
        "control_leaves = false",
        "minimum_index = -1",
    ):
        with pytest.raises(psycopg.Error):
            connection.execute(f"UPDATE tally.verification_logs SET {change}")


def test_configuration_cannot_be_deleted(connection):
    """log 10: there is no DELETE of a log or a source (law 11)."""
    connection.execute("INSERT INTO tally.verification_logs (log_name) VALUES ('one')")
    for table in ("verification_logs", "verification_sources", "log_keys"):
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(f"DELETE FROM tally.{table}")
        assert isinstance(translate(raised.value), AppendOnlyError)


def test_hash_functions_are_rfc_6962(connection):
    """The SQL hash functions agree with the kernel."""
    from tallystick.tlog import EMPTY_ROOT, hash_children, hash_leaf

    left, right = hash_leaf(b"left"), hash_leaf(b"right")
    row = connection.execute(
        "SELECT tally.leaf_hash('left'), tally.node_hash(%s, %s), tally.empty_root(),"
        " tally.hash_prefix(%s), tally.hash_start(%s)",
        (left, right, left, left),
    ).fetchone()
    starts = tuple(int.from_bytes(left[:size], signed=True) for size in (8, 4))
    expected = (left, hash_children(left, right), EMPTY_ROOT, *starts)
    assert tuple(bytes(v) if isinstance(v, bytes | memoryview) else v for v in row) == expected


def test_readers_see_public_logs_alone(connection):
    """A reader's SELECT shows the rows of public logs and no others."""
    connection.execute(
        "INSERT INTO tally.verification_logs (log_name, visibility)"
        " VALUES ('closed', 'private'), ('half', 'hashes'), ('open', 'public')"
    )
    connection.execute("SET ROLE tally_reader")
    assert rows(connection, "SELECT log_name FROM tally.verification_logs") == [("open",)]


OPEN_TO_ALL = {
    "address(text)",
    "clock()",
    "empty_root()",
    "hash_prefix(bytea)",
    "hash_start(bytea)",
    "is_public_log(integer)",
    "leaf_hash(bytea)",
    "leaf_record(bytea)",
    "node_hash(bytea,bytea)",
    "set_test_clock(timestamp with time zone,boolean)",
    "sign_as(text)",
}
"""What anybody may call; the last is of databases made for tests alone."""
OF_READERS = {"quorum_size(integer,integer)"}
OF_AUDITORS = {
    "chain_index(bytea,bytea,bigint)",
    "chain_indexes(bytea,bigint)",
    "compare_rows(integer,text[])",
    "cost_usd(numeric,numeric)",
    "count_rows(integer)",
    "index_key(text,text)",
    "intent_digest(bytea,bigint,text,text,numeric)",
    "is_indexed(bytea)",
    "mark_wal()",
    "record_members(bytea)",
    "wal_slot()",
}


@pytest.mark.parametrize(
    ("role", "functions"),
    [
        ("anybody", OPEN_TO_ALL),
        ("tally_reader", OPEN_TO_ALL | OF_READERS),
        ("tally_auditor", OPEN_TO_ALL | OF_READERS | OF_AUDITORS),
    ],
)
def test_functions_are_for_their_roles_alone(connection, role, functions):
    """No function of the schema may be called by a role that this list does not name."""
    connection.execute("DROP ROLE IF EXISTS anybody")
    connection.execute("CREATE ROLE anybody")
    found = connection.execute(
        "SELECT replace(p.oid::regprocedure::text, 'tally.', '') FROM pg_proc AS p"
        " WHERE p.pronamespace = 'tally'::regnamespace"
        " AND has_function_privilege(%s, p.oid, 'EXECUTE')",
        (role,),
    ).fetchall()
    connection.execute("DROP ROLE anybody")
    assert {name for (name,) in found} == functions


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("verification_logs", "status", "'failed'"),
        ("verification_logs", "minimum_index", "7"),
        ("verification_logs", "freeze_requested_at", "now()"),
        ("verification_sources", "relation", "1259"),
        ("verification_sources", "status", "'active'"),
        ("verification_sources", "backfill_relations", "'{1259}'"),
        ("verification_sources", "schema_fingerprint", "1"),
    ],
)
def test_plain_rows_hold_configuration_alone(connection, table, column, value):
    """The server's role inserts what a user may choose, never what only validation knows."""
    named = {"verification_logs": ("log_name", "'one'"), "verification_sources": ("log_id", "1")}
    first, its_value = named[table]
    connection.execute("SET ROLE tally_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            f"INSERT INTO tally.{table} ({first}, {column}) VALUES ({its_value}, {value})"
        )
