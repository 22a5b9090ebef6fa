"""
The watcher: follows each network, and tells followers what became of what (chain.md, 3 and 4.4).

`run_watcher` is a worker's thread for one network; `reconcile` is run once before any sender.
"""

from tallystick.chain.watcher.delivery import (
    FollowerFailed,
    GatheringFollower,
    PreparingFollower,
    tell_failed,
)
from tallystick.chain.watcher.reconcile import Reconciled, reconcile, reconcile_account
from tallystick.chain.watcher.watcher import ChainMoved, Watcher
from tallystick.chain.watcher.worker import run_watcher

__all__ = [
    "ChainMoved",
    "FollowerFailed",
    "GatheringFollower",
    "PreparingFollower",
    "Reconciled",
    "Watcher",
    "reconcile",
    "reconcile_account",
    "run_watcher",
    "tell_failed",
]
