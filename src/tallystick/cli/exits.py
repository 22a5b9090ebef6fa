"""
Errors as words and exit codes: the one translation of the command line (common.md, "Errors").

    0  ok; verify: established
    1  something verified is false or malformed, or stored evidence contradicts itself
    2  usage
    3  not found
    4  refused: state, policy, permission
    5  unavailable, or timed out
    6  not established: evidence is missing, nothing is false

What every error says goes to stderr as one line, `tally: <code>: <message>`. This module loads
nothing but the standard library, because `tally verify` stands on it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tallystick.errors import Error, Kind

OK: Final = 0
FALSE: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
UNAVAILABLE: Final = 5
NOT_ESTABLISHED: Final = 6
INTERRUPTED: Final = 130
"""What shells expect of a program that Ctrl-C ended."""

EXIT_CODES: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        Kind.MALFORMED: FALSE,
        Kind.FALSE: FALSE,
        Kind.DAMAGED: FALSE,
        Kind.INVALID: USAGE,
        Kind.NOT_FOUND: NOT_FOUND,
        Kind.GONE: NOT_FOUND,
        Kind.CONFLICT: REFUSED,
        Kind.UNPROCESSABLE: REFUSED,
        Kind.FORBIDDEN: REFUSED,
        Kind.UNAUTHENTICATED: REFUSED,
        Kind.TOO_LARGE: REFUSED,
        Kind.TOO_MANY: REFUSED,
        Kind.UNAVAILABLE: UNAVAILABLE,
        Kind.NOT_ESTABLISHED: NOT_ESTABLISHED,
    }
)
MAX_MESSAGE: Final = 2000
"""A server's log at the end of a message is worth reading; more of it is not."""


def exit_code(error: BaseException) -> int:
    """Return the exit code that *error* ends the command with; a bug of ours has none, and 1."""
    if isinstance(error, Error):
        return EXIT_CODES[error.kind]
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND
    if isinstance(error, OSError):
        return REFUSED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if is_of_driver(error):
        return REFUSED
    return FALSE


def words(error: BaseException) -> str | None:
    """Return the line that *error* is told by, or None where it is a bug and wants a traceback."""
    if isinstance(error, Error):
        return f"tally: {error.code()}: {error.message[:MAX_MESSAGE]}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"tally: file: {where}{error.strerror or error}"
    if isinstance(error, KeyboardInterrupt):
        return "tally: interrupted"
    if is_of_driver(error):
        # Only the first line: what follows may show the row that the server refused.
        return f"tally: database: {str(error).partition(chr(10))[0]}"
    return None


def is_of_driver(error: BaseException) -> bool:
    """Whether the PostgreSQL driver raised *error*, found out without loading the driver."""
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(error, driver.Error)
