"""
Our own witness: it cosigns checkpoints of watched logs (log.md, section 5.8; C2SP tlog-witness).

Check and update happen under the lock of the log's row, and the answer is given after the
commit: of any number of concurrent requests each sees what the one before it made us sign.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from tallystick.db import Database, Transaction
from tallystick.publish.errors import (
    InvalidWitnessError,
    NoWitnessKeyError,
    UnknownOriginError,
)
from tallystick.publish.witness import store
from tallystick.publish.witness.decision import check_extends, check_trusted
from tallystick.publish.witness.store import WatchedLog, WitnessKey
from tallystick.record import (
    Ed25519Signer,
    MalformedKeyError,
    create_signer_file,
    ed25519_verifier,
    load_signer,
)
from tallystick.seal.logs import KeyRing
from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    Note,
    format_note,
    format_signature_line,
    parse_add_checkpoint,
    parse_checkpoint,
    parse_cosignature,
    parse_note,
    sign_cosignature,
)

MAX_REQUEST_BYTES: Final = 65_536
"""Sixty-three proof lines take 3 kB; the rest is room for a note with many signatures."""
REPEAT_SECONDS: Final = 10
"""
The same checkpoint is given the same cosignature for so long: a client whose answer was lost asks
again at once, one that wants a newer time asks each hour, and all others want us to work.
"""
MAX_VKEYS: Final = 16
"""Each may cost a verification for everybody who asks."""
MAX_CONTACT_CHARACTERS: Final = 500
ORIGIN_HASH: Final = re.compile(r"[0-9a-f]{64}")


def witness_checkpoint(database: Database, keys: KeyRing, request: bytes) -> bytes:
    """
    Return our cosignature on the checkpoint in *request*, the body of an add-checkpoint.

    When this returns, what was cosigned is committed.

    Raises:
        MalformedError: The request is not of its form.
        UnknownOriginError, UntrustedCheckpointError, OldSizeError: Before anything is locked.
        StaleSizeError: Another size was cosigned last; the error carries it.
        InconsistentCheckpointError: It does not extend what was cosigned last.
        NoWitnessKeyError: There is no witness here.
    """
    asked = parse_add_checkpoint(request)
    checkpoint = parse_checkpoint(asked.note.text)
    # Checkpoints are public, so anybody can send them again: whoever brings nothing new takes no
    # lock, makes nobody wait, and has nothing written.
    watched, now = database.read(
        lambda tx: (store.watched(tx, checkpoint.origin), store.now_seconds(tx))
    )
    check_trusted(asked, checkpoint, watched)
    assert watched is not None, "check_trusted refuses what is not watched"
    check_extends(asked, checkpoint, watched)
    given = cosigned_lately(watched, asked.note.text, now_seconds=now)
    if given is not None:
        return given
    with database.transaction() as tx:
        locked = store.watched_locked(tx, checkpoint.origin)
        # The operator may have changed keys between the two reads: what is locked counts.
        trusted = check_trusted(asked, checkpoint, locked)
        assert locked is not None, "check_trusted refuses what is not watched"
        check_extends(asked, checkpoint, locked)
        signer = witness_signer(tx, keys)
        # A crash from here to the commit leaves a signature that never left the process.
        seconds = store.now_seconds(tx)
        signature = sign_cosignature(trusted.text, signer, time_seconds=seconds)
        note = format_note(Note(trusted.text, (*trusted.signatures, signature)))
        store.remember(tx, checkpoint, note.decode())
    return format_signature_line(signature).encode()


def cosigned_lately(watched: WatchedLog, text: str, *, now_seconds: int) -> bytes | None:
    """Return our cosignature on exactly *text*, if it was given just now; None: sign."""
    if watched.note is None:
        return None
    note = parse_note(watched.note.encode())
    *_, own = note.signatures
    age_seconds = now_seconds - parse_cosignature(own).time_seconds
    if note.text != text or not 0 <= age_seconds < REPEAT_SECONDS:
        return None
    return format_signature_line(own).encode()


def witnessed_checkpoint(database: Database, origin_hash: str) -> bytes:
    """
    Return the checkpoint that was cosigned last of the log whose origin has this SHA-256, in hex.

    Raises:
        UnknownOriginError: None of such a log was cosigned.
    """
    note = None
    if ORIGIN_HASH.fullmatch(origin_hash):
        digest = bytes.fromhex(origin_hash)
        note = database.read(lambda tx: store.cosigned_note(tx, digest))
    if note is None:
        raise UnknownOriginError
    return note.encode()


def watch_log(
    tx: Transaction,
    vkeys: list[str],
    *,
    contact: str | None = None,
    enabled: bool = True,
) -> WatchedLog:
    """
    Let our witness watch the log of *vkeys*, whose name is its origin, and return it.

    Again, it changes keys, contact and whether checkpoints are cosigned; what was cosigned stays.

    Raises:
        InvalidWitnessError: There is no key, one is no log key (type 1), or they differ in name.
    """
    try:
        names = {ed25519_verifier(vkey).name for vkey in vkeys}
    except MalformedKeyError as cause:
        raise InvalidWitnessError(cause.message) from cause
    if len(names) != 1 or len(vkeys) > MAX_VKEYS:
        raise InvalidWitnessError(f"a watched log has 1 to {MAX_VKEYS} keys, all of one name")
    if contact is not None and len(contact) > MAX_CONTACT_CHARACTERS:
        raise InvalidWitnessError(f"a contact has at most {MAX_CONTACT_CHARACTERS} characters")
    [origin] = names
    store.watch(tx, origin, vkeys, contact=contact, enabled=enabled)
    watched = store.watched(tx, origin)
    assert watched is not None, "it was just written"
    return watched


def list_watched(tx: Transaction) -> list[WatchedLog]:
    """Return every log that our witness watches, by origin."""
    return store.all_watched(tx)


def page_watched(
    tx: Transaction, *, after: str = "", without: Sequence[str] = (), limit: int
) -> list[WatchedLog]:
    """Return logs that our witness watches, by origin behind *after*, leaving out *without*."""
    return store.some_watched(tx, after=after, without=without, limit=limit)


def witness_key(tx: Transaction) -> WitnessKey | None:
    """Return the key that our witness signs with; None where there is no witness here."""
    return store.active_key(tx)


def create_witness_key(tx: Transaction, keys: KeyRing, name: str | None) -> WitnessKey:
    """
    Return the key of our witness *name*, made where there is none; no log ever has it.

    Raises:
        NoWitnessKeyError: *name* is None: the setting is missing.
        MalformedKeyError: *name* cannot be a key's name.
        KeyPermissionsError: The key directory is open to others.
    """
    if name is None:
        raise NoWitnessKeyError
    existing = store.active_key(tx, name)
    if existing is not None:
        return existing
    path = create_signer_file(keys.directory, name=name, algorithm=ALGORITHM_COSIGNATURE)
    return store.add_key(tx, load_signer(path))


def witness_signer(tx: Transaction, keys: KeyRing) -> Ed25519Signer:
    """
    Return the signer of our witness.

    Raises:
        NoWitnessKeyError: No witness key was made.
        KeyNotFoundError, KeyPermissionsError, MalformedKeyError: Its file is not to be used.
    """
    key = store.active_key(tx)
    if key is None:
        raise NoWitnessKeyError
    return keys.signer(key.key_id)


def origin_hash(origin: str) -> str:
    """Return the hash under which monitors ask for a log: SHA-256 of its origin, in hex."""
    return hashlib.sha256(origin.encode()).hexdigest()
