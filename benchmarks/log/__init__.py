"""The figures of the log (log.md, section 8); each module has `run(ground) -> list[Figure]`."""

from typing import Final

MODULES: Final = (
    "kernel",
    "sealing",
    "storage",
    "startup",
    "proofs",
    "serving",
    "audit",
    "export",
    "key_index",
    "capture_bulk",
    "capture_wal",
    "capture_single",
    "capture_clients",
    "floor",
    "latency",
    "idle",
    "push",
)
"""In the order in which they run: those after `sealing` use the large log that it filled."""
