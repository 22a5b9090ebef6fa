"""Who may call what: every route with every kind of caller, and the operator's key."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.http.app import ROUTES, api_document, make_api
from tallystick.http.authorize import (
    Authorizer,
    Principal,
    load_operator_sha256,
    may_call,
    read_operator_key,
)
from tallystick.http.scopes import NEEDS, PUSH_NEEDS, STATIC_NEEDS, Need
from tallystick.identity import APIKeyRepository, UserRepository
from tallystick.identity.api_keys.repository import new_key_text
from tallystick.identity.scopes import SCOPES
from tallystick.record import KeyPermissionsError
from tests.http.conftest import TOKEN, running
from tests.support.keys import ACTOR, issue, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    "user_id": "nobody",
    "tier": "none",
    "challenge_id": "00",
    "proof_id": "00",
    "wallet": "0x00000000000000000000000000000000000000aa",
    "chain": "31337",
    "chain_id": "0",
    "address": "0x00000000000000000000000000000000000000aa",
    "transaction_hash": "0x" + "00" * 32,
    "transaction_id": "0",
}
EVERY_ROUTE = [*NEEDS, *PUSH_NEEDS, *(("GET", path) for path in STATIC_NEEDS)]
ALL_SCOPES = sorted(SCOPES)
JSON = {"Accept": "application/json"}


@dataclass(frozen=True)
class Caller:
    """One kind of caller: what he sends, the scopes he has, and how all of his are refused."""

    name: str
    headers: dict[str, str]
    scopes: frozenset[str] = frozenset()
    user_id: str | None = None
    refused: tuple[int, str] | None = None


def path_of(template: str, visibility: str, own: str | None = None) -> str:
    """Return a path of the template about the log of this visibility, and this user's own."""
    values = {**VALUES, "user_id": own or VALUES["user_id"]}
    filled = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "1"), template)
    return filled.replace("{visibility}", visibility)


@pytest.fixture
def logs(server: Running) -> Running:
    """A server with one log of each visibility, each with one leaf."""
    for visibility in ("public", "hashes", "private"):
        server.builder.filled(visibility, [b"leaf"], visibility=visibility)
    server.services.publisher.refresh()
    return server


@pytest.fixture
def callers(logs: Running) -> dict[str, Caller]:
    """Every kind of caller but those of single scopes."""
    database = logs.services.database
    user, barred = make_user(database), make_user(database)
    free = issue(database, user)
    admin = issue(database, user, *ALL_SCOPES)
    revoked = issue(database, user, *ALL_SCOPES)
    expired = issue(database, user, *ALL_SCOPES)
    blacklisted = issue(database, barred, *ALL_SCOPES)
    with database.transaction() as tx:
        APIKeyRepository(tx).revoke(revoked.key_id, reason="lost", actor=ACTOR)
        UserRepository(tx).blacklist(barred, reason="fraud", actor=ACTOR)
    with psycopg.connect(logs.builder.url, autocommit=True) as owner:
        past = "UPDATE tally.api_keys SET expires_at = tally.clock() WHERE id = %s"
        owner.execute(past, (expired.key_id,))
    made = [
        Caller("none", {}),
        Caller("free", free.headers, user_id=user),
        Caller("admin", admin.headers, frozenset(ALL_SCOPES), user),
        Caller("operator", {"Authorization": f"Bearer {TOKEN}"}, frozenset(ALL_SCOPES), user),
        Caller("revoked", revoked.headers, refused=(401, "key_revoked")),
        Caller("expired", expired.headers, refused=(401, "key_expired")),
        Caller("blacklisted", blacklisted.headers, refused=(403, "blacklisted")),
        Caller("unknown", {"X-API-Key": new_key_text()}, refused=(401, "unknown_key")),
    ]
    return {caller.name: caller for caller in made}


def with_scopes(logs: Running, callers: dict[str, Caller], *scopes: str) -> Caller:
    """A caller with these scopes of the same user."""
    user = callers["free"].user_id
    assert user is not None
    key = issue(logs.services.database, user, *scopes)
    return Caller("+".join(scopes), key.headers, frozenset(scopes), user)


def need_of(method: str, template: str) -> Need:
    """What a caller of a route must have."""
    return {**NEEDS, **PUSH_NEEDS}.get((method, template)) or STATIC_NEEDS[template]


def expected(need: Need, caller: Caller, visibility: str) -> tuple[int, str] | None:
    """How the declaration says that the caller is refused; None where he is let through."""
    if caller.refused is not None:
        return caller.refused
    if need.public or need.opens_to(visibility):
        return None
    if not caller.headers:
        return 401, "unauthenticated"
    if need.own or caller.scopes & set(need.scopes):
        return None
    return 403, "scope"


def refusal(logs: Running, method: str, path: str, caller: Caller) -> tuple[int, str] | None:
    """How a request is refused; None where it is let through, whatever becomes of it."""
    answer = logs.anonymous.request(method, path, headers={**JSON, **caller.headers})
    assert answer.status_code != 500, (method, path, caller.name)
    if answer.status_code in {401, 403, 429}:
        return answer.status_code, answer.json()["code"]
    return None


def unexpected(
    logs: Running, callers: list[Caller], visibility: str, routes: list[tuple[str, str]]
) -> Iterator[tuple[str, ...]]:
    """Yield what of the matrix differs from the declarations."""
    for (method, template), caller in itertools.product(routes, callers):
        need = need_of(method, template)
        path = path_of(template, visibility, caller.user_id if need.own else None)
        found = refusal(logs, method, path, caller)
        wanted = expected(need, caller, visibility)
        if found != wanted:
            yield method, template, caller.name, f"{found} instead of {wanted}"


@pytest.mark.parametrize("visibility", ["public", "hashes", "private"])
def test_every_route_refuses_who_may_not(
    logs: Running, callers: dict[str, Caller], visibility: str
) -> None:
    """
    identity 18: Route by route and principal by principal the answer is what the declaration
    says: none, free, admin and the operator, and the revoked, expired, blacklisted and unknown.
    """
    assert [*unexpected(logs, [*callers.values()], visibility, EVERY_ROUTE)] == []
    logs.operator.post("/admin/resume")


def test_one_needed_scope_opens_and_all_others_together_do_not(
    logs: Running, callers: dict[str, Caller]
) -> None:
    """
    identity 18: Each scope that a route names opens it alone; a key with every scope of the
    system but those is refused, so that no other single one opens it either.
    """
    named = {need_of(*route).scopes for route in EVERY_ROUTE} - {()}
    single = {
        scope: with_scopes(logs, callers, scope) for scope in sorted({*itertools.chain(*named)})
    }
    for scopes in sorted(named):
        routes = [route for route in EVERY_ROUTE if need_of(*route).scopes == scopes]
        others = with_scopes(logs, callers, *sorted(set(ALL_SCOPES) - set(scopes)))
        asking = [others, *(single[scope] for scope in scopes)]
        assert [*unexpected(logs, asking, "private", routes)] == []
    logs.operator.post("/admin/resume")


@pytest.mark.slow
def test_every_single_scope_opens_what_names_it(logs: Running, callers: dict[str, Caller]) -> None:
    """identity 18: Every route with every single scope of the system."""
    single = [with_scopes(logs, callers, scope) for scope in ALL_SCOPES]
    assert [*unexpected(logs, single, "private", EVERY_ROUTE)] == []
    logs.operator.post("/admin/resume")


def test_a_wrong_key_is_refused_where_none_is_needed(logs: Running) -> None:
    """log 22: With what is no key at all an open route answers 401, not as to a stranger."""
    for method, template in EVERY_ROUTE:
        wrong = {"Authorization": "Bearer tly_x"}
        answer = logs.anonymous.request(method, path_of(template, "public"), headers=wrong)
        assert (answer.status_code, answer.json()["code"]) == (401, "unknown_key")


def test_without_a_key_file_nothing_is_open(
    settings: Settings, builder_of_server: LogBuilder, tmp_path: Path
) -> None:
    """A server without an operator's key knows no such key: what is not open is 401."""
    (tmp_path / "operator.key").unlink()
    with running(settings, builder_of_server) as server:
        assert server.operator.get("/admin/status").status_code == 401
        assert server.operator.get("/api/v1/health").status_code == 401
        assert server.anonymous.get("/api/v1/health").status_code == 200


def test_a_scope_implies_no_other() -> None:
    """A key opens what its scopes name and nothing more."""
    for (method, path), need in NEEDS.items():
        for scope in ALL_SCOPES:
            principal = Principal("key:k", frozenset({scope}))
            may = need.public or need.own or scope in need.scopes
            assert may_call(need, principal, None) == may, (method, path)


def test_scopes_are_the_same_in_code_and_database(logs: Running) -> None:
    """identity 17: The scopes of the code, of api_scopes, and those that routes name agree."""
    with psycopg.connect(logs.builder.url) as connection:
        rows = connection.execute("SELECT scope FROM tally.api_scopes ORDER BY scope").fetchall()
    assert [scope for (scope,) in rows] == ALL_SCOPES
    shown = logs.anonymous.get("/api/v1/scopes").json()["items"]
    assert sorted(item["scope"] for item in shown) == ALL_SCOPES
    for route in EVERY_ROUTE:
        need = need_of(*route)
        assert set(need.scopes) <= set(ALL_SCOPES)
        assert need.public or need.own or need.scopes


def test_the_operators_key_is_compared_by_its_hash(logs: Running, tmp_path: Path) -> None:
    """The key file's line opens, and no prefix of it, nor what an empty file would be."""
    path = tmp_path / "another.key"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    authorizer = Authorizer(logs.services.database, load_operator_sha256(path))
    assert TOKEN not in repr(vars(authorizer))
    assert authorizer.is_operator(TOKEN)
    for text in (TOKEN[:-1], f"Bearer {TOKEN}", "", "\udcff"):
        assert not authorizer.is_operator(text)
    path.write_text("\n")
    assert load_operator_sha256(path) is None
    assert not Authorizer(logs.services.database, None).is_operator("")
    authorizer.close()


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
    """
    log 22, identity 17: The OpenAPI document has every route and no other, each with its need:
    public, own, open by a log's visibility, or scopes.
    """
    document = api_document()
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == set(EVERY_ROUTE)
    words = {"public", "own", "open", "open if public", *ALL_SCOPES}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            need = need_of(method.upper(), path)
            assert operation["x-needs"] == need.words
            assert set(need.words.split(", ")) <= words
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
