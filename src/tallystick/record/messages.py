"""
Builders and checks of the log's signed and carried messages, one pair for each.

Follows common.md, "Messages", and log.md, sections 2.9 and 5.3. What was signed is stored
and sent as its bytes, and never serialised a second time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tallystick.record.canonical import canonical, parse_canonical
from tallystick.record.commitments import SALT_BYTES, Disclosure
from tallystick.record.errors import (
    FalseSignatureError,
    MalformedJsonError,
    MalformedMessageError,
    UncanonicalValueError,
)
from tallystick.record.shape import (
    read_hash,
    read_list,
    read_number,
    read_object,
    read_optional_text,
    read_text,
    read_time,
)
from tallystick.record.tags import DISCLOSURE_TAG, OUTBOX_EVENT_TAG
from tallystick.tlog.encoding import format_base64, parse_base64
from tallystick.tlog.errors import MalformedNoteError
from tallystick.tlog.note import ALGORITHM_ED25519

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallystick.tlog.note import Signer, Verifier

MAX_DISCLOSED_COLUMNS: Final = 1600
"""PostgreSQL's limit on the columns of a table."""

_EVENT: Final = frozenset(["event_id", "position", "topic", "key", "payload", "created_at"])
_DISCLOSURE: Final = frozenset(["columns", "record", "salt"])
_COLUMN: Final = frozenset(["column", "key", "value"])
_SIGNATURE_BYTES: Final = 64


def tagged(tag: bytes, value: Any) -> bytes:
    """
    The message that *tag* and the object *value* make: what is hashed, signed and stored.

    Raises:
        UncanonicalValueError: *value* has no canonical JSON form.
    """
    assert tag.startswith(b"tallystick/")
    assert tag.endswith(b"/v1\n")
    return tag + canonical(value)


def parse_tagged(tag: bytes, message: bytes) -> Any:
    """
    The value in *message*, which begins with *tag*.

    Raises:
        MalformedMessageError: It does not, or what follows is not canonical JSON.
    """
    if not message.startswith(tag):
        raise MalformedMessageError(f"the message does not begin with {tag.decode().strip()}")
    return _parse(message[len(tag) :])


def message_hash(message: bytes) -> bytes:
    """The 32-byte SHA-256 of a whole message, its tag included."""
    return hashlib.sha256(message).digest()


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event as a webhook gets it; *event_id* is what a receiver tells doubles by."""

    event_id: int
    position: int
    topic: str
    key: str
    payload: Mapping[str, Any]
    created_at: str


def format_outbox_event(event: OutboxEvent) -> bytes:
    """
    The body of *event*: canonical JSON without a tag. The tag is before what is signed only.

    Raises:
        MalformedMessageError: *event* cannot be written so that it parses as itself.
    """
    value = {
        "event_id": event.event_id,
        "position": event.position,
        "topic": event.topic,
        "key": event.key,
        "payload": event.payload,
        "created_at": event.created_at,
    }
    _read_event(value)
    try:
        return canonical(value)
    except UncanonicalValueError as cause:
        raise MalformedMessageError("the event has no canonical form") from cause


def parse_outbox_event(body: bytes) -> OutboxEvent:
    """
    The event in the *body* of a webhook. Nothing is verified: see `check_outbox_event`.

    Raises:
        MalformedMessageError: *body* is not the one spelling of an event.
    """
    return _read_event(_parse(body))


def sign_outbox_event(body: bytes, signer: Signer) -> str:
    """The header `Tally-Signature` of *body*: `<key id hex> <base64>`."""
    assert signer.algorithm == ALGORITHM_ED25519
    signature = signer.sign(OUTBOX_EVENT_TAG + body)
    return f"{signer.key_id.hex()} {format_base64(signature)}"


def check_outbox_event(body: bytes, header: str, verifiers: Iterable[Verifier]) -> OutboxEvent:
    """
    Check that one of *verifiers* signed *body*, and return its event.

    Raises:
        MalformedMessageError: *header* or *body* is not of its form.
        FalseSignatureError: No known key has the header's id, or the signature is false.
    """
    key_id, _, encoded = header.partition(" ")
    try:
        signature = parse_base64(encoded, what="the signature", error=MalformedNoteError)
    except MalformedNoteError as cause:
        raise MalformedMessageError("the header is not a key id and a signature") from cause
    if len(signature) != _SIGNATURE_BYTES:
        raise MalformedMessageError(f"the signature has {len(signature)} bytes, not 64")
    named = [verifier for verifier in verifiers if verifier.key_id.hex() == key_id]
    if not any(verifier.verify(OUTBOX_EVENT_TAG + body, signature) for verifier in named):
        raise FalseSignatureError("no known key with that id signed the event")
    return parse_outbox_event(body)


@dataclass(frozen=True, slots=True)
class DisclosureBundle:
    """
    What opens a leaf's commitments: columns, or for a salted leaf *record* and *salt* first.

    *record* is the leaf bytes that the record would have in clear, as text.
    """

    columns: tuple[Disclosure, ...] = ()
    record: str | None = field(default=None, repr=False)
    salt: bytes | None = field(default=None, repr=False)


def format_disclosure(bundle: DisclosureBundle) -> bytes:
    """
    The message of *bundle*, which travels as the extra data of a proof.

    Raises:
        MalformedMessageError: *bundle* cannot be written so that it parses as itself.
    """
    columns = [
        {
            "column": item.column,
            "key": None if item.key is None else item.key.hex(),
            "value": item.value,
        }
        for item in bundle.columns
    ]
    salt = None if bundle.salt is None else bundle.salt.hex()
    value = {"columns": columns, "record": bundle.record, "salt": salt}
    _read_disclosure(value)
    try:
        return tagged(DISCLOSURE_TAG, value)
    except UncanonicalValueError as cause:
        raise MalformedMessageError("the disclosure has no canonical form") from cause


def parse_disclosure(message: bytes) -> DisclosureBundle:
    """
    The disclosures in *message*. Nothing is verified: see `check_disclosure`.

    Raises:
        MalformedMessageError: *message* is not the one spelling of a disclosure.
    """
    return _read_disclosure(parse_tagged(DISCLOSURE_TAG, message))


def _parse(data: bytes) -> Any:
    try:
        return parse_canonical(data)
    except MalformedJsonError as cause:
        raise MalformedMessageError(cause.message) from cause


def _read_event(value: Any) -> OutboxEvent:
    error = MalformedMessageError
    members = read_object(value, required=_EVENT, what="the event", error=error)
    if not isinstance(members["payload"], dict):
        raise error("the payload is not an object")
    key = read_optional_text(members["key"], what="key", error=error)
    if key is None:
        raise error("key is null")
    return OutboxEvent(
        event_id=read_number(members["event_id"], at_least=1, what="event_id", error=error),
        position=read_number(members["position"], at_least=1, what="position", error=error),
        topic=read_text(members["topic"], what="topic", error=error),
        key=key,
        payload=members["payload"],
        created_at=read_time(members["created_at"], what="created_at", error=error),
    )


def _read_disclosure(value: Any) -> DisclosureBundle:
    error = MalformedMessageError
    members = read_object(value, required=_DISCLOSURE, what="the disclosure", error=error)
    columns = read_list(members["columns"], what="columns", error=error)
    if len(columns) > MAX_DISCLOSED_COLUMNS:
        raise error(f"more than {MAX_DISCLOSED_COLUMNS} columns are disclosed")
    record = read_optional_text(members["record"], what="record", error=error)
    salt = _read_optional_key(members["salt"], what="salt")
    if (record is None) != (salt is None):
        raise error("a record and its salt come together")
    return DisclosureBundle(tuple(map(_read_column, columns)), record, salt)


def _read_column(value: Any) -> Disclosure:
    error = MalformedMessageError
    members = read_object(value, required=_COLUMN, what="a column", error=error)
    return Disclosure(
        column=read_text(members["column"], what="column", error=error),
        key=_read_optional_key(members["key"], what="key"),
        value=read_optional_text(members["value"], what="value", error=error),
    )


def _read_optional_key(value: Any, *, what: str) -> bytes | None:
    if value is None:
        return None
    key = bytes.fromhex(read_hash(value, what=what, error=MalformedMessageError))
    assert len(key) == SALT_BYTES
    return key
