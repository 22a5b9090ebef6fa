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
    ├── RowsWaitError                      TS121
    ├── EntriesNotAcceptedError            TS130
    └── LogBusyError                       TS131, over max_backlog
    Error
    ├── LogNotFoundError
    ├── LogKeyNotFoundError            the log has no key of this id
    ├── SourceNotFoundError
    ├── SourceBusyError                its table stayed locked
    ├── InvalidLogError                a field of a log is out of its range
    ├── InvalidRequestError            a parameter of a request is not of its form
    ├── WalUnavailableError            a setting or a right that reading the WAL needs is missing
    ├── WalLostError                   the replication slot is gone, or what it was to read
    ├── WalBehindError                 nobody has read the WAL so far in time
    ├── BusyReaderError                another process reads the WAL
    ├── MalformedWalError              a message is not as pgoutput writes it
    ├── InvalidSourceError             settings of a source contradict each other
    ├── InvalidEntryError              an entry is empty or begins like a record
    ├── EntryTooLargeError             over 65,535 bytes
    ├── EntryPendingError              queued, and not sealed in time
    ├── DoorClosedError                the process stops and takes no entry
    ├── ImportRefusedError             an earlier log's leaves are not those that were expected
    ├── IndexRefusedError              the root of a map cannot be sealed in this log
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


class EntriesNotAcceptedError(DatabaseRuleError):
    """The log takes no pushed entries; `accepts_entries` opens it to them."""

    sqlstate = "TS130"


class LogBusyError(DatabaseRuleError):
    """More rows wait to be sealed than the log takes; try again later."""

    sqlstate = "TS131"
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


class SourceBusyError(Error):
    """The table stayed locked by others; try again when they have ended."""

    kind = Kind.UNAVAILABLE


class InvalidLogError(Error):
    """A field of the log is out of its range."""

    kind = Kind.INVALID


class InvalidSourceError(Error):
    """The settings of the source contradict each other, its table or its log."""

    kind = Kind.INVALID


class IndexRefusedError(Error):
    """No map of keys can be sealed in this log: it is paused, pruned, or has no control leaves."""

    kind = Kind.UNPROCESSABLE


class InvalidRequestError(Error):
    """A parameter of the request is not of its form, or parameters contradict each other."""

    kind = Kind.INVALID


class InvalidEntryError(Error):
    """The entry is empty, or begins with `tallystick/` as only records do."""

    kind = Kind.INVALID


class EntryTooLargeError(Error):
    """The entry is longer than 65,535 bytes."""

    kind = Kind.TOO_LARGE


class EntryPendingError(Error):
    """The entry is queued and not sealed yet; it will be."""

    kind = Kind.UNAVAILABLE


class DoorClosedError(Error):
    """This server is stopping and takes no more entries; this one was not queued."""

    kind = Kind.UNAVAILABLE


class WalUnavailableError(Error):
    """Changes cannot be read from the WAL: a setting of the server or a right is missing."""

    kind = Kind.UNPROCESSABLE


class WalLostError(Error):
    """The replication slot is gone or was invalidated, and with it what it had still to read."""

    kind = Kind.UNAVAILABLE


class WalBehindError(Error):
    """What was committed has not been read from the WAL in time; is a worker running?"""

    kind = Kind.UNAVAILABLE


class BusyReaderError(Error):
    """Another process reads the WAL of this database."""

    kind = Kind.UNAVAILABLE


class MalformedWalError(Error):
    """A message of the replication stream is not of the form that pgoutput writes."""

    kind = Kind.DAMAGED


class ImportRefusedError(Error):
    """The earlier log's leaves are none, or do not have the root that was expected."""

    kind = Kind.UNPROCESSABLE

    def __init__(self, message: str | None = None, *, expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


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
