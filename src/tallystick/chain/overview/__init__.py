"""What operators look at: how networks stand, and which intents wait (chain.md, section 6)."""

from tallystick.chain.overview.store import (
    Standing,
    Unfinished,
    Waiting,
    chains_of,
    count_unfinished,
    list_standings,
    list_unfinished,
)

__all__ = [
    "Standing",
    "Unfinished",
    "Waiting",
    "chains_of",
    "count_unfinished",
    "list_standings",
    "list_unfinished",
]
