"""Erasing a user over HTTP: he is nowhere any more, and everything that was sealed verifies."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.http import Pages
from tallystick.identity import APIKeyRepository
from tallystick.record import format_address
from tallystick.runtime.house import HOUSE_LOG, initialise
from tallystick.runtime.serve import make_pages
from tallystick.seal.logs import get_log
from tallystick.tlog import LeafIndex, TreeSize, check_inclusion, hash_leaf
from tallystick.web import is_page
from tests.http.conftest import running
from tests.support.privacy import places_with
from tests.support.wallets import wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tallystick.config import Settings
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

WALLET = wallet(20)
NAME = "canary-of-a-name"
TAG = "canary-of-a-tag"
MAIL = "canary@mail.example"
CANARIES = (WALLET.address, format_address(WALLET.address), WALLET.address[2:], NAME, TAG)


@pytest.fixture
def house(settings: Settings, builder_of_server: LogBuilder) -> Iterator[Running]:
    """A server whose house log seals what identity keeps."""
    named = settings.model_copy(update={"identity_verifiers": ("signature",)})
    assert named.database_url is not None
    initialise(named, named.database_url, test=True)
    pages = Pages(is_page, make_pages)
    with running(named, builder_of_server, pages=pages) as started:
        with started.builder.database.transaction() as tx:
            started.builder.logs[HOUSE_LOG] = get_log(tx, HOUSE_LOG)
        started.seal(HOUSE_LOG)
        yield started


def pages_of(house: Running, user_id: str) -> list[str]:
    """What the pages show of a user, of keys, of proofs, and of his row in the house log."""
    paths = (
        f"/users/{user_id}",
        "/api-keys",
        f"/api-keys?user_id={user_id}",
        f"/human-proofs?user_id={user_id}",
        f"/logs/{HOUSE_LOG}/rows?table=tally.users&key={user_id}",
    )
    answers = [house.operator.get(path, headers={"Accept": "text/html"}) for path in paths]
    assert answers[0].status_code == 200
    assert user_id in answers[0].text
    assert {answer.headers["content-type"].partition(";")[0] for answer in answers} == {"text/html"}
    return [answer.text for answer in answers]


def prove_something(house: Running, user_id: str) -> None:
    """Make the user a key, and let him prove his wallet; ask once more in vain."""
    made = {"name": "his", "user_id": user_id}
    secret = house.operator.post("/api/v1/api-keys", json=made).json()["secret"]
    headers = {"X-API-Key": secret}
    path = "/api/v1/human-proofs/challenges"
    for number, answered in enumerate((True, False)):
        once = {**headers, "Idempotency-Key": f"{user_id}-{number}"}
        body = {"verifier": "signature"}
        challenge = house.anonymous.post(path, json=body, headers=once).json()
        if answered:
            signed = {"signature": "0x" + WALLET.sign(challenge["message"]).hex()}
            submit = f"{path}/{challenge['id']}/submit"
            answer = house.anonymous.post(submit, json=signed, headers=headers)
            assert answer.status_code == 200, answer.text


def check_all_leaves(house: Running) -> list[dict[str, Any]]:
    """Check the proof of every leaf of the house log; return the leaves."""
    root = house.operator.get(f"/logs/{HOUSE_LOG}/root").json()
    leaves: list[dict[str, Any]] = house.operator.get(
        f"/logs/{HOUSE_LOG}/entries?limit=1000"
    ).json()["items"]
    assert len(leaves) == root["tree_size"]
    for leaf in leaves:
        answer = house.operator.get(f"/logs/{HOUSE_LOG}/proof?index={leaf['index']}").json()
        check_inclusion(
            [base64.b64decode(item) for item in answer["proof"]["hashes"]],
            leaf=hash_leaf(base64.b64decode(leaf["leaf"])),
            index=LeafIndex(leaf["index"]),
            size=TreeSize(root["tree_size"]),
            root=base64.b64decode(root["merkle_root"]),
        )
    return leaves


def test_an_erased_user_is_nowhere_and_his_leaves_verify(
    house: Running, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """
    identity 20: Erasing a user: his leaves are redacted, their proofs verify, and a canary of
    wallet, name and tag is in no table, statistic, file, log line, answer, page or replay.
    """
    body = {"wallet": WALLET.address, "username": NAME, "tags": [TAG]}
    once = {"Idempotency-Key": "make"}
    user = house.operator.post("/api/v1/users", json=body, headers=once).json()["user"]["id"]
    prove_something(house, user)
    house.seal(HOUSE_LOG)
    house.builder.execute("ANALYZE")
    assert len(places_with(house.builder.url, NAME)) > 1
    assert house.operator.delete(f"/api/v1/users/{user}").status_code == 200
    # His row as it was deleted waits to be sealed, and would name him a moment later.
    waiting = house.operator.delete(f"/api/v1/users/{user}?erase=true")
    assert (waiting.status_code, waiting.json()["code"]) == (503, "rows_wait")
    assert house.operator.get(f"/api/v1/users/{user}").json()["user"]["username"] == NAME
    house.seal(HOUSE_LOG)
    before = check_all_leaves(house)
    capfd.readouterr()

    erased = house.operator.delete(f"/api/v1/users/{user}?erase=true")
    assert erased.status_code == 200, erased.text
    house.seal(HOUSE_LOG)
    house.builder.execute("ANALYZE")

    after = check_all_leaves(house)
    assert [leaf["leaf"] for leaf in after[: len(before)]] == [leaf["leaf"] for leaf in before]
    redacted = erased.json()["redacted"]
    assert len(redacted) >= 4
    assert {leaf["index"] for leaf in after if leaf.get("redacted")} == set(redacted)
    replayed = house.operator.post("/api/v1/users", json=body, headers=once)
    assert replayed.headers["idempotency-replayed"] == "true"
    shown = [
        erased.text,
        replayed.text,
        house.operator.get(f"/api/v1/users/{user}").text,
        house.operator.get(f"/api/v1/human-proofs?user_id={user}").text,
        house.operator.get(f"/logs/{HOUSE_LOG}/entries?limit=1000").text,
        *pages_of(house, user),
        *capfd.readouterr(),
    ]
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for canary in CANARIES:
        assert places_with(house.builder.url, canary) == []
        assert not any(canary.lower() in text.lower() for text in shown)
        assert not any(canary.encode() in content for content in files)


def test_what_was_deleted_before_is_erased_too(house: Running) -> None:
    """A key that was deleted unused names its user's contact in leaves, until he is erased."""
    made = house.operator.post("/api/v1/users", json={"username": NAME}).json()
    user = made["user"]["id"]
    with house.builder.database.transaction() as tx:
        keys = APIKeyRepository(tx)
        key = keys.create(user, name=NAME, contact_email=MAIL, actor="system:tests").key.id
    house.seal(HOUSE_LOG)
    with house.builder.database.transaction() as tx:
        APIKeyRepository(tx).delete(key)
    assert house.operator.delete(f"/api/v1/users/{user}").status_code == 200
    waiting = house.operator.delete(f"/api/v1/users/{user}?erase=true")
    assert (waiting.status_code, waiting.json()["code"]) == (503, "rows_wait")
    house.seal(HOUSE_LOG)
    assert places_with(house.builder.url, MAIL) == ["leaf_records.record"]
    erased = house.operator.delete(f"/api/v1/users/{user}?erase=true")
    assert erased.status_code == 200, erased.text
    house.seal(HOUSE_LOG)
    for canary in (MAIL, NAME):
        assert places_with(house.builder.url, canary) == []
    check_all_leaves(house)
