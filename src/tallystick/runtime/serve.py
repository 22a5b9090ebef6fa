"""
`tally serve`: the HTTP API with the explorer's pages beside it (log.md, section 6.4).

The two do not know each other; this is the one place that knows both.
"""

from __future__ import annotations

from collections.abc import Callable

from litestar.types import ASGIApp

from tallystick.config import Settings
from tallystick.db import Database
from tallystick.errors import Error
from tallystick.http import Pages
from tallystick.http import serve as serve_http
from tallystick.publish import Publisher
from tallystick.runtime.house import origin_prefix
from tallystick.runtime.place import database_url
from tallystick.web import is_page, make_explorer


def serve(settings: Settings) -> None:
    """
    Serve the API and the pages at the host and port of *settings* until SIGTERM or SIGINT.

    Raises:
        NoDatabaseError: No database is set, and none is embedded.
        DatabaseUnavailableError: It does not answer, and the origins' prefix is not set.
        KeyPermissionsError: The operator's key file is open to others.
    """
    url = database_url(settings)
    prefix = settings.origin_prefix
    if prefix is None:
        with Database(url, pool_size=1) as database, database.transaction(read_only=True) as tx:
            prefix = origin_prefix(tx, settings)
    resolved = settings.model_copy(update={"database_url": url, "origin_prefix": prefix})
    serve_http(resolved, pages=Pages(is_page, make_pages))


def make_pages(
    publisher: Publisher,
    is_operator: Callable[[str], bool],
    status_of: Callable[[Error], int],
) -> ASGIApp:
    """Return the explorer as the API wants it."""
    return make_explorer(publisher, is_operator=is_operator, status_of=status_of)
