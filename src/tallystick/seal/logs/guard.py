"""
The rollback guard: a file beside the keys that remembers the last note that was signed.

A database restored from an older state would sign a second history. The guard lies outside
of the database, so it knows: a guard beyond the database's head, or at the same size with
another root, stops the log before anything is signed. Follows log.md, section 5.7.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tallystick.seal.errors import RollbackError
from tallystick.tlog import Checkpoint, parse_checkpoint, parse_note


def guard_path(key_dir: Path, log_name: str) -> Path:
    """Return where the guard of a log lies."""
    return key_dir / f"{log_name}.head"


def read_guard(path: Path) -> tuple[Checkpoint, str] | None:
    """
    Return the checkpoint that the guard remembers and its note; None where there is no guard.

    Raises:
        MalformedNoteError, MalformedCheckpointError: The file is no note of a checkpoint.
    """
    try:
        note = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_checkpoint(parse_note(note).text), note.decode()


def write_guard(path: Path, note: str) -> None:
    """
    Replace the guard by *note*: whole or not at all, and on disk when this returns.

    A guard that remembers a greater size is left as it is: processes write theirs after their
    commits, so an earlier head may come later.
    """
    with locked_directory(path.parent):
        remembered = read_guard(path)
        if (
            remembered is None
            or remembered[0].size <= parse_checkpoint(parse_note(note.encode()).text).size
        ):
            replace_guard(path, note)


@contextlib.contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Keep other processes of this machine from writing guards for the block."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace_guard(path: Path, note: str) -> None:
    """Put *note* in the guard's place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(note.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_guard(path: Path, *, size: int, root: bytes, note: str) -> None:
    """
    Check that the guard does not know a later or another history than the database's head.

    A guard that is behind is legal: a crash between commit and guard leaves one.

    Raises:
        RollbackError: The guard's size is greater, or its root at the same size is another;
            the error carries both notes.
    """
    remembered = read_guard(path)
    if remembered is None:
        return
    guard, guard_note = remembered
    if guard.size > size:
        raise RollbackError(
            f"a checkpoint of size {guard.size} was signed, the database ends at {size}",
            expected=guard_note,
            actual=note,
        )
    if guard.size == size and guard.root != root:
        raise RollbackError(
            f"another root was signed at size {size}", expected=guard_note, actual=note
        )
