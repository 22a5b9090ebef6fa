"""
Errors of the embedded dev chain (chain.md, section 4.5).

    Error
    └── DevChainError
        ├── DevChainMissingError     its extra is not installed
        ├── DevChainBusyError        another process keeps this journal
        ├── OtherNetworkError        a network that is not the dev chain's
        ├── JournalDamagedError      a line that no crash explains
        └── JournalDivergedError     replaying leads to another block

What a caller of JSON-RPC did wrong is a `Refusal`, which never leaves the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tallystick.errors import Error, Kind


class DevChainError(Error):
    """The dev chain cannot be run."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class DevChainMissingError(DevChainError):
    """The dev chain needs an EVM: install tallystick[devchain]."""


class DevChainBusyError(DevChainError):
    """Another process keeps the dev chain of this directory."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class OtherNetworkError(DevChainError):
    """This network is not the dev chain's, which is the only one that is run here."""

    kind: ClassVar[Kind] = Kind.INVALID

    def __init__(
        self, message: str | None = None, *, expected: int | None = None, actual: int | None = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """The dev chain's id."""
        self.actual = actual
        """The id that was asked for, or that the journal has."""


class JournalDamagedError(DevChainError):
    """A line of the dev chain's journal is not one that we wrote; `--reset` starts anew."""

    kind: ClassVar[Kind] = Kind.DAMAGED

    def __init__(self, path: Path | None = None, *, line: int = 0) -> None:
        super().__init__(
            None
            if path is None
            else f"{path}: line {line} is not one that we wrote; `--reset` starts anew"
        )
        self.line = line
        """Its number, from 1."""


class JournalDivergedError(DevChainError):
    """Replaying the dev chain's journal leads to another block; `--reset` starts anew."""

    kind: ClassVar[Kind] = Kind.DAMAGED

    def __init__(self, *, block: int = 0, expected: str = "", actual: str = "") -> None:
        super().__init__(
            f"block {block} is {actual} and was {expected} when it was mined:"
            " the EVM is another, or the journal was changed; `--reset` starts anew"
            if expected
            else None
        )
        self.block = block
        self.expected = expected
        """The block's hash as the journal has it."""
        self.actual = actual
        """The block's hash as it was mined again."""


class Refusal(Exception):  # noqa: N818 (no error of ours: it is an answer of JSON-RPC)
    """What is answered to a call that cannot be carried out."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        """What the EVM returned, in hexadecimal; None where it ran nothing."""
