"""The SQL of imports; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

from tallystick.db import Query, Transaction, load_queries

if TYPE_CHECKING:
    from tallystick.seal.logs import Log
    from tallystick.seal.sources.table import Table


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    facts: Query
    append_batch: Query
    lift_timeouts: Query
    forget: Query


SQL = load_queries(Queries, __package__)

BEFORE_ALL: Final = -(2**63)
"""No id is smaller; one that equals it would be left out, which the count at the end shows."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to import: leaves, those that are none, and ids that repeat another."""

    leaves: int
    malformed: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one statement wrote: leaves, the last one's id, and their hashes side by side."""

    leaves: int
    last_id: int | None
    leaf_hashes: bytes


def lift_timeouts(tx: Transaction) -> None:
    """Let the transaction take as long as it takes."""
    tx.execute(SQL.lift_timeouts)


def look_at(tx: Transaction, table: Table, log_name: str) -> Facts:
    """Let the statements that follow read *table*'s leaves of *log_name*; return what they are."""
    optional = {
        "source_table": sql.SQL("text"),
        "source_id": sql.SQL("text"),
        "processed_at": sql.SQL("timestamptz"),
    }
    columns = [
        sql.SQL("t.{}::{}" if table.column(name) else "NULL::{1}").format(
            sql.Identifier(name), type_name
        )
        for name, type_name in optional.items()
    ]
    view = sql.SQL(
        "CREATE TEMPORARY VIEW tally_import (id, leaf, source_table, source_id, processed_at) AS"
        " SELECT t.id::bigint, t.leaf_hash, {}, {}, {} FROM {} AS t WHERE t.log_name = {}"
    ).format(*columns, sql.Identifier(table.schema, table.bare_name), sql.Literal(log_name))
    tx.execute(view)
    facts = tx.row(Facts, SQL.facts)
    assert facts is not None, "an aggregate always has a row"
    return facts


def forget(tx: Transaction) -> None:
    """Take away what `look_at` made, so that the connection can serve another import."""
    tx.execute(SQL.forget)


def append_batch(tx: Transaction, log: Log, *, size: int, after: int, limit: int) -> Batch:
    """Write up to *limit* leaves behind the id *after*, from index *size* on."""
    batch = tx.row(
        lambda leaves, last_id, hashes: Batch(leaves, last_id, bytes(hashes)),
        SQL.append_batch,
        {
            "log_id": log.log_id,
            "log_name": log.log_name,
            "size": size,
            "after": after,
            "limit": limit,
        },
    )
    assert batch is not None, "an aggregate always has a row"
    return batch
