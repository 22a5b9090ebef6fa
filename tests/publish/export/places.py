"""What tests do to the objects of an export, wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from tallystick.seal.logs import Log


@dataclass(frozen=True)
class Objects:
    """The objects at an address, to read, write and delete at will."""

    address: str

    @property
    def _store(self) -> S3Store:
        return S3Store.from_url(self.address)

    @property
    def _root(self) -> Path | None:
        parts = urlsplit(self.address)
        return Path(parts.path) if parts.scheme == "file" else None

    def paths(self) -> list[str]:
        """Every path, sorted."""
        if (root := self._root) is not None:
            files = (path for path in root.rglob("*") if path.is_file())
            return sorted(path.relative_to(root).as_posix() for path in files)
        return sorted(found["path"] for page in obstore.list(self._store) for found in page)

    def read(self, path: str) -> bytes:
        """The object at *path*."""
        if (root := self._root) is not None:
            return (root / path).read_bytes()
        return bytes(obstore.get(self._store, path).bytes())

    def write(self, path: str, data: bytes) -> None:
        """Put *data* at *path*, whatever is there."""
        if (root := self._root) is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        else:
            obstore.put(self._store, path, data, use_multipart=False)

    def delete(self, path: str) -> None:
        """Remove the object at *path*."""
        if (root := self._root) is not None:
            (root / path).unlink()
        else:
            obstore.delete(self._store, path)

    def all(self) -> dict[str, bytes]:
        """Every object."""
        return {path: self.read(path) for path in self.paths()}


def policy_of(builder: object, log: Log) -> bytes:
    """A policy that trusts the log's keys."""
    rows = builder.execute(f"SELECT vkey FROM tally.log_keys WHERE log_id = {log.log_id}")
    return "".join(f"log {vkey}\n" for (vkey,) in rows).encode() + b"quorum none\n"
