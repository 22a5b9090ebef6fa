"""
`tally serve`: the HTTP API with the explorer's pages beside it (log.md, section 6.4).

The two do not know each other; this is the one place that knows both.
"""

from __future__ import annotations

from collections.abc import Callable

from litestar.types import ASGIApp

from tallystick.config import Settings
from tallystick.errors import Error
from tallystick.http import Pages
from tallystick.http import serve as serve_http
from tallystick.publish import Publisher
from tallystick.web import is_page, make_explorer


def serve(settings: Settings) -> None:
    """
    Serve the API and the pages at the host and port of *settings* until SIGTERM or SIGINT.

    Raises:
        KeyPermissionsError: The operator's key file is open to others.
    """
    serve_http(settings, pages=Pages(is_page, make_pages))


def make_pages(
    publisher: Publisher,
    is_operator: Callable[[str], bool],
    status_of: Callable[[Error], int],
) -> ASGIApp:
    """Return the explorer as the API wants it."""
    return make_explorer(publisher, is_operator=is_operator, status_of=status_of)
