"""Logs in a real database: filled through the queue, sealed by the sequencer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from tallystick.db import Database, connect
from tallystick.record import Change, format_record, make_signer
from tallystick.seal.logs import KeyRing, Log, LogSettings, create_log
from tallystick.seal.sequencer.sequencer import Sequencer
from tallystick.tlog import ALGORITHM_COSIGNATURE, format_verifier_key, parse_note, sign_cosignature
from tallystick.tlog.note import format_signature_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ORIGIN_PREFIX = "log.example"
QUEUE = sql.SQL(
    "INSERT INTO tally.capture (log_id, source_no, op, via, source_key, leaf, captured_at)"
    " SELECT {log_id}, {source_no}, {op}, {via}, k, l, tally.clock()"
    " FROM unnest({keys}::text[], {leaves}::bytea[]) AS w (k, l)"
)


@dataclass
class LogBuilder:
    """Makes and fills logs in the database at *url*, with keys in *directory*."""

    url: str
    directory: Path
    logs: dict[str, Log] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database: Database = connect(self.url, pool_size=4)
        self.keys = KeyRing(self.directory)
        self.sequencer = Sequencer(self.database, self.keys)

    def create(self, name: str, **settings: object) -> Log:
        """Return a new log; control leaves are off unless asked for, so that indexes are plain."""
        chosen = LogSettings(**({"control_leaves": False} | settings))  # type: ignore[arg-type]
        with self.database.transaction() as tx:
            self.logs[name] = create_log(
                tx, name, keys=self.keys, origin_prefix=ORIGIN_PREFIX, settings=chosen
            )
        return self.logs[name]

    def add_table(self, name: str, table: str) -> int:
        """Make a row of `verification_sources`, so that leaves can name *table*; its number."""
        return int(
            self.execute(
                "INSERT INTO tally.verification_sources (source_table, log_name)"
                f" VALUES ('{table}', '{name}') RETURNING source_no"
            )[0][0]
        )

    def append(self, name: str, leaves: Sequence[bytes]) -> None:
        """Queue *leaves* as pushed entries."""
        self._queue(name, None, ("A", "a"), ["[]"] * len(leaves), leaves)

    def append_change(self, name: str, source_no: int, change: Change, *, key_text: str) -> bytes:
        """Queue the record of *change*, as a trigger would, and return its leaf bytes."""
        leaf = format_record(change)
        self._queue(name, source_no, (change.op[0].upper(), "t"), [key_text], [leaf])
        return leaf

    def seal(self, name: str) -> int:
        """Seal until the queue is empty, and return the log's size."""
        size = 0
        while (result := self.sequencer.seal_once(self.logs[name].log_id)) is not None:
            size = result.size
            if not result.rows:
                break
        return size

    def filled(self, name: str, leaves: Sequence[bytes], **settings: object) -> Log:
        """Return a new log in which *leaves* are sealed."""
        log = self.create(name, **settings)
        self.append(name, leaves)
        self.seal(name)
        return log

    def cosign(self, name: str, size: int, *, witness: str, at: int = 1767323047) -> str:
        """Store the cosignature of *witness* under a checkpoint, and return its vkey."""
        signer = make_signer(
            name=witness, secret=witness.encode().ljust(32)[:32], algorithm=ALGORITHM_COSIGNATURE
        )
        log_id = self.logs[name].log_id
        [(note,)] = self.execute(
            f"SELECT note FROM tally.checkpoints WHERE log_id = {log_id} AND tree_size = {size}"
        )
        signature = sign_cosignature(parse_note(note.encode()).text, signer, time_seconds=at)
        line = format_signature_line(signature)
        vkey = format_verifier_key(signer.verifier_key)
        self.execute(
            "INSERT INTO tally.witnesses (log_id, name, vkey, public_key, key_id, url)"
            f" VALUES ({log_id}, '{witness}', '{vkey}', '\\x{signer.public_key.hex()}',"
            f" '\\x{signer.key_id.hex()}', 'https://{witness}') ON CONFLICT DO NOTHING"
        )
        self.execute(
            "INSERT INTO tally.cosignatures"
            " (log_id, tree_size, witness_name, line, signed_at_seconds)"
            f" VALUES ({log_id}, {size}, '{witness}', $line${line}$line$, {at}) RETURNING 1"
        )
        return vkey

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser and return its rows."""
        with self.database.session() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the pool."""
        self.database.close()

    def _queue(
        self,
        name: str,
        source_no: int | None,
        way: tuple[str, str],
        keys: Sequence[str],
        leaves: Sequence[bytes],
    ) -> None:
        statement = QUEUE.format(
            log_id=sql.Literal(self.logs[name].log_id),
            source_no=sql.Literal(source_no),
            op=sql.Literal(way[0]),
            via=sql.Literal(way[1]),
            keys=sql.Placeholder("keys"),
            leaves=sql.Placeholder("leaves"),
        )
        with self.database.transaction() as tx:
            tx.execute(statement, {"keys": list(keys), "leaves": list(leaves)})
