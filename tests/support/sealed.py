"""Small logs in memory: leaves, tiles, checkpoints and proof files, with no database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.record import Change, Ed25519Signer, format_record, make_signer
from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    EMPTY_EDGE,
    Checkpoint,
    LeafIndex,
    Note,
    Tile,
    TlogProof,
    TreeSize,
    edge_root,
    extend_edge,
    format_checkpoint,
    format_entries_path,
    format_entry_bundle,
    format_note,
    format_tile_path,
    format_tlog_proof,
    format_verifier_key,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    sign_cosignature,
    sign_note,
    tiles_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ORIGIN = "log.example/payments"
LOG_SECRET = bytes(range(0x20))
WITNESS_SECRET = bytes(range(0x20, 0x40))
OUTBOX_SECRET = bytes(range(0x40, 0x60))
SALT = bytes(range(0x20))
COSIGNED_AT = 1767323047


def log_signer(origin: str = ORIGIN, secret: bytes = LOG_SECRET) -> Ed25519Signer:
    """Return the signer of a log's key."""
    return make_signer(name=origin, secret=secret)


def witness_signer(
    name: str = "witness.example/w1", secret: bytes = WITNESS_SECRET
) -> Ed25519Signer:
    """Return the signer of a witness's key."""
    return make_signer(name=name, secret=secret, algorithm=ALGORITHM_COSIGNATURE)


def payment(number: int, **members: object) -> Change:
    """Return the change that puts the payment *number* in; *members* overrides its fields."""
    values: dict[str, object] = {
        "log": "payments",
        "table": "public.payment",
        "op": "insert",
        "via": "trigger",
        "key": [str(number)],
        "at": "2026-01-02T03:04:05.000006Z",
        "tx": "748",
        "role": "shop",
        "row": {"id": str(number), "amount": "10.50", "note": "café"},
    }
    return Change(**(values | members))  # type: ignore[arg-type]


def vector_leaves() -> list[bytes]:
    """Return the three leaves of log.md, section 5.9."""
    row = {"id": "42", "amount": "11.00", "note": None}
    return [
        format_record(payment(42)),
        format_record(
            payment(42, at="2026-01-02T03:04:06.000000Z", op="update", tx="749", row=row)
        ),
        format_record(
            payment(42, at="2026-01-02T03:04:07.000000Z", op="delete", tx="750", row=row)
        ),
    ]


@dataclass
class SealedLog:
    """A log over *leaves*; signing and proving are asked for by size."""

    leaves: Sequence[bytes]
    origin: str = ORIGIN
    signers: Sequence[Ed25519Signer] = field(default_factory=lambda: [log_signer()])
    witnesses: Sequence[Ed25519Signer] = ()
    cosigned_at: int = COSIGNED_AT

    @property
    def size(self) -> TreeSize:
        """The size with all leaves."""
        return TreeSize(len(self.leaves))

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the rows of *tiles*, from hashing every leaf anew."""
        rows = self._rows()
        return [rows[tile.level, tile.index][: 32 * tile.width] for tile in tiles]

    def note(self, size: int | None = None) -> Note:
        """Return the note of the checkpoint of *size*, signed by all signers and witnesses."""
        of_size = TreeSize(self.size if size is None else size)
        edge, _ = extend_edge(EMPTY_EDGE, map(hash_leaf, self.leaves[:of_size]))
        text = format_checkpoint(Checkpoint(self.origin, of_size, edge_root(edge)))
        note = sign_note(text, self.signers)
        lines = [
            sign_cosignature(text, witness, time_seconds=self.cosigned_at)
            for witness in self.witnesses
        ]
        return Note(note.text, (*note.signatures, *lines))

    def note_bytes(self, size: int | None = None) -> bytes:
        """Return the bytes of `note`."""
        return format_note(self.note(size))

    def proof(self, index: int, *, extra: bytes | None = None, note: Note | None = None) -> bytes:
        """Return the `.tlog-proof` of the leaf at *index* under the last checkpoint."""
        hashes = prove_inclusion(self, index=LeafIndex(index), size=self.size)
        return format_tlog_proof(
            TlogProof(LeafIndex(index), tuple(hashes), note or self.note(), extra)
        )

    def growth(self, old_size: int) -> list[bytes]:
        """Return the consistency proof from *old_size* to the last checkpoint."""
        return list(prove_consistency(self, old_size=TreeSize(old_size), new_size=self.size))

    def policy(self, *, url: str = "", quorum: str | None = None) -> bytes:
        """Return a policy that trusts the signers, and asks for every witness."""
        lines = [f"log {format_verifier_key(key.verifier_key)} {url}" for key in self.signers]
        names = [f"w{number}" for number, _ in enumerate(self.witnesses)]
        lines += [
            f"witness {name} {format_verifier_key(witness.verifier_key)}"
            for name, witness in zip(names, self.witnesses, strict=True)
        ]
        if names:
            lines.append(f"group everybody all {' '.join(names)}")
        lines.append(f"quorum {quorum or ('everybody' if names else 'none')}")
        return "".join(f"{line}\n" for line in lines).encode()

    def objects(self) -> dict[str, bytes]:
        """Return the tree's objects as an export holds them, by path."""
        stored = {"checkpoint": self.note_bytes()}
        for tile in tiles_of(self.size):
            stored[format_tile_path(tile)] = self.read_tiles([tile])[0]
            if tile.level == 0:
                first = tile.index * 256
                bundle = self.leaves[first : first + tile.width]
                stored[format_entries_path(tile)] = format_entry_bundle(bundle)
        return stored

    def _rows(self) -> dict[tuple[int, int], bytes]:
        rows: dict[tuple[int, int], bytes] = {}
        _, writes = extend_edge(EMPTY_EDGE, map(hash_leaf, self.leaves))
        for write in writes:
            rows[write.level, write.index] = rows.get((write.level, write.index), b"") + (
                write.appended
            )
        return rows
