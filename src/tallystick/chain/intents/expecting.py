"""
Whether a client's transaction is the one that it had to be (chain.md, section 4.1.6).

A pure decision over what the node said. Nothing that the client said is looked at: he named a
hash, and everything else comes from the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tallystick.chain.errors import ExpectationFailedError
from tallystick.chain.intents.calls import (
    SELECTOR_BYTES,
    DecodedCall,
    as_json,
    decode_arguments,
    selector_of,
)
from tallystick.chain.values import ANY, Expectation, SeenTransaction

ACCEPTED_TYPES: Final = (0, 1, 2, 4)
"""Blob transactions (3) carry data that no receipt and no trace of ours would show."""
MAX_SHOWN: Final = 200
"""Characters of a value that an error shows."""


def check_expectation(seen: SeenTransaction, expectation: Expectation) -> DecodedCall | None:
    """
    Check that *seen* is what was expected, and return its call in words; None: it calls nothing.

    Raises:
        ExpectationFailedError: It is not; the error names the first field that differs, in the
            order type, chain_id, from_address, to, value, function, arguments.
    """
    if seen.transaction_type not in ACCEPTED_TYPES:
        raise differs("transaction_type", "0, 1, 2 or 4", seen.transaction_type)
    if seen.chain_id != expectation.chain_id:
        raise differs("chain_id", expectation.chain_id, seen.chain_id)
    if expectation.from_address not in (None, seen.from_address):
        raise differs("from_address", expectation.from_address, seen.from_address)
    if seen.to_address != expectation.to:
        raise differs("to", expectation.to, seen.to_address)
    if expectation.value not in (None, seen.value):
        raise differs("value", expectation.value, seen.value)
    if expectation.function is None:
        if seen.call_data and expectation.to is not None:
            raise differs("call_data", "none", f"0x{seen.call_data.hex()}")
        return None
    return check_call(seen.call_data, expectation.function, expectation.arguments)


def check_call(data: bytes, signature: str, arguments: Sequence[Any]) -> DecodedCall:
    """
    Check that *data* call the function with these arguments, and return the call in words.

    Raises:
        ExpectationFailedError: They call another, or with other arguments.
    """
    name, types = parse_signature(signature)
    assert len(types) == len(arguments), f"{signature} takes {len(types)} arguments"
    selector = selector_of(signature)
    if data[:SELECTOR_BYTES] != selector:
        actual = f"0x{data[:SELECTOR_BYTES].hex()}"
        raise differs("function", f"{signature} (0x{selector.hex()})", actual)
    values = decode_arguments(types, data[SELECTOR_BYTES:])
    if values is None:
        raise differs("arguments", signature, f"0x{data[SELECTOR_BYTES:].hex()}")
    for place, (expected, actual) in enumerate(zip(arguments, values, strict=True)):
        if expected is not ANY and as_json(expected) != as_json(actual):
            raise differs(f"arguments[{place}]", as_json(expected), as_json(actual))
    return DecodedCall(name, {str(place): as_json(value) for place, value in enumerate(values)})


def parse_signature(signature: str) -> tuple[str, tuple[str, ...]]:
    """Return name and argument types of `name(type,(type,type)[],type)`."""
    name, opened, rest = signature.partition("(")
    assert name, "a signature names its function"
    assert opened, "a signature names its arguments"
    assert rest.endswith(")"), "a signature ends with its arguments"
    types, depth, start = [], 0, 0
    inside = rest[:-1]
    for place, character in enumerate(inside):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            types.append(inside[start:place])
            start = place + 1
    if inside:
        types.append(inside[start:])
    return name, tuple(types)


def differs(field: str, expected: object, actual: object) -> ExpectationFailedError:
    """Return the error that *field* is not what it had to be."""
    wanted, found = str(expected)[:MAX_SHOWN], str(actual)[:MAX_SHOWN]
    return ExpectationFailedError(
        f"{field} is {found}, and had to be {wanted}", field=field, expected=wanted, actual=found
    )
