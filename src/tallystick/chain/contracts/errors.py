"""
Errors of contracts (chain.md, section 5.3); those that a caller of the registry may meet stand
in `chain/errors.py`.

    Error
    └── ArtifactError
        ├── UnknownArtifactError    no contract of that name is shipped
        ├── CompilerMissingError    a source cannot be compiled here
        ├── MalformedSourceError    a source does not compile
        └── ArgumentsError          arguments are not those of the ABI
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class ArtifactError(Error):
    """The contract's source or artifact does not serve."""


class UnknownArtifactError(ArtifactError):
    """No contract of that name is shipped."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND

    def __init__(self, name: str | None = None) -> None:
        super().__init__(None if name is None else f"no contract {name} is shipped")
        self.name = name


class CompilerMissingError(ArtifactError):
    """Compiling a contract needs Vyper: install `vyper`, of the version that the artifact names."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class MalformedSourceError(ArtifactError):
    """The contract's source does not compile."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class ArgumentsError(ArtifactError):
    """The arguments are not those of the contract's ABI."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE
