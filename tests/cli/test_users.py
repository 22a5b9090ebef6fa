"""`tally user`, `tally apikey`: the operator's way to users and keys (identity.md, section 6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tallystick.db import Database
from tallystick.identity import admit
from tallystick.identity.errors import KeyRevokedError

if TYPE_CHECKING:
    from tests.cli.conftest import Tally

WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
"""From EIP-55's own examples."""


@pytest.fixture
def user(tally: Tally) -> str:
    """The id of a user."""
    ran = tally("user", "add", "--wallet", WALLET, "--name", "ann", "--tag", "vip", "--json")
    assert ran.code == 0, ran.err
    return str(ran.json["id"])


def test_a_user_is_made_and_shown(tally: Tally, user: str) -> None:
    """A wallet is taken in any case and shown with its checksum; a false checksum is refused."""
    shown = tally("user", "show", user, "--json").json
    assert (shown["wallet_address"], shown["username"], shown["tags"]) == (WALLET, "ann", ["vip"])
    assert WALLET in tally("user", "show", user).out
    again = tally("user", "add", "--wallet", WALLET.lower())
    assert (again.code, again.err.split(":")[1]) == (4, " duplicate")
    wrong = tally("user", "add", "--wallet", WALLET.replace("aA", "Aa"))
    assert (wrong.code, wrong.err.split(":")[1]) == (4, " invalid_address")
    assert tally("user", "show", "nobody").code == 3


def test_risk_is_set_with_a_reason_and_listed(tally: Tally, user: str) -> None:
    """A score needs a reason; the history says who set it, and the list finds him by it."""
    assert tally("user", "risk", user, "40").code == 2
    ran = tally("user", "risk", user, "40.5", "--reason", "odd hours", "--json")
    [entry] = ran.json["items"]
    assert (entry["old_score"], entry["new_score"], entry["reason"]) == (
        "0.00",
        "40.50",
        "odd hours",
    )
    assert entry["actor"].startswith("system:cli")
    assert [u["id"] for u in tally("user", "list", "--min-risk", "40", "--json").json["items"]] == [
        user
    ]
    assert tally("user", "list", "--min-risk", "41", "--json").json["items"] == []
    assert [u["id"] for u in tally("user", "list", "--tag", "vip", "--json").json["items"]] == [
        user
    ]
    assert tally("user", "list", "--tag", "vip", "--blacklisted").code == 2
    assert tally("user", "risk", user, "101", "--reason", "x").code == 4


def test_blacklist_and_back(tally: Tally, user: str) -> None:
    """A user goes onto the blacklist and off it, each time with a reason."""
    assert tally("user", "blacklist", user).code == 2
    assert tally("user", "blacklist", user, "--reason", "fraud", "--json").json["changed"] is True
    assert [u["id"] for u in tally("user", "list", "--blacklisted", "--json").json["items"]] == [
        user
    ]
    ran = tally("user", "unblacklist", user, "--reason", "cleared", "--json")
    assert ran.json == {"user_id": user, "changed": True}
    ran = tally("user", "unblacklist", user, "--reason", "cleared", "--json")
    assert ran.json["changed"] is False
    kinds = [entry["kind"] for entry in tally("user", "risk", user, "--json").json["items"]]
    assert kinds == ["unblacklist", "blacklist"]


def test_a_key_is_made_used_rotated_and_revoked(tally: Tally, user: str, database_url: str) -> None:
    """The secret goes to stdout once; the key opens what it says until it is revoked."""
    ran = tally("apikey", "create", user, "--name", "ci", "--scope", "log:read", "--expires", "90d")
    secret = ran.out.strip()
    assert secret.startswith("tly_")
    [key] = tally("apikey", "list", user, "--json").json["items"]
    assert secret.startswith(key["prefix"] + "_")
    assert secret.rpartition("_")[2] not in json.dumps(key)
    with Database(database_url) as database:
        assert admit(database, secret, any_of=("log:read",)).user_id == user
        turned = tally("apikey", "rotate", key["id"], "--overlap", "1h", "--json").json
        assert turned["key"]["rotated_from"] == key["id"]
        assert admit(database, turned["secret"], any_of=("log:read",)).user_id == user
        ran = tally("apikey", "revoke", key["id"], "--reason", "leaked", "--json")
        assert ran.json["changed"] is True
        with pytest.raises(KeyRevokedError):
            admit(database, secret)
    assert len(tally("apikey", "list", user, "--active", "--json").json["items"]) == 1
    used = tally("apikey", "usage", turned["key"]["id"], "--json").json
    assert (used["quota"], used["key_id"]) == (10000, turned["key"]["id"])
    assert "left" in tally("apikey", "usage", turned["key"]["id"]).out
    assert tally("apikey", "show", key["id"], "--json").json["revoke_reason"] == "leaked"


def test_keys_are_refused_by_name(tally: Tally, user: str) -> None:
    """A scope, a duration or a user that does not exist is refused, and nothing is made."""
    assert tally("apikey", "create", user, "--name", "x", "--scope", "all:all").code == 4
    assert tally("apikey", "create", user, "--name", "x", "--expires", "soon").code == 2
    assert tally("apikey", "create", "nobody", "--name", "x").code == 3
    assert tally("apikey", "show", "no-uuid").code == 3
    assert tally("apikey", "list", user, "--json").json["items"] == []
    scopes = {line["scope"] for line in tally("apikey", "scopes", "--json").json["items"]}
    assert {"log:read", "identity:admin", "chain:admin"} <= scopes
    assert "log:read" in tally("apikey", "scopes").out


def test_a_deleted_user_has_no_keys(tally: Tally, user: str) -> None:
    """Deleting a user revokes his keys; he can still be shown, and not deleted again."""
    tally("apikey", "create", user, "--name", "ci")
    assert tally("user", "delete", user, "--json").json["changed"] is True
    assert tally("user", "delete", user, "--json").json["changed"] is False
    assert tally("user", "show", user, "--json").json["deleted_at"] is not None
    assert tally("apikey", "list", user, "--active", "--json").json["items"] == []
