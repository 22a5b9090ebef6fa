"""
What call data mean, by the interface that is registered at their address (chain.md, section 2).

The words of `function_name` and `parameters` are for people: a call that cannot be read is sent
all the same. Integers become decimal text and bytes hexadecimal, as in the arguments of events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tallystick.db import Transaction
from tallystick.record import Address, ChainId, keccak256

SELECTOR_BYTES: Final = 4
WORD_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
UNKNOWN_SECONDS: Final = 10.0
"""How long an address that nothing was registered at is not asked for again."""
MAX_KNOWN: Final = 10_000
"""Addresses that one process remembers; beyond them it forgets all and asks again."""

Place = tuple[ChainId, Address]
Known = tuple[str, int, str, ChainId, Address]
"""A place as one database knows it: host, port and name stand before it."""


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call in words."""

    function_name: str
    parameters: dict[str, Any] | None
    """None where the data do not fit the function's arguments."""


class RegisteredInterface(Protocol):
    """An ABI and where it holds."""

    @property
    def chain_id(self) -> ChainId:
        """The network."""
        ...

    @property
    def address(self) -> Address:
        """The contract's address."""
        ...

    @property
    def abi(self) -> Sequence[Mapping[str, Any]]:
        """The ABI, as the compiler wrote it."""
        ...


ReadInterfaces = Callable[[Transaction, Sequence[Place]], Sequence[RegisteredInterface]]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of an ABI."""

    name: str
    names: tuple[str, ...]
    """Of its arguments; one without a name is called by its place."""
    types: tuple[str, ...]
    """Canonical, tuples spelled out."""


class CallDecoder:
    """The functions of one ABI."""

    def __init__(self, abi: Sequence[Mapping[str, Any]]) -> None:
        functions = [read_function(each) for each in abi if each.get("type") == "function"]
        self._functions = {selector_of(signature_of(each)): each for each in functions}

    def decode(self, call_data: bytes) -> DecodedCall | None:
        """Return what *call_data* call; None where the ABI has no such function."""
        function = self._functions.get(call_data[:SELECTOR_BYTES])
        if function is None:
            return None
        values = decode_arguments(function.types, call_data[SELECTOR_BYTES:])
        if values is None:
            return DecodedCall(function.name, None)
        return DecodedCall(
            function.name, dict(zip(function.names, map(as_json, values), strict=True))
        )


class CallInterfaces:
    """
    The interfaces that one process has met, so that a thousand intents ask for none twice.

    A registered interface never changes. That there is none may change, and is asked for again
    after ten seconds.
    """

    def __init__(self, read: ReadInterfaces) -> None:
        self._read = read
        self._known: dict[Known, CallDecoder] = {}
        self._unknown: dict[Known, float] = {}
        self._lock = threading.Lock()

    def describe(
        self, tx: Transaction, calls: Sequence[tuple[ChainId, Address | None, bytes]]
    ) -> list[DecodedCall | None]:
        """Return what each of *calls*, (network, receiver, call data), means; None: unknown."""
        known = self._learn(tx, {(chain_id, to) for chain_id, to, _ in calls if to is not None})
        return [
            None
            if to is None or (decoder := known.get((chain_id, to))) is None
            else decoder.decode(data)
            for chain_id, to, data in calls
        ]

    def _learn(self, tx: Transaction, places: set[Place]) -> dict[Place, CallDecoder]:
        """Return what is registered at *places*, asking for those that were not met yet."""
        info = tx.connection.info
        wanted = {place: (info.host, info.port, info.dbname, *place) for place in places}
        now = time.monotonic()
        with self._lock:
            missing = [place for place, known in wanted.items() if self._is_due(known, now)]
        found = self._read(tx, missing) if missing else ()
        with self._lock:
            if len(self._known) + len(self._unknown) > MAX_KNOWN:
                self._known.clear()
                self._unknown.clear()
            self._unknown.update({wanted[place]: now for place in missing})
            for each in found:
                known = wanted[each.chain_id, each.address]
                self._known[known] = CallDecoder(each.abi)
                self._unknown.pop(known, None)
            return {
                place: self._known[known] for place, known in wanted.items() if known in self._known
            }

    def _is_due(self, known: Known, now: float) -> bool:
        """Whether the database has to be asked for this place (again)."""
        looked_at = self._unknown.get(known, -UNKNOWN_SECONDS)
        return known not in self._known and now - looked_at >= UNKNOWN_SECONDS


def read_function(entry: Mapping[str, Any]) -> Function:
    """Return the function that an entry of an ABI declares."""
    inputs = entry.get("inputs", ())
    return Function(
        name=entry["name"],
        names=tuple(each.get("name") or str(place) for place, each in enumerate(inputs)),
        types=tuple(canonical_type(each) for each in inputs),
    )


def canonical_type(argument: Mapping[str, Any]) -> str:
    """Return the type of an argument as signatures write it, tuples spelled out."""
    kind = str(argument["type"])
    if not kind.startswith("tuple"):
        return kind
    inside = ",".join(canonical_type(each) for each in argument.get("components", ()))
    return f"({inside}){kind.removeprefix('tuple')}"


def signature_of(function: Function) -> str:
    """Return `name(type,type)`."""
    return f"{function.name}({','.join(function.types)})"


def selector_of(signature: str) -> bytes:
    """Return the 4 bytes that a call of the function with this signature begins with."""
    return keccak256(signature.encode())[:SELECTOR_BYTES]


def decode_arguments(types: Sequence[str], data: bytes) -> list[Any] | None:
    """Return the values of ABI-encoded *data*; None where they do not fit the types exactly."""
    simple = decode_words(types, data)
    if simple is not None:
        return simple
    # Half a second of import, which only calls with lists, text or tuples pay.
    from eth_abi.abi import decode, encode  # noqa: PLC0415
    from eth_abi.exceptions import DecodingError, EncodingError  # noqa: PLC0415

    try:
        values = list(decode(list(types), data))
        # One call has one encoding: bytes behind the arguments, or gaps between, could hide some.
        is_exact = encode(list(types), values) == data
    except (DecodingError, EncodingError, OverflowError, ValueError):
        return None
    return values if is_exact else None


def decode_words(types: Sequence[str], data: bytes) -> list[Any] | None:
    """As `decode_arguments`, where each argument is one word; None: one is not, or does not fit."""
    if len(data) != WORD_BYTES * len(types):
        return None
    values = []
    for place, kind in enumerate(types):
        word = data[place * WORD_BYTES : (place + 1) * WORD_BYTES]
        value = decode_word(kind, word)
        if value is None:
            return None
        values.append(value)
    return values


def decode_word(kind: str, word: bytes) -> int | bool | str | bytes | None:
    """Return the value in one ABI word; None where the type has no such word."""
    number = int.from_bytes(word)
    if kind.startswith("uint"):
        bits = int(kind[4:]) if kind[4:].isdecimal() else 0
        return number if number < 1 << bits else None
    if kind == "address":
        return f"0x{word[-ADDRESS_BYTES:].hex()}" if number < 1 << 160 else None
    if kind == "bool":
        return bool(number) if number <= 1 else None
    if kind.startswith("bytes") and kind[5:].isdecimal():
        size = int(kind[5:])
        return word[:size] if not any(word[size:]) else None
    return None


def as_json(value: Any) -> Any:
    """Return a decoded value as `parameters` holds it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    # PostgreSQL holds no NUL in text; such text is shown by its bytes.
    text = str(value)
    return text if "\x00" not in text else {"hex": f"0x{text.encode().hex()}"}
