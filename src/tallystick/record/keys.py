"""
Ed25519 keys: files that only their owner can read, and verifiers that no weak key passes.

Follows log.md, section 5.8, and common.md, "Messages". The arithmetic is libsodium's,
through PyNaCl. Public keys of small order would verify anybody's signature over anything,
and keys with another spelling or outside the prime-order group verify in one library and
not in the next: all of them are refused before they verify anything.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import nacl.bindings
from nacl.exceptions import BadSignatureError

from tallystick.record.errors import (
    KeyExistsError,
    KeyNotFoundError,
    KeyPermissionsError,
    MalformedKeyError,
)
from tallystick.tlog.errors import MalformedNoteError
from tallystick.tlog.note import (
    ALGORITHM_COSIGNATURE,
    ALGORITHM_ED25519,
    PUBLIC_KEY_BYTES,
    SECRET_BYTES,
    SIGNATURE_BYTES,
    SignerKey,
    VerifierKey,
    format_signer_key,
    is_key_name,
    make_key_id,
    parse_signer_key,
    parse_verifier_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
MAX_FILE_BYTES: Final = 4096
"""A key file is one line; a name has at most 200 bytes."""

_ALGORITHMS: Final = (ALGORITHM_ED25519, ALGORITHM_COSIGNATURE)
_KEY_FILE: Final = re.compile(r"[0-9a-f]{8}\.key")


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """A private key in memory; it satisfies `tlog.Signer`. The secret stays out of the repr."""

    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes
    _secret: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature over exactly *message*."""
        # libsodium's secret key is the seed and the public key side by side.
        signed = nacl.bindings.crypto_sign(message, self._secret + self.public_key)
        return signed[:SIGNATURE_BYTES]

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half, as others are told it."""
        return VerifierKey(self.name, self.key_id, self.algorithm, self.public_key)


@dataclass(frozen=True, slots=True)
class Ed25519Verifier:
    """A public key that `check_public_key` accepted; it satisfies `tlog.Verifier`."""

    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether *signature* is the key's over exactly *message*; never raises."""
        return verify_signature(self.public_key, message, signature)


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """
    Whether *signature* (64 bytes) is *public_key*'s over exactly *message*; never raises.

    *public_key* must have passed `check_public_key`: this function does not repeat it.
    """
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def check_public_key(public_key: bytes) -> None:
    """
    Check that *public_key* is 32 bytes, canonical, on the curve and of the large prime order.

    Raises:
        MalformedKeyError: It is not.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise MalformedKeyError(f"a public key has 32 bytes, not {len(public_key)}")
    if not nacl.bindings.crypto_core_ed25519_is_valid_point(public_key):
        raise MalformedKeyError("the public key is weak, non-canonical or not on the curve")


def make_signer(*, name: str, secret: bytes, algorithm: int = ALGORITHM_ED25519) -> Ed25519Signer:
    """
    The signer of the 32-byte *secret* under *name*.

    Raises:
        MalformedKeyError: *name* cannot be a key's, or *secret* has not 32 bytes.
    """
    assert algorithm in _ALGORITHMS
    if not is_key_name(name) or len(secret) != SECRET_BYTES:
        raise MalformedKeyError("a key has a name without spaces and plus, and 32 secret bytes")
    public_key, _ = nacl.bindings.crypto_sign_seed_keypair(secret)
    key_id = make_key_id(name, algorithm=algorithm, public_key=public_key)
    return Ed25519Signer(name, key_id, algorithm, public_key, secret)


def ed25519_verifier(vkey: str | VerifierKey) -> Ed25519Verifier:
    """
    The verifier of a log's, outbox's or other plain Ed25519 key (type 0x01).

    Raises:
        MalformedKeyError: *vkey* is not a vkey of that type, or its key is weak.
    """
    return _make_verifier(vkey, algorithm=ALGORITHM_ED25519)


def cosignature_verifier(vkey: str | VerifierKey) -> Ed25519Verifier:
    """
    The verifier of a witness's key (type 0x04).

    Raises:
        MalformedKeyError: *vkey* is not a vkey of that type, or its key is weak.
    """
    return _make_verifier(vkey, algorithm=ALGORITHM_COSIGNATURE)


def verifiers_of(keys: Iterable[VerifierKey]) -> dict[VerifierKey, Ed25519Verifier]:
    """
    A verifier for each of *keys*, as `tlog.check_policy` wants them.

    Raises:
        MalformedKeyError: One of the keys is weak.
    """
    return {key: _make_verifier(key, algorithm=key.algorithm) for key in keys}


def create_signer_file(
    directory: Path, *, name: str, algorithm: int = ALGORITHM_ED25519, secret: bytes | None = None
) -> Path:
    """
    Write a new private key to `<directory>/<key id>.key` and return its path.

    *secret* is 32 random bytes unless given. The directory is made if there is none. When
    this returns, file and directory entry are on disk.

    Raises:
        MalformedKeyError: *name* cannot be a key's, or *secret* has not 32 bytes.
        KeyPermissionsError: The directory is there and not its owner's alone.
        KeyExistsError: There is a file of that name; it is left as it is.
    """
    drawn = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
    signer = make_signer(name=name, secret=drawn, algorithm=algorithm)
    key = SignerKey(name=name, key_id=signer.key_id, algorithm=algorithm, secret=drawn)
    path = directory / f"{signer.key_id.hex()}.key"
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _opened_directory(directory) as folder:
        try:
            handle = os.open(path.name, flags, FILE_MODE, dir_fd=folder)
        except FileExistsError as cause:
            raise KeyExistsError(f"{path} exists") from cause
        with os.fdopen(handle, "wb") as file:
            # A umask may have taken bits away; nothing secret is written before they are right.
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(format_signer_key(key).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.fsync(folder)
    return path


def load_signer(path: Path) -> Ed25519Signer:
    """
    The signer in the key file *path*.

    The file is looked at through the handle that it is read from, so that nobody can swap it
    between the look and the reading.

    Raises:
        KeyNotFoundError: There is no such file.
        KeyPermissionsError: The file is not 0600, the directory not 0700, one of them belongs
            to another user or is a symbolic link, or the file is not a regular one.
        MalformedKeyError: It does not hold one signer key, or the id is not the key's. The
            message never holds a part of the file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _opened_directory(path.parent) as folder:
        handle = _open(path, flags, folder=folder)
        with os.fdopen(handle, "rb") as file:
            _check_owned(os.fstat(handle), path=path, mode=FILE_MODE, is_kind=stat.S_ISREG)
            data = file.read(MAX_FILE_BYTES + 1)
    return _parse_signer(data)


def load_signers(directory: Path) -> list[Ed25519Signer]:
    """
    The signers of all key files in *directory*, by file name.

    Raises:
        KeyNotFoundError: There is no such directory.
        KeyPermissionsError, MalformedKeyError: As `load_signer`.
    """
    with _opened_directory(directory) as folder, os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _KEY_FILE.fullmatch(entry.name))
    return [load_signer(directory / name) for name in names]


def _make_verifier(vkey: str | VerifierKey, *, algorithm: int) -> Ed25519Verifier:
    try:
        key = parse_verifier_key(vkey) if isinstance(vkey, str) else vkey
    except MalformedNoteError as cause:
        raise MalformedKeyError(cause.message) from cause
    if key.algorithm != algorithm:
        raise MalformedKeyError(f"the key is of type {key.algorithm}, not {algorithm}")
    check_public_key(key.public_key)
    return Ed25519Verifier(key.name, key.key_id, key.algorithm, key.public_key)


def _parse_signer(data: bytes) -> Ed25519Signer:
    if len(data) > MAX_FILE_BYTES:
        raise MalformedKeyError("the key file is too long")
    try:
        key = parse_signer_key(data.decode("utf-8").removesuffix("\n"))
    except (UnicodeDecodeError, MalformedNoteError):
        # Not chained: a decoding error carries the bytes that it could not decode.
        raise MalformedKeyError("the key file does not hold one signer key") from None
    signer = make_signer(name=key.name, secret=key.secret, algorithm=key.algorithm)
    if signer.key_id != key.key_id:
        raise MalformedKeyError("the signer key's id is not the hash of its name and key")
    return signer


@contextmanager
def _opened_directory(directory: Path) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = _open(directory, flags)
    try:
        _check_owned(os.fstat(handle), path=directory, mode=DIRECTORY_MODE, is_kind=stat.S_ISDIR)
        yield handle
    finally:
        os.close(handle)


def _open(path: Path, flags: int, *, folder: int | None = None) -> int:
    try:
        return os.open(path.name if folder is not None else path, flags, dir_fd=folder)
    except FileNotFoundError as cause:
        raise KeyNotFoundError(f"{path} does not exist") from cause
    except OSError as cause:
        # A symbolic link, a file for a directory, no right to read: none is a safe place.
        raise KeyPermissionsError(f"{path}: {cause.strerror}", path=str(path)) from cause


def _check_owned(
    status: os.stat_result, *, path: Path, mode: int, is_kind: Callable[[int], bool]
) -> None:
    if not is_kind(status.st_mode):
        raise KeyPermissionsError(f"{path} is a special file", path=str(path))
    if status.st_uid != os.geteuid():
        raise KeyPermissionsError(f"{path} belongs to another user", path=str(path))
    actual = stat.S_IMODE(status.st_mode)
    if actual != mode:
        raise KeyPermissionsError(f"{path} has mode {actual:04o}, not {mode:04o}", path=str(path))
