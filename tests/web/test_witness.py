"""The page of our own witness: its key and what it watches (log.md, 5.8 and 6.4)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.publish.witness import create_witness_key, origin_hash, watch_log
from tallystick.record import make_signer
from tallystick.tlog import ALGORITHM_ED25519, format_verifier_key
from tests.web.conftest import EVIL, JSON, SIGNED_IN

if TYPE_CHECKING:
    from litestar.testing import TestClient

    from tallystick.publish import Publisher
    from tests.support.log_builder import LogBuilder

WITNESS = "witness.example/w1"
ROOT = bytes(range(32))


def vkey_of(origin: str) -> str:
    """A log key of *origin*."""
    signer = make_signer(name=origin, secret=bytes(32), algorithm=ALGORITHM_ED25519)
    return format_verifier_key(signer.verifier_key)


def watch(builder: LogBuilder, *origins: str, contact: str | None = None) -> None:
    """Let our witness watch logs."""
    with builder.database.transaction() as tx:
        for origin in origins:
            watch_log(tx, [vkey_of(origin)], contact=contact)


def cosigned(builder: LogBuilder, origin: str, size: int) -> None:
    """Remember that a checkpoint was cosigned."""
    builder.execute(
        f"UPDATE tally.witnessed_logs SET tree_size = {size}, root_hash = '\\x{ROOT.hex()}',"
        f" note = 'note', cosigned_at = tally.clock() WHERE origin = '{origin}'"
    )


def test_witness_shows_its_key_and_what_it_watches(client: TestClient[Any], builder: LogBuilder):
    """The page has the verifier key, and each watched log with size, time and checkpoint."""
    with builder.database.transaction() as tx:
        key = create_witness_key(tx, builder.keys, WITNESS)
    watch(builder, "other.example/log", "quiet.example/log")
    cosigned(builder, "other.example/log", 1234)
    text = client.get("/witness").text
    digest = origin_hash("other.example/log")
    assert f"<code>{key.vkey}</code>" in text
    assert '<td class="number">1,234</td>' in text
    assert f'<a href="/api/v1/witness/{digest}/checkpoint"><time>' in text
    twin = client.get("/witness", headers=JSON).json()
    assert (twin["name"], twin["vkey"]) == (WITNESS, key.vkey)
    assert twin["submission_prefix"] == "/api/v1/witness"
    assert [(log["origin"], log["tree_size"], log["enabled"]) for log in twin["logs"]] == [
        ("other.example/log", 1234, True),
        ("quiet.example/log", 0, True),
    ]
    first, second = twin["logs"]
    assert first["root"] == base64.b64encode(ROOT).decode()
    assert (second["root"], second["cosigned_at"]) == (None, None)


def test_server_without_a_witness_says_so(client: TestClient[Any]):
    """Without a key the page says that nothing is cosigned."""
    assert "This server has no witness key" in client.get("/witness").text
    twin = client.get("/witness", headers=JSON).json()
    assert (twin["vkey"], twin["logs"], twin["next"]) == (None, [], None)


def test_contacts_are_for_the_operator(client: TestClient[Any], builder: LogBuilder):
    """Whom to ask about a log is a person: the operator alone reads it, on page and twin."""
    watch(builder, "other.example/log", contact="ada@example.org")
    assert "ada@example.org" not in client.get("/witness").text
    assert client.get("/witness", headers=JSON).json()["logs"][0]["contact"] is None
    assert "<td>ada@example.org</td>" in client.get("/witness", headers=SIGNED_IN).text
    twin = client.get("/witness", headers=JSON | SIGNED_IN).json()
    assert twin["logs"][0]["contact"] == "ada@example.org"


def test_private_logs_of_ours_are_not_told(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """A private log that our own witness watches is listed to the operator alone."""
    hidden = builder.filled("hidden", [b"leaf"], visibility="private")
    shown = builder.filled("shown", [b"leaf"], visibility="hashes")
    publisher.refresh()
    assert hidden.origin is not None
    assert shown.origin is not None
    watch(builder, hidden.origin, shown.origin)
    assert "hidden" not in client.get("/witness").text
    twin = client.get("/witness", headers=JSON).json()
    assert [log["origin"] for log in twin["logs"]] == [shown.origin]
    twin = client.get("/witness", headers=JSON | SIGNED_IN).json()
    assert [log["origin"] for log in twin["logs"]] == [hidden.origin, shown.origin]


def test_watched_logs_are_paged(
    client: TestClient[Any], builder: LogBuilder, monkeypatch: pytest.MonkeyPatch
):
    """Pages of watched logs follow one another by origin, each log once."""
    origins = [f"{name}.example/a&b" for name in "abcde"]
    watch(builder, *origins)
    monkeypatch.setattr("tallystick.web.witness.WATCHED", 2)
    assert 'href="/witness?after=b.example%2Fa%26b"' in client.get("/witness").text
    found, after = [], None
    while True:
        parameters = {} if after is None else {"after": after}
        page = client.get("/witness", params=parameters, headers=JSON).json()
        found += [log["origin"] for log in page["logs"]]
        after = page["next"]
        if after is None:
            break
    assert found == origins


@pytest.mark.parametrize("after", ["\x00", "a" * 1001])
def test_place_that_is_no_origin_is_400(client: TestClient[Any], after: str):
    """A made-up place to go on from is refused in words."""
    answer = client.get("/witness", params={"after": after}, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "page_request")


def test_contact_is_text(client: TestClient[Any], builder: LogBuilder):
    """Markup in a contact is shown as it stands."""
    watch(builder, "other.example/log", contact=EVIL)
    text = client.get("/witness", headers=SIGNED_IN).text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_first_page_leads_to_the_witness(client: TestClient[Any]):
    """The first page links our witness."""
    assert '<a href="/witness">' in client.get("/").text
