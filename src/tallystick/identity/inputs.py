"""What callers hand in, parsed once into values that cannot be wrong (identity.md, section 2)."""

from __future__ import annotations

import uuid

from tallystick.identity.errors import InvalidAddressError, NotFoundError
from tallystick.record import Address, parse_address
from tallystick.record import InvalidAddressError as MisspeltAddressError


def parse_wallet(text: str) -> Address:
    """
    Return the address that *text* writes, in any case.

    Raises:
        InvalidAddressError: It is none, or its EIP-55 checksum is wrong. The error does not quote
            it: a wallet is somebody's.
    """
    try:
        return parse_address(text)
    except MisspeltAddressError:
        # Without its cause, which quotes the text.
        raise InvalidAddressError from None


def parse_id(given: str | uuid.UUID, *, what: str) -> uuid.UUID:
    """
    Return the id that *given* is.

    Raises:
        NotFoundError: It is no UUID, so there is nothing of that id; *what* is named.
    """
    if isinstance(given, uuid.UUID):
        return given
    try:
        return uuid.UUID(given)
    except ValueError:
        raise NotFoundError(f"there is no such {what.replace('_', ' ')}") from None
