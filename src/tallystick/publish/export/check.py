"""
Checking an export: every entry hashed, every tile rebuilt, the signatures and `log.json` checked.

The verdict itself is `verify.check_export_tree`, pure and offline; here its blocks are run on
several processes, which read the export each by itself. What was found may be recorded, and
pruning asks for that record. Follows log.md, sections 4.8 and 2.5.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tallystick.bulk import Bulk
from tallystick.db import Database
from tallystick.publish.errors import ExportConflictError
from tallystick.publish.export import store
from tallystick.publish.export.manifest import Manifest, contradicts, parse_manifest
from tallystick.publish.export.objects import (
    CHECKPOINT,
    MANIFEST,
    DirectoryObjects,
    ExportObjects,
    WebObjects,
    open_export,
)
from tallystick.publish.publisher import Publisher
from tallystick.tlog import (
    TILE_WIDTH,
    LeafIndex,
    MalformedError,
    TreeSize,
    parse_verifier_key,
)
from tallystick.verify import (
    ExportObjectError,
    MissingObjectError,
    Trust,
    VerificationError,
    VerifiedHead,
    check_export_tree,
    check_head,
    read_trust,
)
from tallystick.verify.export import CheckedBlock, ExportBlock, check_export_block

READERS: Final = 16
"""GETs in flight of one process: at 30 ms each, two processes read 270,000 leaves a second."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """
    A whole export: the tree at *url*, all entries of which from *minimum_index* on are there.

    *manifest_sha256* is None where a web server has no `log.json`.
    """

    url: str
    log_name: str
    origin: str
    size: TreeSize
    root: bytes
    cosignatures: int
    minimum_index: LeafIndex
    entries: int
    manifest_sha256: bytes | None
    seconds: float


@dataclass(frozen=True, slots=True)
class BlockTask:
    """One block of the export at *url*, as a process anywhere can check it."""

    url: str
    block: ExportBlock
    key: str | None = field(default=None, repr=False)


def check_export(
    address: str,
    policy: bytes,
    *,
    key: str | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> ExportCheck:
    """
    Check the export at *address* against *policy*, a tlog-policy, and return what it is.

    *processes* defaults to the cores of this machine; *cluster* is a Dask scheduler's address,
    whose workers must see the export at the same address. *key* is an API key for a web server,
    which the workers get too. A live log, and whatever else is served by tlog-tiles, has no
    `log.json`: over the web it may be missing, and then every entry must be there.

    Raises:
        VerificationError: It is not whole, or not a trusted log's; the first bad object is the
            `path` of a MissingObjectError or an ExportObjectError.
        ExportAddressError, ExportUnavailableError: There is no reading there.
        ClusterUnavailableError: The cluster does not answer.
    """
    began = time.monotonic()
    export = open_export(address, key=key)
    trust = read_trust(policy)
    head = check_head(read_needed(export, CHECKPOINT), trust)
    manifest_bytes = read_manifest(export)
    minimum = 0
    if manifest_bytes is not None:
        manifest = parse_manifest(manifest_bytes)
        check_manifest(manifest, head, trust)
        minimum = manifest.minimum_index
    with Bulk(processes=processes, cluster=cluster) as bulk:

        def check_blocks(blocks: Sequence[ExportBlock]) -> Iterator[CheckedBlock]:
            tasks = [BlockTask(export.url, block, key) for block in blocks]
            for done, checked in enumerate(bulk.map(check_block, tasks), 1):
                progress(done, len(tasks))
                yield checked

        verified = check_export_tree(
            export,
            policy,
            minimum_index=LeafIndex(minimum),
            check_blocks=check_blocks,
        )
    checkpoint = verified.head.checkpoint
    return ExportCheck(
        url=export.url,
        log_name=verified.head.log_name,
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root,
        cosignatures=len(verified.head.cosignatures),
        minimum_index=verified.minimum_index,
        entries=verified.entries,
        manifest_sha256=(
            None if manifest_bytes is None else hashlib.sha256(manifest_bytes).digest()
        ),
        seconds=time.monotonic() - began,
    )


def record_check(
    database: Database,
    log_name: str,
    address: str,
    check: Callable[[], ExportCheck],
) -> ExportCheck:
    """
    Run *check* of the export at *address*, record in `tally.audits` how it ended, and return it.

    Raises:
        LogNotFoundError: There is no such log.
        ExportConflictError: The export is of another log.
        VerificationError: As `check_export`; that is recorded too.
    """
    publisher = Publisher(database)
    publisher.refresh()
    head = publisher.published_head(log_name)
    url = open_export(address).url
    with database.transaction() as tx:
        started_at = store.now(tx)
    refusal: VerificationError | None = None
    size, root, counts = head.size, bytes(head.root), {"export": {"url": url}}
    try:
        checked = check()
    except VerificationError as error:
        refusal = error
        counts["refused"] = {"code": error.code(), "path": getattr(error, "path", "")}
    else:
        if checked.origin != head.origin:
            raise ExportConflictError(f"{url} is an export of {checked.origin}", path=CHECKPOINT)
        size, root, counts = checked.size, checked.root, clean_counts(checked)
    with database.transaction() as tx:
        store.record_check(
            tx,
            head.log_id,
            url=url,
            size=size,
            root=root,
            started_at=started_at,
            counts=counts,
            finding=None if refusal is None else finding_kind(refusal),
        )
    if refusal is not None:
        raise refusal
    return checked


def clean_counts(checked: ExportCheck) -> dict[str, Any]:
    """Return what the record of a clean check says, for pruning to read."""
    return {
        "leaves": checked.entries,
        "export": {
            "url": checked.url,
            "minimum_index": checked.minimum_index,
            "manifest_sha256": checked.manifest_sha256 and checked.manifest_sha256.hex(),
        },
    }


def finding_kind(error: VerificationError) -> str:
    """Return the kind of finding that *error* is, in the words of audits."""
    path = getattr(error, "path", "")
    if path.startswith("tile/entries/"):
        return "leaf_missing" if isinstance(error, MissingObjectError) else "leaf_changed"
    if path.startswith("tile/"):
        return "tile_changed"
    return "root_mismatch" if isinstance(error, ExportObjectError) else "bad_signature"


def check_manifest(manifest: Manifest, head: VerifiedHead, trust: Trust) -> None:
    """
    Check that `log.json` says nothing that the signed checkpoint and the policy deny.

    Raises:
        ExportObjectError: It does; its path is `log.json`.
    """
    checkpoint = head.checkpoint
    if (manifest.origin, manifest.log) != (checkpoint.origin, head.log_name):
        raise contradicts(f"it describes {manifest.log} of {manifest.origin}")
    if manifest.minimum_index % TILE_WIDTH or manifest.minimum_index > checkpoint.size:
        raise contradicts(f"{manifest.minimum_index} is no index that a tree is pruned to")
    try:
        said = [
            parse_verifier_key(key.vkey) for key in manifest.keys if key.covers(checkpoint.size)
        ]
    except MalformedError as cause:
        raise contradicts("a key in it is malformed") from cause
    trusted = trust.log_verifiers(checkpoint.origin, covering=checkpoint.size)
    if not {key.public_key for key in said} & {key.public_key for key in trusted}:
        raise contradicts(f"no trusted key signs size {checkpoint.size} by it")


def read_manifest(export: ExportObjects) -> bytes | None:
    """
    Return the export's `log.json`; None where a web server has none.

    Raises:
        MissingObjectError: A directory or bucket has none: it is no export.
    """
    return (
        export.read_object(MANIFEST)
        if isinstance(export, WebObjects)
        else read_needed(export, MANIFEST)
    )


def read_needed(export: ExportObjects, path: str) -> bytes:
    """
    Return the object at *path*.

    Raises:
        MissingObjectError: There is none.
    """
    data = export.read_object(path)
    if data is None:
        raise MissingObjectError(f"{path} is not there", path=path)
    return data


def check_block(task: BlockTask) -> CheckedBlock:
    """Read one block of an export and check it; in any process."""
    export = opened(task.url, task.key)
    if isinstance(export, DirectoryObjects):
        return check_export_block(export, task.block)
    with ReadAhead(export, task.block.paths()) as ahead:
        return check_export_block(ahead, task.block)


@functools.lru_cache(maxsize=4)
def opened(url: str, key: str | None) -> ExportObjects:
    """Return the export at *url*, whose connections this process keeps from block to block."""
    return open_export(url, key=key)


class ReadAhead:
    """Reads objects in the order in which they will be asked for, some ahead of the asker."""

    def __init__(self, export: ExportObjects, paths: Iterable[str]) -> None:
        self._export = export
        self._paths = iter(paths)
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="export-read")
        self._ahead: deque[tuple[str, Future[bytes | None]]] = deque()
        self._fill()

    def read_object(self, path: str) -> bytes | None:
        """Return the object at *path*; what was not expected is read at once."""
        if not self._ahead or self._ahead[0][0] != path:
            return self._export.read_object(path)
        _, future = self._ahead.popleft()
        self._fill()
        return future.result()

    def _fill(self) -> None:
        while len(self._ahead) < READERS and (path := next(self._paths, None)) is not None:
            self._ahead.append((path, self._pool.submit(self._export.read_object, path)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
