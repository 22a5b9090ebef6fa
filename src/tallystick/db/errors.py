"""
Errors of the database room.

    Error
    ├── DatabaseRuleError          a rule that the database keeps; with SQLSTATE and evidence
    │   ├── IllegalTransitionError     TS001
    │   ├── AppendOnlyError            TS002
    │   ├── MigrationChecksumError     TS003
    │   └── SchemaTooNewError          TS004
    ├── DatabaseUnavailableError   no connection, or none in time
    ├── CacheUnavailableError      the cache cannot be made
    ├── InvalidPositionError       a position of the write-ahead log is not of its form
    ├── PermissionDeniedError      the role lacks a right
    ├── NotMigratedError           the schema is absent or older than the program
    ├── UnfitDatabaseError         the server cannot carry the schema at all
    └── QueryFileError             queries.sql and its store disagree
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tallystick.errors import Error, Kind


class DatabaseRuleError(Error):
    """A rule that the database itself keeps was about to be broken."""

    sqlstate: ClassVar[str] = ""

    def __init__(
        self, message: str | None = None, *, evidence: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.evidence: Mapping[str, object] = dict(evidence or {})

    @classmethod
    def for_evidence(cls, evidence: Mapping[str, object]) -> type[DatabaseRuleError]:
        """The class of the error with *evidence*; a subclass where one SQLSTATE has several."""
        assert isinstance(evidence, Mapping)
        return cls


class IllegalTransitionError(DatabaseRuleError):
    """The state machine has no such transition."""

    sqlstate = "TS001"


class AppendOnlyError(DatabaseRuleError):
    """Evidence is append-only: it is neither changed nor removed."""

    sqlstate = "TS002"


class MigrationChecksumError(DatabaseRuleError):
    """An applied migration differs from the program's file of the same number."""

    sqlstate = "TS003"
    kind = Kind.UNAVAILABLE


class SchemaTooNewError(DatabaseRuleError):
    """The database was migrated by a newer program than this one."""

    sqlstate = "TS004"
    kind = Kind.UNAVAILABLE


class DatabaseUnavailableError(Error):
    """The database does not answer."""

    kind = Kind.UNAVAILABLE


class CacheUnavailableError(Error):
    """A cache needs the extra `redis`: pip install 'tallystick[redis]'."""

    kind = Kind.UNAVAILABLE


class InvalidPositionError(Error):
    """A position is two hexadecimal numbers of up to eight digits with a slash between them."""

    kind = Kind.INVALID


class PermissionDeniedError(Error):
    """The database role lacks a right that this operation needs."""

    kind = Kind.FORBIDDEN


class NotMigratedError(Error):
    """The database has no current Tallystick schema; run `tally migrate`."""

    kind = Kind.UNAVAILABLE


class UnfitDatabaseError(Error):
    """The server cannot carry the schema: it must be PostgreSQL 15 or newer with encoding UTF8."""

    kind = Kind.UNPROCESSABLE


class QueryFileError(Error):
    """A `queries.sql` and the declaration of its queries disagree."""
