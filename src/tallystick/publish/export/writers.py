"""Objects written by several threads at once: as many as are bounded, the first error ends it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

from tallystick.publish.export.objects import WritableObjects

WRITERS: Final = 16
"""A store that takes 30 ms for a PUT takes 500 objects a second."""
WAITING: Final = 4 * WRITERS
"""Objects that are read ahead of the writers."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many objects were new, how many were there already, and the bytes of the new ones."""

    new: int = 0
    found: int = 0
    new_bytes: int = 0


class Writers:
    """Creates objects at *destination*; when its block ends, all of them are there."""

    def __init__(self, destination: WritableObjects) -> None:
        self._destination = destination
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="export")
        self._waiting: deque[tuple[Future[bool], int]] = deque()
        self.written = Written()

    def create(self, path: str, data: bytes) -> None:
        """
        Have *data* created at *path*; waits while too many others do.

        Raises:
            ExportConflictError, ExportUnavailableError: Of an object that was asked for before.
        """
        future = self._pool.submit(self._destination.create_object, path, data)
        self._waiting.append((future, len(data)))
        while len(self._waiting) > WAITING:
            self._take()

    def _take(self) -> None:
        future, length = self._waiting.popleft()
        was = self.written
        if future.result():
            self.written = Written(was.new + 1, was.found, was.new_bytes + length)
        else:
            self.written = Written(was.new, was.found + 1, was.new_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._take()
        finally:
            self._pool.shutdown(cancel_futures=True)
