"""
`tally up`: everything in one process tree (log.md, section 6.4).

    supervisor
    ├── postgres           the embedded server, unless a database is set
    ├── watchdog           ends postgres when the supervisor is gone
    ├── tally worker       seals, checks sources, delivers events
    ├── tally serve        HTTP and pages
    └── dev chain          an EVM (chain.md, section 4.5), once HTTP answers

The supervisor does no work of its own: it starts, looks, restarts with back-off and ends. The
workers go first and the database last. Nothing of the tree outlives it, not even `kill -9`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from tallystick.config import Settings
from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.runtime import store, watchdog
from tallystick.runtime.children import Child
from tallystick.runtime.devchain.place import DevChain, format_endpoints, plan_dev_chain
from tallystick.runtime.errors import AddressInUseError, StartTimeoutError
from tallystick.runtime.house import initialise, origin_prefix
from tallystick.runtime.place import (
    DATABASE,
    embedded_server,
    operator_key_path,
    write_url_file,
)
from tallystick.runtime.postgres import EmbeddedPostgres

LOOK_SECONDS: Final = 0.1
START_SECONDS: Final = 30.0
CHILDREN_SECONDS: Final = 14.0
"""Of the 20 s that a shutdown may take; the rest is the server's last checkpoint."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
ABORTED: Final = 130

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """Where a Tallystick that was started is found."""

    url: str
    data_dir: Path
    key_dir: Path
    operator_key: Path
    database_file: Path | None
    """Holds the URL of the embedded server; None where a database was set."""
    dev_chain: str | None = None
    """Where the dev chain answers JSON-RPC; None where none is run."""


class Supervisor:
    """Starts the tree, keeps it alive, and ends it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: EmbeddedPostgres | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._children: list[Child] = []
        self._stop = threading.Event()
        self._server_failures = 0
        self._server_at = 0.0

    def run(self, started: Callable[[Running], None]) -> None:
        """
        Run until SIGTERM or SIGINT; *started* is told where, once HTTP answers.

        Raises:
            AddressInUseError: Another program listens on the address.
            EmbeddedPostgresError: The embedded server cannot be run.
            StartTimeoutError: The server does not answer.
            DatabaseUnavailableError, MigrationChecksumError, SchemaTooNewError: As `initialise`.
        """
        with self._signals():
            try:
                running = self._start()
                if not self._stop.is_set():
                    started(running)
                while not self._stop.wait(LOOK_SECONDS):
                    self._attend()
            finally:
                self._end()

    def _start(self) -> Running:
        settings = self._settings
        check_address(settings.host, settings.port)
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        url_file = None
        url = settings.database_url
        if url is None:
            self._server = embedded_server(settings)
            self._start_server()
            url = self._server.url(DATABASE)
            url_file = write_url_file(settings, url)
        initialise(settings, url)
        with Database(url, pool_size=1) as database, database.transaction(read_only=True) as tx:
            prefix = origin_prefix(tx, settings)
        dev_chain = plan_dev_chain(settings)
        environment = child_environment(settings, prefix=prefix, dev_chain=dev_chain)
        self._children = [
            Child("worker", ["worker", "--supervised"], environment),
            Child("serve", ["serve", "--supervised"], environment),
        ]
        for child in self._children:
            child.start()
        self._wait_until_served()
        if dev_chain is not None and not self._stop.is_set():
            # After the rest: nobody who waits for HTTP waits for an EVM.
            self._start_dev_chain(dev_chain, environment)
        return Running(
            url=f"http://{settings.host}:{settings.port}",
            data_dir=settings.data_dir.absolute(),
            key_dir=settings.keys.absolute(),
            operator_key=operator_key_path(settings),
            database_file=url_file,
            dev_chain=None if dev_chain is None else dev_chain.url,
        )

    def _start_dev_chain(self, dev_chain: DevChain, environment: dict[str, str]) -> None:
        child = Child("devchain", dev_chain.arguments, environment, module=dev_chain.module)
        self._children.append(child)
        child.start()

    def _start_server(self) -> None:
        """Start the embedded server, its watchdog and, the first time, its database."""
        assert self._server is not None, "a set database is somebody else's to start"
        self._server.start()
        pid = self._server.pid
        self._watchdog = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", watchdog.__file__, str(pid)],
            stdin=subprocess.PIPE,
            process_group=0,
        )
        with Database(self._server.url(), pool_size=1) as database, database.session() as session:
            store.create_database(Transaction(session), DATABASE)

    def _attend(self) -> None:
        """Look after the database first: children without one only wait."""
        now = time.monotonic()
        if self._server is not None and not self._server.is_running() and now >= self._server_at:
            self._restart_server(now)
        for child in self._children:
            child.attend(now)

    def _restart_server(self, now: float) -> None:
        try:
            self._drop_watchdog()
            self._start_server()
            self._server_failures = 0
        except Error as error:
            self._server_failures += 1
            pause = min(
                FIRST_PAUSE_SECONDS * 2.0 ** (self._server_failures - 1), LONGEST_PAUSE_SECONDS
            )
            self._server_at = now + pause
            logger.exception(
                "server.failed", process="postgres", error=error.code(), retry_seconds=pause
            )

    def _wait_until_served(self) -> None:
        settings = self._settings
        deadline = time.monotonic() + START_SECONDS
        while not self._stop.is_set() and not answers(settings.host, settings.port):
            if time.monotonic() > deadline:
                raise StartTimeoutError(f"HTTP does not answer within {START_SECONDS:.0f} s")
            self._stop.wait(LOOK_SECONDS)
            self._attend()

    def _end(self) -> None:
        """End the children, each finishing what it has begun, and then the server."""
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + CHILDREN_SECONDS
        while time.monotonic() < deadline and not all(c.has_ended() for c in self._children):
            time.sleep(LOOK_SECONDS / 2)
        for child in self._children:
            child.kill()
        if self._server is not None:
            self._server.stop("fast")
        self._drop_watchdog()

    def _abort(self) -> None:
        """End everything where it stands; the next start repairs what that leaves."""
        for child in self._children:
            child.kill()
        if self._server is not None:
            self._server.stop("immediate")
        self._drop_watchdog()
        os._exit(ABORTED)

    def _drop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.wait()
            assert self._watchdog.stdin is not None, "it was started with a pipe"
            self._watchdog.stdin.close()
        self._watchdog = None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal asks for the end, the second insists."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            if self._stop.is_set():
                self._abort()
            self._stop.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def child_environment(
    settings: Settings, *, prefix: str, dev_chain: DevChain | None = None
) -> dict[str, str]:
    """Return what tells a child the same settings; the password stays in its file."""
    measures = settings.data_dir.absolute() / "metrics"
    # What an earlier run counted is not this one's.
    shutil.rmtree(measures, ignore_errors=True)
    measures.mkdir(mode=0o700)
    given = {
        "TALLY_ORIGIN_PREFIX": prefix,
        # Worker and server keep their metrics together here; the server shows them.
        "PROMETHEUS_MULTIPROC_DIR": str(measures),
        "TALLY_DATA_DIR": str(settings.data_dir.absolute()),
        "TALLY_KEY_DIR": str(settings.keys.absolute()),
        "TALLY_HOST": settings.host,
        "TALLY_PORT": str(settings.port),
        # Loggers write when they are told, not when a buffer is full.
        "PYTHONUNBUFFERED": "1",
    }
    if settings.database_url is not None:
        given["TALLY_DATABASE_URL"] = settings.database_url
    if dev_chain is not None:
        given["TALLY_CHAIN_ENDPOINTS"] = format_endpoints(settings, dev_chain)
    return {**os.environ, **given}


def check_address(host: str, port: int) -> None:
    """
    Check that nobody listens on the address yet.

    Raises:
        AddressInUseError: Somebody does, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            # As servers do: connections that were just closed do not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise AddressInUseError(f"{host}:{port}: {error.strerror or error}") from error


def answers(host: str, port: int) -> bool:
    """Return whether the server answers HTTP."""
    reached = "127.0.0.1" if host in {"0.0.0.0", ""} else host  # noqa: S104 (compared, not bound)
    place = f"[{reached}]" if ":" in reached else reached
    # No proxy is asked for our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{place}:{port}/api/v1/health/live", timeout=2):
            return True
    except OSError:
        return False
