"""The SQL of disclosures; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs import LogId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    hidden_leaf: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class HiddenLeaf:
    """A published leaf and what is kept beside it; *is_redacted*: what was, was erased."""

    origin: str
    leaf: bytes
    leaf_hash: bytes
    salt: bytes | None = field(repr=False)
    record: bytes | None = field(repr=False)
    is_redacted: bool


def hidden_leaf(tx: Transaction, log_id: LogId, index: int) -> HiddenLeaf | None:
    """Return the leaf at *index*; None where the published tree has none, or it was pruned."""
    return tx.row(HiddenLeaf, SQL.hidden_leaf, {"log_id": log_id, "leaf_index": index})
