"""Polled sources over HTTP, and the earlier service's reading calls on what they sealed."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from tallystick.tlog import hash_leaf
from tests.http.transcript import shown, transcript

if TYPE_CHECKING:
    from tests.http.conftest import Running

ORDERS = """CREATE TABLE orders (id int PRIMARY KEY, hash bytea);
            INSERT INTO orders
            SELECT i, sha256(('data' || i)::bytea) FROM generate_series(1, 8) AS i"""
ROOT_OF_EIGHT = "a83e070578a7ff9b09e97b438168bbcc3a4f8ad30c54fc2ee133cba1629aeec7"


def test_a_source_is_polled(server: Running) -> None:
    """log 16: POST sources takes an order, and answers with the cursor, lookback and interval."""
    server.builder.create("hashes", mode="digest", visibility="public")
    server.builder.execute(ORDERS)
    answer = server.operator.post(
        "/logs/hashes/sources",
        json={"source_table": "orders", "hash_column": "hash", "order_column": "id"},
    )
    assert transcript(answer) == shown("""
        POST /logs/hashes/sources
        201
        content-type: application/json
    """)
    source = answer.json()["source"]
    assert (source["capture"], source["state"], source["leaf_form"]) == ("poll", "active", "column")
    assert (source["order_column"], source["timestamp_column"]) == ("id", None)
    assert (source["poll_cursor"], source["poll_lookback"]) == ("8", 10_000)
    assert source["reconcile_interval_seconds"] == 3600
    refused = server.operator.post(
        "/logs/hashes/sources", json={"source_table": "orders", "capture": "poll"}
    )
    assert refused.status_code == 400


def test_the_earlier_reading_calls(server: Running) -> None:
    """log 29: size, root, has_leaf, has_root and proof answer for leaves that are hashes."""
    server.builder.create("hashes", mode="digest", visibility="public")
    server.builder.execute(ORDERS)
    added = server.operator.post(
        "/logs/hashes/sources",
        json={"source_table": "orders", "hash_column": "hash", "order_column": "id"},
    )
    assert added.status_code == 201
    assert server.seal("hashes") == 8
    ask = server.anonymous
    leaf = hashlib.sha256(b"data3").digest()
    given = {"hash": base64.b64encode(leaf).decode()}
    root = base64.b64encode(bytes.fromhex(ROOT_OF_EIGHT)).decode()
    assert ask.get("/logs/hashes/size").json()["size"] == 8
    assert ask.get("/logs/hashes/exists").json()["exists"] is True
    assert ask.get("/logs/hashes/root").json()["merkle_root"] == root
    assert ask.get("/logs/hashes/has_leaf", params=given).json()["exists"] is True
    hashed = {"leaf_hash": base64.b64encode(hash_leaf(leaf)).decode()}
    assert ask.get("/logs/hashes/has_leaf", params=hashed).json()["exists"] is True
    assert ask.get("/logs/hashes/has_root", params={"root": root}).json()["exists"] is True
    proof = ask.get("/logs/hashes/proof", params=given).json()["proof"]
    assert (proof["index"], proof["tree_size"], proof["root"]) == (2, 8, root)
