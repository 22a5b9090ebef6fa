"""Sinks over a real server: listed with their lag, paused, resumed, an event skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.outbox import add_sink
from tests.http.test_operations import number, put

if TYPE_CHECKING:
    from tests.http.conftest import Running


def add(server: Running, *names: str) -> None:
    """Add sinks that get every event."""
    with server.builder.database.transaction() as tx:
        for name in names:
            add_sink(tx, name, "notify", config={})


def post(server: Running, path: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    """The answer to the operator's POST."""
    answer = server.operator.post(f"/api/v1/sinks/{path}", json=fields)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_sinks_are_listed_in_pages(server: Running) -> None:
    """log 22: GET sinks lists the sinks by name with their lag and what they get next."""
    add(server, "b", "a", "c")
    put(server, "x")
    page = server.operator.get("/api/v1/sinks?limit=2").json()
    assert [item["sink"] for item in page["items"]] == ["a", "b"]
    first = page["items"][0]
    assert (first["kind"], first["state"], first["lag_events"]) == ("notify", "active", 1)
    assert first["next_event_id"] is not None
    rest = server.operator.get(f"/api/v1/sinks?limit=2&after={page['next']}").json()
    assert ([item["sink"] for item in rest["items"]], rest["next"]) == (["c"], None)


def test_a_sink_is_paused_and_resumed(server: Running) -> None:
    """log 22: pause stops a sink, resume lets it go on; one that is not there is not found."""
    add(server, "s")
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "active")):
        assert post(server, f"s/{verb}")["sink"]["state"] == state
    for verb in ("pause", "resume"):
        assert post(server, f"none/{verb}", 404)["code"] == "sink_not_found"


def test_the_next_event_is_skipped(server: Running) -> None:
    """log 22: skip passes over the event that is next and no other, and is an event itself."""
    add(server, "s")
    put(server, "x")
    event_id = server.operator.get("/api/v1/sinks").json()["items"][0]["next_event_id"]
    wrong = post(server, "s/skip", 409, event_id=event_id + 1, reason="poison")
    assert wrong["code"] == "not_next_event"
    for fields in ({"event_id": event_id}, {"event_id": event_id, "reason": ""}):
        assert post(server, "s/skip", 400, **fields)["code"] == "invalid_request"
    unknown = post(server, "none/skip", 404, event_id=event_id, reason="poison")
    assert unknown["code"] == "sink_not_found"
    skipped = post(server, "s/skip", event_id=event_id, reason="poison")["sink"]
    assert skipped["next_event_id"] is None
    number(server)
    events = server.operator.get(
        "/api/v1/events?topic=outbox.skipped", headers={"Accept": "application/json"}
    ).json()["items"]
    [payload] = [event["payload"] for event in events]
    assert (payload["event_id"], payload["actor"]) == (event_id, "key:operator")
    assert payload["reason"] == "poison"
