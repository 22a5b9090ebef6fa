"""What the kernel shows to others, and what it needs from them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tallystick import tlog
from tallystick.errors import Kind, all_errors
from tallystick.tlog.errors import FalseClaimError, MalformedError

PUBLIC = [
    "ALGORITHM_COSIGNATURE",
    "ALGORITHM_ED25519",
    "AddCheckpoint",
    "Checkpoint",
    "ConsistencyError",
    "Cosignature",
    "EMPTY_EDGE",
    "EMPTY_ROOT",
    "Edge",
    "FalseClaimError",
    "HASH_BYTES",
    "Hash",
    "HashReader",
    "InclusionError",
    "LeafIndex",
    "MAX_ENTRY_BYTES",
    "MAX_LEVEL",
    "MAX_NOTE_BYTES",
    "MAX_PROOF_HASHES",
    "MAX_SIGNATURES",
    "MAX_TREE_SIZE",
    "MalformedBundleError",
    "MalformedCheckpointError",
    "MalformedError",
    "MalformedNoteError",
    "MalformedPolicyError",
    "MalformedProofError",
    "MalformedTileError",
    "Note",
    "Policy",
    "PolicyGroup",
    "PolicyLog",
    "PolicyWitness",
    "QuorumError",
    "Signature",
    "Signer",
    "SignerKey",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "Tile",
    "TileRow",
    "TileWrite",
    "TlogProof",
    "TreeSize",
    "TrustedCheckpoint",
    "UnverifiedNoteError",
    "Verifier",
    "VerifierKey",
    "check_consistency",
    "check_cosignature",
    "check_cosignatures",
    "check_inclusion",
    "check_note",
    "check_note_text",
    "check_policy",
    "check_quorum",
    "check_subtree_consistency",
    "check_subtree_inclusion",
    "edge_from_tiles",
    "edge_root",
    "extend_edge",
    "format_add_checkpoint",
    "format_checkpoint",
    "format_cosignature",
    "format_entries_path",
    "format_entry_bundle",
    "format_note",
    "format_policy",
    "format_signature_line",
    "format_signer_key",
    "format_tile_path",
    "format_tlog_proof",
    "format_verifier_key",
    "format_witness_size",
    "hash_children",
    "hash_leaf",
    "is_key_name",
    "join_edges",
    "make_key_id",
    "new_tiles",
    "parse_add_checkpoint",
    "parse_checkpoint",
    "parse_cosignature",
    "parse_entries_path",
    "parse_entry_bundle",
    "parse_note",
    "parse_policy",
    "parse_signature_lines",
    "parse_signer_key",
    "parse_tile_path",
    "parse_tlog_proof",
    "parse_verifier_key",
    "parse_witness_size",
    "policy_keys",
    "prove_consistency",
    "prove_inclusion",
    "sign_cosignature",
    "sign_note",
    "tiles_of",
    "tree_root",
]


def test_the_export_list():
    """The public names are these, each exists, and no class or function is public besides."""
    assert sorted(PUBLIC) == sorted(tlog.__all__)
    shown = {name for name, value in vars(tlog).items() if not inspect.ismodule(value)}
    assert set(PUBLIC) == {name for name in shown if not name.startswith("_")}


def test_the_kernel_loads_the_standard_library_alone():
    """log 32: importing `tallystick.tlog` loads nothing but it and the standard library."""
    program = (
        "import sys; before = set(sys.modules); import tallystick.tlog; "
        "print(*sorted(set(sys.modules) - before))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = answer.stdout.split()
    loaded = {name.split(".")[0] for name in modules}
    assert {"tallystick"} == loaded - sys.stdlib_module_names
    assert {"tallystick.errors"} == {
        name for name in modules if name.startswith("tallystick.") and ".tlog" not in name
    }


@pytest.mark.parametrize("error", all_errors(MalformedError))
def test_malformed_errors(error):
    """Malformed input is of that kind, and says so in its class's one sentence."""
    assert Kind.MALFORMED is error.kind
    assert error().message == error.__doc__
    assert error.slice() == "tlog"


@pytest.mark.parametrize("error", all_errors(FalseClaimError))
def test_false_claims(error):
    """A false claim is of that kind and carries what was expected and what was found."""
    assert Kind.FALSE is error.kind
    raised = error(expected=1, actual=2)
    assert (error.__doc__, 1, 2) == (raised.message, raised.expected, raised.actual)
