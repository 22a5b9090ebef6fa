"""
Errors of the command line itself.

    Error
    └── CommandError
        ├── UsageError           options that do not fit together, or do not exist
        ├── NotSealedError       what was waited for was not sealed in time
        ├── UnhealthyError       doctor found something that must be mended
        ├── NotComparedError     what had to be compared could not be read
    └── FindingsError        an audit found a difference
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class CommandError(Error):
    """The command cannot be carried out."""


class UsageError(CommandError):
    """The command does not exist, or its options do not fit together."""

    kind: ClassVar[Kind] = Kind.INVALID


class NotSealedError(CommandError):
    """The change was not sealed in the time that was given; is a worker running?"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UnhealthyError(CommandError):
    """Something must be mended."""


class NotComparedError(CommandError):
    """Something could not be read, and was compared with nothing."""

    kind: ClassVar[Kind] = Kind.NOT_ESTABLISHED


class FindingsError(CommandError):
    """The log and what it is compared with differ."""

    kind: ClassVar[Kind] = Kind.FALSE
