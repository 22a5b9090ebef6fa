"""
Where one Tallystick lives: its database, its keys, its files (log.md, section 6.4).

    <data>/postgres/       the embedded server (runtime/postgres.py)
    <data>/keys/           private keys, unless key_dir says otherwise
    <data>/operator.key    the operator's API key, mode 0600
    <data>/database.url    how `psql` reaches the embedded server, mode 0600
    <data>/devchain/       the dev chain's journal, and where it answers (runtime/devchain)
"""

from __future__ import annotations

import os
from pathlib import Path

from tallystick.config import Settings
from tallystick.runtime.errors import NoDatabaseError
from tallystick.runtime.postgres import EmbeddedPostgres

DATABASE = "tally"
"""The database of the embedded server; `postgres` is left as the server made it."""
SERVER_DIRECTORY = "postgres"
URL_FILE = "database.url"
OPERATOR_KEY_FILE = "operator.key"


def embedded_server(settings: Settings) -> EmbeddedPostgres:
    """Return the embedded server of the data directory; it is neither made nor started."""
    return EmbeddedPostgres(settings.data_dir.absolute() / SERVER_DIRECTORY)


def database_url(settings: Settings) -> str:
    """
    Return the URL of the database: the one that is set, else the embedded server's.

    Raises:
        NoDatabaseError: None is set, and the data directory has no embedded server.
    """
    if settings.database_url is not None:
        return settings.database_url
    server = embedded_server(settings)
    if not (server.data_dir / "password").is_file():
        raise NoDatabaseError(
            f"there is no database: {settings.data_dir} has none; start `tally up`,"
            " or name one with --database-url or TALLY_DATABASE_URL"
        )
    return server.url(DATABASE)


def operator_key_path(settings: Settings) -> Path:
    """Return where the operator's API key is."""
    return settings.data_dir.absolute() / OPERATOR_KEY_FILE


def write_url_file(settings: Settings, url: str) -> Path:
    """Write *url*, which holds a password, to a file that its owner alone can read."""
    path = settings.data_dir.absolute() / URL_FILE
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(url + "\n")
    fresh.replace(path)
    return path
