"""A server that forges: what the client fetches and the verifier judges, each lie by its step."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tallystick.client import Client, MalformedAnswerError
from tallystick.record import format_record, make_signer
from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    Checkpoint,
    ConsistencyError,
    Hash,
    MalformedProofError,
    TreeSize,
    format_checkpoint,
    format_note,
    format_verifier_key,
    sign_cosignature,
    sign_note,
)
from tallystick.verify import VerificationError, check_growth, check_leaf
from tests.client.test_client import Server, client, server  # noqa: F401 (fixtures)
from tests.support.sealed import ORIGIN, SealedLog, log_signer, payment, witness_signer

LEAVES = [format_record(payment(number)) for number in range(1, 8)]
FORGED = [format_record(payment(number, row={"id": str(number)})) for number in range(1, 8)]
HONEST = SealedLog(LEAVES, witnesses=[witness_signer()])
REWRITTEN = SealedLog(FORGED, witnesses=[witness_signer()])
POLICY = HONEST.policy(url="https://log.example/logs/payments")
INDEX = 3
OLD = 3
"""A size whose growth takes several hashes to prove."""
STRANGER = make_signer(name=ORIGIN, secret=bytes(range(7, 39)))


def lines_of(proof: bytes) -> list[bytes]:
    """The lines of a proof file."""
    return proof.split(b"\n")


def joined(lines: list[bytes]) -> bytes:
    """The proof file of these lines."""
    return b"\n".join(lines)


def with_line(wanted: bytes, new: bytes) -> bytes:
    """The honest proof with one line replaced by *new*."""
    lines = lines_of(HONEST.proof(INDEX))
    assert wanted in lines
    return joined([new if line == wanted else line for line in lines])


def index_line(text: bytes) -> bytes:
    """The honest proof with another index."""
    return with_line(b"index %d" % INDEX, b"index " + text)


def size_line(text: bytes) -> bytes:
    """The honest proof with another tree size in its checkpoint, the signature left as it is."""
    lines = lines_of(HONEST.proof(INDEX))
    at = lines.index(ORIGIN.encode())
    lines[at + 1] = text
    return joined(lines)


def root_line(text: bytes) -> bytes:
    """The honest proof with another root in its checkpoint."""
    lines = lines_of(HONEST.proof(INDEX))
    lines[lines.index(ORIGIN.encode()) + 2] = text
    return joined(lines)


def without_hash(count: int) -> bytes:
    """The honest proof with its path cut by so many hashes, or with one more where negative."""
    lines = lines_of(HONEST.proof(INDEX))
    first = lines.index(b"index %d" % INDEX) + 1
    if count < 0:
        return joined([*lines[:first], lines[first], *lines[first:]])
    return joined([*lines[:first], *lines[first + count :]])


def signed_by(signer: Any, log: SealedLog = HONEST, *, cosigned: bool = True) -> bytes:
    """A proof whose checkpoint *signer* signed."""
    text = log.note().text
    signatures = list(sign_note(text, [signer]).signatures)
    if cosigned:
        signatures.append(sign_cosignature(text, witness_signer(), time_seconds=log.cosigned_at))
    note = type(log.note())(text, tuple(signatures))
    return log.proof(INDEX, note=note)


def cosigned_by(witness: Any) -> bytes:
    """A proof whose checkpoint *witness* cosigned instead of the policy's."""
    note = sign_note(HONEST.note().text, [log_signer()])
    line = sign_cosignature(note.text, witness, time_seconds=HONEST.cosigned_at)
    return HONEST.proof(INDEX, note=type(note)(note.text, (*note.signatures, line)))


def stale_cosignature() -> bytes:
    """A proof with the cosignature of a smaller tree, replayed under the newer checkpoint."""
    old = SealedLog(LEAVES[:4], witnesses=[witness_signer()])
    note, line = sign_note(HONEST.note().text, [log_signer()]), old.note().signatures[-1]
    return HONEST.proof(INDEX, note=type(note)(note.text, (*note.signatures, line)))


def other_witness() -> Any:
    """A witness whom the policy does not name."""
    return make_signer(
        name="witness.example/w2", secret=bytes(range(9, 41)), algorithm=ALGORITHM_COSIGNATURE
    )


def impostor_witness() -> Any:
    """The policy's witness by name, with another key."""
    return make_signer(
        name="witness.example/w1", secret=bytes(range(9, 41)), algorithm=ALGORITHM_COSIGNATURE
    )


def flipped_cosignature() -> bytes:
    """The honest proof with one bit of the cosignature's signature changed."""
    lines = lines_of(HONEST.proof(INDEX))
    at = max(number for number, line in enumerate(lines) if line.startswith("— ".encode()))
    dash, name, text = lines[at].split(b" ")
    blob = bytearray(base64.b64decode(text))
    blob[-1] ^= 1
    lines[at] = b" ".join([dash, name, base64.b64encode(blob)])
    return joined(lines)


Lie = Callable[[], bytes]
LIES: dict[str, tuple[Lie, str]] = {
    # index
    "another index": (lambda: index_line(b"4"), "tree"),
    "an index beyond the tree": (lambda: index_line(b"7"), "tree"),
    "an index of twenty digits": (lambda: index_line(b"18446744073709551616"), "format"),
    "a negative index": (lambda: index_line(b"-3"), "format"),
    "an index with a zero in front": (lambda: index_line(b"03"), "format"),
    "an index in words": (lambda: index_line(b"three"), "format"),
    # size and root
    "another size": (lambda: size_line(b"8"), "log"),
    "a negative size": (lambda: size_line(b"-7"), "format"),
    "a size with a zero in front": (lambda: size_line(b"07"), "format"),
    "a size of sixty digits": (lambda: size_line(b"9" * 60), "format"),
    "another root": (lambda: root_line(base64.b64encode(bytes(32))), "log"),
    "a root of 31 bytes": (lambda: root_line(base64.b64encode(bytes(31))), "format"),
    "a root that is no base64": (lambda: root_line(b"!" * 44), "format"),
    # path
    "a path that lacks a hash": (lambda: without_hash(1), "tree"),
    "a path that lacks all": (lambda: without_hash(3), "tree"),
    "a path with a hash twice": (lambda: without_hash(-1), "tree"),
    "the path of another leaf": (
        lambda: HONEST.proof(INDEX + 1).replace(b"index 4", b"index 3"),
        "tree",
    ),
    # notes
    "a rewritten log, signed by a stranger": (lambda: signed_by(STRANGER, REWRITTEN), "log"),
    "the true log, signed by a stranger": (lambda: signed_by(STRANGER), "log"),
    "a log of another name": (
        lambda: SealedLog(LEAVES, origin="log.example/others").proof(INDEX),
        "log",
    ),
    "a note without signatures": (
        lambda: HONEST.proof(INDEX).split("— ".encode())[0],
        "format",
    ),
    "a checkpoint with a line more": (
        lambda: root_line(lines_of(HONEST.proof(INDEX))[-6] + b"\nmore"),
        "format",
    ),
    # witnesses
    "no cosignature": (lambda: signed_by(log_signer(), cosigned=False), "witnesses"),
    "a stranger's cosignature": (lambda: cosigned_by(other_witness()), "witnesses"),
    "an impostor's cosignature": (lambda: cosigned_by(impostor_witness()), "witnesses"),
    "a cosignature replayed from a smaller tree": (stale_cosignature, "witnesses"),
    "a cosignature with a bit flipped": (flipped_cosignature, "witnesses"),
    # form
    "nothing": (lambda: b"", "format"),
    "zeros": (lambda: bytes(500), "format"),
    "a page of HTML": (lambda: b"<!doctype html><p>It works", "format"),
    "JSON": (lambda: b'{"index": 3}', "format"),
    "the proof behind a byte order mark": (
        lambda: "﻿".encode() + HONEST.proof(INDEX),
        "format",
    ),
    "the proof with something behind it": (lambda: HONEST.proof(INDEX) + b"trailing", "format"),
    "the proof with an empty line behind it": (lambda: HONEST.proof(INDEX) + b"\n", "format"),
    "the proof twice": (lambda: HONEST.proof(INDEX) * 2, "format"),
    "the proof with Windows' line ends": (
        lambda: HONEST.proof(INDEX).replace(b"\n", b"\r\n"),
        "format",
    ),
    "the proof cut in the middle": (lambda: HONEST.proof(INDEX)[:200], "format"),
    "ten megabytes": (lambda: HONEST.proof(INDEX) + b"\n" * 10_000_000, "format"),
}


def test_the_honest_server_is_believed(server: Server, client: Client) -> None:  # noqa: F811
    """What an honest server answers passes every step."""
    server.answer(HONEST.proof(INDEX))
    proof = client.prove_leaf_file("payments", index=INDEX)
    assert check_leaf(proof, leaf=LEAVES[INDEX], policy=POLICY).index == INDEX


@pytest.mark.parametrize("lie", LIES)
def test_each_forged_proof_is_refused_at_its_step(
    server: Server,  # noqa: F811
    client: Client,  # noqa: F811
    lie: str,
) -> None:
    """Sizes, indexes, roots, notes, cosignatures, replays, trailing data: each names its step."""
    forge, step = LIES[lie]
    server.answer(forge())
    with pytest.raises((VerificationError, MalformedAnswerError)) as refused:
        check_leaf(
            client.prove_leaf_file("payments", index=INDEX), leaf=LEAVES[INDEX], policy=POLICY
        )
    if isinstance(refused.value, VerificationError):
        assert step == refused.value.step_name


def test_the_rewritten_leaf_is_in_no_tree_of_the_log(
    server: Server,  # noqa: F811
    client: Client,  # noqa: F811
) -> None:
    """A leaf that was changed does not stand where its proof says."""
    server.answer(HONEST.proof(INDEX))
    proof = client.prove_leaf_file("payments", index=INDEX)
    with pytest.raises(VerificationError) as refused:
        check_leaf(proof, leaf=FORGED[INDEX], policy=POLICY)
    assert refused.value.step_name == "tree"


def growth_answer(**changes: Any) -> dict[str, Any]:
    """The honest answer to `consistency` from 3 to 7 leaves, with *changes*."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    proof = {
        "old_tree_size": OLD,
        "old_root": text(root_of(HONEST, OLD)),
        "new_tree_size": 7,
        "new_root": text(root_of(HONEST, 7)),
        "hashes": [text(node) for node in HONEST.growth(OLD)],
    }
    return {"proof": proof | changes}


def root_of(log: SealedLog, size: int) -> Hash:
    """The root of the log's tree of *size*."""
    from tallystick.tlog import parse_checkpoint

    return parse_checkpoint(log.note(size).text).root


def encoded(data: bytes) -> str:
    """Bytes as the API writes them."""
    return base64.b64encode(data).decode()


GROWTH_LIES: dict[str, dict[str, Any]] = {
    "a rewritten tree": {"new_root": encoded(root_of(REWRITTEN, 7))},
    "the old tree with another root": {
        "new_tree_size": OLD,
        "new_root": encoded(root_of(REWRITTEN, OLD)),
        "hashes": [],
    },
    "a smaller tree": {"new_tree_size": 2, "new_root": encoded(root_of(HONEST, 2)), "hashes": []},
    "the empty tree": {"new_tree_size": 0, "hashes": []},
    "a negative size": {"new_tree_size": -7},
    "a size that is a boolean": {"new_tree_size": True},
    "a size that is a text": {"new_tree_size": "7"},
    "a size that is a fraction": {"new_tree_size": 7.0},
    "a size beyond 64 bits": {"new_tree_size": 2**70},
    "no hashes": {"hashes": []},
    "hashes in another order": {"hashes": growth_answer()["proof"]["hashes"][::-1]},
    "a hash more": {"hashes": [*growth_answer()["proof"]["hashes"], encoded(bytes(32))]},
    "ten thousand hashes": {"hashes": [encoded(bytes(32))] * 10_000},
    "a hash of 31 bytes": {"hashes": [encoded(bytes(31))]},
    "hashes that are no list": {"hashes": "no"},
    "a root of no bytes": {"new_root": ""},
}


def test_honest_growth_is_believed(server: Server, client: Client) -> None:  # noqa: F811
    """An honest answer about growth passes."""
    server.answer(growth_answer())
    assert client.verify_growth("payments", old_size=OLD, old_root=root_of(HONEST, OLD)).size == 7


@pytest.mark.parametrize("lie", GROWTH_LIES)
def test_each_forged_growth_is_refused(
    server: Server,  # noqa: F811
    client: Client,  # noqa: F811
    lie: str,
) -> None:
    """Who kept the older root believes no tree that does not hold it."""
    server.answer(json.loads(json.dumps(growth_answer(**GROWTH_LIES[lie]))))
    with pytest.raises((ConsistencyError, MalformedProofError, MalformedAnswerError)):
        client.verify_growth("payments", old_size=OLD, old_root=root_of(HONEST, OLD))


def test_a_fork_between_signed_notes_is_evidence() -> None:
    """Two trees under one key are refused at the step of the tree, with the kept note at hand."""
    kept = SealedLog(LEAVES, witnesses=[witness_signer()]).note_bytes(4)
    with pytest.raises(VerificationError) as refused:
        check_growth(kept, REWRITTEN.note_bytes(), REWRITTEN.growth(4), POLICY)
    assert refused.value.step_name == "tree"


def test_a_checkpoint_of_a_trusted_key_under_another_name_is_refused() -> None:
    """The log's key signs for its own origin alone."""
    text = format_checkpoint(Checkpoint("log.example/else", TreeSize(7), root_of(HONEST, 7)))
    note = format_note(sign_note(text, [log_signer()]))
    assert format_verifier_key(log_signer().verifier_key).startswith(ORIGIN)
    with pytest.raises(VerificationError) as refused:
        check_growth(HONEST.note_bytes(4), note, HONEST.growth(4), POLICY)
    assert refused.value.step_name == "log"
