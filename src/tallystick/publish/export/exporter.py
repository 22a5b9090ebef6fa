"""
Writing an export: the published tree as files that any web server can serve.

Bundles and tiles first, then `log.json`, then `checkpoint`: whoever reads a checkpoint finds
everything that it needs. A run that was killed leaves objects that no checkpoint asks for; the
next run meets them, compares, and goes on. Follows log.md, section 4.8, and C2SP tlog-tiles.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from tallystick.db import Database
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.pauses import pause_point
from tallystick.publish import proofs
from tallystick.publish import store as publish_store
from tallystick.publish.errors import (
    DamagedTreeError,
    ExportConflictError,
    ExportUnavailableError,
    PrunedError,
)
from tallystick.publish.export import store
from tallystick.publish.export.manifest import (
    FORMAT,
    Manifest,
    Predecessor,
    format_manifest,
    parse_manifest,
)
from tallystick.publish.export.objects import CHECKPOINT, MANIFEST, WritableObjects
from tallystick.publish.export.writers import Writers
from tallystick.publish.heads import PublishedHead
from tallystick.publish.publisher import Publisher
from tallystick.publish.tiles import TileCache, TileStore, edge_tiles, is_in_tree, row_of
from tallystick.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    Checkpoint,
    LeafIndex,
    MalformedError,
    Tile,
    TreeSize,
    format_entries_path,
    format_tile_path,
    new_tiles,
    parse_checkpoint,
    parse_note,
)
from tallystick.verify import ExportObjectError

CHUNK_TILES: Final = 16
"""4,096 leaves are read at once: of the longest, 268 MB. No statement stays open while a slow
store is written to, so an export never holds back the database's vacuum."""
NO_LEAVES: Final = TreeSize(0)
LOOK_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 5.0
"""How long a follower waits when the store or the database does not answer."""

Progress = Callable[[int, int], None]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """One round of an export: the tree that is at *url* now, and what was written for it."""

    log_name: str
    url: str
    size: TreeSize
    root: bytes
    minimum_index: LeafIndex
    size_before: TreeSize
    objects_written: int
    objects_found: int
    bytes_written: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Before:
    """What the destination holds before a round."""

    note: bytes | None
    checkpoint: Checkpoint | None
    manifest_bytes: bytes | None
    manifest: Manifest | None

    @property
    def size(self) -> TreeSize:
        """The size of the tree that is there."""
        return NO_LEAVES if self.checkpoint is None else self.checkpoint.size


def export_log(
    database: Database,
    log_name: str,
    destination: WritableObjects,
    *,
    progress: Progress = lambda _done, _total: None,
) -> ExportReport:
    """
    Bring *destination* to the published head of a log, and return what that took.

    Raises:
        LogNotFoundError: There is no such log.
        ExportConflictError: The destination holds something that is not this log's.
        ExportUnavailableError: It does not answer, or refuses us.
        PrunedError: Entries between its tree and the head were pruned: begin a new export.
        DamagedTreeError: What is stored is not the tree's; nothing of it was exported.
    """
    publisher = Publisher(database)
    publisher.refresh()
    exporter = Exporter(database, publisher, destination)
    return exporter.export(publisher.published_head(log_name), progress=progress)


def follow_log(
    database: Database,
    log_name: str,
    destination: WritableObjects,
    *,
    stop: threading.Event,
    every_seconds: float = 1.0,
    on_round: Callable[[ExportReport], None] = lambda _report: None,
) -> None:
    """
    Keep *destination* at the published head until *stop* is set.

    Each round writes only what is new, and rounds begin at least *every_seconds* apart. While
    the store or the database does not answer, it is tried again.

    Raises:
        LogNotFoundError, ExportConflictError, PrunedError, DamagedTreeError: As `export_log`.
    """
    publisher = Publisher(database)
    exporter = Exporter(database, publisher, destination)
    publisher.start()
    exported: tuple[str, str] | None = None
    try:
        while not stop.is_set():
            if not publisher.is_loaded:
                stop.wait(LOOK_SECONDS)
                continue
            head = publisher.published_head(log_name)
            if exported == (head.etag, head.version):
                stop.wait(LOOK_SECONDS)
                continue
            try:
                on_round(exporter.export(head))
            except (ExportUnavailableError, DatabaseUnavailableError) as error:
                logger.warning("export.round_failed", log=log_name, error=error.code())
                stop.wait(RETRY_SECONDS)
            else:
                exported = (head.etag, head.version)
                stop.wait(every_seconds)
    finally:
        publisher.stop()


class Exporter:
    """Writes published trees of one database to one destination."""

    def __init__(
        self, database: Database, publisher: Publisher, destination: WritableObjects
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._destination = destination

    def export(
        self, head: PublishedHead, *, progress: Progress = lambda _done, _total: None
    ) -> ExportReport:
        """Bring the destination to *head*; raises as `export_log`."""
        began = time.monotonic()
        before = read_before(self._destination)
        self._check_continues(before, head)
        minimum = LeafIndex(
            before.manifest.minimum_index if before.manifest else head.minimum_index
        )
        with Writers(self._destination) as writers:
            for chunk in chunks(new_tiles(before.size, head.size), CHUNK_TILES):
                for path, data in self._read_objects(head, chunk, minimum):
                    writers.create(path, data)
                pause_point("export.chunk_read")
                progress(min(chunk[-1].index * TILE_WIDTH, head.size), head.size)
        pause_point("export.tree_written")
        # *Crash here*: a larger tree is there than the checkpoint says; the next run goes on.
        manifest = format_manifest(self._manifest(head, minimum))
        if manifest != before.manifest_bytes:
            self._destination.replace_object(MANIFEST, manifest)
        # *Crash here*: the manifest describes the old tree as well, since it only ever gains.
        pause_point("export.manifest_written")
        if head.checkpoint != before.note:
            self._destination.replace_object(CHECKPOINT, head.checkpoint)
        self._remove_superseded(before.size, head.size)
        return ExportReport(
            log_name=head.log_name,
            url=self._destination.url,
            size=head.size,
            root=head.root,
            minimum_index=minimum,
            size_before=before.size,
            objects_written=writers.written.new,
            objects_found=writers.written.found,
            bytes_written=writers.written.new_bytes,
            seconds=time.monotonic() - began,
        )

    def _check_continues(self, before: Before, head: PublishedHead) -> None:
        """Check that the head's tree extends the one that is there, and has all its entries."""
        if before.manifest is not None and before.manifest.origin != head.origin:
            raise ExportConflictError(
                f"the destination is an export of {before.manifest.origin}", path=MANIFEST
            )
        if before.checkpoint is None:
            return
        if before.checkpoint.origin != head.origin:
            raise ExportConflictError(
                f"the destination is an export of {before.checkpoint.origin}", path=CHECKPOINT
            )
        if before.size > head.size:
            # Whether another log's or this one's before a backup was restored: not to be lost.
            raise ExportConflictError(
                f"the destination knows {before.size} leaves, the log has published {head.size}",
                path=CHECKPOINT,
            )
        tiles = TileStore(self._database, TileCache(0))
        if proofs.root_at(tiles, head, before.size) != before.checkpoint.root:
            raise ExportConflictError(
                f"the destination holds another tree of {before.size} leaves", path=CHECKPOINT
            )
        if before.size and before.size // TILE_WIDTH * TILE_WIDTH < head.minimum_index:
            raise PrunedError(
                f"the destination ends at {before.size}, and entries below {head.minimum_index}"
                " were pruned: begin a new export"
            )

    def _read_objects(
        self, head: PublishedHead, chunk: Sequence[Tile], minimum: LeafIndex
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the objects of some tiles: bundles first, each compared with its tile."""
        wanted = [(head.log_id, tile) for tile in chunk]
        found = self._database.read(lambda tx: publish_store.read_tiles(tx, wanted))
        rows = {
            tile: row_of(found, key=head.log_id, tile=tile)[: tile.width * HASH_BYTES]
            for tile in chunk
        }
        bottom = [tile for tile in chunk if tile.level == 0 and tile.index * TILE_WIDTH >= minimum]
        yield from self._read_bundles(head, bottom, rows)
        for tile, row in rows.items():
            yield format_tile_path(tile), row

    def _read_bundles(
        self, head: PublishedHead, bottom: Sequence[Tile], rows: dict[Tile, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        if not bottom:
            return
        first = bottom[0].index * TILE_WIDTH
        end = bottom[-1].index * TILE_WIDTH + bottom[-1].width
        bundles = {
            bundle.index: bundle
            for bundle in self._database.read(
                lambda tx: store.read_bundles(tx, head.log_id, first=first, end=end)
            )
        }
        for tile in bottom:
            bundle = bundles.get(tile.index)
            if bundle is None or bundle.count != tile.width:
                raise self._missing(head, tile)
            if bundle.hashes != rows[tile]:
                # What is wrong would never be written anew, so it is not written at all.
                raise DamagedTreeError(
                    f"{format_entries_path(tile)} of log {head.log_name} is not what its tile says"
                )
            yield format_entries_path(tile), bundle.data

    def _missing(self, head: PublishedHead, tile: Tile) -> PrunedError | DamagedTreeError:
        """Return why leaves of *tile* are not stored: pruned meanwhile, or lost."""
        self._publisher.refresh()
        minimum = self._publisher.published_head(head.log_name).minimum_index
        if tile.index * TILE_WIDTH < minimum:
            return PrunedError(f"log {head.log_name} has pruned entries below {minimum}")
        return DamagedTreeError(
            f"the database lacks entries of {format_entries_path(tile)} of log {head.log_name}"
        )

    def _manifest(self, head: PublishedHead, minimum: LeafIndex) -> Manifest:
        keys = self._database.read(lambda tx: store.log_keys(tx, head.log_id))
        chain = self._publisher.heads.chain(head)
        continued = chain[-2] if len(chain) > 1 else None
        return Manifest(
            format=FORMAT,
            log=head.log_name,
            origin=head.origin,
            mode=head.mode,
            minimum_index=minimum,
            keys=tuple(keys),
            predecessor=(
                None if continued is None else Predecessor(continued.log_name, continued.origin)
            ),
        )

    def _remove_superseded(self, old: TreeSize, new: TreeSize) -> None:
        """Remove the partial objects of the old tree whose full ones the new tree has."""
        for partial in edge_tiles(old):
            full = Tile(partial.level, partial.index)
            if is_in_tree(full, new):
                self._destination.remove_below(f"{format_tile_path(full)}.p")
                if full.level == 0:
                    self._destination.remove_below(f"{format_entries_path(full)}.p")


def read_before(destination: WritableObjects) -> Before:
    """
    Return what *destination* holds.

    Raises:
        ExportConflictError: Its checkpoint or manifest is not one of ours.
    """
    note, manifest = destination.read_object(CHECKPOINT), destination.read_object(MANIFEST)
    try:
        return Before(
            note=note,
            checkpoint=None if note is None else parse_checkpoint(parse_note(note).text),
            manifest_bytes=manifest,
            manifest=None if manifest is None else parse_manifest(manifest),
        )
    except MalformedError as cause:
        raise ExportConflictError("the checkpoint there is none", path=CHECKPOINT) from cause
    except ExportObjectError as cause:
        raise ExportConflictError("the log.json there is none", path=MANIFEST) from cause


def chunks(tiles: Iterator[Tile], length: int) -> Iterator[list[Tile]]:
    """Yield *tiles* in lists of *length*, the last one shorter."""
    while chunk := list(itertools.islice(tiles, length)):
        yield chunk
