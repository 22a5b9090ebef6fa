"""Reading a log from the command line: its published head, and which of its tables is meant."""

from __future__ import annotations

import time
from typing import Final

from tallystick.cli.errors import NotSealedError, UsageError
from tallystick.db import Database
from tallystick.publish import PublishedHead, Publisher
from tallystick.runtime.status import read_status, wait_until_sealed
from tallystick.seal.logs import get_log
from tallystick.seal.sources import list_sources

TILE_CACHE_MB: Final = 8
"""One command asks for a handful of tiles."""
LOOK_SECONDS: Final = 0.1


def open_log(database: Database, log: str) -> tuple[Publisher, PublishedHead]:
    """
    Return a reader of the database's logs, and the published head of *log*.

    Raises:
        LogNotFoundError: There is no such log.
    """
    publisher = Publisher(database, tile_cache_mb=TILE_CACHE_MB)
    publisher.refresh()
    return publisher, publisher.published_head(log)


def wait_for_head(database: Database, log: str, *, timeout_seconds: float) -> None:
    """
    Wait until what is committed now is sealed in *log* and under its published head.

    Raises:
        LogNotFoundError: There is no such log.
        NotSealedError: It was not in time.
    """
    deadline = time.monotonic() + timeout_seconds
    with database.transaction(read_only=True) as tx:
        get_log(tx, log)
    if not wait_until_sealed(database, log, timeout_seconds=timeout_seconds):
        raise NotSealedError(f"not sealed within {timeout_seconds:g} s; is a worker running?")
    sealed = next(state.size for state in read_status(database).logs if state.log_name == log)
    publisher, head = open_log(database, log)
    while head.size < sealed:
        # With a quorum of witnesses the published head follows the sealed one.
        if time.monotonic() >= deadline:
            raise NotSealedError(f"sealed, and not published within {timeout_seconds:g} s")
        time.sleep(LOOK_SECONDS)
        publisher.refresh()
        head = publisher.published_head(log)


def choose_table(database: Database, log: str, table: str | None) -> str:
    """
    Return *table*, or the one table that feeds the log.

    Raises:
        UsageError: Several feed it, or none does.
    """
    if table is not None:
        return table
    with database.transaction(read_only=True) as tx:
        tables = [source.source_table for source in list_sources(tx, log)]
    if len(tables) != 1:
        said = f"{', '.join(tables)} feed it" if tables else "no table feeds it"
        raise UsageError(f"--table is needed for log {log}: {said}")
    return tables[0]
