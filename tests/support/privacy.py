"""A log that hides things: private columns, large values, salted leaves, and a canary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tallystick.db import connect
from tallystick.publish import Publisher
from tallystick.publish.disclosures import disclose
from tallystick.seal.redaction import Redaction, redact_leaves, redact_row
from tallystick.seal.sources import add_source, run_backfills
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.record import LeafDisclosure

CANARY = "canary@example.org"
WHY = {"actor": "user:dpo", "reason": "request 17", "legal_basis": "GDPR Art. 17"}
TABLES = """
CREATE TABLE person (id bigint PRIMARY KEY, email text, phone text, city text, letter text);
CREATE TABLE patient (id bigint PRIMARY KEY, name text, note text)
"""


class Hidden:
    """The log `payments` over `person` (email, phone private) and `patient` (salted)."""

    def __init__(self, url: str, key_dir: Path, **settings: Any) -> None:
        self.bench: LogBench = make_bench(url, key_dir, **settings)
        self.sql(TABLES)
        for table, fields in (
            ("person", {"private": ("email", "phone")}),
            ("patient", {"leaf_form": "salted"}),
        ):
            with self.bench.database.transaction() as tx:
                add_source(tx, "payments", table, **fields)
        run_backfills(self.bench.database)

    def sql(self, *statements: str) -> None:
        """Run statements, each in its own transaction, as an application would."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def sealed(self, *statements: str) -> int:
        """Run statements, seal, and return the index of the last leaf."""
        self.sql(*statements)
        return self.bench.seal_all() - 1

    def disclose(self, index: int, *columns: str) -> LeafDisclosure:
        """Disclose in a transaction of its own."""
        with self.bench.database.transaction(read_only=True) as tx:
            return disclose(tx, "payments", index, columns)

    def redact(self, *indexes: int, **words: str) -> Redaction:
        """Redact in a transaction of its own."""
        with self.bench.database.transaction() as tx:
            return redact_leaves(tx, "payments", indexes, **(WHY | words))

    def redact_row(self, table: str, *key: str) -> Redaction:
        """Redact every version of a row in a transaction of its own."""
        with self.bench.database.transaction() as tx:
            return redact_row(tx, "payments", table, key, **WHY)

    def proof(self, index: int) -> tuple[bytes, bytes, bytes]:
        """The proof of a leaf, the leaf, and a policy that trusts the log."""
        with connect(self.bench.url, pool_size=2) as database:
            publisher = Publisher(database)
            publisher.refresh()
            head = publisher.published_head("payments")
            proof = publisher.proof_file(head, index)
            leaf = publisher.entry(head, index).leaf
        [(vkey,)] = self.rows("SELECT vkey FROM tally.log_keys WHERE name = 'log.example/payments'")
        return proof, leaf, f"log {vkey}\nquorum none\n".encode()


def places_with(url: str, canary: str) -> list[str]:
    """Every column of schema tally, and of the planner's statistics, that holds *canary*."""
    found = []
    with psycopg.connect(url, autocommit=True) as connection:
        columns = connection.execute(
            "SELECT n.nspname::text, c.relname::text, a.attname::text,"
            " a.atttypid = 'bytea'::regtype"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE (n.nspname = 'tally' AND c.relkind IN ('r', 'p'))"
            "    OR (n.nspname = 'pg_catalog' AND c.relname = 'pg_stats')"
        ).fetchall()
        for schema, table, column, is_bytes in columns:
            name = sql.Identifier(column)
            holds = (
                sql.SQL("position({}::bytea IN {}) > 0").format(canary.encode(), name)
                if is_bytes
                else sql.SQL(
                    "position({c} IN {n}::text) > 0 OR position({h} IN {n}::text) > 0"
                ).format(c=canary, h=canary.encode().hex(), n=name)
            )
            if schema == "pg_catalog":
                holds = sql.SQL("schemaname = 'tally' AND ({})").format(holds)
            statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(
                sql.Identifier(schema, table), holds
            )
            row = connection.execute(statement).fetchone()
            if row and row[0]:
                found.append(f"{table}.{column}")
    return sorted(found)
