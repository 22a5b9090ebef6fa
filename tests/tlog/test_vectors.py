"""The kernel against fixed bytes: RFC 6962, the specification's, and large trees."""

from __future__ import annotations

import base64
import hashlib

from tallystick.tlog import (
    EMPTY_EDGE,
    EMPTY_ROOT,
    Checkpoint,
    check_consistency,
    check_inclusion,
    check_note,
    edge_root,
    extend_edge,
    format_checkpoint,
    format_note,
    format_signer_key,
    format_verifier_key,
    hash_leaf,
    parse_note,
    parse_signer_key,
    parse_verifier_key,
    sign_cosignature,
    sign_note,
    tree_root,
)
from tests.tlog.signing import LOG, WITNESS, TestVerifier
from tests.tlog.vectors import LEAVES, VECTORS


def checkpoint_of(size):
    """The vectors' checkpoint at *size*."""
    root = tree_root([hash_leaf(leaf) for leaf in LEAVES[:size]])
    return format_checkpoint(Checkpoint(LOG.name, size, root))


def blob(signature):
    """Key id and signature as a note writes them."""
    return base64.b64encode(signature.key_id + signature.signature).decode()


def test_leaf_hashes_and_root():
    """log 2: the leaves of 5.9 have its lengths, its hashes and its root."""
    assert [len(leaf) for leaf in LEAVES] == [235, 232, 232]
    assert VECTORS["leaf_hashes"] == [hash_leaf(leaf).hex() for leaf in LEAVES]
    assert VECTORS["root_of_3"] == tree_root([hash_leaf(leaf) for leaf in LEAVES]).hex()


def test_rfc_6962_roots():
    """The roots over the well-known eight leaves of Certificate Transparency are theirs."""
    hashes = [hash_leaf(bytes.fromhex(entry)) for entry in VECTORS["rfc6962"]["entries"]]
    roots = [tree_root(hashes[:size]).hex() for size in range(1, 9)]
    assert VECTORS["rfc6962"]["roots"] == roots
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert empty == EMPTY_ROOT.hex() == tree_root([]).hex()


def test_root_of_the_earlier_service():
    """log 2: eight leaves that are SHA-256 of data1 to data8 have the earlier service's root."""
    hashes = [hash_leaf(hashlib.sha256(b"data%d" % n).digest()) for n in range(1, 9)]
    assert VECTORS["earlier_service_root_of_8"] == tree_root(hashes).hex()


def test_keys():
    """log 2: names and public keys of 5.9 make its vkeys, and each parses as itself."""
    for signer, vkey in ((LOG, VECTORS["log_vkey"]), (WITNESS, VECTORS["witness_vkey"])):
        assert vkey == format_verifier_key(signer.key)
        assert signer.key == parse_verifier_key(vkey)


def test_private_key_line():
    """The line of the log's private key parses to its secret and is written back the same."""
    material = base64.b64encode(b"\x01" + bytes(range(32))).decode()
    line = f"PRIVATE+KEY+log.example/payments+37b1640e+{material}"
    key = parse_signer_key(line)
    assert (LOG.name, LOG.key_id, 1, LOG.secret) == (
        key.name,
        key.key_id,
        key.algorithm,
        key.secret,
    )
    assert line == format_signer_key(key)


def test_signed_notes():
    """log 2: the signed checkpoints of sizes 0 and 3 carry the signatures of 5.9."""
    for size in (0, 3):
        note = sign_note(checkpoint_of(size), [LOG])
        assert VECTORS[f"note_size_{size}"] == blob(note.signatures[0])
        assert note == parse_note(format_note(note))
        assert note.signatures == check_note(note, [LOG.verifier])


def test_cosignature():
    """log 2: the witness's cosignature on size 3 is that of 5.9."""
    seconds = VECTORS["cosigned_at_seconds"]
    line = sign_cosignature(checkpoint_of(3), WITNESS, time_seconds=seconds)
    assert VECTORS["cosignature_size_3"] == blob(line)


def test_the_note_of_the_signed_note_specification():
    """The example of C2SP signed-note verifies under its vkey."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    key = parse_verifier_key(vkey)
    note = parse_note(
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXpp"
        "zi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n".encode()
    )
    assert note.signatures == check_note(note, [TestVerifier(key)])


def test_proofs_in_a_large_tree():
    """The recorded root and proofs of 70,000 leaves check, and the edge has the same root."""
    large = VECTORS["large"]
    size, root = large["size"], bytes.fromhex(large["root"])
    hashes = [hash_leaf(b"leaf %d" % number) for number in range(size)]
    edge, _ = extend_edge(EMPTY_EDGE, hashes)
    assert root == edge_root(edge) == tree_root(hashes)
    check_inclusion(
        [bytes.fromhex(item) for item in large["inclusion_of_65000"]],
        leaf=hashes[65_000],
        index=65_000,
        size=size,
        root=root,
    )
    check_consistency(
        [bytes.fromhex(item) for item in large["consistency_from_4097"]],
        old_size=4097,
        new_size=size,
        old_root=tree_root(hashes[:4097]),
        new_root=root,
    )
