"""What the API says of itself: OpenAPI, one page of documents, one page for each problem."""

from __future__ import annotations

import html
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.di import NamedDependency

from tallystick import __version__
from tallystick.errors import Error, all_errors
from tallystick.http.asked import AnyRequest
from tallystick.http.errors import RouteNotFoundError
from tallystick.http.problems import status_of, title_of
from tallystick.http.scopes import NEEDS, PUSH_NEEDS, STATIC_NEEDS, Need, takes_key

TITLE: Final = "Tallystick"
STATIC_SUMMARIES: Final = {
    "/logs/{log}/checkpoint": "The published checkpoint, a signed note with its cosignatures.",
    "/logs/{log}/tile/{level}/{tile}": "A tile: 1 to 256 hashes of 32 bytes (C2SP tlog-tiles).",
    "/logs/{log}/tile/entries/{tile}": "An entry bundle: 1 to 256 leaves behind their lengths.",
}
IDEMPOTENCY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again within 24 hours, the same request gets the same answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}dt{margin-top:1rem}"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def describe_api(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document of *app*, with the static trees and what each route needs."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document["info"] = {"title": TITLE, "version": __version__}
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    paths: dict[str, Any] = document["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            need = NEEDS[method.upper(), path]
            describe_need(operation, need)
            if takes_key(method.upper(), need):
                operation.setdefault("parameters", []).append(IDEMPOTENCY_PARAMETER)
    for path, need in STATIC_NEEDS.items():
        paths[path] = {"get": describe_need(static_operation(path), need)}
    for (method, path), need in PUSH_NEEDS.items():
        paths[path] = {method.lower(): describe_need(push_operation(), need)}
    return document


def describe_need(operation: dict[str, Any], need: Need) -> dict[str, Any]:
    """Say in *operation* what a caller must have, in words and for tools."""
    operation["x-needs"] = need.words
    is_optional = need.public or need.opened is not None
    operation["security"] = [{}] * is_optional + [{"key": []}]
    operation["responses"]["default"] = {
        "description": "An RFC 9457 problem.",
        "content": {"application/problem+json": {}},
    }
    return operation


def static_operation(path: str) -> dict[str, Any]:
    """Return the operation of a path of the static tree."""
    media_type = "text/plain" if path.endswith("checkpoint") else "application/octet-stream"
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return {
        "summary": STATIC_SUMMARIES[path],
        "operationId": "".join(word.title() for word in ["Static", *path.split("/")[3:4], *names]),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {"200": {"description": "OK", "content": {media_type: {}}}},
    }


def push_operation() -> dict[str, Any]:
    """Return the operation of the push door."""
    return {
        "summary": "Push an entry of 1 to 65,535 bytes; the answer is its index, once sealed."
        " It takes no Idempotency-Key: `deduplicate` makes a push repeatable.",
        "operationId": "AddEntry",
        "parameters": [
            {"name": "log", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "deduplicate",
                "in": "query",
                "description": "1: bytes that the log has already give their earlier index.",
                "schema": {"type": "integer", "enum": [0, 1], "default": 0},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
        "responses": {"200": {"description": "OK", "content": {"text/plain": {}}}},
    }


@get("/openapi.json", sync_to_thread=False)
def get_openapi(api_document: NamedDependency[dict[str, Any]]) -> Response[bytes]:
    """This API, described for tools (OpenAPI 3.1)."""
    return Response(msgspec.json.encode(api_document), media_type=MediaType.JSON)


@get("/docs", sync_to_thread=False)
def get_docs(api_document: NamedDependency[dict[str, Any]]) -> Response[str]:
    """This API, described for people."""
    return Response(render_docs(api_document), media_type=MediaType.HTML, headers=PAGE_HEADERS)


@get("/problems/{slice:str}/{code:str}", sync_to_thread=False)
def get_problem(request: AnyRequest) -> Response[Any]:
    """What a problem means, by its type."""
    path = f"/problems/{request.path_params['slice']}/{request.path_params['code']}"
    error = next((one for one in all_errors() if one.problem_type() == path), None)
    if error is None:
        raise RouteNotFoundError("there is no such problem")
    if "application/json" in request.headers.get("accept", ""):
        return Response(describe_problem(error), media_type=MediaType.JSON)
    described = describe_problem(error)
    body = (
        f"<h1><code>{html.escape(described['code'])}</code></h1>"
        f"<p>{html.escape(described['title'])}</p><p>Status {described['status']}.</p>"
    )
    return Response(page(described["code"], body), media_type=MediaType.HTML, headers=PAGE_HEADERS)


def describe_problem(error: type[Error]) -> dict[str, Any]:
    """Return what a problem of this kind always says."""
    return {
        "type": error.problem_type(),
        "title": title_of(error),
        "status": int(status_of(error)),
        "code": error.code(),
        "kind": error.kind.value,
    }


def render_docs(document: dict[str, Any]) -> str:
    """Return the page of all routes: method, path, need, what it does, parameters."""
    parts = [
        f"<h1>{TITLE} {__version__}</h1><p>For tools: <a href=/openapi.json>OpenAPI</a>.</p><dl>"
    ]
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            words = operation.get("description") or operation.get("summary") or ""
            names = ", ".join(
                f"<code>{html.escape(one['name'])}</code>"
                for one in operation.get("parameters", [])
            )
            parts.append(
                f"<dt><code>{method.upper()} {html.escape(path)}</code>"
                f" <small>({html.escape(operation['x-needs'])})</small></dt>"
                f"<dd>{html.escape(words)}{f'<br>{names}' if names else ''}</dd>"
            )
    return page("API", "".join(parts) + "</dl>")


def page(title: str, body: str) -> str:
    """Return a whole page."""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{TITLE}: {html.escape(title)}"
        f"</title><style>{STYLE}</style>{body}</html>"
    )


ROUTES: Final = [get_openapi, get_docs, get_problem]
