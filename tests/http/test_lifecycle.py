"""Keys in turn, succession and moves over HTTP, as one reads them (log.md, section 6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.seal.logs import get_log
from tallystick.seal.succession import shard_log
from tests.http.transcript import shown, transcript
from tests.seal.laws.stage import sql

if TYPE_CHECKING:
    from tallystick.seal.logs import Log
    from tests.http.conftest import Running


@pytest.fixture
def log(server: Running) -> Running:
    """A server with the public log `one` over a table with one row, sealed."""
    sql(server.builder.url, "CREATE TABLE item (id bigint PRIMARY KEY)")
    server.builder.create("one", visibility="public", control_leaves=True)
    server.services.publisher.refresh()
    added = server.operator.post("/logs/one/sources", json={"source_table": "item"})
    assert added.status_code == 201
    sql(server.builder.url, "INSERT INTO item VALUES (1)")
    server.seal("one")
    return server


def key_ids(server: Running) -> list[tuple[str, str, int | None, int | None]]:
    """The keys of the log as everybody reads them: id, state, period."""
    items = server.anonymous.get("/logs/one/keys").json()["items"]
    return [(one["key_id"], one["status"], one["from_size"], one["to_size"]) for one in items]


def test_keys_are_made_activated_and_retired(log):
    """log 20, 22: a key is made, activated and retired; /keys shows the period of each."""
    made = log.operator.post("/logs/one/keys")
    assert transcript(made) == shown("""
        POST /logs/one/keys
        201
        content-type: application/json
    """)
    new = made.json()["key"]
    assert (new["name"], new["status"], new["from_size"]) == ("log.example/one", "pending", None)
    activated = log.operator.post(f"/logs/one/keys/{new['key_id']}/activate")
    assert (activated.status_code, activated.json()["key"]["from_size"]) == (200, 3)
    old = key_ids(log)[0][0]
    retired = log.operator.post(f"/logs/one/keys/{old}/retire")
    assert retired.json()["key"]["to_size"] == 2
    assert key_ids(log) == [(old, "retired", 0, 2), (new["key_id"], "active", 3, None)]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/logs/one/keys/{key}/retire", 409, "last_key"),
        ("/logs/one/keys/00000000/activate", 404, "log_key_not_found"),
        ("/logs/one/keys/0000/activate", 400, "invalid_request"),
        ("/logs/one/keys/nonsense/retire", 400, "invalid_request"),
        ("/logs/none/keys", 404, "log_not_found"),
    ],
)
def test_what_is_refused_of_keys_is_named(log, path, status, code):
    """log 22: the last key, unknown keys and what is no key id have their problems."""
    answer = log.operator.post(path.format(key=key_ids(log)[0][0]))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_log_is_continued(log):
    """log 22, 27: the successor is answered, feeds from the table, and the old log freezes."""
    made = log.operator.post("/logs/one/succeed", json={"successor": "two"})
    assert made.status_code == 201
    body = made.json()
    assert (body["log_name"], body["state"], body["visibility"]) == ("two", "active", "public")
    again = log.operator.post("/logs/one/succeed", json={"successor": "two"})
    assert (again.status_code, again.json()["log_name"]) == (201, "two")
    other = log.operator.post("/logs/one/succeed", json={"successor": "three"})
    assert (other.status_code, other.json()["code"]) == (409, "log_exists")
    bad = log.operator.post("/logs/one/succeed", json={"successor": "No Name"})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_log")
    assert log.operator.post("/logs/one/succeed", json={}).status_code == 400
    none = log.operator.post("/logs/none/succeed", json={"successor": "two"})
    assert (none.status_code, none.json()["code"]) == (404, "log_not_found")
    [source] = log.operator.get("/logs/two/sources").json()["items"]
    assert (source["source_table"], source["state"]) == ("item", "active")


def test_a_rows_last_word_is_proven_from_the_log_that_has_it(log):
    """log 27: rows and proofs of a key asked of the successor reach the log that it continues."""
    log.operator.post("/logs/one/succeed", json={"successor": "two"})
    for name in ("two", "one", "two"):
        log.builder.logs[name] = named(log, name)
        log.seal(name)
    row = {"table": "item", "key": "1"}
    proof = log.anonymous.get("/logs/two/proof", params=row).json()
    assert (proof["log_name"], proof["proof"]["index"]) == ("one", 1)
    history = log.anonymous.get("/logs/two/rows", params=row).json()["items"]
    assert len(history) == 1
    file = log.anonymous.get("/logs/two/proof", params=row, headers={"Accept": "text/plain"})
    assert "log.example/one" in file.text
    sql(log.builder.url, "DELETE FROM item")
    log.seal("two")
    for version, name in (("last", "two"), ("first", "one")):
        answer = log.anonymous.get("/logs/two/proof", params={**row, "version": version})
        assert answer.json()["log_name"] == name
    # What is asked of one tree is answered of that tree alone.
    alone = log.anonymous.get("/logs/two/proof", params={**row, "size": 1})
    assert (alone.status_code, alone.json()["code"]) == (404, "leaf_not_found")


def named(server: Running, name: str) -> Log:
    """The log of this name."""
    with server.builder.database.transaction() as tx:
        return get_log(tx, name)


def test_a_private_predecessor_stays_private(log):
    """A public log may continue a private one, and does not open it: nothing of it is proven."""
    log.operator.post("/logs/one/succeed", json={"successor": "two"})
    log.builder.logs["two"] = named(log, "two")
    log.seal("two")
    log.operator.patch("/logs/one", json={"visibility": "private"})
    row = {"table": "item", "key": "1"}
    assert log.anonymous.get("/logs/two/proof", params=row).status_code == 404
    assert log.operator.get("/logs/two/proof", params=row).json()["log_name"] == "one"


def test_a_table_is_moved(log):
    """log 22: a table moved to another log feeds that from now on; refusals have their problems."""
    log.builder.create("other", visibility="public")
    moved = log.operator.post("/logs/one/sources/item/move", json={"to": "other"})
    assert moved.status_code == 200
    source = moved.json()["source"]
    assert (source["source_table"], source["log_name"]) == ("item", "other")
    gone = log.operator.post("/logs/one/sources/item/move", json={"to": "other"})
    assert (gone.status_code, gone.json()["code"]) == (404, "source_not_found")
    none = log.operator.post("/logs/other/sources/item/move", json={"to": "none"})
    assert (none.status_code, none.json()["code"]) == (404, "log_not_found")
    back = log.operator.post("/logs/other/sources/item/move", json={"to": "one"})
    assert (back.status_code, back.json()["code"]) == (409, "source_exists")


def test_a_family_is_read_by_its_name(log):
    """Routes about a log take a family's name too, and answer for its current shard."""
    with log.builder.database.transaction() as tx:
        shard_log(tx, "one", "items", period="month")
    log.services.publisher.refresh()
    size = log.anonymous.get("/logs/items/size").json()
    assert (size["log_name"], size["size"]) == ("one", 2)
    assert log.anonymous.get("/logs/items/exists").json()["exists"] is True
