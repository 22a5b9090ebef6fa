"""The verdict on an export: every object is the signed tree's, or the first bad one is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tallystick.tlog import LeafIndex, format_entry_bundle
from tallystick.verify import (
    ExportObjectError,
    LogSignatureError,
    MissingObjectError,
    check_export_tree,
)
from tests.support.sealed import SealedLog, log_signer

LEAVES = [f"entry {number}".encode() for number in range(600)]
LOG = SealedLog(LEAVES)
OBJECTS = LOG.objects()


@dataclass
class Export:
    """An export in a dictionary."""

    objects: dict[str, bytes]

    def read_object(self, path):
        """Return the object at *path*."""
        return self.objects.get(path)


def check(objects, **options):
    """Check an export of *objects*."""
    return check_export_tree(Export(objects), LOG.policy(), **options)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_a_whole_export_passes(size):
    """An export of any size passes with all its entries."""
    log = SealedLog(LEAVES[:size])
    verified = check_export_tree(Export(log.objects()), log.policy())
    assert (size, size) == (verified.entries, verified.head.checkpoint.size)


@pytest.mark.parametrize("path", sorted(set(OBJECTS) - {"checkpoint"}))
def test_a_damaged_object_is_named(path):
    """Whatever object has a byte changed, the error names that object."""
    for position in (0, 5, -1):
        damaged = bytearray(OBJECTS[path])
        damaged[position] ^= 1
        with pytest.raises(ExportObjectError) as caught:
            check(OBJECTS | {path: bytes(damaged)})
        assert path == caught.value.path


@pytest.mark.parametrize("path", sorted(OBJECTS))
def test_a_missing_object_is_named(path):
    """Whatever object is missing, the error names it and calls nothing false."""
    with pytest.raises(MissingObjectError) as caught:
        check({name: data for name, data in OBJECTS.items() if name != path})
    assert path == caught.value.path


def test_a_bundle_with_another_count_is_named():
    """A bundle with an entry too many or too few is named."""
    path = "tile/entries/002.p/88"
    for entries in (LEAVES[512:599], [*LEAVES[512:], b"more"]):
        with pytest.raises(ExportObjectError) as caught:
            check(OBJECTS | {path: format_entry_bundle(entries)})
        assert path == caught.value.path


def test_another_trees_objects_under_a_signed_checkpoint_name_the_checkpoint():
    """Where bundles and tiles agree with each other, it is the checkpoint that is not theirs."""
    other = SealedLog([b"x", *LEAVES[1:]])
    with pytest.raises(ExportObjectError) as caught:
        check(other.objects() | {"checkpoint": OBJECTS["checkpoint"]})
    assert caught.value.path == "checkpoint"


def test_the_checkpoint_must_be_trusted():
    """Nothing is read of an export whose checkpoint is not a trusted log's."""
    forged = SealedLog(LEAVES[:3], signers=[log_signer(secret=b"\x07" * 32)])
    with pytest.raises(LogSignatureError):
        check(forged.objects())


def test_pruned_bundles_may_be_missing_and_their_tiles_may_not():
    """Below the minimum index tiles stand for entries, and are still bound by the root."""
    pruned = {name: data for name, data in OBJECTS.items() if name != "tile/entries/000"}
    assert check(pruned, minimum_index=LeafIndex(256)).entries == 344
    with pytest.raises(MissingObjectError):
        check(pruned)
    for row, path in ((b"", "tile/0/000"), (bytes(32 * 256), "tile/1/000.p/2")):
        with pytest.raises(ExportObjectError) as caught:
            check(pruned | {"tile/0/000": row}, minimum_index=LeafIndex(256))
        assert path == caught.value.path
