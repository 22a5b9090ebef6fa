"""The log of logs: one log whose leaves are the notes of all others' heads (log.md, 9.2)."""

from tallystick.seal.headlog.headlog import HEADS_LOG, create_heads_log, take_heads

__all__ = ["HEADS_LOG", "create_heads_log", "take_heads"]
