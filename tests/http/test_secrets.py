"""No secret of a key is kept or shown: not in tables, log lines, answers, problems or leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.identity.key_text import parse_key
from tallystick.runtime.house import HOUSE_LOG
from tests.http.conftest import TOKEN
from tests.http.test_erasure import house, pages_of
from tests.support.privacy import places_with

if TYPE_CHECKING:
    from tests.http.conftest import Running

__all__ = ["house"]

KEYS = "/api/v1/api-keys"


def test_no_secret_is_anywhere(house: Running, capfd: pytest.CaptureFixture[str]) -> None:
    """
    identity 9, 21: Law 9: of every secret that was issued nothing but its hash and its prefix
    stands in a table, leaf, log line, answer, problem, page or replay, after it was shown once.
    """
    user = house.operator.post("/api/v1/users", json={}).json()["user"]["id"]
    secrets, key_ids = [TOKEN], []
    for number in range(2):
        body = {"name": "his", "user_id": user, "scopes": ["identity:admin", "identity:read"]}
        once = {"Idempotency-Key": f"make-{number}"}
        made = house.operator.post(KEYS, json=body, headers=once).json()
        secrets.append(made["secret"])
        key_ids.append(made["key"]["id"])
        assert house.operator.post(KEYS, json=body, headers=once).json()["secret"] is None
    rotate = f"{KEYS}/{key_ids[0]}/rotate"
    secrets.append(house.operator.post(rotate).json()["secret"])
    house.operator.request("DELETE", f"{KEYS}/{key_ids[1]}", json={"reason": "lost"})
    house.seal(HOUSE_LOG)

    said = []
    for secret in secrets:
        for sent in (
            {"Authorization": f"Bearer {secret}"},
            {"Authorization": f"Token {secret}"},
            {"X-API-Key": secret + "x"},
            {"Cookie": f"tally_key={secret}", "Origin": "https://evil.example"},
        ):
            for method, template in (("GET", KEYS), ("POST", KEYS), ("GET", "/admin/status")):
                answer = house.anonymous.request(method, template, headers=sent)
                said.append(answer.text + str(answer.headers))
        # Whoever puts it where it does not belong does not find it in the answer either.
        for path in ("/api/v1/users/{}", "/api/v1/api-keys?after={}", "/api/v1/api-keys/{}/usage"):
            said += [house.operator.get(path.format(secret)).text]
        for path, wrong in (
            (KEYS, {"name": "x", "user_id": secret, "tier": secret}),
            ("/api/v1/users", {"wallet": secret}),
        ):
            said += [house.operator.post(path, json=wrong).text]
    said.append(house.operator.get(f"/logs/{HOUSE_LOG}/entries?limit=1000").text)
    said += pages_of(house, user)
    said += capfd.readouterr()

    assert len(secrets) == 4
    for secret in secrets:
        hidden = secret if secret == TOKEN else secret.partition("_")[2].partition("_")[2][:43]
        assert places_with(house.builder.url, hidden) == []
        assert [text for text in said if hidden in text] == []
        if secret != TOKEN:
            held = places_with(house.builder.url, parse_key(secret).key_hash.hex())
            assert set(held) <= {"api_keys.key_hash", "leaf_records.record", "merkle_log.leaf"}
