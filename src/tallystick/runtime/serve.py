"""
`tally serve`: the HTTP API with the explorer's pages beside it (log.md, section 6.4).

The two do not know each other; this is the one place that knows both.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp

from tallystick.chain.node.nodes import Nodes
from tallystick.config import Settings
from tallystick.db import Database
from tallystick.errors import Error
from tallystick.http import Authorizer, Pages, Services
from tallystick.http import serve as serve_http
from tallystick.http.credentials import COOKIE, check_origin
from tallystick.http.problems import problem_of, status_of
from tallystick.http.scopes import FREE
from tallystick.runtime.chain import register_built_in_followers
from tallystick.runtime.house import origin_prefix
from tallystick.runtime.human_proofs import open_facts
from tallystick.runtime.place import database_url
from tallystick.web import Visitor, is_page, make_explorer


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
    # A request that cancels what is queued tells whoever follows it.
    register_built_in_followers()
    # One client of each node, whoever asks.
    with Nodes(resolved.chain_endpoints) as nodes, open_facts(resolved, url, nodes) as facts:
        serve_http(resolved, pages=Pages(is_page, make_pages), facts=facts, nodes=nodes)


class PagesHost:
    """What the pages must agree on with the API beside them."""

    cookie = COOKIE

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def visit(self, scope: Any) -> Visitor:
        """
        Return who makes the request; a key pays for a page as for any request.

        Raises:
            Error: As `Authorizer.admit`, but that no scope is needed yet.
        """
        principal = await self._authorizer.admit(scope, FREE)
        if principal is None:
            return Visitor()
        return Visitor(principal.scopes, principal.user_id, is_signed_in=True)

    def check_origin(self, scope: Any) -> None:
        """
        Check that a form was sent from one of our pages.

        Raises:
            ForeignOriginError: It was not, or nothing says so.
        """
        headers = dict(scope["headers"])
        check_origin(headers.get(b"origin"), host=headers.get(b"host"))

    def status_of(self, error: Error) -> int:
        """Return the HTTP status of *error*."""
        return status_of(type(error))

    def headers_of(self, error: Error) -> dict[str, str]:
        """Return the headers that the API gives an answer of *error*."""
        return problem_of(error).headers


def make_pages(services: Services) -> ASGIApp:
    """Return the explorer as the API wants it."""
    host = PagesHost(services.authorizer)
    return make_explorer(services.publisher, services.database, host, services.proof_rules)
