"""The JSON routes of logs over a real server, by their earlier names."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.publish import RowKey
from tallystick.tlog import (
    EMPTY_ROOT,
    Hash,
    LeafIndex,
    TreeSize,
    check_consistency,
    check_inclusion,
    hash_leaf,
    parse_checkpoint,
    parse_note,
    parse_tlog_proof,
)
from tests.support.sealed import payment
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    import httpx

    from tests.http.conftest import Running

LEAVES = [b"leaf %d" % number for number in range(20)]
NAIVE = NaiveTree(LEAVES)


def b64(data: bytes) -> str:
    """Return *data* as the API spells it."""
    return base64.b64encode(data).decode()


def body(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The body, which says `ok` and names the log, or is a problem document."""
    answer: dict[str, Any] = response.json()
    assert response.status_code == status, answer
    if status < 400:
        assert response.headers["content-type"] == "application/json"
        assert answer.pop("status") == "ok"
        answer.pop("log_name", None)
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"
        assert answer["status"] == status
        assert answer["code"] == answer["error_type"]
        assert answer["type"].endswith(answer["code"])
    return answer


def check_proof(proof: dict[str, Any], *, leaf: bytes, size: int) -> None:
    """Check a proof of the answer as anybody would."""
    assert (proof["tree_size"], proof["leaf_hash"]) == (size, b64(hash_leaf(leaf)))
    assert proof["root"] == b64(NAIVE.root(size))
    check_inclusion(
        [base64.b64decode(item) for item in proof["hashes"]],
        leaf=hash_leaf(leaf),
        index=LeafIndex(proof["index"]),
        size=TreeSize(size),
        root=Hash(NAIVE.root(size)),
    )


@pytest.fixture
def log(server: Running) -> Running:
    """A server with the public log `open` of 20 leaves, sealed 8 at a time, and an empty one."""
    server.builder.create("open", batch_size=8, visibility="public")
    server.builder.append("open", LEAVES)
    server.builder.create("empty", visibility="public")
    server.seal("open")
    return server


def test_root(log: Running) -> None:
    """log 22: GET root is the published tree, or an earlier one, with its checkpoint if signed."""
    answer = body(log.anonymous.get("/logs/open/root"))
    assert parse_checkpoint(parse_note(answer.pop("checkpoint").encode()).text).size == 20
    assert answer.pop("signed_at")
    assert answer == {
        "merkle_root": b64(NAIVE.root(20)),
        "tree_size": 20,
        "witnessed": 0,
        "last_processed_id": 20,
    }
    unsigned = body(log.anonymous.get("/logs/open/root?size=5"))
    assert unsigned == {
        "merkle_root": b64(NAIVE.root(5)),
        "tree_size": 5,
        "checkpoint": None,
        "signed_at": None,
        "witnessed": 0,
        "last_processed_id": 5,
    }
    signed = body(log.anonymous.get("/logs/open/root?size=8"))
    assert parse_checkpoint(parse_note(signed["checkpoint"].encode()).text).size == 8
    assert body(log.anonymous.get("/logs/open/root?size=21"), 422)["code"] == "size_too_large"
    assert body(log.anonymous.get("/logs/open/root?size=-1"), 400)["code"] == "invalid_request"
    assert body(log.anonymous.get("/logs/nope/root"), 404)["code"] == "log_not_found"


def test_size_and_exists(log: Running) -> None:
    """log 22: GET size and exists; exists is false for names that there are not."""
    assert body(log.anonymous.get("/logs/open/size")) == {"size": 20}
    assert body(log.anonymous.get("/logs/open/exists")) == {"exists": True}
    assert body(log.anonymous.get("/logs/nope/exists")) == {"exists": False}


def test_proof_of_each_kind(log: Running) -> None:
    """log 22: GET proof by index, leaf bytes, leaf hash, indexes; at any size."""
    get = log.anonymous.get
    check_proof(body(get("/logs/open/proof?index=3"))["proof"], leaf=LEAVES[3], size=20)
    check_proof(body(get("/logs/open/proof?index=3&size=5"))["proof"], leaf=LEAVES[3], size=5)
    for parameters in ({"hash": b64(LEAVES[7])}, {"leaf_hash": b64(hash_leaf(LEAVES[7]))}):
        answer = body(get("/logs/open/proof", params=parameters))
        assert (answer["count"], answer["indexes"]) == (1, [7])
        check_proof(answer["proof"], leaf=LEAVES[7], size=20)
    for query in ("indexes=0,19", "indexes=0&indexes=19"):
        proofs = body(get(f"/logs/open/proof?{query}"))["proofs"]
        for proof, leaf in zip(proofs, (LEAVES[0], LEAVES[19]), strict=True):
            check_proof(proof, leaf=leaf, size=20)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_request"),
        ("index=1&leaf_hash=AA", 400, "invalid_request"),
        ("index=x", 400, "invalid_request"),
        ("index=-1", 400, "invalid_request"),
        ("index=99999999999999999999", 400, "invalid_request"),
        ("index=20", 404, "leaf_not_found"),
        ("index=5&size=5", 404, "leaf_not_found"),
        ("index=5&size=21", 422, "size_too_large"),
        ("leaf_hash=AA", 400, "invalid_request"),
        ("leaf_hash=*", 400, "invalid_request"),
        ("hash=AA", 404, "leaf_not_found"),
        ("table=payment", 400, "invalid_request"),
        ("table=payment&key=1", 404, "leaf_not_found"),
        ("table=payment&key=1&version=newest", 400, "invalid_request"),
        ("table=pay%00ment&key=1", 400, "invalid_request"),
        ("indexes=1,,2", 400, "invalid_request"),
        ("indexes=" + ",".join(["1"] * 101), 400, "invalid_request"),
    ],
)
def test_proof_refusals(log: Running, query: str, status: int, code: str) -> None:
    """log 22: What GET proof refuses, it refuses by name."""
    assert body(log.anonymous.get(f"/logs/open/proof?{query}"), status)["code"] == code


def test_a_proof_as_a_file(log: Running) -> None:
    """log 22: With Accept: text/plain the proof is a tlog-proof under a signed checkpoint."""
    for query, size in (("index=3", 20), ("index=3&size=9", 16)):
        response = log.anonymous.get(f"/logs/open/proof?{query}", headers={"Accept": "text/plain"})
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        proof = parse_tlog_proof(response.content)
        checkpoint = parse_checkpoint(proof.note.text)
        assert checkpoint.size == size
        check_inclusion(
            proof.hashes,
            leaf=hash_leaf(LEAVES[3]),
            index=LeafIndex(3),
            size=checkpoint.size,
            root=checkpoint.root,
        )
    several = log.anonymous.get("/logs/open/proof?indexes=1,2", headers={"Accept": "text/plain"})
    assert body(several, 400)["code"] == "invalid_request"


def test_consistency(log: Running) -> None:
    """log 22: GET consistency by size or signed root; from size 0 and to itself it is empty."""
    get = log.anonymous.get
    for parameters in ({"old_size": 8}, {"old_root": b64(NAIVE.root(8))}):
        proof = body(get("/logs/open/consistency", params=parameters))["proof"]
        assert (proof["old_tree_size"], proof["new_tree_size"]) == (8, 20)
        check_consistency(
            [base64.b64decode(item) for item in proof["hashes"]],
            old_size=TreeSize(8),
            new_size=TreeSize(20),
            old_root=Hash(NAIVE.root(8)),
            new_root=Hash(NAIVE.root(20)),
        )
    for old in (0, 20):
        proof = body(get(f"/logs/open/consistency?old_size={old}"))["proof"]
        assert (proof["hashes"], proof["old_root"]) == ([], b64(NAIVE.root(old)))
    assert body(get("/logs/open/consistency?old_size=3&new_size=7"))["proof"]["hashes"]
    unsigned = get("/logs/open/consistency", params={"old_root": b64(NAIVE.root(5))})
    assert body(unsigned, 404)["code"] == "root_not_found"
    for query, status in (
        ("", 400),
        ("old_size=1&old_root=AA", 400),
        ("old_size=9&new_size=8", 400),
        ("old_size=21", 422),
        ("old_size=1&new_size=21", 422),
    ):
        body(get(f"/logs/open/consistency?{query}"), status)


def test_binary_parameters_in_every_spelling(log: Running) -> None:
    """log 22: Base64, base64url, without padding, and with a space for the plus, are one value."""
    index, digest = next(
        (index, b64(hash_leaf(leaf)))
        for index, leaf in enumerate(LEAVES)
        if "+" in b64(hash_leaf(leaf)) and "/" in b64(hash_leaf(leaf))
    )
    spelled = [
        digest,
        digest.replace("+", " "),
        digest.replace("+", "-").replace("/", "_"),
        digest.rstrip("="),
    ]
    for spelling in spelled:
        answer = body(log.anonymous.get("/logs/open/proof", params={"leaf_hash": spelling}))
        assert answer["proof"]["index"] == index
    raw = log.anonymous.get(f"/logs/open/proof?leaf_hash={digest}")
    assert body(raw)["proof"]["index"] == index


def test_has_leaf_and_has_root(log: Running) -> None:
    """log 22: has_leaf by bytes or hash; has_root is true for signed roots alone."""
    get = log.anonymous.get
    for parameters, expected in (
        ({"hash": b64(LEAVES[4])}, True),
        ({"leaf_hash": b64(hash_leaf(LEAVES[4]))}, True),
        ({"hash": b64(b"absent")}, False),
    ):
        assert body(get("/logs/open/has_leaf", params=parameters)) == {"exists": expected}
    for size, expected in ((16, True), (5, False)):
        answer = body(get("/logs/open/has_root", params={"root": b64(NAIVE.root(size))}))
        assert answer == {"exists": expected, "tree_size": size if expected else None}
    body(get("/logs/open/has_leaf"), 400)
    body(get("/logs/open/has_root"), 400)
    body(get("/logs/open/has_root?root=AA"), 400)


def test_entries(log: Running) -> None:
    """log 22: GET entries pages through all leaves; entries/{index} is one of them."""
    seen, after = [], None
    while True:
        parameters = {"limit": 7} | ({"after": after} if after else {})
        answer = body(log.anonymous.get("/logs/open/entries", params=parameters))
        seen += answer["items"]
        after = answer["next"]
        if after is None:
            break
    assert [base64.b64decode(item["leaf"]) for item in seen] == LEAVES
    assert [item["index"] for item in seen] == list(range(20))
    assert body(log.anonymous.get("/logs/open/entries/4")) == {
        "index": 4,
        "leaf": b64(LEAVES[4]),
        "leaf_hash": b64(hash_leaf(LEAVES[4])),
        "record": None,
    }
    assert body(log.anonymous.get("/logs/open/entries/20"), 404)["code"] == "leaf_not_found"
    for query in ("limit=0", "limit=1001", "after=!", "after=WyJ4Il0"):
        body(log.anonymous.get(f"/logs/open/entries?{query}"), 400)


def test_rows_and_search(server: Running) -> None:
    """log 22: GET rows is a key's versions by index or at a size; search finds records."""
    builder = server.builder
    builder.create("pay", visibility="public")
    source = builder.add_table("pay", "payment")
    for op in ("insert", "update", "delete"):
        change = payment(42, op=op)
        builder.append_change("pay", source, change, key_text=RowKey.of("payment", "42").text)
    server.seal("pay")
    get = server.anonymous.get
    for key in ("42", '["42"]'):
        answer = body(get("/logs/pay/rows", params={"table": "payment", "key": key}))
        assert [(item["index"], item["op"]) for item in answer["items"]] == [
            (0, "insert"),
            (1, "update"),
            (2, "delete"),
        ]
    first = answer["items"][0]
    assert (first["log_name"], first["table"], first["key"], first["via"], first["at"]) == (
        "pay",
        "payment",
        ["42"],
        "trigger",
        "2026-01-02T03:04:05.000006Z",
    )
    assert first["record"]["row"]["amount"] == "10.50"
    then = body(get("/logs/pay/rows?table=public.payment&key=42&at_size=2"))
    assert ([item["index"] for item in then["items"]], then["exists"]) == ([1], True)
    assert (then["proof"]["index"], then["proof"]["tree_size"]) == (1, 2)
    assert not body(get("/logs/pay/rows?table=payment&key=42&at_size=3"))["exists"]
    assert body(get("/logs/pay/rows?table=payment&key=7&at_size=3"), 404)
    assert body(get("/logs/pay/rows?table=payment&key=7"))["items"] == []
    for query in (
        "id=42&amount=10.50",
        "column=id%3D42",
        "op=delete",
        "from=2026-01-02",
        "role=shop",
    ):
        assert body(get(f"/logs/pay/search?{query}"))["items"], query
    for query in ("id=43", "op=truncate", "to=2026-01-02", "actor=user:1"):
        assert body(get(f"/logs/pay/search?{query}"))["items"] == [], query
    for query in ("op=upsert", "from=yesterday", "limit=0", "column=id", "id=1&id=2"):
        body(get(f"/logs/pay/search?{query}"), 400)
    version = body(get("/logs/pay/proof?table=payment&key=42&version=all"))["proofs"]
    assert [proof["index"] for proof in version] == [0, 1, 2]


def test_lists_of_a_log(log: Running) -> None:
    """log 22: Checkpoints, keys and witnesses are lists, paged like every list."""
    first = body(log.anonymous.get("/logs/open/checkpoints?limit=2"))
    assert [item["tree_size"] for item in first["items"]] == [20, 16]
    rest = body(log.anonymous.get(f"/logs/open/checkpoints?limit=2&after={first['next']}"))
    assert ([item["tree_size"] for item in rest["items"]], rest["next"]) == ([8, 0], None)
    [key] = body(log.anonymous.get("/logs/open/keys"))["items"]
    assert (key["name"], key["status"], key["from_size"]) == ("log.example/open", "active", 0)
    assert body(log.anonymous.get("/logs/open/witnesses")) == {"items": [], "next": None}
    for path in ("sources", "findings"):
        assert body(log.operator.get(f"/logs/open/{path}")) == {"items": [], "next": None}


def test_size_zero_everywhere(log: Running) -> None:
    """log 22: Each route answers for the empty tree."""
    get = log.anonymous.get
    empty = body(get("/logs/empty/root"))
    assert (empty["merkle_root"], empty["tree_size"], empty["last_processed_id"]) == (
        b64(EMPTY_ROOT),
        0,
        0,
    )
    assert body(get("/logs/open/root?size=0"))["merkle_root"] == b64(EMPTY_ROOT)
    assert body(get("/logs/empty/size")) == {"size": 0}
    assert body(get("/logs/empty/proof?index=0"), 404)["code"] == "leaf_not_found"
    assert body(get("/logs/open/proof?index=0&size=0"), 404)["code"] == "leaf_not_found"
    proof = body(get("/logs/empty/consistency?old_size=0"))["proof"]
    assert (proof["hashes"], proof["new_root"]) == ([], b64(EMPTY_ROOT))
    assert body(get("/logs/empty/has_leaf", params={"hash": b64(b"x")})) == {"exists": False}
    assert body(get("/logs/empty/has_root", params={"root": b64(EMPTY_ROOT)})) == {
        "exists": True,
        "tree_size": 0,
    }
    for path in ("entries", "search", "rows?table=t&key=1"):
        assert body(get(f"/logs/empty/{path}"))["items"] == []
    assert [item["tree_size"] for item in body(get("/logs/empty/checkpoints"))["items"]] == [0]
    assert body(get("/logs/empty/rows?table=t&key=1&at_size=0"), 404)["code"] == "leaf_not_found"


def test_logs_are_made_changed_and_frozen(server: Running) -> None:
    """log 22: POST /logs makes a log once, PATCH changes it, POST freeze asks for its end."""
    made = server.operator.post("/logs", json={"log_name": "fresh", "visibility": "public"})
    assert body(made, 201)["origin"] == "log.example/fresh"
    assert body(server.anonymous.get("/logs/fresh/size")) == {"size": 0}
    again = server.operator.post("/logs", json={"log_name": "fresh", "visibility": "public"})
    body(again, 201)
    other = server.operator.post("/logs", json={"log_name": "fresh"})
    assert body(other, 409)["code"] == "log_exists"
    for wrong in ({"log_name": "Fresh"}, {"log_name": "a", "colour": "red"}, {"batch_size": 1}, []):
        body(server.operator.post("/logs", json=wrong), 400)
    changed = server.operator.patch("/logs/fresh", json={"visibility": "private"})
    assert body(changed)["visibility"] == "private"
    assert server.anonymous.get("/logs/fresh/size").status_code == 401
    body(server.operator.patch("/logs/nope", json={}), 404)
    frozen = server.operator.post("/logs/fresh/freeze")
    assert body(frozen, 202)["freeze_requested_at"]


def test_sources_are_added_and_ended(server: Running) -> None:
    """log 22: POST sources captures a table from now on, DELETE ends it and keeps its row."""
    server.builder.create("shop")
    server.services.publisher.refresh()
    server.builder.execute("CREATE TABLE public.item (id integer PRIMARY KEY, name text)")
    added = server.operator.post("/logs/shop/sources", json={"source_table": "item"})
    source = body(added, 201)["source"]
    assert (source["source_table"], source["key"], source["state"]) == ("item", ["id"], "active")
    server.builder.execute("INSERT INTO public.item VALUES (1, 'tally')")
    server.seal("shop")
    rows = body(server.operator.get("/logs/shop/rows?table=item&key=1"))["items"]
    assert [(row["op"], row["record"]["row"]["name"]) for row in rows] == [("insert", "tally")]
    listed = body(server.operator.get("/logs/shop/sources"))["items"]
    assert [item["source_table"] for item in listed] == ["item"]
    absent = server.operator.post("/logs/shop/sources", json={"source_table": "nothing"})
    assert body(absent, 404)["code"] == "source_not_found"
    ended = server.operator.delete("/logs/shop/sources/item")
    assert body(ended)["source"]["state"] == "detached"


def test_the_list_of_logs_shows_what_one_may_see(server: Running) -> None:
    """log 22: GET /logs lists public logs; all of them with the scope; by name, in pages."""
    for name, visibility in (("b", "public"), ("a", "public"), ("c", "private"), ("d", "hashes")):
        server.builder.create(name, visibility=visibility)
    server.services.publisher.refresh()

    def names(response: httpx.Response) -> list[str]:
        return [item["log_name"] for item in body(response)["items"]]

    assert names(server.anonymous.get("/logs")) == ["a", "b"]
    assert names(server.operator.get("/logs")) == ["a", "b", "c", "d"]
    first = body(server.operator.get("/logs?limit=3"))
    assert names(server.operator.get(f"/logs?after={first['next']}")) == ["d"]
