"""The embedded PostgreSQL: its lifecycle, and what every crash leaves for the next start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.runtime import EmbeddedPostgres, find_binaries
from tallystick.runtime.errors import (
    BinariesNotFoundError,
    DataDirectoryBusyError,
    DataVersionError,
    ForeignDirectoryError,
    PasswordMissingError,
    ServerStartError,
)
from tallystick.runtime.orphans import find_orphans
from tests.support.server import PREFIX, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AS_ROOT = os.geteuid() == 0

PARENT = """
import sys, time
from pathlib import Path
from tallystick.runtime import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1], bin_dir=Path(sys.argv[2]), durable=False)
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def bin_dir(postgres_bin: Path | None) -> Path:
    """The programs to test on."""
    return postgres_bin or find_binaries()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that only we can enter, with room for a socket's path."""
    made = Path(tempfile.mkdtemp(prefix="tallystick-place-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(place: Path, bin_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server that is not durable, not yet started."""
    made = EmbeddedPostgres(place / "data", bin_dir=bin_dir, durable=False)
    yield made
    made.remove()


def ask(server: EmbeddedPostgres, question: str) -> object:
    """Return the one value that answers *question*."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        row = connection.execute(question).fetchone()
    return row[0] if row else None


def tell(server: EmbeddedPostgres, statement: str) -> None:
    """Run and commit *statement*."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(statement)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds, within 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_data_outlive_a_restart(server: EmbeddedPostgres) -> None:
    """What was written before a stop is there after the next start."""
    with server:
        tell(server, "CREATE TABLE kept AS SELECT 42 AS value")
    assert not server.is_running()
    with server:
        assert ask(server, "SELECT value FROM kept") == 42


def test_start_is_idempotent(server: EmbeddedPostgres) -> None:
    """Starting a running server leaves it as it is."""
    server.start()
    first = server.pid
    server.start()
    assert server.pid == first


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("listen_addresses", ""),
        ("data_checksums", "on"),
        ("max_wal_size", "4GB"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("unix_socket_permissions", "0700"),
    ],
)
def test_settings_are_those_of_the_spec(setting: str, expected: str, test_server) -> None:
    """The server listens on its socket alone and guards its pages by checksums."""
    assert ask(test_server.server, f"SHOW {setting}") == expected


def test_given_settings_win(place: Path, bin_dir: Path) -> None:
    """A setting of the caller stands over ours, and a durable server waits for the disk."""
    server = EmbeddedPostgres(place / "data", bin_dir=bin_dir, settings={"max_wal_size": "2GB"})
    with server:
        assert ask(server, "SHOW max_wal_size") == "2GB"
        assert ask(server, "SHOW fsync") == "on"
        assert ask(server, "SHOW wal_compression") != "off"
    server.remove()


def test_files_are_private(server: EmbeddedPostgres) -> None:
    """Directories are 0700 and files of ours 0600."""
    server.start()
    for name in (".", "cluster", "socket"):
        assert (server.data_dir / name).stat().st_mode & 0o777 == 0o700
    for name in ("password", "lock", "server.log"):
        assert (server.data_dir / name).stat().st_mode & 0o777 == 0o600


def test_a_connection_needs_the_password(server: EmbeddedPostgres) -> None:
    """The password in the URL is needed, through the socket too, and stored as SCRAM."""
    server.start()
    password = (server.data_dir / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url().replace(password, "guess"))
    stored = ask(server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
    assert str(stored).startswith("SCRAM-SHA-256$")
    assert password not in server.url(user="tally_app")


@pytest.mark.skipif(not AS_ROOT, reason="only root can give up its rights")
def test_root_runs_the_server_as_another_user(server: EmbeddedPostgres) -> None:
    """Started by root, below a directory that only root can enter, it has another's rights."""
    server.data_dir.parent.chmod(0o700)
    server.start()
    status = Path(f"/proc/{server.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    assert "0" not in uids
    assert groups == []
    assert (server.data_dir / "cluster").stat().st_uid == int(uids[0])
    assert server.data_dir.stat().st_uid == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root can give up its rights")
def test_programs_below_a_closed_directory_are_copied(
    place: Path, bin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that the server's account cannot reach are copied once to where it can."""
    if not (bin_dir.parent / "share").is_dir():
        pytest.skip("a distribution's programs are scattered, where all can reach them")
    package = bin_dir.parent.parent
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(bin_dir.parent, closed / package.name / bin_dir.parent.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    programs = closed / package.name / bin_dir.parent.name / "bin"
    cache = Path(tempfile.mkdtemp(prefix="tallystick-cache-"))
    monkeypatch.setattr("tallystick.runtime.binaries.SHARED_CACHE", cache)
    server = EmbeddedPostgres(place / "data", bin_dir=programs, durable=False)
    with server:
        assert ask(server, "SELECT 1") == 1
        running = Path(f"/proc/{server.pid}/exe").readlink()
    with server:
        assert Path(f"/proc/{server.pid}/exe").readlink() == running
    server.remove()
    (copy,) = cache.iterdir()
    assert running.is_relative_to(copy)
    assert copy.stat().st_mode & 0o777 == 0o755
    assert copy.stat().st_uid == 0
    shutil.rmtree(cache)


def test_stale_pid_file_is_dropped(server: EmbeddedPostgres) -> None:
    """A pid file that names a living process of somebody else neither stops us nor harms it."""
    server.start()
    server.stop()
    account = (server.data_dir / "cluster").stat()
    rights = {"user": account.st_uid, "group": account.st_gid} if AS_ROOT else {}
    innocent = subprocess.Popen(["sleep", "600"], **rights)
    try:
        stale = server.data_dir / "cluster" / "postmaster.pid"
        stale.write_text(f"{innocent.pid}\n{server.data_dir}/cluster\n1\n5432\n\n\n")
        os.chown(stale, account.st_uid, account.st_gid)
        server.start()
        assert ask(server, "SELECT 1") == 1
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_killed_postmaster_is_replaced(place: Path, bin_dir: Path) -> None:
    """After kill -9 of the postmaster, with a backend at work, the next start has all commits."""
    settings = {"synchronous_commit": "on"}
    server = EmbeddedPostgres(place / "data", bin_dir=bin_dir, settings=settings, durable=False)
    server.start()
    tell(server, "CREATE TABLE kept AS SELECT 42 AS value")
    with contextlib.closing(psycopg.connect(server.url(), autocommit=True)) as at_work:
        # A backend in a busy loop does not notice that its postmaster is gone.
        at_work.execute("SET statement_timeout = 0")
        backend = at_work.info.backend_pid
        at_work.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
        wait_until(
            lambda: (
                ask(
                    server,
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE query LIKE 'DO%LOOP%' AND state = 'active'",
                )
                == 1
            )
        )
        os.kill(server.pid or 0, signal.SIGKILL)
        wait_until(lambda: not server.is_running())
        assert is_alive(backend)
        server.start()
        assert not is_alive(backend)
    assert ask(server, "SELECT value FROM kept") == 42
    server.remove()


def test_server_of_a_killed_parent_is_ended(server: EmbeddedPostgres, bin_dir: Path) -> None:
    """A server whose parent was killed is shut down by the next start, which has all commits."""
    command = [sys.executable, "-c", PARENT, str(server.data_dir), str(bin_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        tell(server, "CREATE TABLE kept AS SELECT 42 AS value")
        parent.kill()
    assert is_alive(orphan)
    assert orphan in find_orphans(server.data_dir / "cluster")
    server.start()
    assert not is_alive(orphan)
    assert ask(server, "SELECT value FROM kept") == 42


def test_servers_of_killed_test_runs_are_removed(bin_dir: Path) -> None:
    """What a killed run of the tests left is ended and deleted by the next; ours is not."""
    left, ours = (Path(tempfile.mkdtemp(prefix=PREFIX)) for _ in range(2))
    command = [sys.executable, "-c", PARENT, str(left), str(bin_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.kill()
    server = EmbeddedPostgres(ours, bin_dir=bin_dir, durable=False)
    with server:
        for place in (left, ours):
            os.utime(place, (0, 0))
        remove_abandoned()
        wait_until(lambda: not left.exists())
        assert not is_alive(orphan)
        assert ask(server, "SELECT 1") == 1
    server.remove()


def test_second_starter_is_refused(server: EmbeddedPostgres, bin_dir: Path) -> None:
    """While one process runs the server another is told which; the first is not disturbed."""
    server.start()
    second = EmbeddedPostgres(server.data_dir, bin_dir=bin_dir)
    with pytest.raises(DataDirectoryBusyError, match=str(os.getpid())):
        second.start()
    with pytest.raises(DataDirectoryBusyError):
        second.remove()
    assert ask(server, "SELECT 1") == 1


def test_long_path_gets_a_socket_elsewhere(place: Path, bin_dir: Path) -> None:
    """A directory whose path is too long for a socket works, and leaves nothing elsewhere."""
    server = EmbeddedPostgres(place / ("d" * 100), bin_dir=bin_dir, durable=False)
    with server:
        assert ask(server, "SELECT 1") == 1
        elsewhere = (server.data_dir / "socket").readlink()
        assert elsewhere.stat().st_mode & 0o777 == 0o700
    server.remove()
    assert not elsewhere.exists()


@pytest.mark.parametrize("name", ["letter.txt", "PG_VERSION", "cluster/letter.txt"])
def test_foreign_directory_is_untouched(name: str, place: Path, bin_dir: Path) -> None:
    """A directory with anything else in it is refused, and neither started in nor removed."""
    place.chmod(0o755)
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("precious")
    before = sorted(p.relative_to(place) for p in place.rglob("*"))
    server = EmbeddedPostgres(place, bin_dir=bin_dir)
    with pytest.raises(ForeignDirectoryError):
        server.start()
    with pytest.raises(ForeignDirectoryError):
        server.remove()
    assert sorted(p.relative_to(place) for p in place.rglob("*")) == before
    assert (place / name).read_text() == "precious"
    assert place.stat().st_mode & 0o777 == 0o755


def test_unfinished_initdb_is_repeated(server: EmbeddedPostgres) -> None:
    """What a crash within initdb left is removed, and the data are made anew."""
    half = server.data_dir / "unfinished-x" / "cluster"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("")
    (server.data_dir / "password").write_text("of the unfinished one")
    server.start()
    assert ask(server, "SELECT 1") == 1
    assert list(server.data_dir.glob("unfinished-*")) == []


def test_data_of_another_version_are_refused(server: EmbeddedPostgres) -> None:
    """Data of another major version are named with both versions, before anything starts."""
    server.start()
    server.stop()
    (server.data_dir / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DataVersionError, match="are of PostgreSQL 9"):
        server.start()
    assert server.pid is None


def test_missing_password_is_named(server: EmbeddedPostgres) -> None:
    """Data without their password file are not started and not made anew."""
    server.start()
    server.stop()
    (server.data_dir / "password").unlink()
    with pytest.raises(PasswordMissingError):
        server.start()
    assert (server.data_dir / "cluster" / "PG_VERSION").is_file()


def test_password_of_another_server_is_named(server: EmbeddedPostgres) -> None:
    """With a password file that is not this server's the start fails at once."""
    server.start()
    server.stop()
    (server.data_dir / "password").write_text("guess")
    with pytest.raises(ServerStartError, match="refuses us"):
        server.start()
    assert not server.is_running()


def test_failed_start_shows_the_log(place: Path, bin_dir: Path) -> None:
    """A setting that the server refuses ends in its own words, and the directory is free again."""
    server = EmbeddedPostgres(place / "data", bin_dir=bin_dir, settings={"work_mem": "lots"})
    with pytest.raises(ServerStartError, match="work_mem"):
        server.start()
    EmbeddedPostgres(place / "data", bin_dir=bin_dir).remove()
    assert not (place / "data").exists()


def test_named_binaries_are_never_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong TALLY_POSTGRES_BIN is an error, though another PostgreSQL is installed."""
    monkeypatch.setenv("TALLY_POSTGRES_BIN", str(place))
    with pytest.raises(BinariesNotFoundError, match="TALLY_POSTGRES_BIN"):
        find_binaries()


def test_databases_of_tests_are_their_own(database_url: str, empty_database_url: str) -> None:
    """Each test's database is fresh: one has our schema, the other has not."""
    question = "SELECT to_regnamespace('tally') IS NOT NULL"
    with psycopg.connect(database_url) as migrated, psycopg.connect(empty_database_url) as empty:
        assert migrated.execute(question).fetchone() == (True,)
        assert empty.execute(question).fetchone() == (False,)
