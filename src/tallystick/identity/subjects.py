"""
The names under which a cache keeps what was read (identity.md, section 4.6).

A write names what it makes old: one user, and all that is a list or a count. Human proofs are
not kept: whether one counts is asked of the moment.
"""

from __future__ import annotations

from typing import Final

USERS: Final = "users"
"""Lists and counts of users, and users by their wallets."""
KEYS: Final = "keys"
"""Keys, their lists and counts: a change of a user may change all of his."""


def user_subject(user_id: str) -> str:
    """Return the name of what is kept of one user by his id."""
    return f"user {user_id}"


def name_of(*parts: object) -> str:
    """Return the name of one question under a subject; no two questions share one."""
    return repr(tuple(map(str, parts)))
