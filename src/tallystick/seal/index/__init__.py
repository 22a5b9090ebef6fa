"""The map of a log's keys: computed from the leaves, its root sealed (docs/adr/0015)."""

from tallystick.seal.index.audit import MAPS_AUDITED, MapFinding, check_maps
from tallystick.seal.index.decision import IndexState
from tallystick.seal.index.operations import (
    IndexResult,
    due_indexes,
    forget_index,
    index_log,
    set_index_interval,
)
from tallystick.seal.index.tiles import MapTiles

__all__ = [
    "MAPS_AUDITED",
    "IndexResult",
    "IndexState",
    "MapFinding",
    "MapTiles",
    "check_maps",
    "due_indexes",
    "forget_index",
    "index_log",
    "set_index_interval",
]
