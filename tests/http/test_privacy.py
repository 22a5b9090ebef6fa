"""Opening and erasing over HTTP: who may, what is answered, what stays (log.md, 5.3, 6.2)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.verify import check_leaf
from tests.http.transcript import shown, transcript
from tests.support.privacy import CANARY, Hidden, places_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Running

WORDS = {"reason": "request 17", "legal_basis": "GDPR Art. 17"}


@pytest.fixture
def hidden(server: Running, tmp_path: Path) -> Hidden:
    """The public log `payments` over tables that hide things, served."""
    made = Hidden(server.builder.url, tmp_path / "keys", visibility="public")
    made.sealed(
        f"INSERT INTO person VALUES (1, '{CANARY}', NULL, 'Bern', NULL)",
        f"INSERT INTO patient VALUES (1, '{CANARY}', 'well')",
    )
    server.services.publisher.refresh()
    return made


def items(server: Running, path: str) -> list[dict[str, Any]]:
    """The items of a list that everybody may read."""
    found: list[dict[str, Any]] = server.anonymous.get(path).json()["items"]
    return found


def test_disclosures_verify_offline(server: Running, hidden: Hidden) -> None:
    """log 22: A disclosure's member `disclosure` is the file that an offline check takes."""
    answer = server.operator.post(
        "/logs/payments/disclose", json={"index": 1, "columns": ["email"]}
    )
    assert transcript(answer) == shown("""
        POST /logs/payments/disclose
        200
        content-type: application/json
        cache-control: no-store
    """)
    assert answer.json().keys() == {"status", "log_name", "disclosure"}
    proof, leaf, policy = hidden.proof(1)
    file = json.dumps(answer.json()["disclosure"], indent=2).encode()
    verified = check_leaf(proof, leaf=leaf, policy=policy, disclosure=file)
    assert verified.disclosed == {"email": CANARY}
    salted = server.operator.post("/logs/payments/disclose", json={"index": 2})
    assert salted.json()["disclosure"]["columns"] == []


def test_redactions_are_answered_and_marked(server: Running, hidden: Hidden) -> None:
    """log 22, 28: A redaction tells what it did; lists mark the leaf from then on."""
    before = items(server, "/logs/payments/entries")
    assert all("redacted" not in entry for entry in before)
    answer = server.operator.post("/logs/payments/redact", json={"indexes": [1], **WORDS})
    assert transcript(answer) == shown("""
        POST /logs/payments/redact
        200
        content-type: application/json
    """)
    assert answer.json() == {
        "status": "ok",
        "log_name": "payments",
        "redacted": [1],
        "redacted_before": [],
        "quarantined": 0,
        "standing": 1,
        "elsewhere": [],
        "is_in_log": True,
    }
    row = {"source_table": "public.patient", "key": ["1"]}
    again = server.operator.post("/logs/payments/redact", json={**row, **WORDS})
    assert again.json()["redacted"] == [2]
    entries = items(server, "/logs/payments/entries")
    assert [entry.get("redacted", False) for entry in entries] == [False, True, True]
    assert entries[1] == {**before[1], "redacted": True}
    assert server.anonymous.get("/logs/payments/entries/1").json()["redacted"]
    for path in (
        "rows?table=person&key=1",
        "rows?table=person&key=1&at_size=2",
        "search?op=insert",
    ):
        assert items(server, f"/logs/payments/{path}")[0]["redacted"], path
    assert hidden.rows("SELECT DISTINCT actor FROM tally.redactions") == [("key:operator",)]
    hidden.bench.seal_all()
    assert places_with(hidden.bench.url, CANARY) == []
    proof, leaf, policy = hidden.proof(1)
    assert check_leaf(proof, leaf=leaf, policy=policy).index == 1
    assert base64.b64decode(entries[1]["leaf"]) == leaf


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("disclose", {"index": 1, "columns": ["city"]}, 422, "nothing_hidden"),
        ("disclose", {"index": 1}, 400, "invalid_request"),
        ("disclose", {"index": 99}, 404, "leaf_not_found"),
        ("disclose", {"index": -1}, 400, "invalid_request"),
        ("disclose", {}, 400, "invalid_request"),
        ("redact", {"indexes": [0], **WORDS}, 422, "nothing_to_redact"),
        ("redact", {"indexes": [], **WORDS}, 400, "invalid_request"),
        ("redact", {**WORDS}, 400, "invalid_request"),
        ("redact", {"key": ["1"], "indexes": [1], **WORDS}, 400, "invalid_request"),
        ("redact", {"source_table": "person", "key": ["9"], **WORDS}, 422, "nothing_to_redact"),
        ("redact", {"indexes": [1], "reason": ""}, 400, "invalid_request"),
    ],
)
def test_what_is_refused(
    server: Running, hidden: Hidden, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    """log 22: Each refusal is a problem with its code, and shows no value."""
    answer = server.operator.post(f"/logs/payments/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert CANARY not in answer.text


def test_what_was_erased_is_gone(server: Running, hidden: Hidden) -> None:
    """log 22, 28: Disclosing a redacted leaf is 410, with the code redacted."""
    server.operator.post("/logs/payments/redact", json={"indexes": [1, 2], **WORDS})
    for body in ({"index": 1, "columns": ["email"]}, {"index": 2}):
        answer = server.operator.post("/logs/payments/disclose", json=body)
        assert transcript(answer) == shown("""
            POST /logs/payments/disclose
            410
            content-type: application/problem+json
            cache-control: no-store
        """)
        assert answer.json()["code"] == "redacted"


def test_nobody_else_opens_or_erases(server: Running, hidden: Hidden) -> None:
    """log 22: A public log's hidden values are opened and erased by its admin alone."""
    for path in ("disclose", "redact"):
        assert server.anonymous.post(f"/logs/payments/{path}", json={}).status_code == 401
    answer = server.operator.post("/logs/nowhere/disclose", json={"index": 0})
    assert (answer.status_code, answer.json()["code"]) == (404, "log_not_found")
