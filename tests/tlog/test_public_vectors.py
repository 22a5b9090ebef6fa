"""
The kernel against the vectors that others publish.

They are not part of this repository. `TALLY_PUBLIC_VECTORS` names a folder with checkouts of
transparency-dev's `merkle` and `tessera`; without it these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tallystick.tlog import (
    ConsistencyError,
    InclusionError,
    MalformedProofError,
    Tile,
    check_consistency,
    check_inclusion,
    check_note,
    check_subtree_consistency,
    check_subtree_inclusion,
    edge_from_tiles,
    edge_root,
    format_checkpoint,
    format_entries_path,
    format_entry_bundle,
    format_note,
    format_tile_path,
    hash_leaf,
    parse_checkpoint,
    parse_entry_bundle,
    parse_note,
    parse_verifier_key,
    prove_consistency,
    prove_inclusion,
    tiles_of,
)
from tests.tlog.signing import TestVerifier

FOLDER = os.environ.get("TALLY_PUBLIC_VECTORS")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="TALLY_PUBLIC_VECTORS names no folder with merkle and tessera"
)
TESSERA_VKEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
REFUSALS = (InclusionError, ConsistencyError, MalformedProofError)


def decode(text):
    """The bytes of a JSON member."""
    return base64.b64decode(text or "")


def check(kind, case):
    """Run the check that a probe of *kind* is about."""
    proof = [decode(item) for item in case["proof"] or []]
    match kind:
        case "inclusion":
            check_inclusion(
                proof,
                leaf=decode(case["leafHash"]),
                index=case["leafIdx"],
                size=case["treeSize"],
                root=decode(case["root"]),
            )
        case "consistency":
            check_consistency(
                proof,
                old_size=case["size1"],
                new_size=case["size2"],
                old_root=decode(case["root1"]),
                new_root=decode(case["root2"]),
            )
        case "subtreeinclusion":
            check_subtree_inclusion(
                proof,
                leaf=decode(case["leafHash"]),
                index=case["leafIdx"],
                start=case["start"],
                end=case["end"],
                root=decode(case["root"]),
            )
        case "subtreeconsistency":
            check_subtree_consistency(
                proof,
                start=case["start"],
                end=case["end"],
                size=case["size"],
                subtree_root=decode(case["root1"]),
                root=decode(case["root2"]),
            )


def test_merkle_probes():
    """log 2: each of the 518 public probes is accepted or refused as it says."""
    root = Path(FOLDER or "") / "merkle" / "testdata"
    paths = sorted(root.rglob("*.json"))
    wrong = []
    for path in paths:
        case = json.loads(path.read_text(encoding="utf-8"))
        try:
            check(path.relative_to(root).parts[0], case)
            refused = False
        except REFUSALS:
            refused = True
        if refused != case["wantErr"]:
            wrong.append(str(path.relative_to(root)))
    assert wrong == []
    assert len(paths) == 518


class Folder:
    """A log as files."""

    def __init__(self, root):
        self.root = root

    def read_tiles(self, tiles):
        """Each tile's file."""
        return [(self.root / format_tile_path(tile)).read_bytes() for tile in tiles]


def test_the_tessera_log():
    """log 2: Tessera's log verifies, parses byte for byte, and its tiles make its roots."""
    root = Path(FOLDER or "") / "tessera" / "testdata" / "log"
    reader = Folder(root)
    heads = [parse_tessera(root / f"checkpoint.{size}") for size in range(16)]
    assert list(range(16)) == sorted(head.size for head in heads)
    for head in heads:
        assert head.root == edge_root(edge_from_tiles(reader, head.size))
        for tile in tiles_of(head.size):
            path = root / format_entries_path(Tile(0, tile.index, tile.width))
            bundle = path.read_bytes()
            entries = parse_entry_bundle(bundle)
            assert bundle == format_entry_bundle(entries)
            assert reader.read_tiles([tile]) == [b"".join(map(hash_leaf, entries))]
        for index in range(head.size):
            leaf = reader.read_tiles([Tile(0, 0, head.size)])[0][32 * index : 32 * index + 32]
            proof = prove_inclusion(reader, index=index, size=head.size)
            check_inclusion(proof, leaf=leaf, index=index, size=head.size, root=head.root)
        for old in heads:
            if old.size <= head.size:
                sizes = {"old_size": old.size, "new_size": head.size}
                proof = prove_consistency(reader, **sizes)
                check_consistency(proof, old_root=old.root, new_root=head.root, **sizes)


def parse_tessera(path):
    """The checkpoint in *path*, verified, and written again as it was."""
    data = path.read_bytes()
    note = parse_note(data)
    assert data == format_note(note)
    checkpoint = parse_checkpoint(note.text)
    assert note.text == format_checkpoint(checkpoint)
    check_note(note, [TestVerifier(parse_verifier_key(TESSERA_VKEY))])
    return checkpoint
