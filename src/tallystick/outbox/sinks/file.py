"""
The sink `file`: each event is one line of RFC 8785 JSON, on disk before it counts as taken.

Follows log.md, section 2.9. A process that dies while it writes leaves a line without its
end; the next one cuts it off and gets the event again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tallystick.outbox.errors import DeliveryError, InvalidSinkError
from tallystick.outbox.events import Event

FILE_MODE: Final = 0o600
"""Events of users are in it: others have no business there."""
BLOCK_BYTES: Final = 65_536


def parse_file_config(config: Mapping[str, Any]) -> Path:
    """
    Return the path in *config*, `{"path": "/absolute/path"}`.

    Raises:
        InvalidSinkError: It is not of that form.
    """
    path = config.get("path")
    if set(config) != {"path"} or not isinstance(path, str) or "\0" in path:
        raise InvalidSinkError("a sink of kind file has a path and nothing else")
    if not Path(path).is_absolute() or path.endswith("/"):
        raise InvalidSinkError(f"{path[:200]} is not the absolute path of a file")
    return Path(path)


class FileSink:
    """Appends to one regular file, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def deliver(self, event: Event) -> None:
        """
        Append *event* and wait until it is on disk.

        Raises:
            InvalidEventError: The event has no canonical form.
            DeliveryError: The file cannot be opened or written.
        """
        line = event.body() + b"\n"
        try:
            if self._handle is None:
                self._handle = open_for_lines(self._path)
            _write_all(self._handle, line)
            os.fdatasync(self._handle)
        except OSError as cause:
            # Opened anew, the file is cut back to its last whole line.
            self.close()
            raise DeliveryError(f"the file cannot be written: {cause.strerror}") from cause

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def open_for_lines(path: Path) -> int:
    """
    Return a handle that appends to *path*, whose last line ends.

    Raises:
        OSError: It is not a regular file, is a symbolic link, or cannot be opened.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, FILE_MODE)
    try:
        _check_regular(handle)
        os.ftruncate(handle, end_of_lines(handle))
    except OSError:
        os.close(handle)
        raise
    return handle


def _check_regular(handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def end_of_lines(handle: int) -> int:
    """Return the offset behind the last newline of the file, 0 where there is none."""
    end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(handle: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(handle, rest) :]
