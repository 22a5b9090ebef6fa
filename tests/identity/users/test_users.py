"""Users: what each method promises (identity.md, section 4.1)."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tallystick.identity import NewUser, UserRepository
from tallystick.identity.errors import (
    DuplicateError,
    EvidenceDeletionError,
    InvalidAddressError,
    InvalidValueError,
    NotFoundError,
    StaleVersionError,
)
from tests.identity.people import (
    SYSTEM,
    execute,
    fetch,
    make_key,
    make_user,
    set_clock,
    wallet,
)

if TYPE_CHECKING:
    from tallystick.db import Database

VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def test_create_and_read(database: Database) -> None:
    """A user is found by id and by his wallet in any case; a stored wallet is lower case."""
    with database.transaction() as tx:
        users = UserRepository(tx)
        made = users.create(VITALIK, username="vitalik", tags=["founder", "dao"])
        assert made == users.get_by_id(made.id)
        assert made == users.get_by_wallet(VITALIK.lower())
        assert made == users.get_by_wallet("0x" + VITALIK[2:].upper())
        assert VITALIK.lower() == made.wallet_address
        assert ("founder", "dao") == made.tags
        assert made.risk_score == 0
        assert users.exists(VITALIK)
        assert not users.exists(wallet(9))
        assert users.create().wallet_address is None


def test_what_is_not_there(database: Database) -> None:
    """A get of what is not there raises; a list, a wallet's existence and a blacklist do not."""
    with database.transaction() as tx:
        users = UserRepository(tx)
        with pytest.raises(NotFoundError):
            users.get_by_id("nobody")
        with pytest.raises(NotFoundError):
            users.get_by_wallet(wallet(9))
        with pytest.raises(NotFoundError):
            users.is_blacklisted("nobody")
        assert not users.is_blacklisted(wallet=wallet(9))
        assert users.risk_history("nobody").items == ()
        assert users.list_by_tag("nothing").items == ()


@pytest.mark.parametrize(
    "text", ["", "0x12", "ab" * 20, "0x" + "g" * 40, VITALIK.replace("dA6", "da6"), "0x" + "é" * 40]
)
def test_wallets_are_addresses(shared_database: Database, text: str) -> None:
    """What is no address, or has a wrong checksum, is refused without being quoted."""
    with pytest.raises(InvalidAddressError) as raised, shared_database.transaction() as tx:
        UserRepository(tx).create(text)
    assert not text or text not in str(raised.value)
    assert raised.value.__cause__ is None


def test_create_many_keeps_the_order(database: Database) -> None:
    """Many users are made in one statement and come back in the order of their rows."""
    rows = [NewUser(wallet(n), f"user {n}", [str(n)]) for n in range(500)]
    with database.transaction() as tx:
        made = UserRepository(tx).create_many(rows)
    assert [row.username for row in rows] == [user.username for user in made]
    assert [tuple(row.tags) for row in rows] == [user.tags for user in made]


def test_create_many_is_all_or_nothing(database: Database) -> None:
    """One duplicate among many leaves none of them; the constraint is named, the wallet is not."""
    rows = [NewUser(wallet(n)) for n in (1, 2, 3, 2)]
    with pytest.raises(DuplicateError) as raised, database.transaction() as tx:
        UserRepository(tx).create_many(rows)
    assert raised.value.constraint == "wallet_belongs_to_one_user"
    assert wallet(2) not in str(raised.value)
    with database.transaction() as tx:
        assert UserRepository(tx).count() == 0
        with pytest.raises(InvalidValueError):
            UserRepository(tx).create_many([NewUser()] * 10_001)


def test_names_are_unique(database: Database) -> None:
    """Two users have not one name; the constraint says which of the two was taken."""
    make_user(database, 1, username="alice")
    with pytest.raises(DuplicateError) as raised:
        make_user(database, 2, username="alice")
    assert raised.value.constraint == "username_belongs_to_one_user"


@pytest.mark.parametrize(
    "fields",
    [
        {"username": ""},
        {"username": "x" * 65},
        {"username": "nul\0"},
        {"username": "half \ud800"},
        {"tags": [""]},
        {"tags": ["x"] * 101},
        {"tags": ["x" * 7000]},
    ],
)
def test_values_outside_their_range(shared_database: Database, fields: dict[str, object]) -> None:
    """What a column cannot hold is an InvalidValueError, whoever notices it."""
    with pytest.raises(InvalidValueError):
        make_user(shared_database, 1, **fields)


def test_update_changes_the_named_fields(database: Database) -> None:
    """An update changes what it names, None among it, and raises the version by one."""
    user = make_user(database, 1, username="alice", tags=["a"])
    with database.transaction() as tx:
        users = UserRepository(tx)
        named = users.update(user.id, expected_version=1, username="bob")
        assert ("bob", wallet(1), ("a",), 2) == (
            named.username,
            named.wallet_address,
            named.tags,
            named.version,
        )
        bare = users.update(user.id, expected_version=2, wallet=None, username=None, tags=[])
        assert (None, None, ()) == (bare.username, bare.wallet_address, bare.tags)


def test_update_of_an_old_version(database: Database) -> None:
    """An update that read an older version is refused with both versions."""
    user = make_user(database)
    with database.transaction() as tx:
        UserRepository(tx).update(user.id, expected_version=1, username="first")
    with pytest.raises(StaleVersionError) as raised, database.transaction() as tx:
        UserRepository(tx).update(user.id, expected_version=1, username="second")
    assert (1, 2) == (raised.value.expected, raised.value.actual)


def test_risk_is_set_with_its_history(database: Database) -> None:
    """A set score has a row with what it was, what it is, why and by whom."""
    user = make_user(database)
    with database.transaction() as tx:
        users = UserRepository(tx)
        entry = users.update_risk_score(
            user.id, Decimal("42.5"), reason_code="review", reason="looked at him", actor=SYSTEM
        )
        assert (Decimal(0), Decimal("42.5"), "set", SYSTEM) == (
            entry.old_score,
            entry.new_score,
            entry.kind,
            entry.actor,
        )
        assert users.get_by_id(user.id).risk_score == Decimal("42.5")
        assert (entry,) == users.risk_history(user.id).items


def test_risk_is_0_to_100(database: Database) -> None:
    """A score outside of 0 to 100 is refused and leaves no row."""
    user = make_user(database)
    for score in (-1, 101, Decimal("100.001"), Decimal("-0.001"), Decimal("NaN")):
        with pytest.raises(InvalidValueError) as raised, database.transaction() as tx:
            UserRepository(tx).update_risk_score(
                user.id, score, reason_code="review", reason="why", actor=SYSTEM
            )
        assert raised.value.field == "score"
    with database.transaction() as tx:
        assert UserRepository(tx).risk_history(user.id).items == ()


def test_adjustments_clamp_and_count_once(database: Database) -> None:
    """An adjustment stays within 0 to 100, and its source counts once, whatever it says later."""
    user = make_user(database)
    said = {"reason_code": "proof", "reason": "proved", "actor": SYSTEM, "source_kind": "proof"}
    with database.transaction() as tx:
        users = UserRepository(tx)
        assert users.adjust_risk_score(user.id, 250, source_id="1", **said).new_score == 100
        first = users.adjust_risk_score(user.id, -30, source_id="2", **said)
        assert first.new_score == 70
        assert first == users.adjust_risk_score(user.id, -30, source_id="2", **said)
        assert first == users.adjust_risk_score(user.id, 5, source_id="2", **said)
        assert users.adjust_risk_score(user.id, -999, source_id="3", **said).new_score == 0
        assert len(users.risk_history(user.id).items) == 3
        with pytest.raises(InvalidValueError), tx.savepoint():
            users.adjust_risk_score(user.id, Decimal("NaN"), source_id="4", **said)


def test_last_activity_is_written_by_the_minute(database: Database) -> None:
    """Activity is written at most once a minute, and never moves back."""
    ids = [make_user(database, n).id for n in (1, 2)]
    minute = datetime.timedelta(minutes=1)
    for moment, written in ((NOON, 2), (NOON + minute / 2, 0), (NOON + minute, 2), (NOON, 0)):
        set_clock(database, moment)
        with database.transaction() as tx:
            assert UserRepository(tx).update_last_activity(ids) == written
    with database.transaction() as tx:
        assert UserRepository(tx).get_by_id(ids[0]).last_activity == NOON + minute


def test_blacklist_and_back(database: Database) -> None:
    """Each blacklisting has a history row; another reason replaces the first, the same is none."""
    user = make_user(database)
    with database.transaction() as tx:
        users = UserRepository(tx)
        assert not users.remove_blacklist(user.id, reason="nothing", actor=SYSTEM)
        assert users.blacklist(user.id, reason="fraud", actor=SYSTEM)
        assert not users.blacklist(user.id, reason="fraud", actor="db:other")
        assert users.blacklist(user.id, reason="much fraud", actor="db:other")
        barred = users.get_by_id(user.id)
        assert ("much fraud", "db:other", True) == (
            barred.blacklist_reason,
            barred.blacklisted_by,
            barred.is_blacklisted,
        )
        assert users.is_blacklisted(user.id)
        assert users.is_blacklisted(wallet=wallet(1))
        assert [user.id] == [one.id for one in users.list_blacklisted().items]
        assert users.remove_blacklist(user.id, reason="an error", actor=SYSTEM)
        assert not users.is_blacklisted(user.id)
        told = [(entry.kind, entry.reason) for entry in users.risk_history(user.id).items]
    assert told == [
        ("unblacklist", "an error"),
        ("blacklist", "much fraud"),
        ("blacklist", "fraud"),
    ]
    events = fetch(
        database, "SELECT topic, user_id, payload ->> 'reason' FROM tally.outbox_events ORDER BY 1"
    )
    assert events == [
        ("identity.user.blacklisted", user.id, "fraud"),
        ("identity.user.blacklisted", user.id, "much fraud"),
    ]


def test_a_deleted_user(database: Database) -> None:
    """Deletion hides a user and revokes his keys; wallet and name stay his."""
    user = make_user(database, username="alice")
    make_key(database, user)
    with database.transaction() as tx:
        users = UserRepository(tx)
        assert users.delete(user.id, actor=SYSTEM)
        assert not users.delete(user.id, actor=SYSTEM)
        assert users.count() == 0
        assert not users.exists(wallet(1))
        assert users.get_by_id(user.id, include_deleted=True).deleted_by == SYSTEM
        assert users.get_by_wallet(wallet(1), include_deleted=True).id == user.id
        for read in (lambda: users.get_by_id(user.id), lambda: users.get_by_wallet(wallet(1))):
            with pytest.raises(NotFoundError):
                read()
        with pytest.raises(NotFoundError):
            users.update(user.id, expected_version=2, username="bob")
    revoked = fetch(database, "SELECT revoked, revoke_reason FROM tally.api_keys")
    assert revoked == [(True, "user deleted")]
    assert fetch(database, "SELECT topic FROM tally.outbox_events ORDER BY event_id") == [
        ("identity.key.created",),
        ("identity.key.revoked",),
    ]
    with pytest.raises(DuplicateError):
        make_user(database, 1)


def test_an_erased_user(database: Database) -> None:
    """Erasing needs a deleted user, empties what names him, and does so once."""
    user = make_user(database, username="alice", tags=["vip"])
    make_key(database, user, name="alice's", description="of alice", contact_email="a@b.example")
    with pytest.raises(EvidenceDeletionError), database.transaction() as tx:
        UserRepository(tx).erase(user.id, actor=SYSTEM)
    with database.transaction() as tx:
        users = UserRepository(tx)
        users.delete(user.id, actor=SYSTEM)
        assert users.erase(user.id, actor=SYSTEM)
        assert not users.erase(user.id, actor=SYSTEM)
        bare = users.get_by_id(user.id, include_deleted=True)
        assert (None, None, ()) == (bare.wallet_address, bare.username, bare.tags)
    assert fetch(
        database, "SELECT name, client_name, description, contact_email FROM tally.api_keys"
    ) == [("erased", "erased", None, None)]


def test_lists_by_pages(database: Database) -> None:
    """Each list walked in pages of two is the list, in its order, the deleted left out."""
    people = [make_user(database, n, tags=["all", f"t{n % 2}"]) for n in range(7)]
    with database.transaction() as tx:
        users = UserRepository(tx)
        for n, user in enumerate(people):
            users.update_risk_score(
                user.id, n // 2 * 10, reason_code="review", reason="why", actor=SYSTEM
            )
            users.blacklist(user.id, reason=f"reason {n}", actor=SYSTEM)
        users.delete(people[3].id, actor=SYSTEM)
    walks = {
        "risk": lambda users, after: users.list_by_risk_score(10, limit=2, after=after),
        "blacklisted": lambda users, after: users.list_blacklisted(limit=2, after=after),
        "tag": lambda users, after: users.list_by_tag("all", limit=2, after=after),
    }
    found = {}
    for name, walk in walks.items():
        after, ids = None, []
        while True:
            with database.transaction(read_only=True) as tx:
                page = walk(UserRepository(tx), after)
            ids += [user.id for user in page.items]
            after = page.next
            if after is None:
                break
        found[name] = ids
    live = [people[n] for n in (6, 5, 4, 2, 1, 0)]
    assert found["tag"] == found["blacklisted"] == [user.id for user in live]
    by_score = sorted(
        (person for n, person in enumerate(people) if n >= 2 and n != 3),
        key=lambda user: (people.index(user) // 2, user.id),
        reverse=True,
    )
    assert found["risk"] == [user.id for user in by_score]


@pytest.mark.parametrize("after", ["", "garbage", "WyJ4IiwgInkiXQ", "WzEsIDJd", "é" * 3000])
def test_foreign_cursors_are_refused(shared_database: Database, after: str) -> None:
    """A cursor of another list, or of nobody, is an InvalidValueError."""
    with pytest.raises(InvalidValueError), shared_database.transaction() as tx:
        UserRepository(tx).list_by_tag("all", after=after)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_pages_have_limits(shared_database: Database, limit: int) -> None:
    """A page has 1 to 1000 items."""
    with pytest.raises(InvalidValueError), shared_database.transaction() as tx:
        UserRepository(tx).list_blacklisted(limit=limit)


def test_sql_users_write_addresses_in_any_case(database: Database) -> None:
    """`tally.address` takes any case, and refuses what is no address as the programs do."""
    assert fetch(database, "SELECT tally.address(%(text)s)", text=VITALIK) == [(VITALIK.lower(),)]
    with database.transaction() as tx:
        UserRepository(tx).create(VITALIK)
    assert fetch(
        database,
        "SELECT count(*) FROM tally.users WHERE wallet_address = tally.address(%(t)s)",
        t=VITALIK.upper().replace("0X", "0x"),
    ) == [(1,)]
    with pytest.raises(InvalidAddressError):
        execute(database, "SELECT tally.address('0x12')")
