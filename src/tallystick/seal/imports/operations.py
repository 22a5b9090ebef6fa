"""
Import of an earlier log service's leaves, with the roots that they had (log.md, section 5.9).

The earlier service kept the leaf bytes of each row in a column called `leaf_hash`, hashed them
as RFC 6962 does, and ordered them by `id`. Same bytes in the same order are the same tree, so
every root that it ever published stays provable here. All of it is one transaction over one
snapshot: what is refused half-way leaves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.outbox import emit
from tallystick.seal.errors import (
    HashColumnError,
    ImportRefusedError,
    LogExistsError,
    SourceNotFoundError,
    UnknownColumnError,
    UnsupportedSourceError,
)
from tallystick.seal.imports import store
from tallystick.seal.logs import KeyRing, Log, LogSettings, create_log, has_log, list_keys
from tallystick.seal.logs.guard import guard_path, write_guard
from tallystick.seal.sequencer import store as heads
from tallystick.seal.sources.store import find_table
from tallystick.tlog import (
    EMPTY_EDGE,
    Checkpoint,
    Edge,
    Hash,
    edge_root,
    extend_edge,
    format_checkpoint,
    format_note,
    sign_note,
)

if TYPE_CHECKING:
    from tallystick.db import Database, Transaction
    from tallystick.seal.sources.table import Table

BATCH_LEAVES: Final = 65_536
"""2 MB of hashes, and whole tiles: memory stays flat however long the earlier log is."""
INTEGERS: Final = ("smallint", "integer", "bigint")


@dataclass(frozen=True, slots=True)
class Imported:
    """The log that an import made, its first head, and how long it took."""

    log_name: str
    origin: str
    size: int
    root: str
    seconds: float


def import_log(
    database: Database,
    log_name: str,
    table: str,
    *,
    keys: KeyRing,
    origin_prefix: str,
    earlier_name: str | None = None,
    expect_root: bytes | None = None,
) -> Imported:
    """
    Make the digest log *log_name* of the leaves that *table* holds of the log *earlier_name*,
    which is *log_name* unless told, and return its head. It is done whole or not at all.

    Rows that the earlier service writes meanwhile are not in it; a source of their table that is
    added afterwards queues them, and only them.

    Raises:
        LogExistsError: There is a log of this name.
        SourceNotFoundError: There is no such table.
        UnsupportedSourceError: The table is the log's own, or a view.
        UnknownColumnError, HashColumnError: It is not the earlier service's table.
        ImportRefusedError: It has no leaf of that log, or one that is none, or the root differs.
        InvalidLogError, KeyPermissionsError: As `create_log`.
    """
    began = time.monotonic()
    made: list[bytes] = []
    try:
        with database.transaction(isolation="repeatable read") as tx:
            store.lift_timeouts(tx)
            require_new(tx, log_name)
            source = earlier_table(tx, table)
            log = create_log(
                tx,
                log_name,
                keys=keys,
                origin_prefix=origin_prefix,
                settings=LogSettings(mode="digest", control_leaves=False),
            )
            made += [key.key_id for key in list_keys(tx, log_name)]
            edge = copy_leaves(tx, log, source, earlier_name or log_name)
            check_root(edge, expect_root)
            note = write_head(tx, keys, log, edge, milliseconds=since(began))
    except BaseException:
        # The key was made for this log alone, and its row is gone with the transaction.
        for key_id in made:
            (keys.directory / f"{key_id.hex()}.key").unlink(missing_ok=True)
        raise
    write_guard(guard_path(keys.directory, log_name), note)
    assert log.origin is not None, "a log that was created has its origin"
    root = edge_root(edge).hex()
    return Imported(log_name, log.origin, edge.size, root, since(began) / 1000)


def since(began: float) -> int:
    """Return how many milliseconds have passed."""
    return round((time.monotonic() - began) * 1000)


def require_new(tx: Transaction, log_name: str) -> None:
    """
    Check that the name is free.

    Raises:
        LogExistsError: There is a log of this name.
    """
    if has_log(tx, log_name):
        raise LogExistsError(
            f"log {log_name} exists: an import makes its log", evidence={"log": log_name}
        )


def earlier_table(tx: Transaction, name: str) -> Table:
    """
    Return the table *name*, once it is known to be of the earlier service's form.

    Raises:
        SourceNotFoundError, UnsupportedSourceError, UnknownColumnError, HashColumnError:
            As `import_log`.
    """
    table = find_table(tx, name)
    if table is None:
        raise SourceNotFoundError(f"there is no table {name}")
    if table.schema == "tally":
        raise UnsupportedSourceError(
            f"{table.name} is Tallystick's own, with hashes where the earlier one had leaf bytes",
            evidence={"table": table.name, "reason": "own"},
        )
    if table.kind == "v":
        raise UnsupportedSourceError(
            f"{table.name} is a view, whose functions would run with the importer's rights:"
            " make a table of it",
            evidence={"table": table.name, "reason": "view"},
        )
    missing = table.missing_columns(["id", "log_name", "leaf_hash"])
    number, leaf = table.column("id"), table.column("leaf_hash")
    if number is not None and number.base_type not in INTEGERS:
        missing.append("id")
    if missing or leaf is None:
        raise UnknownColumnError(
            f"{table.name} lacks {', '.join(missing)} as the earlier service had them",
            evidence={"table": table.name, "columns": missing},
        )
    if leaf.base_type != "bytea":
        raise HashColumnError(
            f"leaf_hash of {table.name} is {leaf.type}, not bytea",
            evidence={"table": table.name, "column": "leaf_hash"},
        )
    return table


def copy_leaves(tx: Transaction, log: Log, table: Table, earlier_name: str) -> Edge:
    """
    Write every leaf and the tree's tiles, and return the tree's edge.

    Raises:
        ImportRefusedError: There are no leaves, or one of them is none.
    """
    facts = store.look_at(tx, table, earlier_name)
    if not facts.leaves:
        raise ImportRefusedError(f"{table.name} has no leaf of log {earlier_name}")
    if facts.malformed or facts.repeated:
        raise ImportRefusedError(
            f"{facts.malformed} leaves have no bytes, over 65,535, or no id;"
            f" {facts.repeated} ids occur twice"
        )
    edge, after = EMPTY_EDGE, store.BEFORE_ALL
    while edge.size < facts.leaves:
        batch = store.append_batch(tx, log, size=edge.size, after=after, limit=BATCH_LEAVES)
        if batch.last_id is None:
            raise ImportRefusedError(f"only {edge.size} of {facts.leaves} leaves came in id order")
        edge, writes = extend_edge(edge, batch.leaf_hashes)
        heads.write_tiles(tx, log.log_id, writes)
        after = batch.last_id
    store.forget(tx)
    return edge


def check_root(edge: Edge, expected: bytes | None) -> None:
    """
    Check the root of what was read against the one that the earlier service told.

    Raises:
        ImportRefusedError: It is another; both are attributes.
    """
    root = edge_root(edge)
    if expected is not None and root != expected:
        raise ImportRefusedError(
            f"the {edge.size} leaves have the root {root.hex()}, not {expected.hex()}",
            expected=expected.hex(),
            actual=root.hex(),
        )


def write_head(tx: Transaction, keys: KeyRing, log: Log, edge: Edge, *, milliseconds: int) -> str:
    """Sign and store the head of the imported tree, tell of it, and return its note."""
    assert log.origin is not None, "a log that was created has its origin"
    root = edge_root(edge)
    signers = [keys.signer(key_id) for key_id in heads.active_key_ids(tx, log.log_id)]
    text = format_checkpoint(Checkpoint(log.origin, edge.size, Hash(root)))
    note = format_note(sign_note(text, signers)).decode()
    heads.insert_checkpoint(
        tx,
        log.log_id,
        tree_size=edge.size,
        root=root,
        note=note,
        batch_rows=edge.size,
        seal_ms=milliseconds,
    )
    emit(
        tx,
        "log.checkpoint",
        key=log.log_name,
        payload={"log": log.log_name, "size": edge.size, "root": root.hex()},
    )
    heads.notify(tx, log.log_id, tree_size=edge.size)
    return note
