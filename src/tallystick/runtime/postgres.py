"""
The embedded PostgreSQL: a server of our own in one directory, with our own lifecycle.

Follows log.md 6.4, "Embedded PostgreSQL" and "Shutdown". The directory holds

    cluster/        PostgreSQL's data, owned by the account that runs the server
    socket/         its unix socket, or a link to where it is; it listens nowhere else
    password        of the superuser `postgres`, mode 0600
    server.log      what the server says; the run before it in server.log.1 once it is long
    lock            held by the process that runs the server, with its pid inside

A crash at any point is repaired by the next start: an unfinished `initdb` lies under another
name and is removed, servers that outlived their parent are ended, stale pid files are dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping

from tallystick.runtime.binaries import (
    Account,
    Installation,
    find_binaries,
    identity,
    reachable_binaries,
)
from tallystick.runtime.errors import (
    DataDirectoryBusyError,
    DataOwnerError,
    DataVersionError,
    ForeignDirectoryError,
    NoServerAccountError,
    PasswordMissingError,
    ServerStartError,
    SocketPathError,
)
from tallystick.runtime.orphans import end_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUPERUSER = "postgres"

OWN_NAMES = frozenset({"cluster", "socket", "password", "server.log", "server.log.1", "lock"})
UNFINISHED = "unfinished-"

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107
"""The kernel's `sun_path` has 108 bytes, one of them the end."""

START_SECONDS = 300.0
"""Recovery after a crash replays up to `max_wal_size` before the server answers."""

STOP_SECONDS = 60.0
"""What a shutdown checkpoint may take; after that the next start recovers instead."""

CONNECT_SECONDS = 30
INITDB_SECONDS = 120.0
LOG_BYTES = 10 * 1024 * 1024
LOG_TAIL_BYTES = 2000
LOOK_SECONDS = 0.02

BUILTIN_LOCALE_MAJOR = 17
"""From 17 on PostgreSQL brings its own C.UTF-8, the same on every machine."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "wal_compression": "on",
    # Sources may be captured by logical decoding; inserts write no more for it.
    "wal_level": "logical",
    # Sealing writes 800 bytes of WAL a row: fewer checkpoints write fewer full pages, and
    # segments that are kept need not be filled with zeros again.
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

NOT_DURABLE: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}

SHARED_BUFFERS_SHARE = 8
"""The server gets this part of the memory for its buffers; it shares the machine with others."""
LEAST_SHARED_BUFFERS_MB = 128
"""PostgreSQL's own default."""
MOST_SHARED_BUFFERS_MB = 2048
"""Sealing touches the front of its indexes; more memory serves better as the kernel's cache."""
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may use; `max` where there is no limit."""

StopMode = Literal["fast", "immediate"]
STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class EmbeddedPostgres:
    """
    One PostgreSQL server in *data_dir*; as a context manager, running while the context lasts.

    *bin_dir* is found by `find_binaries` unless given; *settings* are further server settings
    and win over ours. `durable=False` never waits for the disk: for tests, where a crash of the
    machine may cost the data.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._bin_dir = bin_dir
        self._durable = durable
        # A server for tests keeps PostgreSQL's own size: several may run beside each other.
        sized = {"shared_buffers": shared_buffers(memory_bytes())} if durable else NOT_DURABLE
        self._settings = {**SETTINGS, **sized, **(settings or {})}
        self._cluster = self.data_dir / "cluster"
        self._account: Account | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None when this object runs none."""
        return self._process.pid if self._process else None

    @property
    def log_path(self) -> Path:
        """Where the server writes what it has to say."""
        return self.data_dir / "server.log"

    def is_running(self) -> bool:
        """Whether the server that this object started is alive."""
        return self._process is not None and self._process.poll() is None

    def url(self, dbname: str = SUPERUSER, *, user: str = SUPERUSER) -> str:
        """
        Return the connection URL of *dbname* through the socket.

        It carries the password for the superuser alone; other roles have their own.

        Raises:
            PasswordMissingError: The password file is gone.
        """
        secret = f":{quote(self._read_password(), safe='')}" if user == SUPERUSER else ""
        place = quote(str(self._socket_dir()), safe="")
        return f"postgresql://{quote(user, safe='')}{secret}@/{quote(dbname, safe='')}?host={place}"

    def start(self) -> None:
        """
        Start the server, making its data first when there are none; a running one is left as is.

        Returns once the server accepts connections. Whatever an earlier run left, it is
        repaired; nothing in a directory that is not ours is touched.

        Raises:
            BinariesNotFoundError: No PostgreSQL 15 or newer is installed.
            NoServerAccountError: We are root, and there is no account to run the server as.
            ForeignDirectoryError: The directory holds other things than a server of ours.
            DataOwnerError: The data belong to another user.
            DataDirectoryBusyError: Another process runs the server of this directory.
            DataVersionError: The data are of another major version than the binaries.
            PasswordMissingError: There are data, and no password file.
            SocketPathError: No place for the socket has a path that is short enough.
            OrphanServerError: An earlier server does not end.
            ServerStartError: `initdb` or the server failed; the error carries the log's end.
        """
        if self.is_running():
            return
        self._release()
        self._refuse_foreign()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        try:
            self.data_dir.chmod(0o700)
            self._account = self._choose_account()
            programs = reachable_binaries(self._bin_dir or find_binaries(), self._account)
            self._clear_unfinished()
            if not self._cluster.exists():
                self._initialise(programs)
            self._check_data(programs)
            end_orphans(self._cluster)
            self._make_socket_dir()
            self._launch(programs)
            self._wait_until_ready()
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """
        Stop the server and give the directory back; nothing happens when it does not run.

        `fast` ends sessions and writes a checkpoint; `immediate` leaves recovery to the next
        start, as does a checkpoint that takes longer than a minute.
        """
        process = self._process
        if process is not None:
            for number in (STOP_SIGNALS[mode], signal.SIGQUIT, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                    break
        self._release()

    def remove(self) -> None:
        """
        Stop the server, end what an earlier run left, and delete the directory with all data.

        Raises:
            ForeignDirectoryError: The directory holds other things than a server of ours.
            DataDirectoryBusyError: Another process runs the server of this directory.
            OrphanServerError: An earlier server does not end.
        """
        self.stop("immediate")
        if not self.data_dir.exists():
            return
        self._refuse_foreign()
        self._take_lock()
        try:
            end_orphans(self._cluster)
            self._remove_socket_dir()
            shutil.rmtree(self.data_dir)
        finally:
            self._release()

    def _refuse_foreign(self) -> None:
        try:
            names = sorted(path.name for path in self.data_dir.iterdir())
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise ForeignDirectoryError(self.data_dir, names=["a file"]) from None
        except PermissionError:
            raise DataOwnerError(self.data_dir, owner=self.data_dir.stat().st_uid) from None
        foreign = [n for n in names if n not in OWN_NAMES and not n.startswith(UNFINISHED)]
        if "cluster" in names and not (self._cluster / "PG_VERSION").is_file():
            foreign.append("cluster without PG_VERSION")
        if foreign:
            raise ForeignDirectoryError(self.data_dir, names=foreign)

    def _take_lock(self) -> None:
        lock = self._open_own("lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise DataDirectoryBusyError(self.data_dir, holder=holder) from None
        if not os.path.samestat(os.fstat(lock), (self.data_dir / "lock").stat()):
            # The directory was removed, and perhaps made anew, between our opening and locking.
            os.close(lock)
            raise DataDirectoryBusyError(self.data_dir, holder="")
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode("ascii"))
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None
        self._process = None

    def _open_own(self, name: str, flags: int) -> int:
        """Open a file of ours, mode 0600, owned as the directory is; never through a link."""
        try:
            opened = os.open(
                self.data_dir / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except PermissionError:
            raise DataOwnerError(self.data_dir, owner=self.data_dir.stat().st_uid) from None
        if os.geteuid() == 0:
            directory = self.data_dir.stat()
            os.fchown(opened, directory.st_uid, directory.st_gid)
        return opened

    def _choose_account(self) -> Account | None:
        """Who runs the server: ourselves, or as root the data's owner, or an account for such."""
        data = self._cluster if self._cluster.exists() else self.data_dir
        owner = data.stat()
        if os.geteuid() != 0:
            if owner.st_uid != os.geteuid():
                raise DataOwnerError(data, owner=owner.st_uid)
            return None
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
        for name in (SUPERUSER, "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return Account(entry.pw_uid, entry.pw_gid)
        raise NoServerAccountError

    def _clear_unfinished(self) -> None:
        for path in self.data_dir.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path)

    def _initialise(self, programs: Installation) -> None:
        # A crash before the rename leaves an `unfinished-` directory, which the next start
        # removes, and a password that it replaces.
        making = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.data_dir))
        self._give(making)
        cluster = making / "cluster"
        cluster.mkdir(mode=0o700)
        self._give(cluster)
        password = making / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(32), encoding="ascii")
        self._give(password)
        with self._reach(making) as (place, fds):
            command = [str(programs.bin_dir / "initdb"), "--pgdata", f"{place}/cluster"]
            command += ["--username", SUPERUSER, "--pwfile", f"{place}/password"]
            command += ["--auth", "scram-sha-256", "--data-checksums", "--encoding", "UTF8"]
            command += ["--locale", "C"]
            if programs.major >= BUILTIN_LOCALE_MAJOR:
                command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
            if not self._durable:
                command.append("--no-sync")
            self._run_initdb(command, fds)
        if os.geteuid() == 0:
            directory = self.data_dir.stat()
            os.chown(password, directory.st_uid, directory.st_gid)
        password.rename(self.data_dir / "password")
        cluster.rename(self._cluster)
        making.rmdir()
        if self._durable:
            _sync_directory(self.data_dir)

    def _run_initdb(self, command: list[str], fds: list[int]) -> None:
        try:
            done = subprocess.run(  # noqa: S603 - the initdb that was chosen
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=INITDB_SECONDS,
                cwd="/",
                env=_environment(),
                pass_fds=fds,
                **identity(self._account),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerStartError("initdb did not run", log=str(error)) from error
        if done.returncode != 0:
            raise ServerStartError("initdb failed", log=done.stderr[-LOG_TAIL_BYTES:])

    def _check_data(self, programs: Installation) -> None:
        actual = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if actual != str(programs.major):
            raise DataVersionError(expected=programs.major, actual=actual)
        self._read_password()

    def _socket_dir(self) -> Path:
        """Where the socket is: `socket`, or what it links to when its own path is too long."""
        place = self.data_dir / "socket"
        return place.readlink() if place.is_symlink() else place

    def _remove_socket_dir(self) -> None:
        shutil.rmtree(self._socket_dir(), ignore_errors=True)
        (self.data_dir / "socket").unlink(missing_ok=True)

    def _make_socket_dir(self) -> None:
        # Made anew, because what an earlier server left may belong to another account.
        self._remove_socket_dir()
        place = self.data_dir / "socket"
        if _is_short_enough(place):
            place.mkdir(mode=0o700)
        else:
            elsewhere = Path(tempfile.mkdtemp(prefix="tally-"))
            if not _is_short_enough(elsewhere):
                elsewhere.rmdir()
                raise SocketPathError
            place.symlink_to(elsewhere)
        self._give(self._socket_dir())

    def _launch(self, programs: Installation) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES:
            self.log_path.replace(self.data_dir / "server.log.1")
        with contextlib.ExitStack() as open_until_started:
            log = self._open_own("server.log", os.O_WRONLY | os.O_APPEND)
            open_until_started.callback(os.close, log)
            data, data_fds = open_until_started.enter_context(self._reach(self._cluster))
            sockets, socket_fds = open_until_started.enter_context(self._reach(self._socket_dir()))
            command = [str(programs.bin_dir / "postgres"), "-D", data, "-k", sockets]
            for name, value in self._settings.items():
                command += ["-c", f"{name}={value}"]
            self._process = subprocess.Popen(  # noqa: S603 - the postgres that was chosen
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                pass_fds=data_fds + socket_fds,
                # Ctrl-C reaches the whole foreground group; the server must outlive the workers.
                start_new_session=True,
                **identity(self._account),
            )

    def _wait_until_ready(self) -> None:
        # A database that is always there: `postgres` may have been dropped.
        url = self.url("template1")
        deadline = time.monotonic() + START_SECONDS
        while PGconn.ping(url.encode()) != Ping.OK:
            if not self.is_running():
                raise ServerStartError("the server ended while it started", log=self._log_tail())
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"the server did not answer within {START_SECONDS:.0f} seconds",
                    log=self._log_tail(),
                )
            time.sleep(LOOK_SECONDS)
        try:
            psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
        except psycopg.OperationalError as error:
            # Most likely a password file of another server.
            raise ServerStartError("the server refuses us", log=self._log_tail()) from error

    def _read_password(self) -> str:
        try:
            return (self.data_dir / "password").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise PasswordMissingError(
                f"{self.data_dir / 'password'} is gone; restore it from a backup"
            ) from None

    def _log_tail(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace")

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    @contextlib.contextmanager
    def _reach(self, directory: Path) -> Iterator[tuple[str, list[int]]]:
        """
        Yield a path by which the server reaches *directory*, and the descriptors it must inherit.

        Another account need not be able to walk there: below root's home it is not. A
        descriptor that it inherits leads to the directory itself, past all of its parents.
        """
        if self._account is None:
            yield str(directory), []
            return
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{opened}", [opened]
        finally:
            os.close(opened)


def memory_bytes() -> int:
    """Return the memory of this machine, or of this container where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = MEMORY_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdecimal() else machine


def shared_buffers(memory: int) -> str:
    """Return the size of the server's buffers on a machine of *memory* bytes."""
    share = memory // SHARED_BUFFERS_SHARE // 2**20
    return f"{min(max(share, LEAST_SHARED_BUFFERS_MB), MOST_SHARED_BUFFERS_MB)}MB"


def _environment() -> dict[str, str]:
    """Return our environment without what would steer libpq or the server elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _is_short_enough(directory: Path) -> bool:
    return len(os.fsencode(directory / SOCKET_NAME)) <= SOCKET_PATH_BYTES


def _sync_directory(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
