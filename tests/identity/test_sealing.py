"""What the house log seals of identity, and what it hides (identity.md, section 2)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.config import load_settings
from tallystick.identity import APIKeyRepository, UserRepository, admit
from tallystick.runtime.house import HOUSE_SOURCES, initialise
from tallystick.seal.errors import SourceRefusesChangeError
from tallystick.seal.logs import KeyRing
from tallystick.seal.sequencer import Sequencer
from tests.identity.people import (
    SYSTEM,
    execute,
    fetch,
    flush,
    make_key,
    make_user,
    set_clock,
    set_limits,
    wallet,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallystick.db import Database

TABLES = ("users", "user_risk_history", "api_keys", "api_tiers", "api_scopes")
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture
def new_leaves(database: Database, tmp_path: Path) -> Callable[[], list[tuple[str, str, bytes]]]:
    """A house on the test's database; called, it seals and returns identity's new leaves."""
    settings = load_settings(data_dir=tmp_path / "data", database_url=database.url)
    initialise(settings, database.url)
    keys = KeyRing(settings.keys.absolute())
    [(log_id,)] = fetch(
        database, "SELECT log_id FROM tally.verification_logs WHERE log_name = 'tally'"
    )
    seen = -1

    def seal() -> list[tuple[str, str, bytes]]:
        nonlocal seen
        sequencer = Sequencer(database, keys)
        while (batch := sequencer.seal_once(log_id)) is not None and batch.rows:
            pass
        found = fetch(
            database,
            "SELECT leaf_index, source_table, op::text, leaf FROM tally.merkle_log"
            " WHERE log_id = %(log_id)s AND leaf_index > %(seen)s ORDER BY leaf_index",
            log_id=log_id,
            seen=seen,
        )
        seen = max([seen, *(row[0] for row in found)])
        return [
            (table.removeprefix("tally."), op, bytes(leaf))
            for _, table, op, leaf in found
            if table and table.removeprefix("tally.") in TABLES and op != "C"
        ]

    seal()
    return seal


def kinds_of(leaves: list[tuple[str, str, bytes]]) -> list[tuple[str, str]]:
    """Which tables and operations the leaves are of."""
    return sorted((table, op) for table, op, _ in leaves)


def test_changes_are_leaves_and_hide_what_is_personal(
    database: Database, new_leaves: Callable[[], list[Any]]
) -> None:
    """Each change of a user, risk, key or tier is a leaf; wallet, names and tags are in none."""
    user = make_user(database, 0xCAFE, username="canary-name", tags=["canary-tag"])
    key, text = make_key(
        database,
        user,
        name="canary-key",
        description="canary-words",
        contact_email="canary@mail.example",
        scopes=["log:read"],
    )
    with database.transaction() as tx:
        UserRepository(tx).update_risk_score(
            user.id, 7, reason_code="review", reason="looked at him", actor=SYSTEM
        )
    set_limits(database, "free", 50, None)
    found = new_leaves()
    assert kinds_of(found) == [
        ("api_keys", "I"),
        ("api_tiers", "U"),
        ("user_risk_history", "I"),
        ("users", "I"),
        ("users", "U"),
    ]
    leaves = b"".join(leaf for _, _, leaf in found)
    for canary in ("canary", wallet(0xCAFE)[2:], text.rpartition("_")[2]):
        assert canary.encode() not in leaves
    for evidence in (b"looked at him", b"system:test", key.prefix.encode(), b"log:read"):
        assert evidence in leaves


def test_progress_is_no_leaf(database: Database, new_leaves: Callable[[], list[Any]]) -> None:
    """Activity and flushed counts change rows and seal nothing."""
    set_clock(database, NOON)
    user = make_user(database)
    _, text = make_key(database, user)
    new_leaves()
    admit(database, text)
    flush(database)
    with database.transaction() as tx:
        UserRepository(tx).update_last_activity([user.id])
    assert fetch(database, "SELECT requests_today FROM tally.api_keys") == [(1,)]
    assert new_leaves() == []


def test_an_unused_key_leaves_its_deletion(
    database: Database, new_leaves: Callable[[], list[Any]]
) -> None:
    """The deletion of a key that was never used is a leaf; nothing else is deleted."""
    key, _ = make_key(database, make_user(database))
    with database.transaction() as tx:
        APIKeyRepository(tx).delete(key.id)
    assert kinds_of(new_leaves()) == [("api_keys", "D"), ("api_keys", "I"), ("users", "I")]
    for table in ("api_tiers", "api_scopes"):
        with pytest.raises(SourceRefusesChangeError):
            execute(database, f"DELETE FROM tally.{table}")


def test_what_is_derived_from_private_columns_is_private() -> None:
    """A column generated of a private or excluded one is hidden or left out like it."""
    keys = HOUSE_SOURCES["tally.api_keys"]
    assert ("name" in keys.private) == ("client_name" in keys.private) is True
    assert ("last_used" in keys.exclude) == ("last_used_at" in keys.exclude) is True
