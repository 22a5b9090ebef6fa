"""Operations on the witnesses of a log; each takes the caller's transaction (log.md, 3.2)."""

from __future__ import annotations

from tallystick.db import Transaction
from tallystick.publish.errors import (
    InvalidWitnessError,
    QuorumOutOfReachError,
    WitnessConflictError,
    WitnessExistsError,
    WitnessNotFoundError,
)
from tallystick.publish.witnesses import store
from tallystick.publish.witnesses.address import check_witness_url
from tallystick.publish.witnesses.values import Witness
from tallystick.record import MalformedKeyError, cosignature_verifier
from tallystick.seal.logs import LogId, get_log
from tallystick.tlog import (
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    format_policy,
    parse_verifier_key,
)


def add_witness(
    tx: Transaction, log_name: str, *, vkey: str, url: str, allow_private_http: bool = False
) -> Witness:
    """
    Let a log ask the witness of *vkey* at *url*, its submission prefix, and return it.

    The same witness again is asked at the address that is given now, also after it was removed.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidWitnessError: The key is no cosignature key (type 4), or the address is refused.
        WitnessExistsError: Another witness of the log has its name or its key.
    """
    try:
        verifier = cosignature_verifier(vkey)
    except MalformedKeyError as cause:
        raise InvalidWitnessError(cause.message) from cause
    address = check_witness_url(url, allow_private_http=allow_private_http)
    log = get_log(tx, log_name)
    store.add_witness(tx, log.log_id, vkey, parse_verifier_key(vkey), address)
    witness = find_witness(tx, log.log_id, verifier.name)
    if witness is None or witness.vkey != vkey:
        raise WitnessExistsError
    return witness


def list_witnesses(tx: Transaction, log_name: str) -> list[Witness]:
    """
    Return the witnesses of a log by name, those that were removed too where they cosigned.

    Raises:
        LogNotFoundError: There is no such log.
    """
    return store.witnesses(tx, get_log(tx, log_name).log_id)


def remove_witness(tx: Transaction, log_name: str, name: str) -> None:
    """
    Ask a witness no more, and count it no more; what it cosigned stays, with its key.

    Raises:
        LogNotFoundError, WitnessNotFoundError: There is no such log or witness.
    """
    if not store.remove_witness(tx, get_log(tx, log_name).log_id, name):
        raise WitnessNotFoundError(f"log {log_name} has no witness {name!r}")


def clear_witness(tx: Transaction, log_name: str, name: str, *, actor: str, reason: str) -> Witness:
    """
    End a witness's conflict and return it: publishing goes on, and the witness is asked anew.

    Raises:
        LogNotFoundError, WitnessNotFoundError: There is no such log or witness.
        WitnessConflictError: No clean audit of the log has begun since the conflict.
    """
    log_id = get_log(tx, log_name).log_id
    witness = find_witness(tx, log_id, name)
    if witness is None:
        raise WitnessNotFoundError(f"log {log_name} has no witness {name!r}")
    if not store.clear_witness(tx, log_id, name, actor=actor, reason=reason):
        raise WitnessConflictError
    cleared = find_witness(tx, log_id, name)
    assert cleared is not None, "the transaction has it locked"
    return cleared


def find_witness(tx: Transaction, log_id: LogId, name: str) -> Witness | None:
    """Return a witness of a log; None where there is none."""
    return next((one for one in store.witnesses(tx, log_id) if one.name == name), None)


def log_policy(tx: Transaction, log_name: str, *, quorum: int | None = None) -> bytes:
    """
    Return a tlog-policy that trusts the log's keys and asks for *quorum* of its witnesses.

    The quorum defaults to the one that the log publishes by.

    Raises:
        LogNotFoundError: There is no such log.
        QuorumOutOfReachError: The log has fewer witnesses.
    """
    log = get_log(tx, log_name)
    wanted = log.witness_quorum if quorum is None else quorum
    asked = [one for one in store.witnesses(tx, log.log_id) if one.enabled]
    if not 0 <= wanted <= len(asked):
        raise QuorumOutOfReachError(f"log {log_name} has {len(asked)} witnesses, not {wanted}")
    names = [f"w{number}".encode() for number, _ in enumerate(asked, start=1)]
    return format_policy(
        Policy(
            logs=tuple(
                PolicyLog(parse_verifier_key(vkey)) for vkey in store.log_vkeys(tx, log.log_id)
            ),
            witnesses=tuple(
                PolicyWitness(name, parse_verifier_key(one.vkey), one.url.encode())
                for name, one in zip(names, asked, strict=True)
            ),
            groups=(PolicyGroup(b"quorum-of-witnesses", wanted, tuple(names)),) if wanted else (),
            quorum=b"quorum-of-witnesses" if wanted else None,
        )
    )
