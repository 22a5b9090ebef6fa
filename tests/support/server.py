"""The tests' PostgreSQL: a throwaway server for each pytest process, and databases on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from tallystick.db import migrate
from tallystick.errors import Error
from tallystick.runtime.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "tallystick-tests-"
TEMPLATE = "tally_template"
SETTINGS = {"max_prepared_transactions": "20", "max_connections": "200"}

JUST_MADE_SECONDS = 60
"""A directory younger than this may be of a run that has not locked it yet."""


class TestServer:
    """A running server, and what tests ask of it."""

    __test__ = False

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._has_template = False

    @contextlib.contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """Yield the URL of a fresh database, dropped afterwards with whoever is still connected."""
        if migrated and not self._has_template:
            self._drop(TEMPLATE)
            self._create(TEMPLATE, "template0")
            migrate(self.server.url(TEMPLATE), test=True)
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        self._create(name, TEMPLATE if migrated else "template0")
        try:
            yield self.server.url(name)
        finally:
            self._drop(name)

    def _create(self, name: str, template: str) -> None:
        # Without fsync copying files takes 12 ms; through the WAL it takes 80.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def _drop(self, name: str) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._execute(statement.format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def running_server(bin_dir: Path | None, **settings: str) -> Iterator[TestServer]:
    """Yield a server in a directory of its own, deleted at the end."""
    remove_abandoned()
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    server = EmbeddedPostgres(
        place, bin_dir=bin_dir, settings={**SETTINGS, **settings}, durable=False
    )
    try:
        server.start()
        yield TestServer(server)
    finally:
        server.remove()


def remove_abandoned() -> None:
    """End and delete the servers of runs that were killed; those of living runs are locked."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(Error, OSError):
            found = place.lstat()
            is_old = time.time() - found.st_mtime > JUST_MADE_SECONDS
            if is_old and found.st_uid == os.geteuid():
                EmbeddedPostgres(place).remove()
