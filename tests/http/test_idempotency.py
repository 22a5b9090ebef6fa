"""One effect for one Idempotency-Key, whatever is sent again, at once, or changed on the way."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from tallystick.db import Database
from tallystick.http.app import ROUTES, api_document
from tallystick.http.reading import POSITION
from tallystick.http.scopes import NEEDS, takes_key
from tallystick.http.writing import Writing
from tallystick.identity.idempotency import (
    Claim,
    claim_request,
    forget_requests,
    keep_answer,
)
from tests.http.transcript import shown, transcript
from tests.support.keys import Issued, issue, make_user

if TYPE_CHECKING:
    from tests.http.conftest import Running

USERS = "/api/v1/users"
REPLAYED = "idempotency-replayed"
AT_ONCE = 50
PATIENCE_SECONDS = 60


@pytest.fixture
def admin(server: Running) -> Issued:
    """A key that manages users."""
    database = server.services.database
    return issue(database, make_user(database), "identity:admin", "log:admin", "log:audit")


def post(
    server: Running, key: Issued, body: dict[str, Any], *, once: str, path: str = USERS
) -> httpx.Response:
    """Write with an Idempotency-Key."""
    headers = {**key.headers, "Idempotency-Key": once}
    return server.anonymous.post(path, json=body, headers=headers, timeout=PATIENCE_SECONDS)


def rows(server: Running, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(server.builder.url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_the_same_request_again_gets_the_same_answer(server: Running, admin: Issued) -> None:
    """identity 19: A replay has the first answer, says that it is one, and does nothing."""
    first = post(server, admin, {"username": "ann"}, once="k-1")
    again = post(server, admin, {"username": "ann"}, once="k-1")
    assert REPLAYED not in first.headers
    assert transcript(again) == shown("""
        POST /api/v1/users
        201
        content-type: application/json
        cache-control: no-store
    """)
    assert again.headers[REPLAYED] == "true"
    assert again.json() == first.json()
    assert rows(server, "SELECT count(*) FROM tally.users WHERE username = 'ann'") == [(1,)]


def test_another_request_under_the_key_is_refused(server: Running, admin: Issued) -> None:
    """identity 19: Another body, path or query under the same key is 409 and does nothing."""
    made = post(server, admin, {"username": "ann"}, once="k").json()["user"]["id"]
    others = [
        post(server, admin, {"username": "bob"}, once="k"),
        post(server, admin, {"username": "ann"}, once="k", path="/admin/pause"),
        post(server, admin, {"username": "ann"}, once="k", path=f"{USERS}?a=b"),
        server.anonymous.delete(
            f"{USERS}/{made}", headers={**admin.headers, "Idempotency-Key": "k"}
        ),
    ]
    assert {answer.status_code for answer in others} == {409}
    assert {answer.json()["type"] for answer in others} == {
        "/problems/identity/idempotency_conflict"
    }
    assert rows(server, "SELECT username, deleted_at FROM tally.users ORDER BY created_at") == [
        (None, None),
        ("ann", None),
    ]


def test_keys_of_two_callers_do_not_meet(server: Running, admin: Issued) -> None:
    """What one caller was answered under a key is nothing to another who chose the same."""
    first = post(server, admin, {"username": "ann"}, once="k")
    headers = {"Idempotency-Key": "k"}
    other = server.operator.post(USERS, json={"username": "bob"}, headers=headers)
    assert [first.status_code, other.status_code] == [201, 201]


def test_a_refused_request_leaves_its_key_free(server: Running, admin: Issued) -> None:
    """identity 19: What was refused rolled its key back, and can be sent again with success."""
    taken = post(server, admin, {"username": "ann"}, once="first").json()["user"]
    refused = post(server, admin, {"username": "ann"}, once="again")
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate")
    changed = server.operator.patch(
        f"{USERS}/{taken['id']}", json={"username": "anna"}, headers={"If-Match": "1"}
    )
    assert changed.status_code == 200
    repeated = post(server, admin, {"username": "ann"}, once="again")
    assert repeated.status_code == 201
    assert REPLAYED not in repeated.headers
    assert rows(server, "SELECT key FROM tally.idempotency_keys ORDER BY key") == [
        ("again",),
        ("first",),
    ]


def test_fifty_at_once_have_one_effect(server: Running, admin: Issued) -> None:
    """
    identity 9, 19: Law 13: 50 concurrent requests with one key have one effect; all get the one
    answer, and all but one as a replay.
    """

    def send(_: int) -> httpx.Response:
        return post(server, admin, {"tags": ["once"]}, once="k")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(send, range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == AT_ONCE - 1
    assert rows(server, "SELECT count(*) FROM tally.users WHERE tags = '{once}'") == [(1,)]


def test_a_replay_carries_no_secret(server: Running, admin: Issued) -> None:
    """identity 19: A key is made once, and its replay has null where its secret stood."""
    user = make_user(server.services.database)
    path, body = "/api/v1/api-keys", {"user_id": user, "name": "ci"}
    first = post(server, admin, body, once="k", path=path)
    again = post(server, admin, body, once="k", path=path)
    assert first.json()["secret"].startswith(first.json()["key"]["prefix"])
    assert again.json() == {**first.json(), "secret": None}
    rotate = f"{path}/{first.json()['key']['id']}/rotate"
    turned, repeated = (post(server, admin, {}, once="r", path=rotate) for _ in range(2))
    assert repeated.json() == {**turned.json(), "secret": None}
    stored = rows(server, "SELECT body::text FROM tally.idempotency_keys")
    for secret in (first.json()["secret"], turned.json()["secret"]):
        assert not any(secret in text for (text,) in stored)


def test_after_a_day_a_key_is_a_new_one(server: Running, admin: Issued) -> None:
    """A key is remembered for 24 hours; then it is swept, or taken over where it still stands."""
    clock = "SELECT tally.set_test_clock('2026-01-0{}T12:00:00Z')"
    server.builder.execute(clock.format(1))
    first = post(server, admin, {"tags": ["a"]}, once="k")
    server.builder.execute(clock.format(2))
    second = post(server, admin, {"tags": ["b"]}, once="k")
    assert [first.status_code, second.status_code] == [201, 201]
    assert REPLAYED not in second.headers
    server.builder.execute(clock.format(3))
    with server.services.database.transaction() as tx:
        assert forget_requests(tx) == 1
        assert forget_requests(tx) == 0


def test_what_is_no_key_is_refused(server: Running, admin: Issued) -> None:
    """An Idempotency-Key is 1 to 255 visible ASCII characters."""
    for text in ("", "a b", "k" * 256, "é".encode("latin-1")):
        headers = {**admin.headers, "Idempotency-Key": text}
        refused = server.anonymous.post(USERS, json={}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_value"), text
    assert post(server, admin, {}, once="k" * 255).status_code == 201


def test_no_commit_leaves_a_key_without_its_answer(server: Running) -> None:
    """The database itself refuses a write that takes a key and keeps no answer."""
    database = server.services.database
    with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as tx:
        assert claim_request(tx, Claim("key:operator", "k", bytes(32))) is None


def test_routes_of_the_log_take_keys_too(server: Running) -> None:
    """identity 19: A log is made once, sealing is paused once, a job is begun once."""
    for path, body in (
        ("/logs", {"log_name": "once"}),
        ("/admin/pause", None),
        ("/admin/resume", None),
        ("/logs/once/freeze", None),
        ("/logs/once/audit", {}),
    ):
        headers = {"Idempotency-Key": f"k{path.replace('/', '-')}"}
        first, again = (server.operator.post(path, json=body, headers=headers) for _ in range(2))
        assert first.is_success, (path, first.text)
        assert again.json() == first.json(), path
        assert (first.status_code, again.headers.get(REPLAYED)) == (again.status_code, "true")
    # The work of a job has transactions of its own: what happens once is its beginning.
    assert again.status_code == 202
    assert server.operator.get(f"/logs/once/jobs/{again.json()['job']}").status_code == 200


def test_the_push_door_takes_no_key_and_says_so(server: Running) -> None:
    """A push with an Idempotency-Key is refused, and told of deduplicate."""
    headers = {"Idempotency-Key": "k"}
    refused = server.operator.post("/logs/any/add", content=b"x", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert "deduplicate=1" in refused.json()["detail"]


def test_a_replay_says_behind_what_to_read(database_url: str) -> None:
    """Who lost the first answer reads behind its write as well: a replay has Tally-Position."""
    # A cache makes positions count; where none answers, writes are as they were.
    with Database(database_url, cache_url="redis://127.0.0.1:1/0") as database:
        writing = Writing(database, Claim("key:operator", "k", bytes(32)))
        first, again = (writing.run(lambda _: {"made": 1}).headers for _ in range(2))
        looked = writing.replayed()
    assert looked is not None
    assert (REPLAYED in first, again["Idempotency-Replayed"]) == (False, "true")
    assert all(headers[POSITION] for headers in (first, again, looked.headers))


def test_every_write_goes_the_one_way() -> None:
    """Every route that changes something takes a key, and writes by the one mechanism that does."""
    writing = {
        (method, path.replace(":str}", "}").replace(":int}", "}"))
        for route in ROUTES
        if "writing" in inspect.signature(getattr(route.fn, "func", route.fn)).parameters
        for path in route.paths
        for method in route.http_methods
    }
    assert writing == {route for route, need in NEEDS.items() if takes_key(route[0], need)}
    document = api_document()["paths"]
    for method, path in writing:
        names = [one["name"] for one in document[path][method.lower()]["parameters"]]
        assert "Idempotency-Key" in names


@pytest.mark.slow
def test_who_waits_too_long_is_told_to_come_again(server: Running, admin: Issued) -> None:
    """A repetition gives up on a first request that does not end: 503, and nothing was done."""
    database = server.services.database
    with database.transaction() as tx:
        assert claim_request(tx, Claim(admin.principal, "k", bytes(32))) is None
        waited = post(server, admin, {"username": "ann"}, once="k")
        keep_answer(tx, Claim(admin.principal, "k", bytes(32)), status=200, body={})
    assert (waited.status_code, waited.json()["code"]) == (503, "database_unavailable")
    assert waited.headers["retry-after"] == "1"
    assert rows(server, "SELECT 1 FROM tally.users WHERE username = 'ann'") == []
