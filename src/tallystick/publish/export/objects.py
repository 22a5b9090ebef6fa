"""
Where an export lies: a directory, an S3 bucket, or, to be read only, any web server.

An object is a whole file at a path below the log's prefix (C2SP tlog-tiles). One that was
created is never rewritten: who creates it again must bring the same bytes. Only `checkpoint`
and `log.json` are replaced, each at once. Follows log.md, section 4.8.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import threading
import time
import uuid
import zlib
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from tallystick.publish.errors import (
    ExportAddressError,
    ExportConflictError,
    ExportUnavailableError,
)
from tallystick.tlog import MAX_ENTRY_BYTES, TILE_WIDTH

MAX_OBJECT_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""The longest entry bundle, 16.8 MB; of what is longer one byte more is read, and then refused."""
TIMEOUT_SECONDS: Final = 30.0
OBJECT_SECONDS: Final = 300.0
"""In which a web server must have sent an object: the longest one at 56 kB a second."""
GZIP: Final = zlib.MAX_WBITS + 16
WRITING: Final = ".writing"
"""Where files of a directory are written before they are complete."""
ABANDONED_SECONDS: Final = 3600
"""A file that was begun so long ago is of a run that was killed."""
BEGUN: Final = re.compile(r"[0-9a-f]{32}")
"""How such files are called; no other is ours to remove."""
OPENING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""A pipe that lies where an object should be must not make us wait for who writes into it."""
CHECKPOINT: Final = "checkpoint"
MANIFEST: Final = "log.json"
MEDIA_TYPES: Final = {CHECKPOINT: "text/plain; charset=utf-8", MANIFEST: "application/json"}
OCTETS: Final = "application/octet-stream"
MUTABLE: Final = "max-age=1"
IMMUTABLE: Final = "max-age=31536000, immutable"


class ExportObjects(Protocol):
    """The objects of one export; all methods may be called by several threads."""

    @property
    def url(self) -> str:
        """The export's address, in one spelling."""
        ...

    def read_object(self, path: str) -> bytes | None:
        """
        Return the object at *path*; None where there is none.

        Raises:
            ExportUnavailableError: The place does not answer.
        """
        ...


class WritableObjects(ExportObjects, Protocol):
    """A place that an export can be written to."""

    def create_object(self, path: str, data: bytes) -> bool:
        """
        Put *data* at *path*, unless the same bytes are there; return whether they were not.

        Raises:
            ExportConflictError: Other bytes are there.
            ExportUnavailableError: The place does not answer, or refuses us.
        """
        ...

    def replace_object(self, path: str, data: bytes) -> None:
        """
        Put *data* at *path* at once: whoever reads gets the old object or the new one.

        Everything that was created before is there when the new object is.

        Raises:
            ExportUnavailableError: The place does not answer, or refuses us.
        """
        ...

    def remove_below(self, folder: str) -> None:
        """
        Remove the objects below *folder*; it is no error where there are none.

        Raises:
            ExportUnavailableError: The place does not answer, or refuses us.
        """
        ...


class DirectoryObjects:
    """A directory: files appear complete, by hard link or rename, and survive a power cut."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._touched: set[Path] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The directory as a `file:` URL."""
        return self._root.as_uri()

    def read_object(self, path: str) -> bytes | None:
        """Return the file's bytes; None where there is no file."""
        try:
            handle = os.open(self._root / path, OPENING)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as raised:
            raise unavailable(self.url, raised) from raised
        try:
            kind = os.fstat(handle).st_mode
            if stat.S_ISDIR(kind):
                return None
            if not stat.S_ISREG(kind):
                raise ExportUnavailableError(f"{path} of {self.url} is no file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(MAX_OBJECT_BYTES + 1)
        except OSError as raised:
            raise unavailable(self.url, raised) from raised
        finally:
            os.close(handle)

    def create_object(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet."""
        known = self.read_object(path)
        if known is not None:
            check_same(path, known, data)
            return False
        target = self._root / path
        try:
            with self._written(data) as written:
                target.parent.mkdir(parents=True, exist_ok=True)
                # A link never replaces; a rename would, if another exporter came first.
                os.link(written, target)
        except FileExistsError:
            check_same(path, self.read_object(path) or b"", data)
            return False
        except OSError as raised:
            raise unavailable(self.url, raised) from raised
        with self._lock:
            self._touched.add(target.parent)
        return True

    def replace_object(self, path: str, data: bytes) -> None:
        """Sync the directories of what was created, then rename the new file into its place."""
        target = self._root / path
        try:
            with self._lock:
                touched, self._touched = self._touched, set()
            for folder in sorted({above for leaf in touched for above in self._upwards(leaf)}):
                sync_directory(folder)
            with self._written(data) as written:
                written.replace(target)
            sync_directory(target.parent)
            self._remove_abandoned()
        except OSError as raised:
            raise unavailable(self.url, raised) from raised

    def remove_below(self, folder: str) -> None:
        """Remove a directory."""
        try:
            shutil.rmtree(self._root / folder)
        except FileNotFoundError:
            return
        except OSError as raised:
            raise unavailable(self.url, raised) from raised

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Any:
        """Yield a file of its own with *data*, on disk; what is left of it goes at the end."""
        folder = self._root / WRITING
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """Remove what killed runs left unfinished, and the folder for it once it is empty."""
        folder = self._root / WRITING
        if folder.is_symlink():
            return  # whoever put it there would have us remove files elsewhere
        # Another exporter of this directory may do the same, or write there, at this moment.
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                age = time.time() - path.lstat().st_mtime
                if BEGUN.fullmatch(path.name) and age > ABANDONED_SECONDS:
                    path.unlink()
            folder.rmdir()

    def _upwards(self, folder: Path) -> list[Path]:
        return [folder, *(above for above in folder.parents if above.is_relative_to(self._root))]


class StoreObjects:
    """A bucket of S3 or what speaks its protocol; where and as whom is said by `AWS_…`."""

    def __init__(self, url: str) -> None:
        try:
            import obstore  # noqa: PLC0415 (an extra: only who names a bucket has it)
            from obstore.store import S3Store  # noqa: PLC0415
        except ImportError as missing:
            raise ExportUnavailableError("install tallystick[s3] to use a bucket") from missing
        self._url = url
        self._obstore = obstore
        try:
            self._store = S3Store.from_url(url)
        except (obstore.exceptions.BaseError, ValueError) as raised:
            raise ExportAddressError(f"{url}: {first_line(raised)}") from raised

    @property
    def url(self) -> str:
        """The bucket and prefix as an `s3:` URL."""
        return self._url

    def read_object(self, path: str) -> bytes | None:
        """Return the object's bytes; None where there is none."""
        try:
            found = self._obstore.get(self._store, path)
            if found.meta["size"] > MAX_OBJECT_BYTES:
                end = MAX_OBJECT_BYTES + 1
                return bytes(self._obstore.get_range(self._store, path, start=0, end=end))
            return bytes(found.bytes())
        except FileNotFoundError:
            return None
        except self._obstore.exceptions.BaseError as raised:
            raise unavailable(self._url, raised) from raised

    def create_object(self, path: str, data: bytes) -> bool:
        """PUT with If-None-Match: what is there stays."""
        try:
            self._put(path, data, IMMUTABLE, mode="create")
        except self._obstore.exceptions.AlreadyExistsError:
            check_same(path, self.read_object(path) or b"", data)
            return False
        except self._obstore.exceptions.BaseError as raised:
            raise unavailable(self._url, raised) from raised
        return True

    def replace_object(self, path: str, data: bytes) -> None:
        """PUT; what was PUT before was durable when it was answered."""
        try:
            self._put(path, data, MUTABLE, mode="overwrite")
        except self._obstore.exceptions.BaseError as raised:
            raise unavailable(self._url, raised) from raised

    def remove_below(self, folder: str) -> None:
        """DELETE each object below *folder*."""
        try:
            for page in self._obstore.list(self._store, folder):
                self._obstore.delete(self._store, [found["path"] for found in page])
        except self._obstore.exceptions.BaseError as raised:
            raise unavailable(self._url, raised) from raised

    def _put(self, path: str, data: bytes, lifetime: str, *, mode: Any) -> None:
        attributes: Any = {
            "Content-Type": MEDIA_TYPES.get(path, OCTETS),
            "Cache-Control": lifetime,
        }
        # Never in parts: a multipart upload is not conditional.
        self._obstore.put(
            self._store, path, data, mode=mode, attributes=attributes, use_multipart=False
        )


class WebObjects:
    """
    The prefix of a log on a web server, to be read: a mirror, a bucket, a live log.

    Redirects are not followed: with them *key*, an API key, would go to wherever they point.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self._url = url
        headers = {"Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.Client(
            timeout=TIMEOUT_SECONDS, follow_redirects=False, headers=headers
        )

    @property
    def url(self) -> str:
        """The prefix, without a slash at its end."""
        return self._url

    def read_object(self, path: str) -> bytes | None:
        """GET; what is not found or gone is None."""
        try:
            with self._client.stream("GET", f"{self._url}/{path}") as answer:
                if answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
                    return None
                if answer.status_code != httpx.codes.OK:
                    raise ExportUnavailableError(
                        f"{self._url}/{path} answers with status {answer.status_code}"
                    )
                return read_body(answer, f"{self._url}/{path}")
        except (httpx.HTTPError, zlib.error) as raised:
            raise unavailable(self._url, raised) from raised


def read_body(answer: httpx.Response, url: str) -> bytes:
    """
    Return the body of *answer*, of what is too long one byte more than the longest object has.

    Raises:
        ExportUnavailableError: It does not end in time, or is encoded in another way than gzip.
        zlib.error: It says that it is gzip and is not.
    """
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise ExportUnavailableError(f"{url} answers in an encoding that was not asked for")
    # A kilobyte of gzip may stand for a megabyte, so it is unpacked as far as there is room.
    unpack = zlib.decompressobj(GZIP) if encoding == "gzip" else None
    until = time.monotonic() + OBJECT_SECONDS
    body = bytearray()
    for part in answer.iter_raw():
        room = MAX_OBJECT_BYTES + 1 - len(body)
        body += part[:room] if unpack is None else unpack.decompress(part, room)
        if len(body) > MAX_OBJECT_BYTES:
            return bytes(body)
        if time.monotonic() > until:
            raise ExportUnavailableError(f"{url} is not sent within {OBJECT_SECONDS:.0f} s")
    if unpack is not None and not unpack.eof:
        raise ExportUnavailableError(f"{url} breaks off")
    return bytes(body)


def open_export(address: str, *, key: str | None = None) -> ExportObjects:
    """
    Return the objects of the export at *address*, which may be read; web servers get *key*.

    Raises:
        ExportAddressError: It is no directory, file:…, s3://… or https://….
        ExportUnavailableError: The extra `tallystick[s3]` is needed and not installed.
    """
    parts = split_address(address)
    if parts.scheme not in {"http", "https"}:
        return open_destination(address)
    try:
        has_host = bool(httpx.URL(address).host)
    except httpx.InvalidURL as cause:
        raise ExportAddressError("the address of the export is no URL") from cause
    if not has_host:
        raise ExportAddressError("the address of the export names no host")
    return WebObjects(address.rstrip("/"), key)


def open_destination(address: str) -> DirectoryObjects | StoreObjects:
    """
    Return the objects at *address*, which may be written.

    Raises:
        ExportAddressError: It is no directory, file:… or s3://….
        ExportUnavailableError: The extra `tallystick[s3]` is needed and not installed.
    """
    parts = split_address(address)
    if parts.scheme == "s3" and parts.netloc:
        return StoreObjects(address.rstrip("/"))
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path:
        return DirectoryObjects(Path(unquote(parts.path)))
    if not parts.scheme and address:
        return DirectoryObjects(Path(address))
    raise ExportAddressError(f"{address[:200]!r} is no place for an export")


def split_address(address: str) -> SplitResult:
    """
    Return the parts of an address that may be shown and recorded.

    Raises:
        ExportAddressError: It is no URL, or carries what an address of an export has not: a
            password, which would be recorded with it, a query or a fragment.
    """
    try:
        parts = urlsplit(address)
    except ValueError as cause:
        raise ExportAddressError("the address of the export is no URL") from cause
    # A directory may be called as it likes.
    if parts.scheme in {"http", "https", "s3"} and (
        "@" in parts.netloc or "?" in address or "#" in address
    ):
        raise ExportAddressError("an export's address has no password, no query and no fragment")
    if "\x00" in unquote(address):
        raise ExportAddressError("an export's address has no zero byte")
    return parts


def check_same(path: str, known: bytes, data: bytes) -> None:
    """
    Check that the object that is there is the one that was to be created.

    Raises:
        ExportConflictError: It is not.
    """
    if known != data:
        raise ExportConflictError(f"another {path} is there already", path=path)


def sync_directory(folder: Path) -> None:
    """Make the names in *folder* survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unavailable(url: str, raised: Exception) -> ExportUnavailableError:
    """Return the error that says why *url* cannot be used, in one line."""
    return ExportUnavailableError(f"{url}: {first_line(raised)}")


def first_line(raised: Exception) -> str:
    """Return the first line of what *raised* says, or its kind where it says nothing."""
    return str(raised).strip().partition("\n")[0][:300] or type(raised).__name__
