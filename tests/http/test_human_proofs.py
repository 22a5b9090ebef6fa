"""Human proofs over a real server: challenges, submissions, and what a wallet has proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tallystick.record import format_address
from tests.http.conftest import TOKEN
from tests.http.exchanges import play
from tests.support.keys import Issued, issue, make_user
from tests.support.wallets import Wallet, high_s_twin, wallet

if TYPE_CHECKING:
    import httpx

    from tests.http.conftest import Running

CHALLENGES = "/api/v1/human-proofs/challenges"
ZERO = "00000000-0000-4000-8000-000000000000"
SIGNED = '{"signature": "0x%s"}' % ("11" * 65)


class Prover:
    """A user with a wallet, as he uses the API."""

    def __init__(self, server: Running, number: int) -> None:
        self.server = server
        self.wallet: Wallet = wallet(number)
        user = make_user(server.services.database, self.wallet.address)
        self.key: Issued = issue(server.services.database, user)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """Write with his key."""
        sent = {**self.key.headers, **headers}
        return self.server.anonymous.post(path, json=body, headers=sent)

    def challenge(self) -> dict[str, Any]:
        """Ask for a challenge."""
        answer = self.post(CHALLENGES, {"verifier": "signature"})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def submit(
        self, challenge: dict[str, Any], *, twin: bool = False, **headers: str
    ) -> httpx.Response:
        """Answer a challenge by the wallet's signature, or by its twin, which is refused."""
        signature = self.wallet.sign(challenge["message"])
        sent = high_s_twin(signature) if twin else signature
        path = f"{CHALLENGES}/{challenge['id']}/submit"
        return self.post(path, {"signature": "0x" + sent.hex()}, **headers)


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> int:
    """A number of a wallet that no other test of this module has."""
    return int.from_bytes(request.node.name.encode()[-6:], "big")


@pytest.fixture
def prover(shared: Running, numbers: int) -> Prover:
    """A user who has proved nothing yet."""
    return Prover(shared, numbers)


def test_a_wallet_is_proved(shared: Running, prover: Prover) -> None:
    """identity 22: Challenge, signature, proof; what everybody is told of the wallet after it."""
    status = f"/api/v1/human-proofs/status/{format_address(prover.wallet.address)}"
    nothing = {"valid": False, "assurance": None, "expires_at": None}
    assert shared.anonymous.get(status).json() == nothing
    challenge = prover.challenge()
    assert challenge["message"].startswith("tally.example wants you to sign in")
    assert (challenge["state"], challenge["attempts_left"]) == ("pending", 3)
    shown = shared.anonymous.get(f"{CHALLENGES}/{challenge['id']}", headers=prover.key.headers)
    assert shown.json() == challenge
    answer = prover.submit(challenge)
    assert answer.status_code == 200, answer.text
    proof = answer.json()["proof"]
    assert (proof["state"], proof["is_valid"], proof["assurance"]) == ("verified", True, 1)
    known = shared.anonymous.get(status).json()
    assert known == {"valid": True, "assurance": 1, "expires_at": proof["expires_at"]}
    own = shared.anonymous.get("/api/v1/human-proofs", headers=prover.key.headers).json()
    assert own["items"] == [proof]
    user = prover.key.user_id
    score = f"/api/v1/users/{user}/verification-score"
    assert shared.anonymous.get(score, headers=prover.key.headers).json() == {
        "status": "ok",
        "user_id": user,
        "valid": 1,
        "submitted": 1,
        "ratio": 1.0,
    }


def test_each_route_has_its_problems(shared: Running, prover: Prover) -> None:
    """identity 22: What is refused, of whom, and with which problem."""
    database = shared.services.database
    challenge = prover.challenge()
    callers = {
        "nobody": {},
        "own": prover.key.headers,
        "bare": issue(database, make_user(database)).headers,
        "reader": issue(database, make_user(database), "identity:read").headers,
        "admin": issue(database, make_user(database), "identity:admin").headers,
        "operator": {"Authorization": f"Bearer {TOKEN}"},
    }
    user, one = prover.key.user_id, challenge["id"]
    script = f"""
        nobody POST /human-proofs/challenges {{"verifier": "signature"}} -> 401 unauthenticated
        bare POST /human-proofs/challenges {{"verifier": "signature"}} -> 422 invalid_value
        own POST /human-proofs/challenges {{"verifier": "behaviour"}} -> 422 unknown_verifier
        own POST /human-proofs/challenges {{"verifier": "x", "chain_id": 0}} -> 400 invalid_request
        operator POST /human-proofs/challenges {{"verifier": "signature"}} -> 422 no_user
        bare GET /human-proofs/challenges/{one} -> 404 not_found
        operator GET /human-proofs/challenges/{one} -> 404 not_found
        own GET /human-proofs/challenges/{ZERO} -> 404 not_found
        bare POST /human-proofs/challenges/{one}/submit {SIGNED} -> 404 not_found
        own POST /human-proofs/challenges/{one}/submit {{"signature": "x"}} -> 422 invalid_value
        own POST /human-proofs/challenges/{one}/submit {{}} -> 400 invalid_request
        nobody GET /human-proofs -> 401 unauthenticated
        bare GET /human-proofs?user_id={user} -> 403 scope
        reader GET /human-proofs?user_id={user} -> 200
        operator GET /human-proofs -> 422 no_user
        admin POST /human-proofs/{ZERO}/revoke {{"reason": "x"}} -> 404 not_found
        reader POST /human-proofs/{ZERO}/revoke {{"reason": "x"}} -> 403 scope
        nobody GET /human-proofs/status/0x00 -> 422 invalid_address
    """
    play(shared, callers, script)


def test_a_refused_submission_costs_an_attempt_once(shared: Running, prover: Prover) -> None:
    """
    identity 19: A refusal is an answer: it counts, and sent again under its Idempotency-Key it
    is told again and does not count twice.
    """
    del shared
    challenge = prover.challenge()
    once = {"Idempotency-Key": "first"}
    refused, again = (prover.submit(challenge, twin=True, **once) for _ in range(2))
    assert (refused.status_code, refused.json()["code"]) == (422, "proof_refused")
    assert refused.headers["content-type"] == "application/problem+json"
    assert again.json() == refused.json()
    assert again.headers["idempotency-replayed"] == "true"
    path = f"{CHALLENGES}/{challenge['id']}"
    left = prover.server.anonymous.get(path, headers=prover.key.headers).json()["attempts_left"]
    assert left == 2
    accepted, repeated = (
        prover.submit(challenge, **{"Idempotency-Key": "right"}) for _ in range(2)
    )
    assert accepted.status_code == 200
    assert repeated.json() == accepted.json()
    assert prover.submit(challenge, twin=True).json()["code"] == "challenge_spent"


def test_a_proof_is_revoked(shared: Running, prover: Prover) -> None:
    """identity 22: A revoked proof counts no longer; nobody but identity:admin revokes it."""
    database = shared.services.database
    proof = prover.submit(prover.challenge()).json()["proof"]["id"]
    callers = {
        "own": prover.key.headers,
        "admin": issue(database, make_user(database), "identity:admin").headers,
    }
    script = f"""
        own POST /human-proofs/{proof}/revoke {{"reason": "x"}} -> 403 scope
        admin POST /human-proofs/{proof}/revoke {{"reason": ""}} -> 422 invalid_value
        admin POST /human-proofs/{proof}/revoke {{"reason": "stolen"}} -> 200
        admin POST /human-proofs/{proof}/revoke {{"reason": "again"}} -> 409 illegal_transition
    """
    play(shared, callers, script)
    status = shared.anonymous.get(f"/api/v1/human-proofs/status/{prover.wallet.address}").json()
    assert status["valid"] is False


def test_a_contract_wallet_needs_a_node(shared: Running, prover: Prover) -> None:
    """Without a node the verifier can ask nobody: 503, and no attempt is spent."""
    del shared
    challenge = prover.challenge()
    path = f"{CHALLENGES}/{challenge['id']}/submit"
    answer = prover.post(path, {"signature": "0x" + "22" * 130})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_node")
    shown = prover.server.anonymous.get(path.removesuffix("/submit"), headers=prover.key.headers)
    assert shown.json()["attempts_left"] == 3
