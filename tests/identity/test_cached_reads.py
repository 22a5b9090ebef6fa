"""Reads of users and keys from a cache: what a write of ours changed is never there (4.6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallystick.db import Database
from tallystick.identity import APIKeyRepository, User, UserRepository
from tallystick.identity.errors import NotFoundError
from tallystick.identity.human_proofs import HumanProof
from tests.identity.human_proofs.support import ProofBench
from tests.support.redis_server import running_redis

WALLET = "0x" + "00" * 19 + "aa"
SAID = {"reason": "test", "actor": "system:tests"}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with a cache before it."""
    with running_redis() as redis, Database(database_url, cache_url=redis.url) as opened:
        yield opened


def seen(database: Database, user: User) -> tuple[object, ...]:
    """What readers are told of a user, his lists and his keys."""
    with database.reader() as tx:
        users, keys = UserRepository(tx), APIKeyRepository(tx)
        return (
            users.get_by_id(user.id, include_deleted=True),
            users.get_by_wallet(WALLET, include_deleted=True),
            users.list_by_risk_score(10).items,
            users.list_blacklisted().items,
            users.list_by_tag("vip").items,
            users.count(),
            keys.list_by_user(user.id).items,
            keys.list_by_user(user.id, active_only=True).items,
            keys.count_by_tier(),
        )


def test_every_write_is_seen_at_once(database: Database, monkeypatch: pytest.MonkeyPatch):
    """identity 12: after each write readers are told what the tables say, not what was kept."""
    with database.transaction() as tx:
        user = UserRepository(tx).create(WALLET, tags=["vip"])
        key = APIKeyRepository(tx).create(user.id, name="ci", actor="system:tests").key
    version = user.version
    writes = {
        "risk": lambda u, _k: u.update_risk_score(user.id, 50, reason_code="x", **SAID),
        "adjust": lambda u, _k: u.adjust_risk_score(
            user.id, 5, source_kind="t", source_id="1", reason_code="x", **SAID
        ),
        "blacklist": lambda u, _k: u.blacklist(user.id, **SAID),
        "unblacklist": lambda u, _k: u.remove_blacklist(user.id, **SAID),
        "key": lambda _u, k: k.create(user.id, name="other", actor="system:tests"),
        "rotate": lambda _u, k: k.rotate(key.id, actor="system:tests"),
        "revoke": lambda _u, k: k.revoke(key.id, **SAID),
        "delete": lambda u, _k: u.delete(user.id, actor="system:tests"),
    }
    for name, write in writes.items():
        before = seen(database, user)
        assert before == seen(database, user)
        with database.transaction() as tx:
            write(UserRepository(tx), APIKeyRepository(tx))
        with monkeypatch.context() as patched:
            patched.setattr("tallystick.db.cache.open_value", lambda *_: None)
            uncached = seen(database, user)
        assert uncached != before, name
        assert seen(database, user) == uncached, name
    assert version == user.version


def test_what_decides_is_never_remembered(database: Database):
    """identity 9: law 1: a blacklisting that told no cache is known at once to who decides."""
    with database.transaction() as tx:
        user = UserRepository(tx).create(WALLET)
    with database.reader() as tx:
        assert UserRepository(tx).get_by_id(user.id).is_blacklisted is False
    with Database(database.url) as other, other.transaction() as tx:
        UserRepository(tx).blacklist(user.id, **SAID)
    with database.reader() as tx:
        assert UserRepository(tx).get_by_id(user.id).is_blacklisted is False
        assert UserRepository(tx).is_blacklisted(user.id) is True
        assert UserRepository(tx).is_blacklisted(wallet=WALLET) is True


def test_two_questions_never_share_a_name(database: Database):
    """Whatever stands in a cursor or a tag, an answer is of its own question."""
    with database.transaction() as tx:
        UserRepository(tx).create(WALLET, tags=["a"])
    with database.reader() as tx:
        assert len(UserRepository(tx).list_by_tag("a").items) == 1
        assert UserRepository(tx).list_by_tag("a', 'infinity").items == ()
        with pytest.raises(NotFoundError):
            UserRepository(tx).get_by_id("a")


def test_what_a_proof_takes_from_a_risk_is_seen_at_once(database: Database):
    """identity 12: an accepted proof lowers the risk that readers are told, and no kept one."""
    bench = ProofBench(database)
    bench.add_user("alice", bench.wallets["alice"].address)

    def told() -> tuple[object, ...]:
        with database.reader() as tx:
            users = UserRepository(tx)
            return users.get_by_id("alice").risk_score, users.list_by_risk_score(30).items

    with database.transaction() as tx:
        UserRepository(tx).update_risk_score("alice", 35, reason_code="x", **SAID)
    assert told()[0] == 35
    assert isinstance(bench.prove(), HumanProof)
    assert told() == (25, ())
