"""
The ASGI application: routes, guard, problems, put together (log.md, section 6).

A route without its line in `scopes` stops the start. Whatever a slice raises becomes one
problem document; what nobody expected becomes one that says nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import psycopg
import structlog
from litestar import Litestar, Response
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, Receive, Send
from litestar.utils.sync import AsyncCallable

from tallystick.db.errors import DatabaseUnavailableError
from tallystick.db.replica import parse_position
from tallystick.errors import Error
from tallystick.http.asked import AnyRequest, LogName, Served
from tallystick.http.authorize import Principal
from tallystick.http.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UnauthenticatedError,
)
from tallystick.http.jobs import Jobs
from tallystick.http.observe import ObservedApp
from tallystick.http.problems import (
    MEDIA_TYPE,
    Problem,
    internal_problem,
    problem_of,
)
from tallystick.http.proofs import PlainProofs
from tallystick.http.reading import POSITION, Reading
from tallystick.http.routes import (
    api_keys,
    audits,
    chain,
    chain_transactions,
    documents,
    events,
    histories,
    human_proofs,
    leaves,
    lifecycle,
    logs,
    operations,
    privacy,
    sinks,
    trees,
    users,
    witness,
)
from tallystick.http.scopes import FREE, NEEDS
from tallystick.http.services import Services
from tallystick.http.static import StaticTree
from tallystick.http.streams import Streams
from tallystick.http.writing import IDEMPOTENCY_KEY, Writing
from tallystick.identity.idempotency import Claim, request_digest
from tallystick.publish import PublishedHead
from tallystick.seal.errors import InvalidRequestError, LogNotFoundError

AnyConnection = ASGIConnection[Any, Any, Any, Any]

MAX_BODY_BYTES: Final = 1_000_000
"""Descriptions of logs and sources; pushed entries have their own, smaller bound."""
EXISTS: Final = "/logs/{log}/exists"
ABSENT: Final = FREE
"""What is needed to learn that there is no such log."""
PROVIDED: Final = (
    "services",
    "jobs",
    "streams",
    "last_health",
    "api_document",
    "head",
    "principal",
    "reading",
    "writing",
)
"""What handlers are given that is no parameter of the request."""
ERROR_OF_STATUS: Final[Mapping[int, type[Error]]] = {
    HTTPStatus.UNAUTHORIZED: UnauthenticatedError,
    HTTPStatus.NOT_FOUND: RouteNotFoundError,
    HTTPStatus.METHOD_NOT_ALLOWED: MethodNotAllowedError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLargeError,
}
"""What the framework refuses by itself, in our words; anything else is an invalid request."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pages:
    """
    Pages beside the API: *is_page* says which requests are theirs, *make* makes their ASGI
    application of what the server serves.
    """

    is_page: Callable[[Mapping[str, Any]], bool]
    make: Callable[[Services], ASGIApp]


ROUTES: Final = [
    trees.get_root,
    trees.get_size,
    trees.get_exists,
    trees.get_proof,
    trees.get_consistency,
    trees.has_leaf,
    trees.has_root,
    leaves.get_entries,
    leaves.get_entry,
    leaves.get_rows,
    leaves.search,
    histories.get_history,
    events.get_events,
    *logs.ROUTES,
    *lifecycle.ROUTES,
    *audits.ROUTES,
    *privacy.ROUTES,
    *sinks.ROUTES,
    *witness.ROUTES,
    *users.ROUTES,
    *api_keys.ROUTES,
    *human_proofs.ROUTES,
    *chain.ROUTES,
    *chain_transactions.ROUTES,
    *operations.ROUTES,
    *documents.ROUTES,
]


def create_app(services: Services, *, pages: Pages | None = None) -> ASGIApp:
    """
    Return the ASGI application of one server.

    It starts and stops the publisher's, the notifier's and the door's threads with its lifespan.
    """
    api = make_api(services)
    static = StaticTree(services.publisher, services.authorizer)
    proofs = PlainProofs(services.publisher, services.authorizer)
    if pages is None:
        return ObservedApp(api, static, proofs, services.door)
    mounted = mount(api, pages.make(services), pages.is_page)
    return ObservedApp(mounted, static, proofs, services.door)


def make_api(services: Services) -> Litestar:
    """Return the routes of the framework, each with its need."""
    last_health = operations.LastHealth()
    jobs = Jobs()
    streams = Streams()

    @asynccontextmanager
    async def run(_app: Litestar) -> AsyncIterator[None]:
        services.publisher.start()
        services.notifier.start()
        services.door.start(asyncio.get_running_loop())
        yield
        # Before the publisher: those who wait are answered, and their answers need the loop.
        await services.door.stop()
        jobs.stop()
        services.notifier.stop()
        services.publisher.stop()
        services.authorizer.close()

    app = Litestar(
        route_handlers=ROUTES,
        guards=[guard],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "jobs": Provide(lambda: jobs, sync_to_thread=False),
            "streams": Provide(lambda: streams, sync_to_thread=False),
            "last_health": Provide(lambda: last_health, sync_to_thread=False),
            "api_document": Provide(api_document, sync_to_thread=True),
            "head": Provide(provide_head, sync_to_thread=False),
            "principal": Provide(provide_principal, sync_to_thread=False),
            "reading": Provide(provide_reading, sync_to_thread=False),
            "writing": Provide(provide_writing),
        },
        exception_handlers={
            Error: tell_error,
            HTTPException: tell_framework_error,
            psycopg.DataError: tell_data_error,
            psycopg.OperationalError: tell_busy,
            RecursionError: tell_too_deep,
            Exception: tell_defect,
        },
        openapi_config=None,
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=[run],
        logging_config=None,
        opt={"services": services},
    )
    run_once_in_threads(app)
    missing = check_needs(app)
    assert not missing, f"http/scopes.py and the routes disagree on {missing}"
    return app


def run_once_in_threads(app: Litestar) -> None:
    """
    Undo what the framework does twice: a handler whose path has several methods is wrapped for
    its thread once for each, and gives a coroutine in a coroutine.
    """
    for route in app.routes:
        for handler, _ in getattr(route, "route_handler_map", {}).values():
            wrapped: Any = handler.fn
            while isinstance(wrapped, AsyncCallable) and isinstance(wrapped.func, AsyncCallable):
                wrapped.func = wrapped.func.func


@functools.cache
def api_document() -> dict[str, Any]:
    """
    The OpenAPI document of the routes, made when it is first asked for.

    The framework would serve it with pages of its own, which load scripts from elsewhere; so
    the one that describes is not the one that serves.
    """
    described = Litestar(
        route_handlers=ROUTES,
        dependencies={name: provide_nothing() for name in PROVIDED},
        openapi_config=OpenAPIConfig(
            title=documents.TITLE, version="0", use_handler_docstrings=True
        ),
        logging_config=None,
    )
    run_once_in_threads(described)
    return documents.describe_api(described)


def provide_nothing() -> Provide:
    """Return what stands for a service where routes are only described; each its own."""
    return Provide(lambda: None, sync_to_thread=False)


def mount(api: ASGIApp, pages: ASGIApp, is_page: Callable[[Mapping[str, Any]], bool]) -> ASGIApp:
    """Return the API with pages beside it; both live in the API's lifespan."""

    async def answer(scope: Any, receive: Receive, send: Send) -> None:
        chosen = pages if is_page(scope) else api
        await chosen(scope, receive, send)

    return answer


async def guard(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """
    Let through who may call the route, and keep in the connection who it is.

    Raises:
        Error: He may not, as `Authorizer.admit` lists.
        LogNotFoundError: The route is about a log that there is not.
    """
    services: Services = handler.opt["services"]
    scope: Any = connection.scope
    route = scope["path_template"]
    if scope["method"] == "OPTIONS":
        # Which methods a path has stands in the documents, and is anybody's to ask.
        connection.state.principal = None
        return
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    need = NEEDS[method, route]
    if need.opened is None:
        connection.state.principal = await services.authorizer.admit(scope, need)
        return
    log_name = connection.path_params["log"]
    head = services.publisher.heads.find(log_name)
    # That there is no such log is told to everybody, but a key that comes must be a valid one.
    shown = ABSENT if head is None else need
    connection.state.principal = await services.authorizer.admit(scope, shown, head)
    if head is None and route != EXISTS:
        raise LogNotFoundError(f"there is no log {log_name[:48]!r}")


def provide_head(services: Served, log: LogName) -> PublishedHead:
    """
    The published head of the log that the path names.

    Raises:
        LogNotFoundError: There is no log of this name.
    """
    return services.publisher.published_head(log)


def provide_principal(request: AnyRequest) -> Principal | None:
    """Who asks, as the guard found."""
    principal: Principal | None = request.state.principal
    return principal


def provide_reading(services: Served, request: AnyRequest) -> Reading:
    """
    The way in which a handler reads what need not be the newest.

    Raises:
        InvalidPositionError: The request sends a Tally-Position that is none.
    """
    sent = request.headers.get(POSITION)
    return Reading(services.database, None if sent is None else parse_position(sent))


async def provide_writing(services: Served, request: AnyRequest) -> Writing:
    """The one way in which a handler writes, under the request's Idempotency-Key if it has one."""
    principal: Principal | None = request.state.principal
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None or principal is None:
        return Writing(services.database, None)
    query = request.scope["query_string"].decode("latin-1")
    digest = request_digest(
        method=request.method,
        path=request.scope["path"] + (f"?{query}" if query else ""),
        body=await request.body(),
    )
    return Writing(services.database, Claim(principal.name, key, digest))


def tell(problem: Problem) -> Response[bytes]:
    """Return *problem* as a response."""
    return Response(
        problem.body(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def tell_error(_request: AnyRequest, error: Error) -> Response[bytes]:
    """Return the problem of a named error."""
    return tell(problem_of(error))


def tell_framework_error(_request: AnyRequest, raised: HTTPException) -> Response[bytes]:
    """Return the problem of what the framework refuses: no route, no method, bad parameters."""
    if raised.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return tell_defect(_request, raised)
    kind = ERROR_OF_STATUS.get(raised.status_code)
    return tell(problem_of(kind() if kind else InvalidRequestError(invalid_parameters(raised))))


def invalid_parameters(raised: HTTPException) -> str | None:
    """Return which parameters are wrong and why, without the values that they had."""
    extra = raised.extra if isinstance(raised.extra, list) else []
    found = [
        f"{one['key']}: {one['message']}"
        for one in extra
        if isinstance(one, dict) and "key" in one and "message" in one
    ]
    return "; ".join(found) or None


def tell_data_error(_request: AnyRequest, _raised: psycopg.DataError) -> Response[bytes]:
    """Return the problem of a value that PostgreSQL's types do not hold."""
    return tell(problem_of(InvalidRequestError("a value is outside of what the database holds")))


def tell_busy(_request: AnyRequest, raised: psycopg.OperationalError) -> Response[bytes]:
    """Return the problem of a lock, a deadlock or a disk: the same request may be right later."""
    logger.warning("http.busy", error=f"{defect_place(raised)} {raised.sqlstate}")
    return tell(problem_of(DatabaseUnavailableError("the database could not do this now")))


def tell_too_deep(_request: AnyRequest, _raised: RecursionError) -> Response[bytes]:
    """Return the problem of JSON that nests deeper than the decoder goes."""
    return tell(problem_of(InvalidRequestError("the body nests too deep")))


def tell_defect(_request: AnyRequest, raised: Exception) -> Response[bytes]:
    """Return the problem of a bug, and log its kind and place."""
    logger.error("http.defect", error=defect_place(raised))
    return tell(internal_problem())


def defect_place(raised: BaseException) -> str:
    """Return the kind of *raised* and where it was raised, not its words: they may quote data."""
    trace = raised.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
    return type(raised).__name__ + where


def check_needs(app: Litestar) -> list[str]:
    """Return the routes of *app* without a need, and needs without a route."""
    routes = {
        (method, route.path_format)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    return sorted(f"{method} {path}" for method, path in routes ^ NEEDS.keys())
