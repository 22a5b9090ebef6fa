"""Health, metrics, the switch of sealing, access logs, events."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import structlog

from tallystick.http.streams import MAX_STREAMS
from tallystick.identity import APIKeyRepository, UserRepository
from tallystick.outbox import emit
from tallystick.outbox.numbering import numbering_session
from tests.support.keys import ACTOR, issue, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.conftest import Running

NAMES = [
    "tally_log_size",
    "tally_published_size",
    "tally_backlog_rows",
    "tally_backlog_age_seconds",
    "tally_quarantine_rows",
    "tally_source_broken",
    "tally_witness_behind",
    "tally_outbox_lag_seconds",
    "tally_longest_transaction_seconds",
    "tally_sealed_rows_total",
    "tally_checkpoints_total",
    "tally_seal_errors_total",
    "tally_http_requests_total",
    "tally_seal_seconds",
    "tally_batch_rows",
    "tally_commit_to_checkpoint_seconds",
    "tally_http_seconds",
    "tally_witness_seconds",
]


def test_health_says_what_is_wrong(server: Running) -> None:
    """log 22: Health is 200 while all is well or degraded, 503 with a failed log or a lag."""
    answer = server.anonymous.get("/api/v1/health")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["database"]) == ("ok", "ok")
    assert server.anonymous.get("/api/v1/health/live").json() == {"status": "ok"}
    assert server.anonymous.get("/api/v1/health/ready").status_code == 200
    log = server.builder.create("late")
    server.builder.append("late", [b"x"])
    server.builder.execute("UPDATE tally.capture SET captured_at = now() - interval '31 seconds'")
    time.sleep(1.1)
    late = server.anonymous.get("/api/v1/health")
    assert (late.status_code, late.json()["status"]) == (503, "failing")
    assert late.json()["lag_seconds"] > 30
    assert server.anonymous.get("/api/v1/health/ready").status_code == 200
    server.builder.seal("late")
    server.builder.execute(f"SELECT tally.fail_log_v1({log.log_id}, '{{}}')")
    time.sleep(1.1)
    failed = server.anonymous.get("/api/v1/health")
    assert (failed.status_code, failed.json()["failed_logs"]) == (503, 1)


def test_a_head_that_waits_for_witnesses_is_told(server: Running) -> None:
    """log 20: With its witness down a log's checkpoint stays, and health says why."""
    server.builder.filled("watched", [b"a"], visibility="public", witness_quorum=1)
    server.services.publisher.refresh()
    assert server.anonymous.get("/logs/watched/size").json()["size"] == 0
    answer = server.anonymous.get("/api/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["unpublished_logs"] == 1


def test_sealing_is_paused_and_resumed(server: Running) -> None:
    """log 22: /admin/pause, resume and stop switch sealing in every process, by their old names."""
    for verb, status in (("pause", "paused"), ("resume", "running"), ("stop", "stopping")):
        answer = server.operator.post(f"/admin/{verb}")
        assert (answer.status_code, answer.json()["sealing"]) == (200, status)
        assert server.operator.get("/admin/status").json()["sealing"] == status
    [(changed_by,)] = server.builder.execute("SELECT changed_by FROM tally.sealing")
    assert changed_by == "key:operator"
    refused = server.operator.post("/admin/pause")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")


def test_every_metric_has_its_name(server: Running) -> None:
    """log 30: Every name of section 6.3 is in /metrics."""
    server.builder.filled("measured", [b"a", b"b"], visibility="public")
    server.services.publisher.refresh()
    server.anonymous.get("/logs/measured/checkpoint")
    answer = server.operator.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for name in NAMES:
        assert f"# TYPE {name.removesuffix('_total')}" in answer.text
    lines = answer.text.splitlines()
    assert 'tally_log_size{log="measured"} 2.0' in lines
    assert 'tally_published_size{log="measured"} 2.0' in lines
    assert any(
        line.startswith('tally_http_requests_total{code="200",route="/logs/{log}/checkpoint"}')
        for line in lines
    )


def test_access_lines_hold_no_content(server: Running) -> None:
    """Law 16: An access line has route, status and duration, and nothing of query, key or row."""
    server.builder.filled("quiet", [b"canary-leaf"], visibility="private")
    server.services.publisher.refresh()
    with structlog.testing.capture_logs() as lines:
        server.operator.get("/logs/quiet/entries?after=&limit=5")
        server.operator.get("/logs/quiet/search?name=canary-value")
        server.anonymous.get("/logs/quiet/rows?table=canary-table&key=canary-key")
    text = json.dumps(lines)
    assert "canary" not in text
    assert "tly_" not in text
    assert [line["event"] for line in lines if "rows" in line["event"]] == [
        "GET /logs/{log}/rows 401"
    ]


def number(server: Running) -> None:
    """Number the events, as the outbox's worker does."""
    with numbering_session(server.builder.database) as numbering:
        assert numbering is not None
        numbering.number()


def put(server: Running, key: str) -> None:
    """Write and number an event."""
    with server.builder.database.transaction() as tx:
        emit(tx, "log.checkpoint", key=key, payload={"log": key})
    number(server)


def test_events_are_a_list(server: Running) -> None:
    """log 22: GET events with Accept: application/json is a paged list, by topic and key."""
    for key in ("a", "b", "a"):
        put(server, key)
    accept = {"Accept": "application/json"}

    def keys(**parameters: object) -> list[str]:
        answer = server.operator.get("/api/v1/events", params=parameters, headers=accept).json()
        return [item["key"] for item in answer["items"]]

    assert keys() == ["a", "b", "a"]
    assert keys(key="a", topic="log.checkpoint") == ["a", "a"]
    assert keys(topic="log.failed") == []
    first = server.operator.get("/api/v1/events?limit=2", headers=accept).json()
    assert keys(after=first["next"]) == ["a"]
    unknown = server.operator.get("/api/v1/events?topic=no.topic", headers=accept)
    assert unknown.status_code in {400, 404, 422}
    assert server.anonymous.get("/api/v1/events", headers=accept).status_code == 401


def frames(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The events of a stream, field by field; comments are left out."""
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        if line == "":
            if "id" in frame:
                yield frame
            frame = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value


def test_a_stream_resumes_where_it_broke_off(server: Running) -> None:
    """log 31: The stream of events begins behind Last-Event-ID and goes on with what comes."""
    for key in ("a", "b"):
        put(server, key)
    later = threading.Timer(0.5, put, (server, "c"))
    later.start()
    with server.operator.stream(
        "GET", "/api/v1/events", headers={"Last-Event-ID": "1"}, timeout=10
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        found = frames(response)
        got = [next(found), next(found)]
    later.join()
    assert [frame["id"] for frame in got] == ["2", "3"]
    assert [json.loads(frame["data"])["key"] for frame in got] == ["b", "c"]
    assert got[0]["event"] == "log.checkpoint"
    refused = server.operator.get("/api/v1/events", headers={"Last-Event-ID": "x"})
    assert refused.status_code == 400


@pytest.mark.parametrize("end", ["revoked", "blacklisted", "narrowed"])
def test_a_stream_ends_with_its_key(server: Running, end: str) -> None:
    """identity 9: Law 1: What ends a key, or takes its scope, holds for its open stream too."""
    database = server.services.database
    key = issue(database, make_user(database), "log:read")
    put(server, "before")
    with httpx.stream(
        "GET",
        f"{server.url}/api/v1/events?topic=log.checkpoint&topic=log.failed",
        headers={**key.headers, "Last-Event-ID": "0"},
        timeout=30,
    ) as response:
        found = frames(response)
        got = [json.loads(next(found)["data"])["key"]]
        with database.transaction() as tx:
            if end == "revoked":
                APIKeyRepository(tx).revoke(key.key_id, reason="lost", actor=ACTOR)
            elif end == "blacklisted":
                UserRepository(tx).blacklist(key.user_id, reason="fraud", actor=ACTOR)
            else:
                APIKeyRepository(tx).update(key.key_id, expected_version=1, scopes=[], actor=ACTOR)
        put(server, "after")
        if end == "narrowed":
            # The key is good still: its stream goes on, with its user's own events.
            with database.transaction() as tx:
                emit(tx, "log.failed", key="own", payload={}, user_id=key.user_id)
            number(server)
            got.append(json.loads(next(found)["data"])["key"])
        else:
            got += [json.loads(frame["data"])["key"] for frame in found]
    assert got == (["before", "own"] if end == "narrowed" else ["before"])


def test_a_user_has_so_many_streams_at_once(server: Running) -> None:
    """One more stream than a user may have is 429, and one that ends makes room, for his keys."""
    database = server.services.database
    user = make_user(database)
    keys = [issue(database, user).headers for _ in range(2)]
    put(server, "before")
    where = f"{server.url}/api/v1/events"
    # Kept, because a reader that is forgotten ends its stream.
    lines: list[Iterator[str]] = []
    with contextlib.ExitStack() as streams:
        for number in range(MAX_STREAMS):
            opened = httpx.stream("GET", where, headers=keys[number % 2], timeout=30)
            lines.append(streams.enter_context(opened).iter_lines())
            assert next(lines[-1]) == ": open"
        refused = httpx.get(where, headers=keys[0])
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        listed = httpx.get(where, headers={**keys[0], "Accept": "application/json"})
        assert listed.status_code == 200
        other = issue(database, make_user(database)).headers
        with httpx.stream("GET", where, headers=other, timeout=30) as another:
            assert another.status_code == 200
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with httpx.stream("GET", where, headers=keys[0], timeout=30) as again:
            if again.status_code == 200:
                return
        # That its reader left the server hears when it writes next.
        put(server, "wake")
    pytest.fail("a stream that ended makes no room")


@pytest.mark.parametrize("path", ["/logs/none/size", "/logs/none/checkpoint"])
def test_a_new_log_is_served_within_a_second(server: Running, path: str) -> None:
    """A log that another process makes is served by this one within its next look."""
    server.builder.create("none", visibility="public")
    deadline = time.monotonic() + 3
    while server.anonymous.get(path).status_code == 404 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.anonymous.get(path).status_code == 200
