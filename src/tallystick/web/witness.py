"""
The page of our own witness: its key, and the logs that it watches (log.md, 5.8 and 6.4).

A witness works in the open: what it cosigned last is served to everybody. Two things are kept
for the operator: contacts, which are people, and our own private logs, which nobody is told of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.clock import format_time
from tallystick.publish import Publisher
from tallystick.publish.witness import WatchedLog, origin_hash, page_watched, witness_key
from tallystick.web.access import Visitor
from tallystick.web.errors import PageRequestError

WATCHED: Final = 100
SUBMISSION_PREFIX: Final = "/api/v1/witness"
MAX_ORIGIN_CHARACTERS: Final = 1000
"""Longer than any origin that is watched; a longer text is no place to go on from."""


@dataclass(frozen=True, slots=True)
class WatchedLine:
    """A watched log, and what of it was cosigned last; the operator alone reads *contact*."""

    origin: str
    origin_hash: str
    vkeys: list[str]
    tree_size: int
    root: bytes | None
    cosigned_at: str | None
    enabled: bool
    contact: str | None


@dataclass(frozen=True, slots=True)
class WitnessPage:
    """Our witness, *vkey* None where there is none; *next* continues the logs by origin."""

    name: str | None
    vkey: str | None
    submission_prefix: str
    logs: list[WatchedLine]
    next: str | None
    only_open: bool


def witness_page(
    publisher: Publisher, visitor: Visitor, *, after: str | None = None
) -> WitnessPage:
    """
    Return our witness and the logs that it watches, by origin.

    Raises:
        PageRequestError: *after* is no origin.
    """
    behind = after or ""
    if "\x00" in behind or len(behind) > MAX_ORIGIN_CHARACTERS:
        raise PageRequestError("after is what an earlier page gave as next")
    heads = publisher.heads.by_id.values()
    hidden = [head.origin for head in heads if not visitor.may_see(head)]
    with publisher.read_database.transaction(read_only=True) as tx:
        key = witness_key(tx)
        found = page_watched(tx, after=behind, without=hidden, limit=WATCHED + 1)
    shown = found[:WATCHED]
    return WitnessPage(
        name=None if key is None else key.name,
        vkey=None if key is None else key.vkey,
        submission_prefix=SUBMISSION_PREFIX,
        logs=[_watched_line(log, shows_contact=visitor.is_admin) for log in shown],
        next=shown[-1].origin if len(found) > WATCHED else None,
        only_open=not visitor.is_admin,
    )


def _watched_line(log: WatchedLog, *, shows_contact: bool) -> WatchedLine:
    return WatchedLine(
        origin=log.origin,
        origin_hash=origin_hash(log.origin),
        vkeys=list(log.vkeys),
        tree_size=log.size,
        root=None if log.root is None else bytes(log.root),
        cosigned_at=None if log.cosigned_at is None else format_time(log.cosigned_at),
        enabled=log.enabled,
        contact=log.contact if shows_contact else None,
    )
