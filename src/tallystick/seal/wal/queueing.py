"""
One batch on its way into the queue: which messages go to which source, by which statement.

What a statement does with a message was generated from the source's settings and from the
columns that the message's relation had at that place in the WAL. Follows docs/adr/0016.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from tallystick.errors import Error
from tallystick.seal.wal import store
from tallystick.seal.wal.batch import Batch, Changes, Emptied, Group
from tallystick.seal.wal.messages import DELETE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick.db import Transaction

LOGGER = logging.getLogger(__name__)

XID_BITS: Final = 32


class Plan:
    """One batch, and where each of its messages goes."""

    def __init__(
        self,
        tx: Transaction,
        batch: Batch,
        xids: Sequence[int],
        seqs: Sequence[int],
        statements: dict[tuple[Any, ...], str | None],
    ) -> None:
        self._tx = tx
        self._batch = batch
        self._xids = xids
        self._statements = statements
        # Read now, in this transaction: whoever installs a source does it under a lock that
        # keeps its table's writers out, so no commit that was read here is older than that.
        self._sources: dict[int, list[store.WalSource]] = {}
        for source in store.wal_sources(tx):
            self._sources.setdefault(source.member, []).append(source)
        self._ranks = ranks(self._sources)
        self._drawn: dict[int, Sequence[int]] = {0: seqs}
        self.has_breaks = False

    def run(self) -> int:
        """Queue everything, and return how many rows that were."""
        queued = 0
        for group in self._batch.groups:
            for source in self._sources.get(group.relation.relation, ()):
                queued += self._queue_group(group, source)
        for emptied in self._batch.truncates:
            for source in self._emptied_sources(emptied.relations):
                queued += self._queue_truncate(source, emptied)
        return queued

    def _seqs_of(self, source: store.WalSource) -> Sequence[int]:
        """Return the places of the batch for a source: all that it has in one order."""
        rank = self._ranks[source.source_no]
        if rank not in self._drawn:
            self._drawn[rank] = store.draw(self._tx, len(self._drawn[0]))[1]
        return self._drawn[rank]

    def _break(self, source: store.WalSource, *, code: str, message: str) -> None:
        store.note_break(self._tx, source.source_no, code=code, message=message)
        self.has_breaks = True

    def _queue_group(self, group: Group, source: store.WalSource) -> int:
        queued = 0
        for changes, is_update in ((group.rows, False), (group.updates, True)):
            chosen = self._chosen(changes, source, is_update=is_update)
            if not chosen.messages:
                continue
            text = self._statement(source, group, is_update=is_update)
            if text is not None:
                queued += store.queue_changes(
                    self._tx,
                    text,
                    chosen,
                    facts=self._batch.transactions,
                    xids=self._xids,
                    seqs=self._seqs_of(source),
                )
        return queued

    def _chosen(self, changes: Changes, source: store.WalSource, *, is_update: bool) -> Changes:
        """Return those of *changes* that the source records."""
        if is_update and source.on_update == "ignore":
            return Changes()
        drops_deletes = not is_update and source.on_delete == "ignore"
        if not drops_deletes and not source.wal_from and source.wal_until is None:
            return changes
        facts = self._batch.transactions
        chosen = Changes()
        for message, number, place in zip(
            changes.messages, changes.transactions, changes.places, strict=True
        ):
            is_dropped = drops_deletes and message[0] == DELETE
            if not is_dropped and source.serves(facts[number - 1].commit_at):
                chosen.add(message, number, place)
        return chosen

    def _statement(self, source: store.WalSource, group: Group, *, is_update: bool) -> str | None:
        """Return the generated statement; None where the source lacks a column, and is broken."""
        relation = group.relation
        key = (source.source_no, source.version, relation, is_update)
        if key not in self._statements:
            try:
                with self._tx.savepoint():
                    self._statements[key] = store.statement(
                        self._tx,
                        source.source_no,
                        relation.names,
                        relation.types,
                        is_update=is_update,
                    )
            except Error as refused:
                LOGGER.warning("source %s is broken: %s", source.source_table, refused.message)
                self._statements[key] = None
        if self._statements[key] is None:
            message = f"{source.source_table} lacks a column that its records need"
            self._break(source, code="column_missing", message=message)
        return self._statements[key]

    def _emptied_sources(self, relations: frozenset[int]) -> list[store.WalSource]:
        """Return each source of which one of *relations* is a table, once."""
        found = {
            source.source_no: source
            for relation in relations
            for source in self._sources.get(relation, ())
        }
        return [source for source in found.values() if source.on_truncate != "ignore"]

    def _queue_truncate(self, source: store.WalSource, emptied: Emptied) -> int:
        facts = self._batch.transactions[emptied.transaction - 1]
        if not source.serves(facts.commit_at):
            return 0
        members = {
            member
            for member, sources in self._sources.items()
            for other in sources
            if other.source_no == source.source_no and other.relkind == "r"
        }
        if not members <= emptied.relations:
            # Its rows are gone, and the WAL does not say which they were: a reconcile does.
            message = f"a part of {source.source_table} was emptied by TRUNCATE"
            self._break(source, code="wal_truncated", message=message)
            return 0
        xid = self._xids[emptied.transaction - 1]
        seq = self._seqs_of(source)[emptied.place]
        store.queue_truncate(self._tx, source.source_no, seq=seq, facts=facts, xid=xid)
        return 1


def full_xid(xid: int, own: int) -> int:
    """
    Return the xid8 of a transaction that ended just now, by our *own*.

    It may have begun behind ours: we may still be queueing a large one that ended before. The
    server lets no two transactions be half of all numbers apart.
    """
    distance = (xid - own) % (1 << XID_BITS)
    return own + distance - (distance >> (XID_BITS - 1) << XID_BITS)


def ranks(sources: Mapping[int, Sequence[store.WalSource]]) -> dict[int, int]:
    """
    Return of each source how many others of its log read a table of its own before it.

    A place in the queue is one row's of a log, so such sources need places of their own; and
    each has all of its rows by one order, whatever tables and columns they came from.
    """
    found: dict[int, int] = {}
    everyone = {source.source_no: source for members in sources.values() for source in members}
    for source_no in sorted(everyone):
        taken = {
            found[other.source_no]
            for members in sources.values()
            if any(source.source_no == source_no for source in members)
            for other in members
            if other.log_id == everyone[source_no].log_id and other.source_no in found
        }
        found[source_no] = next(rank for rank in range(len(taken) + 1) if rank not in taken)
    return found
