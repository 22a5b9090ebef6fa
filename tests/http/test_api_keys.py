"""API keys over a real server: each route's success, its problems, and who is refused."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from tallystick.clock import utc_now
from tests.http.conftest import TOKEN
from tests.http.exchanges import play
from tests.support.keys import issue, make_user

if TYPE_CHECKING:
    from tests.http.conftest import Running

ZERO = "00000000-0000-4000-8000-000000000000"
KEYS = "/api/v1/api-keys"
LAST = "9999-12-31T23:59:59-23:00"
FIRST = "0001-01-01T00:00:00+23:00"
"""Times that are none in UTC: the calendar ends before them."""


@pytest.fixture
def callers(shared: Running) -> dict[str, dict[str, str]]:
    """Who asks, each with what he sends."""
    database = shared.services.database
    user = make_user(database)
    return {
        "nobody": {},
        "own": issue(database, user, "log:read").headers,
        "stranger": issue(database, make_user(database)).headers,
        "reader": issue(database, make_user(database), "identity:read").headers,
        "admin": issue(database, make_user(database), "identity:admin", "log:read").headers,
        "operator": {"Authorization": f"Bearer {TOKEN}"},
    }


def test_a_user_manages_his_own_keys(shared: Running, callers: dict[str, dict[str, str]]) -> None:
    """identity 22: Any key makes, reads, changes, rotates and revokes those of its user."""
    script = f"""
        nobody POST /api-keys {{"name": "ci"}} -> 401 unauthenticated
        own POST /api-keys {{"name": "ci", "scopes": ["log:read"]}} -> 201 as ci
        own POST /api-keys {{"name": "ci", "scopes": ["log:admin"]}} -> 403 scope
        own POST /api-keys {{"name": "ci", "scopes": ["log:all"]}} -> 422 invalid_value
        own POST /api-keys {{"name": "ci", "tier": "paid"}} -> 403 scope
        own POST /api-keys {{"name": "ci", "tier": "none"}} -> 404 not_found
        own POST /api-keys {{"name": ""}} -> 422 invalid_value
        own POST /api-keys {{"name":"c","expires_at": "2020-01-01T00:00:00Z"}} -> 422 invalid_value
        own POST /api-keys {{}} -> 400 invalid_request
        own GET /api-keys -> 200
        own GET /api-keys/{{ci}} -> 200
        own GET /api-keys/{{ci}}/usage?days=7 -> 200
        own GET /api-keys/{{ci}}/usage?days=0 -> 400 invalid_request
        own GET /api-keys/ci -> 404 not_found
        own PATCH /api-keys/{{ci}} {{"name": "deploy"}} If-Match: 1 -> 200
        own PATCH /api-keys/{{ci}} {{"name": "deploy"}} If-Match: 1 -> 409 stale_version
        own PATCH /api-keys/{{ci}} {{"scopes": ["log:admin"]}} If-Match: 2 -> 403 scope
        own PATCH /api-keys/{{ci}} {{"expires_at": "{LAST}"}} If-Match: 2 -> 422 invalid_value
        own PATCH /api-keys/{{ci}} {{"expires_at": "{FIRST}"}} If-Match: 2 -> 422 invalid_value
        own OPTIONS /api-keys -> 204
        nobody OPTIONS /api-keys -> 204
        own POST /api-keys/{{ci}}/rotate {{"overlap_seconds": 60}} -> 201 as next
        own POST /api-keys/{{ci}}/rotate -> 409 duplicate
        own DELETE /api-keys/{{next}} {{"reason": "done"}} -> 200
        own DELETE /api-keys/{{next}} {{"reason": "again"}} -> 200
        own DELETE /api-keys/{{next}} {{"reason": ""}} -> 200
        own DELETE /api-keys/{{next}} -> 400 invalid_request
        own PATCH /api-keys/{{next}} {{"name": "x"}} If-Match: 1 -> 401 key_revoked
        own DELETE /api-keys/{ZERO} {{"reason": "none"}} -> 404 not_found
    """
    play(shared, callers, script)


def test_keys_of_others_are_reached_by_scope(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """identity 22: Others' keys are not found, but by identity:read, or changed by :admin."""
    user = make_user(shared.services.database)
    brake = '"scopes": ["gate:brake"]'
    script = f"""
        own POST /api-keys {{"name": "mine"}} -> 201 as mine
        stranger GET /api-keys/{{mine}} -> 404 not_found
        stranger PATCH /api-keys/{{mine}} {{"name": "x"}} If-Match: 1 -> 404 not_found
        stranger DELETE /api-keys/{{mine}} {{"reason": "x"}} -> 404 not_found
        stranger POST /api-keys/{{mine}}/rotate -> 404 not_found
        stranger GET /api-keys/{{mine}}/usage -> 404 not_found
        stranger GET /api-keys?user_id={user} -> 403 scope
        stranger GET /api-keys?tier=free -> 403 scope
        stranger POST /api-keys {{"name": "x", "user_id": "{user}"}} -> 403 scope
        reader GET /api-keys/{{mine}} -> 200
        reader GET /api-keys?user_id={user} -> 200
        reader GET /api-keys?tier=free -> 200
        reader PATCH /api-keys/{{mine}} {{"name": "x"}} If-Match: 1 -> 404 not_found
        reader GET /api-keys?tier=free&user_id={user} -> 400 invalid_request
        admin POST /api-keys {{"name": "x", "user_id": "{user}", "tier": "paid"}} -> 201
        admin POST /api-keys {{"name": "x", "user_id": "{user}", {brake}}} -> 403 scope
        admin POST /api-keys {{"name": "x", "user_id": "{ZERO}"}} -> 404 not_found
        admin PATCH /api-keys/{{mine}} {{"name": "x"}} If-Match: 1 -> 200
        admin DELETE /api-keys/{{mine}} {{"reason": "x"}} -> 200
        operator POST /api-keys {{"name": "x", "user_id": "{user}", {brake}}} -> 201
        operator POST /api-keys {{"name": "x"}} -> 422 no_user
        operator GET /api-keys -> 422 no_user
    """
    play(shared, callers, script)


def test_tiers_and_scopes(shared: Running, callers: dict[str, dict[str, str]]) -> None:
    """identity 22: Tiers are read and set by identity:admin; scopes are shown to everybody."""
    script = """
        admin GET /tiers/paid -> 200
        reader GET /tiers/paid -> 403 scope
        nobody GET /tiers/paid -> 401 unauthenticated
        admin PUT /tiers/paid {"rate_limit": 2000, "daily_quota": null} -> 200
        admin PUT /tiers/paid {"rate_limit": 0, "daily_quota": null} -> 422 invalid_value
        admin PUT /tiers/paid {"rate_limit": 2000} -> 400 invalid_request
        admin PUT /tiers/none {"rate_limit": 1, "daily_quota": 1} -> 404 not_found
        own PUT /tiers/paid {"rate_limit": 1, "daily_quota": 1} -> 403 scope
        nobody GET /scopes -> 200
    """
    play(shared, callers, script)
    answer = shared.anonymous.get("/api/v1/tiers/paid", headers=callers["admin"]).json()
    assert answer == {"status": "ok", "tier": "paid", "rate_limit": 2000, "daily_quota": None}


def test_a_secret_is_shown_once_and_works_at_once(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """A new key's secret opens the next request, and no later answer has it."""
    made = shared.anonymous.post(KEYS, json={"name": "ci"}, headers=callers["own"]).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    listed = shared.anonymous.get(KEYS, headers=headers)
    assert made["key"]["id"] in [item["id"] for item in listed.json()["items"]]
    shown = shared.anonymous.get(f"{KEYS}/{made['key']['id']}", headers=headers)
    assert shown.json()["key"] == made["key"]
    assert made["secret"] not in listed.text + shown.text


def test_no_key_gets_what_its_maker_lacks(shared: Running) -> None:
    """
    identity 9: Law 10: by create, update and rotate a key gets no scope, no tier and no time
    that its maker lacks.
    """
    database = shared.services.database
    user = make_user(database)
    strong = issue(database, user, "identity:admin", "log:admin")
    weak = issue(database, user, "log:read", tier="free", expires_in=datetime.timedelta(hours=1))
    callers = {"weak": weak.headers}
    script = f"""
        weak POST /api-keys {{"name": "x", "scopes": ["log:read", "log:admin"]}} -> 403 scope
        weak POST /api-keys {{"name": "x", "tier": "enterprise"}} -> 403 scope
        weak PATCH /api-keys/{weak.key_id} {{"scopes": ["log:admin"]}} If-Match: 1 -> 403 scope
        weak POST /api-keys/{strong.key_id}/rotate -> 403 scope
        weak POST /api-keys {{"name": "x"}} -> 201 as default
        weak POST /api-keys {{"name": "x", "expires_at": "2100-01-01T00:00:00Z"}} -> 201 as late
        weak PATCH /api-keys/{weak.key_id} {{"expires_at": null}} If-Match: 1 -> 200 as itself
    """
    made = play(shared, callers, script)
    soon = utc_now() + datetime.timedelta(hours=1)
    for key_id in made.values():
        key = shared.anonymous.get(f"{KEYS}/{key_id}", headers=strong.headers).json()["key"]
        assert datetime.datetime.fromisoformat(key["expires_at"]) <= soon
