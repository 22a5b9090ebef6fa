"""
The audit: everything that a log says of itself and of its tables, computed again.

It works in one REPEATABLE READ, READ ONLY snapshot, which is exported to a pool of processes or
a cluster; each block of 65,536 leaves and each source is a pure task there. Follows log.md,
section 4.7:

1. re-hash every leaf;
2. rebuild every tile, and the root of each stored checkpoint, from the leaf hashes;
3. check every note, key period and cosignature;
4. check gaplessness, that records agree with the columns that repeat them and open the leaves
   that they are kept beside, and that nothing stands beyond the head or was lost behind it;
5. compare every current row of every source with what the log last said of its key;
6. make the newest map of the log's keys, or every one, anew from the leaves (docs/adr/0015).
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.bulk import Bulk
from tallystick.db import Database, Transaction
from tallystick.errors import Error, Kind
from tallystick.seal.audit import rows, store
from tallystick.seal.audit.blocks import (
    BLOCK_LEAVES,
    CheckedBlock,
    Finding,
    check_block,
    tile_finding,
)
from tallystick.seal.audit.maps import map_findings
from tallystick.seal.audit.notes import (
    StoredCheckpoint,
    check_notes,
    check_stored_cosignatures,
)
from tallystick.seal.audit.records import check_records
from tallystick.seal.audit.snapshot import Snapshot, reading
from tallystick.seal.errors import LogNotFoundError
from tallystick.seal.logs.log import LogId
from tallystick.seal.sequencer.store import TileReader
from tallystick.tlog import (
    EMPTY_EDGE,
    HASH_BYTES,
    Edge,
    MalformedTileError,
    TreeSize,
    edge_from_tiles,
    edge_root,
    extend_edge,
    join_edges,
)

Progress = Callable[[int, int], None]


class AuditStartError(Error):
    """An audit of the growth since a size needs a stored checkpoint of that size."""

    kind = Kind.NOT_FOUND


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found; clean is a verdict on one snapshot of the database."""

    audit_id: int
    log_name: str
    size: int
    root: bytes
    since: int
    leaves: int
    checkpoints: int
    rows: int
    seconds: float
    findings: tuple[Finding, ...] = ()
    redacted: int = 0
    """Leaves whose records were erased: that they are gone is no finding."""
    redacted_rows: int = 0
    """Rows whose last leaf is one of these: what was erased of them was not compared."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class BlockTask:
    """One block, as a process anywhere can check it."""

    snapshot: Snapshot
    log_id: int
    first: int
    width: int
    sizes: tuple[int, ...]
    minimum_index: int


@dataclass(slots=True)
class Fold:
    """Joins the blocks in their order: the growing edge, the tiles of the levels above."""

    edge: Edge
    blocks: Edge
    high: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, block: CheckedBlock, expected: Mapping[TreeSize, StoredCheckpoint]) -> None:
        """Take the next block, and compare the roots of the checkpoints inside it."""
        self.findings += block.findings
        for size, inside in block.edges_at:
            root = edge_root(join_edges(self.edge, inside))
            if root != expected[TreeSize(size)].root:
                self.findings.append(root_finding(expected[TreeSize(size)], root))
        self.edge = join_edges(self.edge, block.edge)
        if block.edge.size == BLOCK_LEAVES:
            self.blocks, writes = extend_edge(self.blocks, bytes(block.edge.hashes[0]))
            for write in writes:
                place = (write.level + 2, write.index)
                offset, row = self.high.get(place, (write.offset, b""))
                self.high[place] = (offset, row + write.appended)

    def check_high_tiles(self, stored: dict[tuple[int, int], bytes]) -> Iterator[Finding]:
        """Yield `tile_changed` where a stored tile of level 2 or above is not the blocks'."""
        for (level, index), (offset, row) in self.high.items():
            actual = stored.get((level, index), b"")[offset * HASH_BYTES :]
            if actual != row:
                yield tile_finding(level, index, row, actual)


def audit_log(
    database: Database,
    log_name: str,
    *,
    since: int = 0,
    processes: int | None = None,
    cluster: str | None = None,
    with_rows: bool = True,
    every_map: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> AuditReport:
    """
    Audit a log, record the verdict, and return it with the findings.

    With *since* only the growth from that checkpoint is audited; it must have been audited
    itself. *processes* defaults to the cores of this machine; *cluster* is a Dask scheduler, whose
    workers reach the database under the same URL. *every_map*: not the newest map alone.

    Raises:
        LogNotFoundError: There is no such log.
        AuditStartError: There is no checkpoint of size *since*.
        ClusterUnavailableError: The cluster does not answer.
    """
    began = time.monotonic()
    with (
        Bulk(processes=processes, cluster=cluster) as bulk,
        database.transaction(isolation="repeatable read", read_only=True) as tx,
    ):
        store.lift_timeouts(tx)
        snapshot = Snapshot(database.url, store.export_snapshot(tx))
        log = store.audited_log(tx, log_name)
        if log is None:
            raise LogNotFoundError(f"there is no log {log_name!r}")
        checkpoints = checkpoints_from(tx, log.log_id, since)
        tasks = block_tasks(snapshot, log, since, checkpoints)
        fold, findings = start_fold(tx, log.log_id, since, checkpoints[0])
        by_size = {checkpoint.size: checkpoint for checkpoint in checkpoints}
        for done, block in enumerate(bulk.map(run_block, tasks), 1):
            fold.add(block, by_size)
            progress(done, len(tasks))
        findings += fold.findings
        findings += fold.check_high_tiles(store.high_tiles(tx, log.log_id))
        findings += signed_findings(tx, log, checkpoints, since=since)
        findings += [*outside_findings(tx, log), *map_findings(tx, log, since, every=every_map)]
        compared = rows.Comparison()
        if with_rows:
            compared = rows.compare_sources(tx, log.log_id, bulk, snapshot)
        findings += compared.findings
        redacted = store.redacted(tx, log.log_id, since=since)
    # Pruned leaves are in the tiles alone; those still kept for rows are hashed besides.
    leaves = log.size - max(since, log.minimum_index)
    counts = audit_counts(leaves, len(checkpoints), compared.rows, findings, redacted)
    with database.transaction() as tx:
        audit_id = store.insert_audit(
            tx, log, kind="audit", snapshot=snapshot.name, counts=counts, findings=findings
        )
    return AuditReport(
        audit_id=audit_id,
        log_name=log_name,
        size=log.size,
        root=log.root,
        since=since,
        leaves=leaves,
        checkpoints=len(checkpoints),
        rows=compared.rows,
        seconds=time.monotonic() - began,
        findings=tuple(findings),
        redacted=redacted.leaves,
        redacted_rows=redacted.rows,
    )


def checkpoints_from(tx: Transaction, log_id: int, since: int) -> list[StoredCheckpoint]:
    """Return the checkpoint of size *since* and all later ones."""
    start = store.checkpoint_at(tx, log_id, since)
    if start is None:
        raise AuditStartError(f"there is no checkpoint of size {since}")
    return [start, *store.checkpoints_after(tx, log_id, since)]


def block_tasks(
    snapshot: Snapshot,
    log: store.AuditedLog,
    since: int,
    checkpoints: Sequence[StoredCheckpoint],
) -> list[BlockTask]:
    """Return the blocks from the one that *since* lies in, each with its checkpoints."""
    inside: dict[int, list[int]] = {}
    for checkpoint in checkpoints:
        # A checkpoint at a block's very end lies inside of that block.
        inside.setdefault(max(checkpoint.size - 1, 0) // BLOCK_LEAVES, []).append(checkpoint.size)
    return [
        BlockTask(
            snapshot=snapshot,
            log_id=log.log_id,
            first=first,
            width=min(BLOCK_LEAVES, log.size - first),
            sizes=tuple(size for size in inside.get(first // BLOCK_LEAVES, ()) if size > first),
            minimum_index=log.minimum_index,
        )
        for first in range(since // BLOCK_LEAVES * BLOCK_LEAVES, log.size, BLOCK_LEAVES)
    ]


def signed_findings(
    tx: Transaction,
    log: store.AuditedLog,
    checkpoints: Sequence[StoredCheckpoint],
    *,
    since: int,
) -> list[Finding]:
    """Return what is wrong with the notes of *checkpoints*, and with later cosignatures."""
    return [
        *check_notes(checkpoints, store.key_periods(tx, log.log_id), origin=log.origin),
        *check_stored_cosignatures(store.cosignatures_after(tx, log.log_id, since)),
    ]


def outside_findings(tx: Transaction, log: store.AuditedLog) -> list[Finding]:
    """Return what stands beyond the tree, and the heads that were seen and are gone."""
    return [
        *store.stray_leaves(tx, log.log_id, log.size),
        *store.stray_tiles(tx, log.log_id, log.size),
        *store.lost_heads(tx, log.log_id),
    ]


def start_fold(
    tx: Transaction, log_id: int, since: int, start: StoredCheckpoint
) -> tuple[Fold, list[Finding]]:
    """
    Return the fold that stands before the first block: of what was audited before.

    Where *start*, the checkpoint of size *since*, ends a block it lies inside of none that is
    read, so its root is compared here.
    """
    first = since // BLOCK_LEAVES
    if first == 0:
        return Fold(EMPTY_EDGE, EMPTY_EDGE), start_findings(EMPTY_EDGE, start)
    try:
        edge = edge_from_tiles(TileReader(tx, LogId(log_id)), TreeSize(first * BLOCK_LEAVES))
    except MalformedTileError as error:
        return Fold(EMPTY_EDGE, EMPTY_EDGE), [Finding("tile_changed", detail=error.message)]
    return Fold(edge, Edge(TreeSize(first), edge.hashes)), start_findings(edge, start)


def start_findings(edge: Edge, start: StoredCheckpoint) -> list[Finding]:
    """Return `root_mismatch` if *start* is of the edge's size and has another root."""
    if start.size != edge.size or start.root == edge_root(edge):
        return []
    return [root_finding(start, edge_root(edge))]


def root_finding(checkpoint: StoredCheckpoint, root: bytes) -> Finding:
    """Return the finding that a checkpoint does not have the *root* of its leaves."""
    return Finding(
        "root_mismatch",
        expected_digest=root,
        actual_digest=bytes(checkpoint.root),
        detail=f"checkpoint of size {checkpoint.size}",
    )


def run_block(task: BlockTask) -> CheckedBlock:
    """Read one block in the audit's snapshot and check it; in any process."""
    with reading(task.snapshot) as tx:
        block = store.stored_block(tx, task.log_id, first=task.first, width=task.width)
        checked = check_block(
            block, width=task.width, sizes=task.sizes, minimum_index=task.minimum_index
        )
        end = task.first + task.width
        records = store.stored_records(tx, task.log_id, first=task.first, end=end)
        beside = [
            *check_records(records),
            *store.missing_records(tx, task.log_id, first=task.first, end=end),
        ]
    return dataclasses.replace(checked, findings=(*checked.findings, *beside))


def audit_counts(
    leaves: int,
    checkpoints: int,
    compared: int,
    findings: Sequence[Finding],
    redacted: store.Redacted,
) -> dict[str, Any]:
    """Return what the `audits` row says was looked at, and how many findings of each kind."""
    kinds = Counter(finding.kind for finding in findings)
    return {
        "leaves": leaves,
        "checkpoints": checkpoints,
        "rows": compared,
        "findings": dict(itertools.islice(sorted(kinds.items()), 20)),
        "redacted": redacted.leaves,
        "redacted_rows": redacted.rows,
    }
