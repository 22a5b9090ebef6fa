"""
Errors of sealing (log.md, section 3.3).

    DatabaseRuleError (db)             raised by a function of the schema, with its SQLSTATE
    ├── SourceRefusesChangeError           TS101, to the writer
    ├── NoKeyError                         TS102
    ├── UnsupportedSourceError             TS103
    ├── LastKeyError                       TS104
    ├── PruneRefusedError                  TS105
    ├── LogFrozenError                     TS107
    ├── LogFailedError                     TS108
    ├── UnknownColumnError                 TS109
    ├── HashColumnError                    TS110
    ├── LogExistsError                     TS111
    ├── SourceExistsError                  TS112
    ├── NothingToRedactError               TS120
    └── RowsWaitError                      TS121
    Error
    ├── LogNotFoundError
    ├── LogKeyNotFoundError            the log has no key of this id
    ├── SourceNotFoundError
    ├── LogBusyError                   over max_backlog
    ├── SourceBusyError                its table stayed locked
    ├── InvalidLogError                a field of a log is out of its range
    ├── InvalidRequestError            a parameter of a request is not of its form
    ├── InvalidSourceError             settings of a source contradict each other
    └── DamagedLogError                the log becomes failed
        ├── EdgeMismatchError              tiles and head disagree
        └── RollbackError                  somebody outside knows a later head
"""

from __future__ import annotations

from tallystick.db.errors import DatabaseRuleError
from tallystick.errors import Error, Kind


class SourceRefusesChangeError(DatabaseRuleError):
    """The table is sealed and its rules refuse this operation."""

    sqlstate = "TS101"


class NoKeyError(DatabaseRuleError):
    """The table has no primary key and none was named."""

    sqlstate = "TS102"
    kind = Kind.UNPROCESSABLE


class UnsupportedSourceError(DatabaseRuleError):
    """A table of this kind cannot be captured by triggers."""

    sqlstate = "TS103"
    kind = Kind.UNPROCESSABLE


class LastKeyError(DatabaseRuleError):
    """A log keeps an active key."""

    sqlstate = "TS104"


class PruneRefusedError(DatabaseRuleError):
    """There is no verified export of the entries, or they must still be retained."""

    sqlstate = "TS105"


class LogFrozenError(DatabaseRuleError):
    """The log is frozen, or its freeze was requested."""

    sqlstate = "TS107"


class LogFailedError(DatabaseRuleError):
    """The log contradicts itself; nothing is signed until it is recovered."""

    sqlstate = "TS108"


class UnknownColumnError(DatabaseRuleError):
    """The table has no such column."""

    sqlstate = "TS109"
    kind = Kind.UNPROCESSABLE


class HashColumnError(DatabaseRuleError):
    """The hash column must be a bytea of 16 to 64 bytes, in a digest log."""

    sqlstate = "TS110"
    kind = Kind.UNPROCESSABLE


class LogExistsError(DatabaseRuleError):
    """A log of this name exists with other fields."""

    sqlstate = "TS111"


class SourceExistsError(DatabaseRuleError):
    """The table feeds this log already, with other fields."""

    sqlstate = "TS112"


class NothingToRedactError(DatabaseRuleError):
    """These leaves hide nothing; what stands in a leaf in clear cannot be erased."""

    sqlstate = "TS120"
    kind = Kind.UNPROCESSABLE


class RowsWaitError(DatabaseRuleError):
    """Rows of these keys wait to be sealed; try again once they are."""

    sqlstate = "TS121"
    kind = Kind.UNAVAILABLE


class LogNotFoundError(Error):
    """There is no log of this name."""

    kind = Kind.NOT_FOUND


class LogKeyNotFoundError(Error):
    """The log has no key of this id."""

    kind = Kind.NOT_FOUND


class SourceNotFoundError(Error):
    """The table does not feed this log."""

    kind = Kind.NOT_FOUND


class LogBusyError(Error):
    """More rows wait to be sealed than the log takes; try again later."""

    kind = Kind.UNAVAILABLE


class SourceBusyError(Error):
    """The table stayed locked by others; try again when they have ended."""

    kind = Kind.UNAVAILABLE


class InvalidLogError(Error):
    """A field of the log is out of its range."""

    kind = Kind.INVALID


class InvalidSourceError(Error):
    """The settings of the source contradict each other, its table or its log."""

    kind = Kind.INVALID


class InvalidRequestError(Error):
    """A parameter of the request is not of its form, or parameters contradict each other."""

    kind = Kind.INVALID


class DamagedLogError(Error):
    """What the log says of itself does not agree; it becomes failed and signs nothing."""

    kind = Kind.DAMAGED

    def __init__(self, message: str | None = None, *, expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class EdgeMismatchError(DamagedLogError):
    """The tiles do not lead to the root of the last checkpoint."""


class RollbackError(DamagedLogError):
    """A later head is known outside than in the database: it was restored from an older state."""
