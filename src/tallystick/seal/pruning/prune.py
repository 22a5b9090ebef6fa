"""
Pruning a log: its minimum index is raised at once, its leaves below it are deleted after that.

What may go, the database decides from facts (`prune_log_v1`): a recorded, clean check of an
export that holds the entries, and a retention that has passed. Tiles stay, so every old proof
can still be made. Follows log.md, section 4.8; docs/adr/0014 says which leaves stay and why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.db import Database
from tallystick.pauses import pause_point
from tallystick.seal.errors import PruneRefusedError
from tallystick.seal.logs import get_log
from tallystick.seal.pruning import store

BATCH_LEAVES: Final = 20_000
"""A batch takes about half a second, and locks nothing that sealing or reading waits for."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PruneReport:
    """
    What pruning did: entries from *from_index* up to *to_index* are gone from this call on.

    *leaves_kept* are those below it that are the last word on rows which still stand.
    """

    log_name: str
    from_index: int
    to_index: int
    leaves_deleted: int
    leaves_kept: int


def prune_log(
    database: Database,
    log_name: str,
    *,
    to_index: int,
    export_url: str,
    manifest_sha256: bytes,
    actor: str,
    reason: str,
    progress: Progress = lambda _done, _total: None,
) -> PruneReport:
    """
    Prune a log's entries below *to_index*, which is a multiple of 256, and return what went.

    The same call again deletes what an interrupted one left. *export_url* and
    *manifest_sha256* name the export as its recorded check does.

    Raises:
        LogNotFoundError: There is no such log.
        PruneRefusedError: No clean check of such an export is recorded, the log is still to be
            retained, *to_index* is below what was pruned before, divides a bundle or is beyond
            the map of the log's keys, or no *reason* is given.
        LogFailedError: The log contradicts itself.
    """
    if not reason.strip():
        raise PruneRefusedError("a pruning is recorded with its reason, and none is given")
    with database.transaction() as tx:
        log = get_log(tx, log_name)
        before = store.prune_log(
            tx,
            log.log_id,
            to_index=to_index,
            export_url=export_url,
            manifest_sha256=manifest_sha256,
            actor=actor,
            reason=reason,
        )
    # *Crash here or later*: the entries are pruned, and their rows wait to be deleted.
    pause_point("prune.raised")
    position: int | None = 0
    deleted = kept = 0
    while position is not None:
        with database.transaction() as tx:
            batch = store.delete_pruned(tx, log.log_id, from_index=position, leaves=BATCH_LEAVES)
        position = batch.next_index
        deleted, kept = deleted + batch.deleted, kept + batch.kept
        progress(to_index if position is None else position, to_index)
        pause_point("prune.batch_deleted")
    return PruneReport(log_name, before, to_index, deleted, kept)
