"""
The explorer: one ASGI application of pages that read, and nothing else (log.md, section 6.4).

It stands beside the HTTP API and does not know it. Whoever serves both asks `is_page` which
of them a request is for, and is the explorer's `Host`, in what both must agree on. The one
thing that a page keeps is a visitor's key, in his own browser (identity.md, section 6).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.identity.human_proofs import NOTHING_ACCEPTED, HumanProofRules
from tallystick.publish import Publisher
from tallystick.web.access import Host, Visitor, cookie_of
from tallystick.web.audits import audit_page
from tallystick.web.chain import chain_page, contracts_page, transaction_page
from tallystick.web.errors import PageFailedError, PageRequestError, SignInNeededError
from tallystick.web.pages import entry_page, log_page, logs_page, rows_page
from tallystick.web.particulars import history_of
from tallystick.web.people import keys_page, proofs_page, user_page
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
SEE_OTHER: Final = 303
INTERNAL_ERROR: Final = 500
OWN_PAGE: Final = re.compile(
    r"/|/login/?|/static/explorer\.css|/witness/?|/logs/[^/]+(/audit)?/?|/users/[^/]+/?|/api-keys/?"
    r"|/human-proofs/?|/chain(/contracts)?/?|/chain/tx/[^/]+/[^/]+/?"
)
FORM: Final = re.compile(r"/log(in|out)/?")
MAX_FORM_BYTES: Final = 1000
"""A key has 64 characters."""
SHARED_PAGE: Final = re.compile(r"/logs/[^/]+/(rows|history|entries/[0-9]+)/?")
"""Addresses at which the API answers programs, and the explorer people."""

AnyRequest = Request[Any, Any, Any]
WITHOUT_KEY: Final = frozenset({"/login", "/logout", "/static/explorer.css"})
"""Answered whoever asks: with a key that is good no more one must be able to sign in anew."""
KEY_TEXT: Final = re.compile(r"[A-Za-z0-9_]{1,200}")
"""What may stand in a cookie as it is."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoginPage:
    """The form that takes a key: where it is sent, and in which field."""

    action: str
    field: str


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
    if scope["type"] == "http" and scope["method"] == "POST":
        return FORM.fullmatch(scope["path"]) is not None
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
    database: Database,
    host: Host,
    proof_rules: HumanProofRules = NOTHING_ACCEPTED,
) -> Litestar:
    """Return the explorer over *publisher*, which the caller starts and stops, and *database*."""

    async def see_visitor(connection: ASGIConnection[Any, Any, Any, Any], _: object) -> None:
        # Before the handler and off its thread: a key is admitted by a call to the database.
        if connection.url.path not in WITHOUT_KEY:
            connection.state.visitor = await host.visit(connection.scope)

    def tell_error(request: AnyRequest, error: Error) -> Response[bytes]:
        return tell(request, error, host.status_of(error), host.headers_of(error))

    return Litestar(
        route_handlers=[
            *routes_of_house(publisher),
            *routes_of_people(database, proof_rules),
            *routes_of_chain(database),
            *routes_of_logs(publisher),
            *routes_of_login(host),
        ],
        guards=[see_visitor],
        exception_handlers={
            Error: tell_error,
            HTTPException: tell_framework_error,
            Exception: tell_defect,
        },
        openapi_config=None,
        logging_config=None,
    )


def visitor_of(request: AnyRequest) -> Visitor:
    """Return who asks for a page."""
    visitor: Visitor = request.state.visitor
    return visitor


def routes_of_house(publisher: Publisher) -> list[HTTPRouteHandler]:
    """Return the pages that are of no log."""

    @get("/", sync_to_thread=True)
    def show_logs(request: AnyRequest) -> Response[bytes]:
        return answer(request, "logs.html", logs_page(publisher, visitor_of(request)))

    @get("/witness", sync_to_thread=True)
    def show_witness(request: AnyRequest) -> Response[bytes]:
        after = request.query_params.get("after")
        page = witness_page(publisher, visitor_of(request), after=after)
        return answer(request, "witness.html", page)

    @get("/static/explorer.css", sync_to_thread=False)
    def show_style() -> Response[bytes]:
        # An hour old, it may be of the version before; the pages are readable with either.
        headers = {**HEADERS, "Cache-Control": "public, max-age=3600"}
        return Response(style_sheet(), media_type="text/css", headers=headers)

    return [show_logs, show_witness, show_style]


def routes_of_people(database: Database, rules: HumanProofRules) -> list[HTTPRouteHandler]:
    """Return the pages of users, keys and human proofs."""

    @get("/users/{user_id:str}", sync_to_thread=True)
    def show_user(request: AnyRequest) -> Response[bytes]:
        page = user_page(database, visitor_of(request), request.path_params["user_id"])
        return answer(request, "user.html", page)

    @get("/api-keys", sync_to_thread=True)
    def show_keys(request: AnyRequest) -> Response[bytes]:
        asked, visitor = request.query_params, visitor_of(request)
        page = keys_page(database, visitor, user_id=asked.get("user"), after=asked.get("after"))
        return answer(request, "api_keys.html", page)

    @get("/human-proofs", sync_to_thread=True)
    def show_proofs(request: AnyRequest) -> Response[bytes]:
        asked, visitor = request.query_params, visitor_of(request)
        user_id, after = asked.get("user"), asked.get("after")
        page = proofs_page(database, visitor, rules, user_id=user_id, after=after)
        return answer(request, "human_proofs.html", page)

    return [show_user, show_keys, show_proofs]


def routes_of_chain(database: Database) -> list[HTTPRouteHandler]:
    """Return the pages of networks, transactions and contracts."""

    @get("/chain", sync_to_thread=True)
    def show_chain(request: AnyRequest) -> Response[bytes]:
        return answer(request, "chain.html", chain_page(database, visitor_of(request)))

    @get("/chain/tx/{chain_id:int}/{transaction_hash:str}", sync_to_thread=True)
    def show_transaction(request: AnyRequest) -> Response[bytes]:
        at = request.path_params
        page = transaction_page(
            database, visitor_of(request), at["chain_id"], at["transaction_hash"]
        )
        return answer(request, "chain_transaction.html", page)

    @get("/chain/contracts", sync_to_thread=True)
    def show_contracts(request: AnyRequest) -> Response[bytes]:
        page = contracts_page(database, after=request.query_params.get("after"))
        return answer(request, "chain_contracts.html", page)

    return [show_chain, show_transaction, show_contracts]


def routes_of_login(host: Host) -> list[HTTPRouteHandler]:
    """Return the page that takes a key, and what keeps and forgets it."""

    @get("/login", sync_to_thread=False)
    def ask_key(request: AnyRequest) -> Response[bytes]:
        return answer(request, "login.html", LoginPage(action="/login", field="key"))

    @post("/login", request_max_body_size=MAX_FORM_BYTES)
    async def take_key(request: AnyRequest) -> Response[bytes]:
        host.check_origin(request.scope)
        key = (await request.form()).get("key", "")
        if not isinstance(key, str) or not KEY_TEXT.fullmatch(key):
            raise SignInNeededError("this is no key")
        # Asked as any request with it would be, so that it is refused and charged like one: to
        # the address that the proxies name, and with the limits in the answer.
        as_bearer = (b"authorization", b"Bearer " + key.encode())
        request.scope["headers"] = [as_bearer, *request.scope["headers"]]
        await host.visit(request.scope)
        return keep(request, host, key)

    @post("/logout", sync_to_thread=False)
    def forget_key(request: AnyRequest) -> Response[bytes]:
        host.check_origin(request.scope)
        return keep(request, host, "")

    return [ask_key, take_key, forget_key]


def keep(request: AnyRequest, host: Host, key: str) -> Response[bytes]:
    """Return the answer that lets the browser keep *key* and leads to the first page."""
    name = request.headers.get("host", "")
    cookie = cookie_of(host.cookie, key, scheme=request.url.scheme, host=name)
    headers = {**HEADERS, "Location": "/", "Set-Cookie": cookie, "Cache-Control": "no-store"}
    return Response(b"", status_code=SEE_OTHER, headers=headers)


def routes_of_logs(publisher: Publisher) -> list[HTTPRouteHandler]:
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


def tell(
    request: AnyRequest, error: Error, status: int, headers: Mapping[str, str] = NO_HEADERS
) -> Response[bytes]:
    """Return *error* as a page or as a problem document, with *headers* of its own."""
    problem = Problem(
        type=error.problem_type(),
        title=error.code().replace("_", " ").capitalize(),
        status=status,
        detail=error.message,
        code=error.code(),
    )
    as_html = prefers_html(request.headers.get("accept"), by_default=True)
    return Response(
        render_html("problem.html", problem) if as_html else render_json(problem),
        status_code=status,
        media_type=HTML if as_html else PROBLEM,
        headers={**HEADERS, "Cache-Control": "no-store", **headers},
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
