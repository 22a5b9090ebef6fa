"""Sources that are captured from the WAL, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.http.conftest import Running


def test_a_source_is_added_with_its_capture(server: Running) -> None:
    """log 22: POST sources with capture wal adds a source that waits for its slot."""
    server.builder.create("shop")
    server.services.publisher.refresh()
    server.builder.execute("CREATE TABLE public.item (id integer PRIMARY KEY, name text)")
    wanted = {"source_table": "item", "capture": "wal"}
    added = server.operator.post("/logs/shop/sources", json=wanted)
    source = added.json()["source"]
    assert (added.status_code, source["capture"], source["state"]) == (201, "wal", "backfilling")
    refused = server.operator.post("/logs/shop/sources", json={**wanted, "on_update": "refuse"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unsupported_source")
    unknown = server.operator.post("/logs/shop/sources", json={**wanted, "capture": "guess"})
    assert unknown.status_code == 400
