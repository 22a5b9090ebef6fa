"""
What is called and answered, as bytes: selectors, topics, encoded arguments (chain.md, 5.3, 5.4).

The ABI is an artifact's. Encoding is eth-abi's, which costs a tenth of a second to import and
is imported where bytes are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tallystick.chain.contracts.artifacts import Artifact
from tallystick.chain.contracts.errors import ArgumentsError
from tallystick.chain.intents.calls import canonical_type
from tallystick.record import keccak256

SELECTOR_BYTES: Final = 4

Entry = Mapping[str, Any]


def find_entry(artifact: Artifact, kind: str, name: str | None = None) -> Entry | None:
    """Return the ABI's entry of this *kind*: function, event, error or constructor."""
    for entry in artifact.abi:
        if entry["type"] == kind and name in {None, entry.get("name")}:
            return entry
    return None


def signature_of(entry: Entry) -> str:
    """Return the text whose hash names a function, event or error: `anchor(bytes32,uint64)`."""
    types = ",".join(canonical_type(each) for each in entry.get("inputs", ()))
    return f"{entry['name']}({types})"


def selector_of(entry: Entry) -> bytes:
    """Return the 4 bytes by which a function is called, or an error is known."""
    return keccak256(signature_of(entry).encode())[:SELECTOR_BYTES]


def topic_of(entry: Entry) -> bytes:
    """Return the 32 bytes by which an event is known."""
    return keccak256(signature_of(entry).encode())


def encode_call(artifact: Artifact, function: str, arguments: Sequence[Any]) -> bytes:
    """
    Return the call data of *function* with *arguments*, in their order.

    Raises:
        ArgumentsError: The contract has no such function, or it takes other arguments.
    """
    entry = find_entry(artifact, "function", function)
    if entry is None:
        raise ArgumentsError(f"{artifact.name} has no function {function[:100]}")
    return selector_of(entry) + encode_arguments(entry, arguments)


def encode_deployment(artifact: Artifact, arguments: Sequence[Any]) -> bytes:
    """
    Return the call data that deploy the contract with the constructor's *arguments*.

    Raises:
        ArgumentsError: The constructor takes others.
    """
    entry = find_entry(artifact, "constructor") or {"inputs": ()}
    return artifact.bytecode + encode_arguments(entry, arguments)


def decode_deployment(artifact: Artifact, encoded: bytes) -> list[Any]:
    """
    Return the constructor's arguments as JSON holds them: integers as text, bytes in hexadecimal.

    Raises:
        ArgumentsError: *encoded* are not the constructor's arguments.
    """
    entry = find_entry(artifact, "constructor") or {"inputs": ()}
    types = [canonical_type(each) for each in entry["inputs"]]
    if not types:
        if encoded:
            raise ArgumentsError(f"{artifact.name} takes no arguments")
        return []
    from eth_abi.abi import decode  # noqa: PLC0415 (only a deployment with arguments needs it)
    from eth_abi.exceptions import DecodingError  # noqa: PLC0415 (as above)

    try:
        return [as_json(value) for value in decode(types, encoded)]
    except (DecodingError, OverflowError, ValueError) as error:
        raise ArgumentsError(f"these are no arguments of {artifact.name}") from error


def encode_arguments(entry: Entry, arguments: Sequence[Any]) -> bytes:
    """
    Return *arguments* as the contract reads them.

    Raises:
        ArgumentsError: They are not those of *entry*.
    """
    types = [canonical_type(each) for each in entry["inputs"]]
    if len(types) != len(arguments):
        raise ArgumentsError(f"{len(types)} arguments are taken, {len(arguments)} were given")
    if not types:
        return b""
    from eth_abi.abi import encode  # noqa: PLC0415 (only who calls a contract needs it)
    from eth_abi.exceptions import EncodingError  # noqa: PLC0415 (as above)

    try:
        return encode(types, list(arguments))
    except (EncodingError, OverflowError, ValueError, TypeError) as error:
        raise ArgumentsError(f"the arguments are not ({','.join(types)})") from error


def as_json(value: Any) -> Any:
    """Return a decoded value as JSON holds it without loss."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value
