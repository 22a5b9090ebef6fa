"""
Erasing what leaves hide: salt and record go, leaf, proofs and root stay (log.md, 4.4, 5.3).

A commitment without its salt cannot be guessed, so what it hid is gone with it. What stands
in a leaf in clear cannot be erased, and is refused by name. Each erasure is a row of
`redactions`, which the house log seals, and one `redact` leaf of the log itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.db import Transaction
from tallystick.record import UncanonicalValueError, canonical
from tallystick.seal.errors import (
    InvalidRequestError,
    NothingToRedactError,
    RowsWaitError,
)
from tallystick.seal.logs import Log, get_log
from tallystick.seal.redaction import store

MAX_REDACTED: Final = 1_000
"""Leaves in one call: the `redact` leaf names each, and must fit 65,535 bytes with its copies."""
MAX_REASON: Final = 1_000
"""Characters of a reason: it is a sentence, and stands in the log for ever."""
MAX_LEGAL_BASIS: Final = 200
PUBLIC_SCHEMA: Final = "public."


@dataclass(frozen=True, slots=True)
class Redaction:
    """
    What was erased in one log.

    *redacted* are the leaves erased now, with those that repeated their records;
    *redacted_before* those asked for that had been erased already. *quarantined* rows lost
    their bytes too. *standing* counts keys whose row, as far as the log knows, still stands in
    its table: its next change is recorded with its values. *elsewhere* names other logs that
    keep records of these keys. *is_in_log* is false where the log takes no `redact` leaf.
    """

    log_name: str
    redacted: tuple[int, ...]
    redacted_before: tuple[int, ...]
    quarantined: int
    standing: int
    elsewhere: tuple[str, ...]
    is_in_log: bool


def redact_leaves(
    tx: Transaction,
    log_name: str,
    indexes: Sequence[int],
    *,
    actor: str,
    reason: str,
    legal_basis: str,
) -> Redaction:
    """
    Erase what the leaves at *indexes* hide, at most 1,000; all of it, or nothing.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidRequestError: No leaf is named, too many are, or a text is empty or too long.
        NothingToRedactError: Some of them hide nothing, or are no leaves; the error names them.
        RowsWaitError: The same record waits in the queue, to be sealed once more.
    """
    log = get_log(tx, log_name)
    if not indexes or len(indexes) > MAX_REDACTED:
        raise InvalidRequestError(f"one redaction is of 1 to {MAX_REDACTED} leaves")
    if any(not 0 <= index < 2**63 for index in indexes):
        raise InvalidRequestError("a leaf index is a number that is not negative")
    return _redact(tx, log, indexes, (actor, reason, legal_basis), whole_keys=False)


def redact_row(
    tx: Transaction,
    log_name: str,
    table: str,
    key: Sequence[str],
    *,
    actor: str,
    reason: str,
    legal_basis: str,
) -> Redaction:
    """
    Erase what every version of one row hides in this log; *key* is the texts of its columns.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidRequestError: A text is empty or too long, or the row has over 1,000 versions.
        NothingToRedactError: No leaf of the row hides anything.
        RowsWaitError: Versions of the row wait in the queue; they would stay.
    """
    log = get_log(tx, log_name)
    try:
        key_text = canonical(list(key)).decode()
    except UncanonicalValueError as cause:
        raise InvalidRequestError("a key is Unicode text") from cause
    if "\x00" in table + "".join(key):
        raise InvalidRequestError("a table and its key are text without zero bytes")
    name = table.removeprefix(PUBLIC_SCHEMA)
    versions = store.versions_of_key(tx, log.log_id, table=name, key_text=key_text)
    indexes = versions.indexes
    if not indexes and versions.waiting:
        raise RowsWaitError(
            f"{versions.waiting} rows of this key wait to be sealed in log {log_name}",
            evidence={"log": log_name, "rows": versions.waiting},
        )
    if not indexes:
        raise NothingToRedactError(
            f"log {log_name} has nothing to erase of this row of {name}",
            evidence={"log": log_name, "table": name},
        )
    if len(indexes) > MAX_REDACTED:
        raise InvalidRequestError(
            f"the row has {len(indexes)} versions: redact them by index, {MAX_REDACTED} a call"
        )
    return _redact(tx, log, indexes, (actor, reason, legal_basis), whole_keys=True)


def redacted_indexes(
    tx: Transaction, places: Sequence[tuple[str, int]]
) -> frozenset[tuple[str, int]]:
    """Return those of *places*, log name and leaf index, that were redacted; one statement."""
    return store.redacted_indexes(tx, places) if places else frozenset()


def _redact(
    tx: Transaction,
    log: Log,
    indexes: Sequence[int],
    words: tuple[str, str, str],
    *,
    whole_keys: bool,
) -> Redaction:
    actor, reason, legal_basis = words
    for what, text, most in (
        ("the actor", actor, MAX_LEGAL_BASIS),
        ("the reason", reason, MAX_REASON),
        ("the legal basis", legal_basis, MAX_LEGAL_BASIS),
    ):
        if not text.strip() or len(text) > most or "\x00" in text:
            raise InvalidRequestError(f"{what} is 1 to {most} characters of text")
    erased = store.redact(
        tx,
        log.log_id,
        indexes,
        actor=actor,
        reason=reason,
        legal_basis=legal_basis,
        whole_keys=whole_keys,
    )
    return Redaction(
        log_name=log.log_name,
        redacted=tuple(erased.redacted),
        redacted_before=tuple(erased.redacted_before),
        quarantined=erased.quarantined,
        standing=erased.standing,
        elsewhere=tuple(erased.elsewhere),
        is_in_log=erased.is_in_log,
    )
