"""
Logs of registered contracts, decoded through their ABI (chain.md, sections 2 and 4.4.1).

Integers become decimal strings and bytes hexadecimal, because JSON numbers lose what exceeds
2^53. The bytes of a log are kept beside, so whatever cannot be decoded is not lost: an event
that the ABI does not know has no name, one whose data do not fit has no arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.chain.intents.calls import canonical_type
from tallystick.chain.node.blocks import Log
from tallystick.record import keccak256

DYNAMIC: Final = ("string", "bytes")


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """What a log says."""

    name: str | None
    """None: the ABI has no such event."""
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    type: str
    """The canonical type, a tuple spelled out."""
    is_indexed: bool
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    inputs: tuple[_Input, ...]


class EventDecoder:
    """The events of one ABI."""

    def __init__(self, abi: Sequence[Mapping[str, Any]]) -> None:
        self._events: dict[bytes, _Event] = {}
        for entry in abi:
            if entry.get("type") == "event" and not entry.get("anonymous"):
                event = _read_event(entry)
                signature = f"{event.name}({','.join(each.type for each in event.inputs)})"
                self._events[keccak256(signature.encode())] = event

    def decode(self, log: Log) -> DecodedEvent:
        """Return what *log* says; never raises, because a contract can log what it likes."""
        event = self._events.get(log.topics[0]) if log.topics else None
        if event is None:
            return DecodedEvent(None)
        values = _read_values(event, log)
        if values is None:
            return DecodedEvent(event.name)
        return DecodedEvent(event.name, values)


def _read_event(entry: Mapping[str, Any]) -> _Event:
    inputs = tuple(
        _Input(
            # An argument without a name is called by its place.
            name=spec.get("name") or str(place),
            type=canonical_type(spec),
            is_indexed=bool(spec.get("indexed")),
            spec=spec,
        )
        for place, spec in enumerate(entry.get("inputs", ()))
    )
    return _Event(entry["name"], inputs)


def _read_values(event: _Event, log: Log) -> dict[str, Any] | None:
    # Half a second of import, which only a process that follows contracts pays.
    from eth_abi.abi import decode  # noqa: PLC0415
    from eth_abi.exceptions import DecodingError  # noqa: PLC0415

    indexed = [each for each in event.inputs if each.is_indexed]
    if len(indexed) != len(log.topics) - 1:
        return None
    plain = [each for each in event.inputs if not each.is_indexed]
    values: dict[str, Any] = {}
    try:
        for each, topic in zip(indexed, log.topics[1:], strict=True):
            if _is_hashed(each.type):
                values[each.name] = "0x" + topic.hex()
            else:
                (value,) = decode([each.type], topic)
                values[each.name] = _as_json(value, each.type, each.spec)
        decoded = decode([_text_as_bytes(each.type) for each in plain], log.data)
    except (DecodingError, OverflowError, ValueError):
        return None
    for each, value in zip(plain, decoded, strict=True):
        values[each.name] = _as_json(value, each.type, each.spec)
    return {each.name: values[each.name] for each in event.inputs}


def _is_hashed(kind: str) -> bool:
    """Whether an indexed argument of this type stands in its topic as a hash."""
    return kind in DYNAMIC or kind.endswith(("]", ")"))


def _text_as_bytes(kind: str) -> str:
    # Both are encoded alike, and a contract may log text that is no UTF-8.
    return kind.replace("string", "bytes")


def _as_json(value: Any, kind: str, spec: Mapping[str, Any]) -> Any:
    """Return a decoded value as `args` holds it."""
    if kind.endswith("]"):
        element = kind[: kind.rindex("[")]
        inner = {**spec, "type": str(spec["type"])[: str(spec["type"]).rindex("[")]}
        return [_as_json(each, element, inner) for each in value]
    if kind.startswith("("):
        return _tuple_as_json(value, spec)
    return _text(bytes(value)) if kind == "string" else _word_as_json(value)


def _word_as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, bool):
        return value
    # An integer in decimal, an address in lower case.
    return str(value).lower()


def _tuple_as_json(value: Sequence[Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        component.get("name") or str(place): _as_json(each, canonical_type(component), component)
        for place, (each, component) in enumerate(
            zip(value, spec.get("components", ()), strict=True)
        )
    }


def _text(value: bytes) -> str | dict[str, str]:
    """Return text, or its bytes where PostgreSQL could not hold it as text."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": "0x" + value.hex()}
    return {"hex": "0x" + value.hex()} if "\x00" in text else text
