"""
Pruning against an export: it must lie there still, as it was when its check was recorded.

`seal` decides and deletes; here the export is looked at once more, because a record in a
database says nothing of what became of a bucket. Follows log.md, section 4.8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tallystick.db import Database
from tallystick.publish.export.check import read_needed
from tallystick.publish.export.manifest import parse_manifest
from tallystick.publish.export.objects import CHECKPOINT, MANIFEST, open_export
from tallystick.seal.errors import PruneRefusedError
from tallystick.seal.pruning import PruneReport, prune_log
from tallystick.tlog import parse_checkpoint, parse_note

Progress = Callable[[int, int], None]


def prune_to_export(
    database: Database,
    log_name: str,
    *,
    to_index: int,
    export: str,
    actor: str,
    reason: str,
    key: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> PruneReport:
    """
    Prune a log's entries below *to_index*, which the export at address *export* holds; *key* is
    an API key for a web server.

    Raises:
        LogNotFoundError, PruneRefusedError, LogFailedError: As `seal.pruning.prune_log`; the
            second also where the export has become smaller than *to_index*.
        MissingObjectError: Checkpoint or manifest of the export are not there any more.
        ExportAddressError, ExportUnavailableError: There is no reading there.
    """
    place = open_export(export, key=key)
    manifest = read_needed(place, MANIFEST)
    parse_manifest(manifest)
    size = parse_checkpoint(parse_note(read_needed(place, CHECKPOINT)).text).size
    if size < to_index:
        raise PruneRefusedError(f"{place.url} holds a tree of {size} leaves, not of {to_index}")
    return prune_log(
        database,
        log_name,
        to_index=to_index,
        export_url=place.url,
        manifest_sha256=hashlib.sha256(manifest).digest(),
        actor=actor,
        reason=reason,
        progress=progress,
    )
