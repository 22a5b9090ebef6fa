"""Pruning: the entries of a log's past leave the database for an export (log.md, section 4.8)."""

from tallystick.seal.pruning.prune import PruneReport, prune_log

__all__ = ["PruneReport", "prune_log"]
