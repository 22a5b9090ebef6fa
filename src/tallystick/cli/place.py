"""
Which Tallystick a command means: its settings, its database, its keys.

Options win over `TALLY_…` in the environment, and those over `tally.toml`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

# Not used here: its import makes every SQLSTATE of sealing known to the database room.
import tallystick.seal.errors  # noqa: F401
from tallystick.config import Settings, load_settings
from tallystick.db import Database, Transaction
from tallystick.runtime.logging import configure_logging
from tallystick.runtime.place import database_url
from tallystick.seal.logs import KeyRing


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """The options that every command on a database has."""

    data: Annotated[Path | None, Parameter(help="The data directory of `tally up`.")] = None
    database_url: Annotated[
        str | None, Parameter(help="PostgreSQL; default: the embedded server.")
    ] = None
    key_dir: Annotated[Path | None, Parameter(help="Directory of the private keys.")] = None
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False

    def settings(self) -> Settings:
        """
        Return the settings, with these options over them; logs go to stderr from now on.

        Raises:
            ConfigError: A setting does not parse, or does not exist.
        """
        settings = load_settings(
            data_dir=self.data, database_url=self.database_url, key_dir=self.key_dir
        )
        # Unless it is told otherwise, the logging library writes to stdout, into our answers.
        configure_logging(settings.log_level)
        return settings

    def keys(self) -> KeyRing:
        """Return the private keys."""
        return KeyRing(self.settings().keys.absolute())

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """
        Open the database.

        Raises:
            NoDatabaseError: There is none.
        """
        settings = self.settings()
        # What a command changes must be a miss in the cache that servers read.
        with Database(
            database_url(settings), pool_size=2, application="tally", cache_url=settings.cache_url
        ) as database:
            yield database

    @contextlib.contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Transaction]:
        """Open the database and one transaction, which is committed at the end of the block."""
        with self.database() as database, database.transaction(read_only=read_only) as tx:
            yield tx


HERE = Place()
"""The options left as they are."""
