"""Who may call what: every route with every kind of caller, and the operator's key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tallystick.http.app import ROUTES, api_document, make_api
from tallystick.http.authorize import (
    OperatorAuthorizer,
    Principal,
    check_need,
    load_authorizer,
    read_operator_key,
)
from tallystick.http.errors import ScopeMissingError, UnauthenticatedError
from tallystick.http.scopes import LOG_SCOPES, NEEDS, OWN, PUSH_NEEDS, STATIC_NEEDS, Need
from tallystick.record import KeyPermissionsError
from tests.http.conftest import TOKEN, running

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.config import Settings
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

VALUES = {
    "log": "{visibility}",
    "index": "0",
    "table": "item",
    "slice": "seal",
    "code": "pruned",
    "level": "0",
    "tile": "000.p/1",
    "job": "00",
    "key_id": "00000000",
    "sink": "none",
    "origin_hash": "00",
}
EVERY_ROUTE = [*NEEDS, *PUSH_NEEDS, *(("GET", path) for path in STATIC_NEEDS)]


def path_of(template: str, visibility: str) -> str:
    """Return a path of the template about the log of this visibility."""
    filled = re.sub(r"\{(\w+)\}", lambda found: VALUES[found[1]], template)
    return filled.replace("{visibility}", visibility)


@pytest.fixture
def logs(server: Running) -> Running:
    """A server with one log of each visibility, each with one leaf."""
    for visibility in ("public", "hashes", "private"):
        server.builder.filled(visibility, [b"leaf"], visibility=visibility)
    server.services.publisher.refresh()
    return server


def need_of(method: str, template: str) -> Need:
    """What a caller of a route must have."""
    return {**NEEDS, **PUSH_NEEDS}.get((method, template)) or STATIC_NEEDS[template]


def expected(need: object, visibility: str) -> bool:
    """Whether everybody may call a route of this need about a log of this visibility."""
    opened = getattr(need, "opened", None)
    if opened == "hashes":
        return visibility in {"public", "hashes"}
    if opened == "entries":
        return visibility == "public"
    return bool(getattr(need, "public", False))


@pytest.mark.parametrize("visibility", ["public", "hashes", "private"])
def test_every_route_refuses_who_may_not(logs: Running, visibility: str) -> None:
    """log 22: Without a key a route answers what is open, else 401; with a wrong key 401."""
    for method, template in EVERY_ROUTE:
        need = need_of(method, template)
        path = path_of(template, visibility)
        status = logs.anonymous.request(method, path).status_code
        assert (status != 401) == expected(need, visibility), (method, path, status)
        wrong = logs.anonymous.request(method, path, headers={"Authorization": "Bearer tly_x"})
        assert wrong.status_code == 401, (method, path)


def test_the_operator_may_call_everything(logs: Running) -> None:
    """log 22: With the operator's key no route answers 401 or 403."""
    for method, template in EVERY_ROUTE:
        path = path_of(template, "private")
        accept = {"Accept": "application/json"}
        status = logs.operator.request(method, path, headers=accept).status_code
        assert status not in {401, 403, 500}, (method, path, status)
    logs.operator.post("/admin/resume")


def test_without_a_key_file_nothing_is_open(
    settings: Settings, builder_of_server: LogBuilder, tmp_path: Path
) -> None:
    """A server without an operator's key knows no key at all: what is not open is 401."""
    (tmp_path / "operator.key").unlink()
    with running(settings, builder_of_server) as server:
        assert server.operator.get("/admin/status").status_code == 401
        assert server.operator.get("/api/v1/health").status_code == 401
        assert server.anonymous.get("/api/v1/health").status_code == 200


def test_a_scope_implies_no_other() -> None:
    """A key opens what its scopes name and nothing more."""
    for (method, path), need in NEEDS.items():
        for scope in LOG_SCOPES:
            principal = Principal("key:k", frozenset({scope}))
            may = True
            try:
                check_need(need, principal, None)
            except ScopeMissingError:
                may = False
            assert may == (need.public or need is OWN or need.scope == scope), (method, path)


def test_the_operators_key_is_compared_by_its_hash(tmp_path: Path) -> None:
    """The key file's line opens, and no prefix, other scheme, or empty file does."""
    path = tmp_path / "operator.key"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    authorizer = load_authorizer(path)
    assert TOKEN not in repr(authorizer)
    principal = authorizer.authenticate(f"Bearer {TOKEN}")
    assert principal is not None
    assert principal.scopes == set(LOG_SCOPES)
    assert authorizer.authenticate(None) is None
    for header in (f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "Bearer ", "", "Bearer \udcff"):
        with pytest.raises(UnauthenticatedError):
            authorizer.authenticate(header)
    path.write_text("\n")
    with pytest.raises(UnauthenticatedError):
        load_authorizer(path).authenticate("Bearer ")
    with pytest.raises(UnauthenticatedError):
        OperatorAuthorizer(None).authenticate(f"Bearer {TOKEN}")


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """A key file of another mode, or a link to one, stops the start."""
    path = tmp_path / "operator.key"
    path.write_text(TOKEN)
    path.chmod(0o644)
    with pytest.raises(KeyPermissionsError):
        read_operator_key(path)
    path.chmod(0o600)
    link = tmp_path / "link.key"
    link.symlink_to(path)
    with pytest.raises(KeyPermissionsError):
        read_operator_key(link)


def test_every_route_declares_its_need() -> None:
    """The table of needs names every route that is served, and no other."""
    served = {
        (method, re.sub(r":\w+\}", "}", path))
        for route in ROUTES
        for path in route.paths
        for method in route.http_methods
    }
    assert served == set(NEEDS)


def test_openapi_names_every_route() -> None:
    """log 22: The OpenAPI document has every route with its need, and no other."""
    document = api_document()
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == set(EVERY_ROUTE)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            need = need_of(method.upper(), path)
            assert operation["x-needs"] == need.words
            assert operation.get("description") or operation["summary"]
            named = set(re.findall(r"\{(\w+)\}", path))
            parameters = operation.get("parameters", [])
            assert named == {one["name"] for one in parameters if one["in"] == "path"}


def test_documents_are_served(server: Running) -> None:
    """log 22: /openapi.json and /docs show the same routes to everybody."""
    document = server.anonymous.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    page = server.anonymous.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page.text
    assert "script" not in page.text


def test_a_route_without_a_need_stops_the_start(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No route is open by omission: a missing line in the table is a failure to start."""
    monkeypatch.delitem(NEEDS, ("GET", "/metrics"))
    with pytest.raises(AssertionError, match="GET /metrics"):
        make_api(server.services)
