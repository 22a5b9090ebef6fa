"""Our own witness: what it watches, and when it cosigns (log.md, 4.6, 5.8; C2SP tlog-witness)."""

from tallystick.publish.witness.store import WatchedLog, WitnessKey
from tallystick.publish.witness.witness import (
    MAX_REQUEST_BYTES,
    create_witness_key,
    list_watched,
    origin_hash,
    page_watched,
    watch_log,
    witness_checkpoint,
    witness_key,
    witnessed_checkpoint,
)

__all__ = [
    "MAX_REQUEST_BYTES",
    "WatchedLog",
    "WitnessKey",
    "create_witness_key",
    "list_watched",
    "origin_hash",
    "page_watched",
    "watch_log",
    "witness_checkpoint",
    "witness_key",
    "witnessed_checkpoint",
]
