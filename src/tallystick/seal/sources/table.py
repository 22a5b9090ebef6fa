"""What the catalogue says of a table: facts as values, which decisions are made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.seal.sources.source import RelationId

KINDS: Final = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "t": "TOAST table",
    "c": "composite type",
    "i": "index",
    "I": "partitioned index",
}
"""What `pg_class.relkind` stands for."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column, with its type as PostgreSQL prints it, and what that is under its domains."""

    name: str
    type: str
    is_bytea: bool
    is_not_null: bool
    is_virtual: bool
    base_type: str


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """One unique index; only some can serve as a key."""

    name: str
    columns: tuple[str, ...]
    is_primary: bool
    is_immediate: bool
    is_valid: bool
    is_partial: bool
    has_expressions: bool


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger that a source needs on a table of its: whether it stands, and fires always."""

    relation: RelationId
    table_name: str
    name: str
    stands: bool
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A table whose statements are captured: the source's own, or a descendant of it."""

    relation: RelationId
    name: str
    kind: str
    persistence: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is or might become a source, as the catalogue describes it now."""

    relation: RelationId
    name: str
    schema: str
    bare_name: str
    kind: str
    persistence: str
    has_row_security: bool
    owner_bypasses_row_security: bool
    is_subscription_target: bool
    caller_is_owner: bool
    owner_may_use_schema: bool
    owner_may_read: bool
    owner_may_lock: bool
    fingerprint: int
    columns: tuple[Column, ...]
    indexes: tuple[UniqueIndex, ...]
    members: tuple[Member, ...]

    @property
    def is_partitioned(self) -> bool:
        """Whether it is the root of a partition tree."""
        return self.kind == "p"

    def column(self, name: str) -> Column | None:
        """Return the column of this name; None where there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def missing_columns(self, names: Sequence[str]) -> list[str]:
        """Return those of *names* that are no columns, each once, in their order."""
        return [name for name in dict.fromkeys(names) if self.column(name) is None]
