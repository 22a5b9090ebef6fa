"""
What records, commitments, keys and messages refuse (log.md, sections 4.2, 5.2, 5.3, 5.8).

And what the EVM's values and encodings refuse (chain.md, sections 4.1.7 and 5.2).

Error:
    ├── RecordError
    │   ├── UncanonicalValueError   a value that JSON cannot carry exactly
    │   ├── MalformedJsonError      bytes that are not canonical JSON
    │   ├── MalformedRecordError    a leaf with the tag of records that is none
    │   ├── RecordTooLargeError     a record that fits no leaf
    │   ├── MalformedMessageError   another message that is not of its format
    │   ├── CommitmentError         a disclosure that does not open its commitment
    │   ├── FalseSignatureError     a signature that is not the key's
    │   ├── InvalidAddressError     an EVM address of another form, or with a wrong checksum
    │   ├── InvalidHashError        text that is no hash on an EVM chain
    │   ├── MalformedRlpError       bytes that are not canonical RLP
    │   ├── MalformedHeaderError    bytes that are no block header
    │   ├── MalformedReceiptError   bytes that are no receipt
    │   ├── MalformedTrieProofError a node that is none, or a proof that is too long
    │   ├── BlockHashError          a header that is another block's
    │   └── TrieProofError          a path that does not lead from the root to the item
    └── SigningKeyError
        ├── MalformedKeyError       a key that is not of its format, or a weak one
        ├── KeyPermissionsError     a key file that others could read or replace
        ├── KeyNotFoundError
        └── KeyExistsError

No message and no attribute ever holds a secret, a salt or a row's value.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class RecordError(Error):
    """A record or message is refused."""


class UncanonicalValueError(RecordError):
    """The value has no canonical JSON form."""

    kind: ClassVar[Kind] = Kind.INVALID


class MalformedJsonError(RecordError):
    """The bytes are not canonical JSON."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class MalformedRecordError(RecordError):
    """The leaf begins like a record and is none."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class RecordTooLargeError(RecordError):
    """The record does not fit a leaf, even without its row."""

    kind: ClassVar[Kind] = Kind.TOO_LARGE


class MalformedMessageError(RecordError):
    """The message is not of its format."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class CommitmentError(RecordError):
    """The disclosure does not open the commitment."""

    kind: ClassVar[Kind] = Kind.FALSE

    def __init__(self, message: str | None = None, *, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column
        """The column that was to be opened; None for a whole record."""


class FalseSignatureError(RecordError):
    """The signature is not the key's over this message."""

    kind: ClassVar[Kind] = Kind.FALSE


class InvalidAddressError(RecordError):
    """The text is no EVM address: 20 bytes in hexadecimal, with a right checksum if it has one."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE


class InvalidHashError(RecordError):
    """The text is not the hash of a transaction or a block."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE


class MalformedRlpError(RecordError):
    """The bytes are not the canonical RLP of one item."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class MalformedHeaderError(RecordError):
    """The bytes are not a block header."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class MalformedReceiptError(RecordError):
    """The bytes are not a transaction's receipt."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class MalformedTrieProofError(RecordError):
    """The nodes are not a proof in a Merkle-Patricia trie."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class BlockHashError(RecordError):
    """The header hashes to another block's hash."""

    kind: ClassVar[Kind] = Kind.FALSE

    def __init__(self, message: str | None = None, *, expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        """The hash that was asked for."""
        self.actual = actual
        """The header's."""


class TrieProofError(RecordError):
    """The nodes do not lead from the trie's root to this item at this index."""

    kind: ClassVar[Kind] = Kind.FALSE

    def __init__(
        self, message: str | None = None, *, expected: bytes = b"", actual: bytes = b""
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """The reference that the node above holds; empty where no hash differs."""
        self.actual = actual
        """The node's hash."""


class SigningKeyError(Error):
    """A key cannot be used."""


class MalformedKeyError(SigningKeyError):
    """The key is not of its format, or is one that anybody could sign for."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class KeyPermissionsError(SigningKeyError):
    """The key's file or directory can be read or replaced by others."""

    kind: ClassVar[Kind] = Kind.FORBIDDEN

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        """The file or directory at fault."""


class KeyNotFoundError(SigningKeyError):
    """There is no key file."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class KeyExistsError(SigningKeyError):
    """The key file exists already; it is never overwritten."""

    kind: ClassVar[Kind] = Kind.CONFLICT
