"""Users over a real server: each route's success, its problems, and who is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from tallystick.record import format_address
from tests.http.conftest import TOKEN
from tests.http.exchanges import play
from tests.support.keys import issue, make_user
from tests.support.wallets import wallet

if TYPE_CHECKING:
    from tests.http.conftest import Running

WALLET = format_address(wallet(7).address)
ZERO = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def callers(shared: Running) -> dict[str, dict[str, str]]:
    """Who asks, each with what he sends."""
    database = shared.services.database
    user = make_user(database)
    return {
        "nobody": {},
        "free": issue(database, user).headers,
        "reader": issue(database, user, "identity:read").headers,
        "admin": issue(database, user, "identity:admin").headers,
        "operator": {"Authorization": f"Bearer {TOKEN}"},
    }


def test_a_user_is_made_read_changed_and_listed(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """identity 22: POST, GET and PATCH users, with their problems and their refusals."""
    script = f"""
        nobody POST /users {{}} -> 401 unauthenticated
        reader POST /users {{}} -> 403 scope
        admin POST /users {{"wallet": "{WALLET}", "username": "ann", "tags": ["vip"]}} -> 201 as ann
        admin POST /users {{"wallet": "{WALLET.lower()}"}} -> 409 duplicate
        admin POST /users {{"wallet": "{WALLET[:-1]}"}} -> 422 invalid_address
        admin POST /users {{"username": ""}} -> 422 invalid_value
        admin POST /users {{"nickname": "x"}} -> 400 invalid_request
        reader GET /users/{{ann}} -> 200
        free GET /users/{{ann}} -> 403 scope
        free GET /users/{ZERO} -> 403 scope
        admin GET /users/{{ann}} -> 403 scope
        reader GET /users/{ZERO} -> 404 not_found
        nobody GET /users/{{ann}} -> 401 unauthenticated
        admin PATCH /users/{{ann}} {{"username": "anna"}} If-Match: 1 -> 200
        admin PATCH /users/{{ann}} {{"username": "anne"}} If-Match: "1" -> 409 stale_version
        admin PATCH /users/{{ann}} {{"username": "anne"}} If-Match: new -> 400 invalid_request
        admin PATCH /users/{{ann}} {{"username": "anne"}} -> 400 invalid_request
        reader PATCH /users/{{ann}} {{"username": "anne"}} If-Match: 2 -> 403 scope
        reader GET /users -> 200
        reader GET /users?tag=vip&blacklisted=true -> 400 invalid_request
        reader GET /users?after=x -> 422 invalid_value
        free GET /users -> 403 scope
    """
    ann = play(shared, callers, script)["ann"]
    shown = shared.anonymous.get(f"/api/v1/users/{ann}", headers=callers["reader"]).json()["user"]
    assert (shown["wallet"], shown["username"], shown["tags"], shown["version"]) == (
        WALLET,
        "anna",
        ["vip"],
        2,
    )
    [listed] = shared.anonymous.get("/api/v1/users?tag=vip", headers=callers["reader"]).json()[
        "items"
    ]
    assert listed == shown


def test_a_user_reads_himself(shared: Running) -> None:
    """identity 22: Any key of a user reads his row, his risk and his score, and nobody else's."""
    database = shared.services.database
    user, other = make_user(database), make_user(database)
    callers = {"own": issue(database, user).headers}
    script = f"""
        own GET /users/{user} -> 200
        own GET /users/{user}/risk-history -> 200
        own GET /users/{user}/verification-score -> 200
        own GET /users/{other} -> 403 scope
        own GET /users/{other}/risk-history -> 403 scope
        own GET /users/{other}/verification-score -> 403 scope
    """
    play(shared, callers, script)


def test_risk_and_blacklist_have_a_reason_and_a_row(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """identity 22: PUT risk, POST and DELETE blacklist leave their rows, newest first."""
    reason = '{"reason": "chargebacks"}'
    risk = '"reason_code": "review", "reason": "by hand"'
    script = f"""
        admin POST /users {{"username": "bob"}} -> 201 as bob
        admin PUT /users/{{bob}}/risk {{"score": 12.5, {risk}}} -> 200
        admin PUT /users/{{bob}}/risk {{"score": 101, {risk}}} -> 422 invalid_value
        admin PUT /users/{{bob}}/risk {{"score": 1}} -> 400 invalid_request
        reader PUT /users/{{bob}}/risk {{"score": 1, {risk}}} -> 403 scope
        admin POST /users/{{bob}}/blacklist {reason} -> 200
        admin POST /users/{{bob}}/blacklist {{"reason": ""}} -> 422 invalid_value
        admin POST /users/{ZERO}/blacklist {reason} -> 404 not_found
        reader POST /users/{{bob}}/blacklist {reason} -> 403 scope
        reader GET /users?blacklisted=true -> 200
        admin DELETE /users/{{bob}}/blacklist {reason} -> 200
        reader DELETE /users/{{bob}}/blacklist {reason} -> 403 scope
        reader GET /users/{{bob}}/risk-history -> 200
        nobody GET /users/{{bob}}/risk-history -> 401 unauthenticated
    """
    bob = play(shared, callers, script)["bob"]
    history = shared.anonymous.get(
        f"/api/v1/users/{bob}/risk-history", headers=callers["reader"]
    ).json()["items"]
    assert [(row["kind"], row["old_score"], row["new_score"]) for row in history] == [
        ("unblacklist", 12.5, 12.5),
        ("blacklist", 12.5, 12.5),
        ("set", 0.0, 12.5),
    ]
    assert {row["actor"] for row in history} == {history[0]["actor"]}
    assert history[0]["actor"].startswith("key:")


def test_a_user_is_deleted_and_his_keys_end(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """identity 22: DELETE revokes his keys at once and keeps his row; erasing needs it first."""
    database = shared.services.database
    user = make_user(database, username="eve")
    asking = {**callers, "eve": issue(database, user).headers}
    script = f"""
        eve GET /users/{user} -> 200
        reader DELETE /users/{user} -> 403 scope
        admin DELETE /users/{user}?erase=true -> 409 evidence_deletion
        admin DELETE /users/{user} -> 200
        admin DELETE /users/{user} -> 200
        eve GET /users/{user} -> 401 key_revoked
        reader GET /users/{user} -> 200
        admin DELETE /users/{user}?erase=true -> 200
        admin DELETE /users/{ZERO} -> 404 not_found
    """
    play(shared, asking, script)


def test_lists_are_walked_by_cursor(shared: Running, callers: dict[str, dict[str, str]]) -> None:
    """Users come in pages, each once, in the order of their risk."""
    database = shared.services.database
    made = {make_user(database) for _ in range(5)}
    seen: list[str] = []
    after = ""
    while True:
        path = f"/api/v1/users?limit=2{after}"
        page = shared.anonymous.get(path, headers=callers["reader"]).json()
        seen += [user["id"] for user in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


def test_a_lock_that_does_not_come_is_to_be_tried_again(server: Running) -> None:
    """What the database could not do in time is 503 with Retry-After, and no defect of ours."""
    with psycopg.connect(server.builder.url) as holder:
        database = sql.Identifier(holder.info.dbname)
        alter = sql.SQL("ALTER DATABASE {} SET lock_timeout = '50ms'").format(database)
        holder.execute(alter)
        holder.commit()
        user = holder.execute("INSERT INTO tally.users DEFAULT VALUES RETURNING id").fetchone()
        assert user is not None
        holder.commit()
        # Connections that the server makes anew have the setting.
        holder.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tallystick'"
        )
        holder.execute("SELECT FROM tally.users WHERE id = %s FOR UPDATE", user)
        path = f"/api/v1/users/{user[0]}/blacklist"
        refused = server.operator.post(path, json={"reason": "why"})
        holder.rollback()
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert server.operator.post(path, json={"reason": "why"}).status_code == 200
