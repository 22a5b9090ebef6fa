"""What the client returns: the bodies of log.md, section 6.2, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tallystick.tlog import Hash, LeafIndex, TreeSize

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list; *next* is the `after` of the page behind it, None at the end."""

    items: tuple[Item, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Root:
    """A published tree: its size, its root, and its checkpoint as it is served."""

    size: TreeSize
    root: Hash
    checkpoint: str | None
    signed_at: str | None


@dataclass(frozen=True, slots=True)
class LeafProof:
    """That the leaf with *leaf_hash* stands at *index* in the tree of *size* and *root*."""

    index: LeafIndex
    size: TreeSize
    root: Hash
    leaf_hash: Hash
    hashes: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class GrowthProof:
    """That the tree of *new_size* extends that of *old_size*."""

    old_size: TreeSize
    old_root: Hash
    new_size: TreeSize
    new_root: Hash
    hashes: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf: its bytes, and the record in it where it is one."""

    index: LeafIndex
    leaf: bytes
    leaf_hash: Hash
    record: Mapping[str, Any] | None
