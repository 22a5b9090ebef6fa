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

from tallystick.errors import Error
from tallystick.http.asked import AnyRequest, LogName, Served
from tallystick.http.authorize import Principal, check_need
from tallystick.http.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    RouteNotFoundError,
    ScopeMissingError,
    UnauthenticatedError,
)
from tallystick.http.jobs import Jobs
from tallystick.http.observe import ObservedApp
from tallystick.http.problems import (
    MEDIA_TYPE,
    Problem,
    internal_problem,
    problem_of,
    status_of,
)
from tallystick.http.proofs import PlainProofs
from tallystick.http.routes import (
    audits,
    documents,
    events,
    histories,
    leaves,
    lifecycle,
    logs,
    operations,
    privacy,
    sinks,
    trees,
    witness,
)
from tallystick.http.scopes import NEEDS
from tallystick.http.services import Services
from tallystick.http.static import StaticTree
from tallystick.publish import PublishedHead, Publisher
from tallystick.seal.errors import InvalidRequestError, LogNotFoundError

AnyConnection = ASGIConnection[Any, Any, Any, Any]

MAX_BODY_BYTES: Final = 1_000_000
"""Descriptions of logs and sources; pushed entries have their own, smaller bound."""
EXISTS: Final = "/logs/{log}/exists"
PROVIDED: Final = ("services", "jobs", "last_health", "api_document", "head", "principal")
"""What handlers are given that is no parameter of the request."""
ERROR_OF_STATUS: Final[Mapping[int, type[Error]]] = {
    HTTPStatus.UNAUTHORIZED: UnauthenticatedError,
    HTTPStatus.FORBIDDEN: ScopeMissingError,
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
    application of a publisher, of whether a key is the operator's, and of an error's status.
    """

    is_page: Callable[[Mapping[str, Any]], bool]
    make: Callable[[Publisher, Callable[[str], bool], Callable[[Error], int]], ASGIApp]


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
    explorer = pages.make(
        services.publisher, services.authorizer.is_operator, lambda error: status_of(type(error))
    )
    return ObservedApp(mount(api, explorer, pages.is_page), static, proofs, services.door)


def make_api(services: Services) -> Litestar:
    """Return the routes of the framework, each with its need."""
    last_health = operations.LastHealth()
    jobs = Jobs()

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

    app = Litestar(
        route_handlers=ROUTES,
        guards=[guard],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "jobs": Provide(lambda: jobs, sync_to_thread=False),
            "last_health": Provide(lambda: last_health, sync_to_thread=False),
            "api_document": Provide(api_document, sync_to_thread=True),
            "head": Provide(provide_head, sync_to_thread=False),
            "principal": Provide(provide_principal, sync_to_thread=False),
        },
        exception_handlers={
            Error: tell_error,
            HTTPException: tell_framework_error,
            psycopg.DataError: tell_data_error,
            RecursionError: tell_too_deep,
            Exception: tell_defect,
        },
        openapi_config=None,
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=[run],
        logging_config=None,
        opt={"services": services},
    )
    missing = check_needs(app)
    assert not missing, f"http/scopes.py and the routes disagree on {missing}"
    return app


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

    A coroutine, though it awaits nothing: a plain function would cost a way to a thread.

    Raises:
        UnauthenticatedError, ScopeMissingError: He may not.
        LogNotFoundError: The route is about a log that there is not.
    """
    services: Services = handler.opt["services"]
    scope: Any = connection.scope
    route = scope["path_template"]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    principal = services.authorizer.authenticate(connection.headers.get("authorization"))
    connection.state.principal = principal
    need = NEEDS[method, route]
    head = None
    if need.opened is not None:
        log_name = connection.path_params["log"]
        head = services.publisher.heads.find(log_name)
        if head is None:
            if route == EXISTS:
                return
            raise LogNotFoundError(f"there is no log {log_name[:48]!r}")
    check_need(need, principal, head)


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
