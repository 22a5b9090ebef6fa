"""
The ground that a run stands on: one embedded server, waiting for the disk, deleted at the end.

It has the settings that `tally up` gives it. Each figure gets databases of its own from one
migrated template, and a checkpoint afterwards, so that no figure pays for what another wrote.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql

from tallystick.db import Database, connect, migrate
from tallystick.runtime.postgres import EmbeddedPostgres
from tallystick.seal.logs import KeyRing, Log, LogSettings, create_log
from tallystick.seal.sequencer import Sequencer

TEMPLATE: Final = "tally_template"
PREFIX: Final = "tallystick-bench-"
ORIGIN_PREFIX: Final = "log.example"
SETTINGS: Final = {"max_connections": "200"}

Size = TypeVar("Size", int, float)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is: full, or quick, which shows that everything runs and no more."""

    is_quick: bool = False

    def pick(self, full: Size, quick: Size) -> Size:
        """Return the size of this run."""
        return quick if self.is_quick else full

    @property
    def rounds(self) -> int:
        """Rounds of a figure: 5, of which the median is shown."""
        return self.pick(5, 2)


@dataclass(frozen=True, slots=True)
class LogGround:
    """One log in a database of its own, with what seals it."""

    url: str
    database: Database
    keys: KeyRing
    log: Log

    def sequencer(self) -> Sequencer:
        """Return a sequencer that remembers nothing, as after a start."""
        return Sequencer(self.database, self.keys)

    def seal_all(self, sequencer: Sequencer | None = None) -> int:
        """Seal until nothing waits, and return how many rows that were."""
        sequencer, rows = sequencer or self.sequencer(), 0
        while (sealed := sequencer.seal_once(self.log.log_id)) is not None and sealed.rows:
            rows += sealed.rows
        return rows

    def size(self) -> int:
        """Return the log's size."""
        return int(
            value(
                self.url,
                "SELECT max(tree_size) FROM tally.checkpoints WHERE log_id = %s",
                self.log.log_id,
            )
        )


class Ground:
    """The server of a run, its scale, and what figures share."""

    def __init__(self, server: EmbeddedPostgres, place: Path, scale: Scale) -> None:
        self.server = server
        self.scale = scale
        self._place = place
        self._databases = 0
        self._shared: dict[str, Any] = {}
        self._at_the_end = contextlib.ExitStack()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a fresh, migrated database; it is dropped afterwards."""
        if TEMPLATE not in self._shared:
            self._create(TEMPLATE, "template0")
            migrate(self.server.url(TEMPLATE))
            self._shared[TEMPLATE] = True
        self._databases += 1
        name = f"bench_{self._databases}"
        self._create(name, TEMPLATE)
        try:
            yield self.server.url(name)
        finally:
            with self.administrator() as connection:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))
                connection.execute("CHECKPOINT")

    @contextlib.contextmanager
    def log(self, name: str = "payments", **settings: Any) -> Iterator[LogGround]:
        """Yield a fresh database with one log in it, without control leaves unless told."""
        with self.database() as url, connect(url) as database:
            keys = KeyRing(self._place / f"keys-{self._databases}")
            wanted = LogSettings(**{"control_leaves": False, **settings})
            with database.transaction() as tx:
                log = create_log(tx, name, keys=keys, origin_prefix=ORIGIN_PREFIX, settings=wanted)
            yield LogGround(url, database, keys, log)

    def shared(self, name: str, make: Callable[[], contextlib.AbstractContextManager[Any]]) -> Any:
        """Return what several figures use, made by the first of them and kept until the end."""
        if name not in self._shared:
            self._shared[name] = self._at_the_end.enter_context(make())
        return self._shared[name]

    def checkpoint(self) -> None:
        """Let the server write now what it would have to write during the next measurement."""
        with self.administrator() as connection:
            connection.execute("CHECKPOINT")

    def administrator(self) -> psycopg.Connection:
        """Return a connection outside the measured databases."""
        return psycopg.connect(self.server.url(), autocommit=True)

    def close(self) -> None:
        """Give back what figures shared."""
        self._at_the_end.close()

    def _create(self, name: str, template: str) -> None:
        with self.administrator() as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))


@contextlib.contextmanager
def running_ground(scale: Scale) -> Iterator[Ground]:
    """Yield a running server in a directory of its own, and delete it at the end."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    server = EmbeddedPostgres(place / "postgres", settings=SETTINGS, durable=True)
    try:
        server.start()
        ground = Ground(server, place, scale)
        try:
            yield ground
        finally:
            ground.close()
    finally:
        server.remove()
        shutil.rmtree(place)


def value(url: str, query: str, *parameters: object) -> Any:
    """Return the first value of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]
