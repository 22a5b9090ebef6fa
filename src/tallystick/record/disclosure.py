"""
Disclosure files: what opens the commitments of one leaf, as JSON (log.md, sections 5.3, 6.4).

The file says which leaf it opens, by log, index and leaf hash, so that one for another leaf
is told apart from a false one. Nothing in it is signed: the leaf's own commitments are what
binds it. The same content travels inside of a proof as its extra data (`messages`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tallystick.record.canonical import canonical, parse_canonical
from tallystick.record.errors import MalformedMessageError, UncanonicalValueError
from tallystick.record.messages import DisclosureBundle, format_disclosure, parse_disclosure
from tallystick.record.shape import read_hash, read_number, read_object, read_text
from tallystick.record.tags import DISCLOSURE_TAG

FORMAT: Final = DISCLOSURE_TAG.decode().strip()
"""What the member `format` says."""
_HEAD: Final = frozenset(["format", "origin", "index", "leaf_hash"])
_OPENED: Final = frozenset(["columns", "record", "salt"])


@dataclass(frozen=True, slots=True)
class LeafDisclosure:
    """What opens the leaf at *index* of the log *origin*; *leaf_hash* is its 32-byte hash."""

    origin: str
    index: int
    leaf_hash: bytes
    bundle: DisclosureBundle


def format_disclosure_file(disclosure: LeafDisclosure) -> bytes:
    """
    The JSON file of *disclosure*, in canonical form and with a newline at its end.

    Raises:
        MalformedMessageError: *disclosure* cannot be written so that it parses as itself.
    """
    opened = parse_canonical(format_disclosure(disclosure.bundle)[len(DISCLOSURE_TAG) :])
    head = {
        "format": FORMAT,
        "origin": disclosure.origin,
        "index": disclosure.index,
        "leaf_hash": disclosure.leaf_hash.hex(),
    }
    try:
        data = canonical(head | opened) + b"\n"
    except UncanonicalValueError as cause:
        raise MalformedMessageError("the disclosure has no canonical form") from cause
    if parse_disclosure_file(data) != disclosure:
        raise MalformedMessageError("the disclosure does not parse as itself")
    return data


def parse_disclosure_file(data: bytes) -> LeafDisclosure:
    """
    The disclosure in a file; spaces and the order of members are free, because nothing hashes
    them. Nothing is verified: see `check_disclosure`.

    Raises:
        MalformedMessageError: It is not JSON, or not of this format.
    """
    error = MalformedMessageError
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    # Doubled members, too many digits, no UTF-8 and no JSON are all ValueErrors.
    except (ValueError, RecursionError) as cause:
        raise error("the disclosure is not JSON, or names a member twice") from cause
    members = read_object(value, required=_HEAD | _OPENED, what="the disclosure", error=error)
    if members["format"] != FORMAT:
        raise error(f"the disclosure is not of the format {FORMAT}")
    try:
        opened = canonical({name: members[name] for name in _OPENED})
    except UncanonicalValueError as cause:
        raise error("the disclosure has no canonical form") from cause
    return LeafDisclosure(
        origin=read_text(members["origin"], what="origin", error=error),
        index=read_number(members["index"], what="index", error=error),
        leaf_hash=bytes.fromhex(read_hash(members["leaf_hash"], what="leaf_hash", error=error)),
        bundle=parse_disclosure(DISCLOSURE_TAG + opened),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
