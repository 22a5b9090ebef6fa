"""
The monitor: somebody outside who remembers the last head and asks how the new one extends it.

It works on any log that serves C2SP tlog-tiles, ours or another's: the checkpoint and the
tiles are all that it asks for, and nothing of them is believed that does not lead to a root
that the log's key signed. Follows log.md, section 4.6. On a fork both notes are written beside
the state, where they stay, and the new head is never taken for the base of what follows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from tallystick.client.errors import NotFoundProblem
from tallystick.client.transport import Transport
from tallystick.publish.errors import InvalidWitnessError, MonitoredForkError, MonitorStateError
from tallystick.publish.tiles import TileRows, growth_tiles
from tallystick.record import Ed25519Verifier, MalformedKeyError, ed25519_verifier
from tallystick.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    Checkpoint,
    ConsistencyError,
    MalformedError,
    Tile,
    UnverifiedNoteError,
    check_consistency,
    check_note,
    format_tile_path,
    parse_checkpoint,
    parse_note,
    prove_consistency,
)

TIMEOUT_SECONDS: Final = 10.0
"""For each answer as a whole: a log that drips its checkpoint must not keep us from the alarm."""
MAX_ANSWER_BYTES: Final = 1_000_000
"""A note is no longer; a tile has 8 kB."""
FORK_SUFFIX: Final = ".fork"
MAX_FORK_BYTES: Final = 4_000_000
"""Evidence of a fork is never written over; what comes after so much of it is not added."""


class Fetcher(Protocol):
    """What a monitor asks a log: one path below its URL."""

    def get(self, path: str, *, accept: str) -> bytes:
        """Return the body at *path*, or raise an error of the client."""
        ...


@dataclass(frozen=True, slots=True)
class Observed:
    """What one look found: *old_size* is None at the first look; *behind*: an older head."""

    origin: str
    old_size: int | None
    size: int
    root: bytes
    outcome: Literal["first", "unchanged", "grown", "behind"]


class Monitor:
    """Watches the log at *url*, whose keys are *vkeys*, with its memory in *state_file*."""

    def __init__(
        self,
        url: str,
        vkeys: Sequence[str],
        state_file: Path,
        *,
        key: str | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        try:
            self._verifiers: list[Ed25519Verifier] = [ed25519_verifier(vkey) for vkey in vkeys]
        except MalformedKeyError as cause:
            raise InvalidWitnessError(cause.message) from cause
        if len({verifier.name for verifier in self._verifiers}) != 1:
            raise InvalidWitnessError("a log has one key at least, and all of one name")
        self._log = fetcher or Transport(
            url,
            key,
            timeout_seconds=TIMEOUT_SECONDS,
            max_answer_bytes=MAX_ANSWER_BYTES,
            hurried=True,
        )
        self._state_file = state_file

    def look(self) -> Observed:
        """
        Fetch the log's head, check that it extends the one that is remembered, and remember it.

        Raises:
            MonitoredForkError: The log's key signed what the remembered head is no part of;
                both notes are in `<state_file>.fork`, and the state is as it was.
            MonitorStateError: The state file is not what a monitor of this log wrote.
            MalformedError, UnverifiedNoteError: The checkpoint is none of this log's.
            ClientError: The log does not answer.
        """
        note = self._log.get("/checkpoint", accept="text/plain")
        new = self._verified(note)
        remembered = self._remembered()
        if remembered is None:
            replace_file(self._state_file, note)
            return Observed(new.origin, None, new.size, new.root, "first")
        old_note, old = remembered
        if new.size == old.size and new.root == old.root:
            return Observed(new.origin, old.size, new.size, new.root, "unchanged")
        smaller, larger = sorted((old, new), key=lambda checkpoint: checkpoint.size)
        try:
            self._check_growth(smaller, larger)
        except (ConsistencyError, MalformedError, NotFoundProblem) as cause:
            # Tiles that a head of its own needs may come later; those of a head that it has
            # signed before and now goes back from have been taken away.
            if isinstance(cause, NotFoundProblem) and new.size > old.size:
                raise
            path = self._state_file.with_name(self._state_file.name + FORK_SUFFIX)
            keep_fork(path, old_note + b"\n" + note)
            raise MonitoredForkError(
                f"{old.origin} signed size {old.size} and size {new.size}, and does not show that "
                f"one extends the other; both notes are in {path}"
            ) from cause
        if new.size < old.size:
            # An older head of the same history: a cache, or a replica, and no fork.
            return Observed(new.origin, old.size, new.size, new.root, "behind")
        replace_file(self._state_file, note)
        return Observed(new.origin, old.size, new.size, new.root, "grown")

    def _verified(self, note: bytes) -> Checkpoint:
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        check_note(parsed, self._verifiers)
        if checkpoint.origin != self._verifiers[0].name:
            raise UnverifiedNoteError(
                "the checkpoint is of another log",
                expected=self._verifiers[0].name,
                actual=checkpoint.origin,
            )
        return checkpoint

    def _remembered(self) -> tuple[bytes, Checkpoint] | None:
        try:
            note = self._state_file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return note, self._verified(note)
        except (MalformedError, UnverifiedNoteError) as cause:
            raise MonitorStateError(f"{self._state_file}: {cause.message}") from cause

    def _check_growth(self, smaller: Checkpoint, larger: Checkpoint) -> None:
        """Check, by tiles of the log, that *larger* extends *smaller*."""
        hashes: list[bytes] = []
        if 0 < smaller.size < larger.size:
            tiles = growth_tiles(smaller.size, larger.size)
            rows = TileRows({(tile.level, tile.index): self._tile(tile) for tile in tiles})
            proof = prove_consistency(rows, old_size=smaller.size, new_size=larger.size)
            hashes = list(proof)
        check_consistency(
            hashes,
            old_size=smaller.size,
            old_root=smaller.root,
            new_size=larger.size,
            new_root=larger.root,
        )

    def _tile(self, tile: Tile) -> bytes:
        """Return the hashes of *tile*; where a partial one has gone, those of the full one."""
        octets = "application/octet-stream"
        try:
            row = self._log.get(f"/{format_tile_path(tile)}", accept=octets)
        except NotFoundProblem:
            if tile.width == TILE_WIDTH:
                raise
            full = Tile(tile.level, tile.index, TILE_WIDTH)
            row = self._log.get(f"/{format_tile_path(full)}", accept=octets)
        return row[: tile.width * HASH_BYTES]


def monitor(
    url: str, vkeys: Sequence[str], state_file: Path, *, key: str | None = None
) -> Observed:
    """
    Look once at the log at *url*; see `Monitor.look` for what it returns and raises.

    Raises:
        InvalidWitnessError: The keys are no log keys of one name.
    """
    return Monitor(url, vkeys, state_file, key=key).look()


def keep_fork(path: Path, notes: bytes) -> None:
    """
    Add *notes* to the evidence at *path*, unless they stand there.

    A log that was caught could else have the proof of it written over by showing less.
    """
    kept = path.read_bytes() if path.exists() else b""
    if notes in kept or len(kept) + len(notes) > MAX_FORK_BYTES:
        return
    replace_file(path, kept + b"\n" + notes if kept else notes)


def replace_file(path: Path, data: bytes) -> None:
    """Put *data* in the place of *path*: whole or not at all, and on disk when this returns."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
