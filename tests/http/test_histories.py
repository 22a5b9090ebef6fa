"""GET history over a real server: the file, who may have it, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.seal.index import index_log
from tallystick.verify import check_history
from tests.http.transcript import shown, transcript
from tests.support.sealed import payment

if TYPE_CHECKING:
    from tests.http.conftest import Running

URL = "/logs/payments/history?table=payment&key="


@pytest.fixture
def log(server: Running) -> Running:
    """A server with a public log of three payments, whose map is sealed."""
    builder = server.builder
    builder.create("payments", visibility="public", control_leaves=True)
    source_no = builder.add_table("payments", "payment")
    for number in (1, 2, 1):
        builder.append_change("payments", source_no, payment(number), key_text=f'["{number}"]')
    server.seal("payments")
    index_log(builder.database, "payments")
    server.seal("payments")
    return server


def policy(server: Running) -> bytes:
    """A policy that trusts the log."""
    keys = server.anonymous.get("/logs/payments/keys").json()["items"]
    return "".join([*(f"log {key['vkey']}\n" for key in keys), "quorum none\n"]).encode()


def test_history_transcript(log: Running) -> None:
    """log 22: GET history is the file as it is verified, of a key and of one that never was."""
    answer = log.anonymous.get(f"{URL}1")
    assert transcript(answer) == shown(
        """
        GET /logs/payments/history?table=payment&key=1
        200
        content-type: text/plain; charset=utf-8
        """
    )
    verified = check_history(answer.content, policy=policy(log))
    assert [version.index for version in verified.versions] == [1, 3]
    absent = check_history(log.anonymous.get(f"{URL}77").content, policy=policy(log))
    assert absent.versions == ()


def test_what_is_refused(log: Running) -> None:
    """log 22: Without a key 400, without a map 404, of a private log 401."""
    get = log.anonymous.get
    assert get("/logs/payments/history?table=payment").json()["code"] == "invalid_request"
    assert get("/logs/payments/history?key=1").status_code == 400
    log.builder.filled("bare", [b"leaf"], visibility="public")
    log.builder.filled("closed", [b"leaf"], visibility="hashes")
    log.services.publisher.refresh()
    missing = get("/logs/bare/history?table=payment&key=1")
    assert (missing.status_code, missing.json()["code"]) == (404, "map_not_found")
    assert get("/logs/closed/history?table=payment&key=1").status_code == 401
