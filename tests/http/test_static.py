"""The static tree over a real server: C2SP tlog-tiles, with its headers."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import httpx
import pytest

from tallystick.tlog import parse_checkpoint, parse_entry_bundle, parse_note
from tests.http.transcript import shown, transcript
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    from tests.http.conftest import Running

LEAVES = [b"leaf %d" % number for number in range(300)]


@pytest.fixture
def trees(server: Running) -> Running:
    """A server with a public log, one whose hashes are open, a private one, an empty one."""
    for name, visibility in (("open", "public"), ("hashes", "hashes"), ("closed", "private")):
        server.builder.filled(name, LEAVES, visibility=visibility)
    server.builder.create("empty", visibility="public")
    server.services.publisher.refresh()
    return server


def test_the_checkpoint_is_the_signed_note(trees: Running) -> None:
    """log 22: GET /checkpoint is the note, for one second, with an ETag that answers 304."""
    response = trees.anonymous.get("/logs/open/checkpoint")
    assert transcript(response) == shown("""
        GET /logs/open/checkpoint
        200
        content-type: text/plain; charset=utf-8
        cache-control: public, max-age=1
        access-control-allow-origin: *
    """)
    checkpoint = parse_checkpoint(parse_note(response.content).text)
    assert (checkpoint.origin, checkpoint.size) == ("log.example/open", 300)
    assert checkpoint.root == NaiveTree(LEAVES).root(300)
    again = trees.anonymous.get(
        "/logs/open/checkpoint", headers={"If-None-Match": response.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = trees.anonymous.get("/logs/open/checkpoint", headers={"If-None-Match": '"x"'})
    assert other.status_code == 200


def test_tiles_are_immutable(trees: Running) -> None:
    """log 22: GET /tile is 32 bytes a hash, for ever; beyond the head it is not found."""
    naive = NaiveTree(LEAVES)
    for path, level, index, width in (
        ("0/000", 0, 0, 256),
        ("0/001.p/44", 0, 1, 44),
        ("0/000.p/7", 0, 0, 7),
        ("1/000.p/1", 1, 0, 1),
    ):
        response = trees.anonymous.get(f"/logs/open/tile/{path}")
        assert transcript(response) == shown(f"""
            GET /logs/open/tile/{path}
            200
            content-type: application/octet-stream
            cache-control: public, max-age=31536000, immutable
            access-control-allow-origin: *
        """)
        assert response.content == naive.tile(level, index, width)
    for path in ("0/001", "0/001.p/45", "0/002.p/1", "1/000.p/2", "2/000.p/1", "0/1", "x", "8/000"):
        response = trees.anonymous.get(f"/logs/open/tile/{path}")
        assert transcript(response) == shown(f"""
            GET /logs/open/tile/{path}
            404
            content-type: application/problem+json
            cache-control: no-store
            access-control-allow-origin: *
        """)


def test_entry_bundles_are_zipped_where_that_is_accepted(trees: Running) -> None:
    """log 22: GET /tile/entries is the bundle of leaves, gzipped for who accepts it."""
    path = "/logs/open/tile/entries/001.p/44"
    with httpx.Client(headers={"Accept-Encoding": "identity"}) as client:
        plain = client.get(f"{trees.url}{path}")
    assert transcript(plain) == shown(f"""
        GET {path}
        200
        content-type: application/octet-stream
        cache-control: public, max-age=31536000, immutable
        vary: Accept-Encoding
        access-control-allow-origin: *
    """)
    assert parse_entry_bundle(plain.content) == LEAVES[256:]
    with trees.anonymous.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as zipped:
        raw = b"".join(zipped.iter_raw())
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert trees.anonymous.get("/logs/open/tile/entries/001").status_code == 404


def test_pruned_bundles_are_gone(trees: Running) -> None:
    """log 22, 26: Entries below the minimum index answer 410, tiles stay."""
    trees.builder.execute(
        "UPDATE tally.verification_logs SET minimum_index = 1 WHERE log_name = 'open';"
        "DELETE FROM tally.merkle_log WHERE log_name = 'open' AND leaf_index < 1"
    )
    trees.services.publisher.refresh()
    for path in ("/logs/open/tile/entries/000", "/logs/open/entries/0"):
        response = trees.anonymous.get(path)
        assert (response.status_code, response.json()["code"]) == (410, "pruned")
    assert trees.anonymous.get("/logs/open/tile/0/000").status_code == 200


def test_size_zero_has_a_checkpoint_and_no_tiles(trees: Running) -> None:
    """log 22: An empty log has its signed checkpoint, and no tile, not even an empty one."""
    checkpoint = trees.anonymous.get("/logs/empty/checkpoint")
    assert parse_checkpoint(parse_note(checkpoint.content).text).size == 0
    for path in ("tile/0/000", "tile/0/000.p/1", "tile/entries/000", "tile/0/000.p/0"):
        assert trees.anonymous.get(f"/logs/empty/{path}").status_code == 404


def test_private_logs_need_a_key(trees: Running) -> None:
    """log 22: Private logs answer with a key alone, and no shared cache may keep the answer."""
    for path in ("checkpoint", "tile/0/000", "tile/entries/000"):
        refused = trees.anonymous.get(f"/logs/closed/{path}")
        assert transcript(refused) == shown(f"""
            GET /logs/closed/{path}
            401
            content-type: application/problem+json
            cache-control: no-store
            access-control-allow-origin: *
            www-authenticate: Bearer
        """)
        opened = trees.operator.get(f"/logs/closed/{path}")
        assert opened.status_code == 200
        assert opened.headers["cache-control"].startswith("private, max-age=")
        assert "Authorization" in opened.headers.get_list("vary", split_commas=True)


def test_open_hashes_do_not_open_entries(trees: Running) -> None:
    """log 22: Visibility `hashes` opens checkpoint and tiles, and not the entries."""
    statuses = [
        trees.anonymous.get(f"/logs/hashes/{path}").status_code
        for path in ("checkpoint", "tile/0/000", "tile/entries/000")
    ]
    assert statuses == [200, 200, 401]
    entries = trees.operator.get("/logs/hashes/tile/entries/000")
    assert entries.headers["cache-control"].startswith("private")


def test_head_and_preflight(trees: Running) -> None:
    """log 22: HEAD has the headers of GET and no body; OPTIONS answers any origin."""
    for path in ("checkpoint", "tile/0/000", "tile/entries/001.p/44"):
        got, headed = (
            trees.anonymous.request(method, f"/logs/open/{path}", headers={"Accept-Encoding": ""})
            for method in ("GET", "HEAD")
        )
        assert headed.content == b""
        assert headed.headers["content-length"] == str(len(got.content))
        assert headed.headers["content-type"] == got.headers["content-type"]
        preflight = trees.anonymous.options(f"/logs/open/{path}")
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (
            204,
            "*",
        )
    refused = trees.anonymous.post("/logs/open/checkpoint")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")


def test_an_unknown_log_is_not_found(trees: Running) -> None:
    """log 22: A log that there is not has no tree."""
    response = trees.anonymous.get("/logs/nowhere/checkpoint")
    assert (response.status_code, response.json()["code"]) == (404, "log_not_found")
