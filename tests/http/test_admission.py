"""Requests are admitted one by one: limits, what they say of them, and who is not charged."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.identity import APIKeyRepository, UserRepository
from tallystick.identity.api_keys.repository import new_key_text
from tests.http.conftest import running
from tests.http.transcript import shown, transcript
from tests.support.keys import ACTOR, Issued, issue, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.config import Settings
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

METERED = "/api/v1/scopes"
"""A public route that strangers pay for."""


def stop_clock(server: Running) -> None:
    """From now on no bucket fills again."""
    server.builder.execute("SELECT tally.set_test_clock('2026-01-01T12:00:00Z')")


def limit_strangers(server: Running, rate: int) -> None:
    """Let each address ask so often in a minute."""
    with server.services.database.transaction() as tx:
        keys = APIKeyRepository(tx)
        keys.set_tier_limits("anonymous", rate_limit=rate, daily_quota=1000, actor=ACTOR)


@pytest.fixture
def strict(server: Running) -> Running:
    """A server that takes two requests at once from a stranger, whose clock stands still."""
    server.builder.filled("open", [b"one", b"two"], visibility="public")
    server.services.publisher.refresh()
    stop_clock(server)
    limit_strangers(server, 20)
    return server


@pytest.fixture
def proxied(settings: Settings, builder_of_server: LogBuilder) -> Iterator[Running]:
    """The same behind a proxy on this machine."""
    trusting = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    with running(trusting, builder_of_server) as started:
        stop_clock(started)
        limit_strangers(started, 20)
        yield started


def test_a_stranger_is_told_his_limits_and_refused_beyond_them(strict: Running) -> None:
    """A public route says what is left, and then 429 with the time after which it answers."""
    first, second, third = (strict.anonymous.get(METERED) for _ in range(3))
    assert [first.status_code, second.status_code] == [200, 200]
    assert transcript(third) == shown("""
        GET /api/v1/scopes
        429
        content-type: application/problem+json
        cache-control: no-store
        retry-after: 4
    """)
    assert third.json()["type"] == "/problems/identity/rate_limited"
    limits = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    assert [[answer.headers[name] for name in limits] for answer in (first, second, third)] == [
        ["20", "1", "4"],
        ["20", "0", "7"],
        ["20", "0", "7"],
    ]


def test_evidence_and_health_are_not_charged(strict: Running) -> None:
    """A stranger who has nothing left still reads proofs, tiles, entries, health, documents."""
    while strict.anonymous.get(METERED).status_code == 200:
        pass
    for path in (
        "/logs",
        "/logs/open/checkpoint",
        "/logs/open/tile/0/000.p/2",
        "/logs/open/tile/entries/000.p/2",
        "/logs/open/root",
        "/logs/open/size",
        "/logs/open/exists",
        "/logs/open/proof?index=0",
        "/logs/open/proof?indexes=0,1",
        "/logs/open/consistency?old_size=1",
        "/logs/open/checkpoints",
        "/logs/open/keys",
        "/logs/open/entries",
        "/logs/open/entries/0",
        "/api/v1/health",
        "/openapi.json",
    ):
        answer = strict.anonymous.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert "ratelimit-limit" not in answer.headers
    for path in ("/logs/open/rows?table=t&key=k", "/logs/open/search", "/logs/none/rows?table=t"):
        wanted = 404 if "none" in path else 429
        assert strict.anonymous.get(path).status_code == wanted, path


def test_a_key_is_charged_once_whoever_answers(strict: Running) -> None:
    """A request with a key costs one, framed or not, answered or not; the operator's nothing."""
    database = strict.services.database
    key = issue(database, make_user(database), "log:append", tier="free", rate_limit=1000)
    left = 10
    for method, path, status in (
        ("GET", "/logs/open/checkpoint", 200),
        ("GET", "/logs/open/proof?index=0", 200),
        # The quick way hands these on to the framework, which must not charge again.
        ("GET", "/logs/open/proof?index=99", 404),
        ("GET", "/logs/none/proof?index=0", 404),
        ("POST", "/logs/none/add", 404),
        ("GET", "/api/v1/scopes", 200),
    ):
        answer = strict.anonymous.request(method, path, headers=key.headers, content=b"")
        left -= 1
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["ratelimit-limit"] == "100"
        assert answer.headers["ratelimit-remaining"] == str(left), path
    assert "ratelimit-limit" not in strict.operator.get(METERED).headers


def test_a_revoked_or_blacklisted_key_fails_the_next_request(server: Running) -> None:
    """
    identity 9: Law 1: revoked, expired, stripped of its scope or its owner blacklisted, a key
    fails the very next request.
    """
    database = server.services.database

    def status(key: Issued, path: str = "/admin/status") -> tuple[int, str | None]:
        answer = server.anonymous.get(path, headers=key.headers)
        return answer.status_code, answer.json().get("code")

    user = make_user(database)
    revoked, expired, stripped = (issue(database, user, "log:admin") for _ in range(3))
    assert {status(key) for key in (revoked, expired, stripped)} == {(200, None)}
    with database.transaction() as tx:
        APIKeyRepository(tx).revoke(revoked.key_id, reason="lost", actor=ACTOR)
    assert status(revoked) == (401, "key_revoked")
    assert status(revoked, "/api/v1/health") == (401, "key_revoked")
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        version = keys.get_by_id(stripped.key_id).version
        keys.update(stripped.key_id, expected_version=version, scopes=[], actor=ACTOR)
    assert status(stripped) == (403, "scope")
    server.builder.execute(
        f"UPDATE tally.api_keys SET expires_at = tally.clock() WHERE id = '{expired.key_id}'"
    )
    assert status(expired) == (401, "key_expired")
    last = issue(database, user, "log:admin")
    assert status(last) == (200, None)
    with database.transaction() as tx:
        UserRepository(tx).blacklist(user, reason="fraud", actor=ACTOR)
    assert status(last) == (403, "blacklisted")


def test_trying_keys_costs_what_asking_without_one_costs(strict: Running) -> None:
    """Unknown keys are charged to the address they come from: 401 twice, then 429."""
    codes = [
        strict.anonymous.get("/api/v1/health", headers={"X-API-Key": new_key_text()}).status_code
        for _ in range(3)
    ]
    assert codes == [401, 401, 429]
    # What has not even the form of a key is refused without a query, and costs nobody anything.
    assert strict.anonymous.get(METERED, headers={"X-API-Key": "tly_x"}).status_code == 401


def test_behind_a_trusted_proxy_each_client_has_his_own_bucket(proxied: Running) -> None:
    """X-Forwarded-For of a trusted proxy tells clients apart; of an IPv6 one the /64 counts."""

    def statuses(*addresses: str) -> list[int]:
        return [
            proxied.anonymous.get(METERED, headers={"X-Forwarded-For": address}).status_code
            for address in addresses
        ]

    assert statuses(*["198.51.100.1"] * 3) == [200, 200, 429]
    assert statuses("198.51.100.2", "9.9.9.9, 198.51.100.2", "1.2.3.4, 198.51.100.2") == [
        200,
        200,
        429,
    ]
    assert statuses("2001:db8::1", "2001:db8::2", "2001:db8:0:0:f::3") == [200, 200, 429]
    assert statuses("2001:db8:0:1::1") == [200]


def test_without_trusted_proxies_nobody_names_his_address(strict: Running) -> None:
    """A client cannot choose his bucket by writing X-Forwarded-For."""
    statuses = [
        strict.anonymous.get(METERED, headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
        for n in range(3)
    ]
    assert statuses == [200, 200, 429]


def test_a_key_in_the_cookie_changes_things_from_our_own_pages_only(server: Running) -> None:
    """
    identity 23: The cookie tally_key is a key; a POST with it needs our own Origin, and one from
    another site is refused with nothing done.
    """
    database = server.services.database
    key = issue(database, make_user(database), "identity:admin")
    origin = server.url

    def post(**headers: str) -> httpx.Response:
        sent = {"Cookie": f"tally_key={key.secret}", **headers}
        return server.anonymous.post("/api/v1/users", json={"username": "eve"}, headers=sent)

    read = server.anonymous.get("/api/v1/api-keys", headers={"Cookie": f"tally_key={key.secret}"})
    assert [item["id"] for item in read.json()["items"]] == [key.key_id]
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        refused = post(**headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    assert post(Origin=origin).status_code == 201
    with psycopg.connect(server.builder.url) as connection:
        count = "SELECT count(*) FROM tally.users WHERE username = 'eve'"
        assert connection.execute(count).fetchone() == (1,)


def test_a_key_in_the_query_is_none(server: Running) -> None:
    """A key is never read from the query: proxies log it."""
    database = server.services.database
    key = issue(database, make_user(database), "log:admin")
    for name in ("key", "api_key", "access_token", "tally_key", "Authorization"):
        answer = server.anonymous.get("/admin/status", params={name: key.secret})
        assert answer.status_code == 401
