"""
The explorer: one ASGI application of pages that read, and nothing else (log.md, section 6.4).

It stands beside the HTTP API and does not know it. Whoever serves both asks `is_page` which
of them a request is for, and gives the explorer what they must agree on: who the operator is,
and which status an error has.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from tallystick.errors import Error
from tallystick.publish import Publisher
from tallystick.web.access import CHALLENGE, Visitor, key_in
from tallystick.web.audits import audit_page
from tallystick.web.errors import PageFailedError, PageRequestError, SignInNeededError
from tallystick.web.pages import entry_page, log_page, logs_page, rows_page
from tallystick.web.particulars import history_of
from tallystick.web.render import (
    HEADERS,
    HTML,
    JSON,
    PROBLEM,
    TEXT,
    prefers_html,
    render_html,
    render_json,
    style_sheet,
)
from tallystick.web.witness import witness_page

MAX_KEY_COLUMNS: Final = 32
"""PostgreSQL's own limit of columns in an index."""
UNAUTHORIZED: Final = 401
INTERNAL_ERROR: Final = 500
OWN_PAGE: Final = re.compile(
    r"/|/sign-in/?|/static/explorer\.css|/witness/?|/logs/[^/]+(/audit)?/?"
)
SHARED_PAGE: Final = re.compile(r"/logs/[^/]+/(rows|history|entries/[0-9]+)/?")
"""Addresses at which the API answers programs, and the explorer people."""

AnyRequest = Request[Any, Any, Any]
VisitorOf = Callable[[AnyRequest], Visitor]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a page, and as RFC 9457 says it."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def is_page(scope: Mapping[str, Any]) -> bool:
    """Return whether a request is for the explorer, and not for the API beside it."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    if OWN_PAGE.fullmatch(scope["path"]):
        return True
    if not SHARED_PAGE.fullmatch(scope["path"]):
        return False
    headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    return prefers_html(headers.get(b"accept", b"").decode("latin-1"), by_default=False)


def make_explorer(
    publisher: Publisher,
    *,
    is_operator: Callable[[str], bool],
    status_of: Callable[[Error], int],
) -> Litestar:
    """
    Return the explorer over *publisher*, which the caller starts and stops.

    *is_operator* says whether a key opens private logs, *status_of* which HTTP status an
    error has.
    """

    def visitor_of(request: AnyRequest) -> Visitor:
        key = key_in(request.headers.get("authorization"))
        return Visitor(is_operator=key is not None and is_operator(key))

    def tell_error(request: AnyRequest, error: Error) -> Response[bytes]:
        return tell(request, error, status_of(error))

    return Litestar(
        route_handlers=[
            *routes_of_house(publisher, visitor_of),
            *routes_of_logs(publisher, visitor_of),
        ],
        exception_handlers={
            Error: tell_error,
            HTTPException: tell_framework_error,
            Exception: tell_defect,
        },
        openapi_config=None,
        logging_config=None,
    )


def routes_of_house(publisher: Publisher, visitor_of: VisitorOf) -> list[HTTPRouteHandler]:
    """Return the pages that are of no log."""

    @get("/", sync_to_thread=True)
    def show_logs(request: AnyRequest) -> Response[bytes]:
        return answer(request, "logs.html", logs_page(publisher, visitor_of(request)))

    @get("/witness", sync_to_thread=True)
    def show_witness(request: AnyRequest) -> Response[bytes]:
        after = request.query_params.get("after")
        page = witness_page(publisher, visitor_of(request), after=after)
        return answer(request, "witness.html", page)

    @get("/sign-in", sync_to_thread=True)
    def sign_in(request: AnyRequest) -> Response[bytes]:
        if not visitor_of(request).is_operator:
            raise SignInNeededError
        return Response(b"", status_code=303, headers={**HEADERS, "Location": "/"})

    @get("/static/explorer.css", sync_to_thread=False)
    def show_style() -> Response[bytes]:
        # An hour old, it may be of the version before; the pages are readable with either.
        headers = {**HEADERS, "Cache-Control": "public, max-age=3600"}
        return Response(style_sheet(), media_type="text/css", headers=headers)

    return [show_logs, show_witness, sign_in, show_style]


def routes_of_logs(publisher: Publisher, visitor_of: VisitorOf) -> list[HTTPRouteHandler]:
    """Return the pages of a log."""

    @get("/logs/{log_name:str}", sync_to_thread=True)
    def show_log(request: AnyRequest) -> Response[bytes]:
        log_name = request.path_params["log_name"]
        return answer(request, "log.html", log_page(publisher, visitor_of(request), log_name))

    @get("/logs/{log_name:str}/rows", sync_to_thread=True)
    def show_row(request: AnyRequest) -> Response[bytes]:
        page = rows_page(
            publisher,
            visitor_of(request),
            request.path_params["log_name"],
            table=request.query_params.get("table", ""),
            key=key_columns(request.query_params.getall("key", [])),
            after=request.query_params.get("after"),
        )
        return answer(request, "rows.html", page)

    @get("/logs/{log_name:str}/entries/{index:int}", sync_to_thread=True)
    def show_entry(request: AnyRequest) -> Response[bytes]:
        place = request.path_params
        page = entry_page(publisher, visitor_of(request), place["log_name"], place["index"])
        return answer(request, "entry.html", page)

    @get("/logs/{log_name:str}/audit", sync_to_thread=True)
    def show_audits(request: AnyRequest) -> Response[bytes]:
        log_name, after = request.path_params["log_name"], request.query_params.get("after")
        page = audit_page(publisher, visitor_of(request), log_name, after=after)
        return answer(request, "audit.html", page)

    @get("/logs/{log_name:str}/history", sync_to_thread=True)
    def show_history(request: AnyRequest) -> Response[bytes]:
        # The API has this file too; a browser that signed in with a password reads it here.
        file = history_of(
            publisher,
            visitor_of(request),
            request.path_params["log_name"],
            table=request.query_params.get("table", ""),
            key=key_columns(request.query_params.getall("key", [])),
        )
        return Response(file, media_type=TEXT, headers=HEADERS)

    return [show_log, show_row, show_entry, show_audits, show_history]


def answer(request: AnyRequest, template: str, page: Any) -> Response[bytes]:
    """Return *page* as the request wants it."""
    if prefers_html(request.headers.get("accept"), by_default=True):
        return Response(render_html(template, page), media_type=HTML, headers=HEADERS)
    return Response(render_json(page), media_type=JSON, headers=HEADERS)


def tell(request: AnyRequest, error: Error, status: int) -> Response[bytes]:
    """Return *error* as a page or as a problem document."""
    problem = Problem(
        type=error.problem_type(),
        title=error.code().replace("_", " ").capitalize(),
        status=status,
        detail=error.message,
        code=error.code(),
    )
    headers = {**HEADERS, "Cache-Control": "no-store"}
    if status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    as_html = prefers_html(request.headers.get("accept"), by_default=True)
    return Response(
        render_html("problem.html", problem) if as_html else render_json(problem),
        status_code=status,
        media_type=HTML if as_html else PROBLEM,
        headers=headers,
    )


def tell_framework_error(request: AnyRequest, raised: HTTPException) -> Response[bytes]:
    """Return what the framework refuses, a missing parameter or address, in our words."""
    return tell(request, PageRequestError(raised.detail), raised.status_code)


def tell_defect(request: AnyRequest, raised: Exception) -> Response[bytes]:
    """Return that there is a defect, and nothing about it; the log has the rest."""
    logger.error("page.failed", error=type(raised).__name__, exc_info=raised)
    return tell(request, PageFailedError(), INTERNAL_ERROR)


def key_columns(key: list[str]) -> list[str]:
    """
    Return the columns of a key: given one by one, or as the JSON array that leaves carry.

    Raises:
        PageRequestError: There are none, or more than a key can have.
    """
    if len(key) == 1 and key[0].startswith("["):
        # A key's text may begin like an array without being one.
        with contextlib.suppress(msgspec.DecodeError):
            key = msgspec.json.decode(key[0], type=list[str])
    if not 0 < len(key) <= MAX_KEY_COLUMNS:
        raise PageRequestError("a row is named by its table and its key, column by column")
    return key
