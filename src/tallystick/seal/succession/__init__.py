"""Succession: logs that continue logs, tables that move between them, shards by period."""

from tallystick.seal.succession.moving import drop_moved_triggers, move_source
from tallystick.seal.succession.period import parse_period, shard_name, turn_after
from tallystick.seal.succession.shards import Turned, list_families, shard_log, turn_shards
from tallystick.seal.succession.store import Family
from tallystick.seal.succession.succession import find_successor, succeed_log

__all__ = [
    "Family",
    "Turned",
    "drop_moved_triggers",
    "find_successor",
    "list_families",
    "move_source",
    "parse_period",
    "shard_log",
    "shard_name",
    "succeed_log",
    "turn_after",
    "turn_shards",
]
