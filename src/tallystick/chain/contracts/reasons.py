"""
Why a contract reverted, in words: also by the errors that our own contracts declare.

Follows chain.md, sections 4.1.3 and 4.3.1. A node's answer is foreign input: what does not
decode is shown in hexadecimal, and nothing is raised.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from tallystick.chain.contracts.artifacts import artifact_names, load_artifact
from tallystick.chain.node.encoding import printable
from tallystick.chain.node.refusals import decode_reason

SELECTOR: Final = 4
"""Bytes by which an error is known."""
MAX_SHOWN: Final = 200
"""Characters of one argument: an error that we declare has numbers and hashes."""


@functools.cache
def known_errors() -> Mapping[bytes, tuple[str, tuple[str, ...]]]:
    """Return name and types of each error that a shipped contract declares, by its selector."""
    # The watcher explains reverts, and the ABI's types are the watcher's to read.
    from tallystick.chain.contracts.abi import selector_of  # noqa: PLC0415
    from tallystick.chain.intents.calls import canonical_type  # noqa: PLC0415

    return {
        selector_of(entry): (
            str(entry["name"]),
            tuple(canonical_type(each) for each in entry.get("inputs", ())),
        )
        for name in artifact_names()
        for entry in load_artifact(name).abi
        if entry["type"] == "error"
    }


def explain_revert(data: bytes) -> str:
    """
    Return in words why a contract reverted with *data*; empty where it gave no reason.

    An error of one of our contracts is its name with its arguments: `AlreadyAnchored(17)`.
    """
    known = known_errors().get(data[:SELECTOR])
    if known is None:
        return decode_reason(data)
    # A tenth of a second to import, paid by who meets such an error.
    from eth_abi.abi import decode  # noqa: PLC0415
    from eth_abi.exceptions import DecodingError  # noqa: PLC0415

    name, types = known
    try:
        arguments = decode(types, data[SELECTOR:])
    except (DecodingError, OverflowError, ValueError):
        return decode_reason(data)
    return f"{name}({', '.join(map(show, arguments))})"


def show(argument: Any) -> str:
    """Return one decoded argument as a person reads it, without control characters."""
    text = f"0x{argument.hex()}" if isinstance(argument, bytes) else str(argument)
    return printable(text)[:MAX_SHOWN]
