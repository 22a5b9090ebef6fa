"""What the tests of capture stand on: sources installed by plain SQL, and a look at the queue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

TAG = b"tallystick/seal-record/v1\n"


@dataclass(frozen=True, slots=True)
class Queued:
    """One queue row as the tests read it."""

    op: str
    via: str
    key: str
    source_id: int | None
    leaf: bytes | None
    salt: bytes | None
    record: bytes | None
    problem: str | None
    xid: str

    @property
    def change(self) -> dict[str, Any]:
        """The record in the leaf, or the one beside it where the leaf is a digest."""
        document = self.leaf if self.leaf and self.leaf.startswith(TAG) else self.record
        assert document is not None
        return json.loads(document.removeprefix(TAG))

    @property
    def row(self) -> dict[str, str | None]:
        """The row of the record."""
        return self.change["row"]


class Rig:
    """A database with the log `payments` and a connection in autocommit mode, as superuser."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)
        self.log_id = self.make_log("payments")

    def make_log(self, name: str, mode: str = "full") -> int:
        """Make a log without its checkpoint of size 0 and return its number."""
        return self.value(
            "INSERT INTO tally.verification_logs (log_name, origin, mode)"
            " VALUES (%s, 'log.example/' || %s, %s::tally.log_mode) RETURNING log_id",
            (name, name, mode),
        )

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run statements and return the rows of the last one that has any."""
        cursor = self.connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        """Return the first value of a statement's first row."""
        return self.sql(statement, parameters)[0][0]

    def seal(
        self, table: str, key: Sequence[str] = ("id",), log: str = "payments", **columns: Any
    ) -> int:
        """Install a source with its triggers and return its number."""
        values = {
            "source_table": table,
            "log_name": log,
            "key_columns": list(key),
            **columns,
        }
        if "relation" not in values:
            values["relation"] = self.value("SELECT %s::regclass::oid", (table,))
        statement = sql.SQL(
            "INSERT INTO tally.verification_sources ({}) VALUES ({}) RETURNING source_no"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        )
        found = self.connection.execute(statement, list(values.values())).fetchone()
        assert found is not None
        self.sql(
            "SELECT tally.grant_reading(m, %s) FROM tally.table_members(%s) AS m",
            (list(key), values["relation"]),
        )
        self.sql("SELECT tally.create_capture(%s)", found)
        self.sql("SELECT tally.create_capture_triggers(%s)", found)
        return found[0]

    def queue(self, source: int | None = None) -> list[Queued]:
        """The queue's rows in order, of one source or of all."""
        rows = self.sql(
            "SELECT op::text, via::text, source_key, source_id, leaf, salt, record,"
            " problem, xid::text FROM tally.capture"
            " WHERE source_no = %s OR %s::integer IS NULL ORDER BY seq",
            (source, source),
        )
        return [Queued(*row) for row in rows]

    def take(self, source: int | None = None) -> list[str]:
        """The queue's rows in short, as in `I 42`, `U 1,2` or `T`; they are gone afterwards."""
        found = [f"{row.op} {','.join(json.loads(row.key))}".strip() for row in self.queue(source)]
        self.sql("DELETE FROM tally.capture")
        return found

    def rows(self, source: int | None = None) -> list[dict[str, str | None]]:
        """The rows in the queue's records; they are gone afterwards."""
        found = [row.row for row in self.queue(source)]
        self.sql("DELETE FROM tally.capture")
        return found

    def close(self) -> None:
        """End the connection."""
        self.connection.close()
