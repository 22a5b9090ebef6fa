"""
The alternative to sealing: the copy loop of the earlier log service, unsigned.

It is what one writes first. A cursor over the table's id says how far the log has come; the loop
reads the next rows in batches, hashes each in Python, copies the hashes into a table of leaves
by COPY, moves the cursor, a transaction a batch, and appends the leaves to a tree in memory. It
stores no tree and no signature, it must read all leaves again at each start, and it loses rows
that commit late. So it does less than sealing, and it is written as fast as such a loop goes: one
statement a batch reads rows that the server has made into JSON, hashlib does the hashing, COPY is
binary, and the tree is the kernel's, which appends a batch at once.

The earlier service kept hashes alone, because its leaves were hashes. A log that is also the
history must keep the leaf bytes; the loop does so where it is told to.
"""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from tallystick.tlog import EMPTY_EDGE, Hash, extend_edge, hash_leaf

BATCH_ROWS: Final = 10_000

SCHEMA: Final = """
  CREATE TABLE copied_leaves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_name text NOT NULL, source_table text NOT NULL, source_id bigint NOT NULL,
    leaf_hash bytea NOT NULL, processed_at timestamptz NOT NULL DEFAULT now(), leaf bytea);
  ALTER TABLE copied_leaves ALTER COLUMN leaf SET STORAGE EXTERNAL;
  CREATE INDEX copied_leaves_by_row ON copied_leaves (log_name, source_table, source_id);
  CREATE INDEX copied_leaves_by_hash ON copied_leaves (log_name, leaf_hash);
  CREATE TABLE copy_cursor (last_id bigint NOT NULL);
  INSERT INTO copy_cursor VALUES (0);
"""
READ: Final = """
  SELECT p.id, convert_to(to_jsonb(p)::text, 'UTF8') FROM {table} AS p
  WHERE p.id > %s ORDER BY p.id LIMIT %s
"""
COPY: Final = """
  COPY copied_leaves (log_name, source_table, source_id, leaf_hash, leaf) FROM STDIN (FORMAT binary)
"""
TYPES: Final = ("text", "text", "int8", "bytea", "bytea")


class MemoryTree:
    """All leaf hashes and nodes of the tree, in memory."""

    def __init__(self) -> None:
        self._edge = EMPTY_EDGE
        self._nodes: list[bytes] = []

    def append(self, hashes: list[Hash]) -> None:
        """Append leaves."""
        self._edge, writes = extend_edge(self._edge, hashes)
        self._nodes += [write.appended for write in writes]


def create_copy_tables(connection: psycopg.Connection) -> None:
    """Create the tables of leaves and of the cursor."""
    connection.execute(SCHEMA)


def copy_all(url: str, table: str, *, keeps_leaves: bool = False) -> tuple[int, float]:
    """Copy the rows behind the cursor; return how many they were and the seconds it took."""
    tree = MemoryTree()
    read = sql.SQL(READ).format(table=sql.Identifier(table))
    copied = 0
    with psycopg.connect(url) as connection:
        began = time.monotonic()
        while batch := copy_batch(connection, read, tree, keeps_leaves=keeps_leaves):
            copied += batch
        return copied, time.monotonic() - began


def copy_batch(
    connection: psycopg.Connection, read: sql.Composed, tree: MemoryTree, *, keeps_leaves: bool
) -> int:
    """Copy one batch in a transaction of its own, and return its rows."""
    with connection.transaction():
        position = connection.execute("SELECT last_id FROM copy_cursor FOR UPDATE").fetchone()
        assert position is not None
        with connection.cursor(binary=True) as cursor:
            rows = cursor.execute(read, (position[0], BATCH_ROWS)).fetchall()
            if not rows:
                return 0
            hashes = [hash_leaf(record) for _, record in rows]
            with cursor.copy(COPY) as copy:
                copy.set_types(TYPES)
                for (row_id, record), leaf_hash in zip(rows, hashes, strict=True):
                    leaf = record if keeps_leaves else None
                    copy.write_row(("payments", "payment", row_id, leaf_hash, leaf))
            cursor.execute("UPDATE copy_cursor SET last_id = %s", (rows[-1][0],))
    tree.append(hashes)
    return len(rows)
