"""What must not happen, each law by real connections (identity.md, section 7)."""

from __future__ import annotations

import datetime
import random
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError
from tallystick.identity import Admission, APIKeyRepository, UserRepository, admit
from tallystick.identity.errors import (
    BlacklistedError,
    DuplicateError,
    EvidenceDeletionError,
    InvalidValueError,
    KeyExpiredError,
    KeyRevokedError,
    QuotaExceededError,
    RateLimitedError,
    ScopeError,
    UnknownKeyError,
)
from tests.identity.people import (
    SYSTEM,
    as_query,
    at_once,
    execute,
    fetch,
    flush,
    kinds,
    make_key,
    make_user,
    set_clock,
    set_limits,
    wallet,
)

if TYPE_CHECKING:
    from tallystick.db import Database

BEFORE_MIDNIGHT = datetime.datetime(2026, 3, 1, 23, 59, 59, tzinfo=datetime.UTC)
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
SAID: dict[str, Any] = {"reason_code": "review", "reason": "why", "actor": SYSTEM}


def test_what_ends_a_key_ends_it_at_once(database: Database) -> None:
    """identity 9: Law 1: Revoked, expired, narrowed, barred or deleted: the next request fails."""
    set_clock(database, NOON)

    def revoke(keys: APIKeyRepository, users: UserRepository, key: Any) -> None:
        keys.revoke(key.id, reason="lost", actor=SYSTEM)

    def expire(keys: APIKeyRepository, users: UserRepository, key: Any) -> None:
        keys.update(key.id, expected_version=1, actor=SYSTEM, expires_at=NOON)

    def narrow(keys: APIKeyRepository, users: UserRepository, key: Any) -> None:
        keys.update(key.id, expected_version=1, actor=SYSTEM, scopes=["log:audit"])

    def bar(keys: APIKeyRepository, users: UserRepository, key: Any) -> None:
        users.blacklist(key.user_id, reason="fraud", actor=SYSTEM)

    def delete(keys: APIKeyRepository, users: UserRepository, key: Any) -> None:
        users.delete(key.user_id, actor=SYSTEM)

    endings = {
        revoke: KeyRevokedError,
        expire: KeyExpiredError,
        narrow: ScopeError,
        bar: BlacklistedError,
        delete: KeyRevokedError,
    }
    for number, (end, error) in enumerate(endings.items()):
        key, text = make_key(database, make_user(database, number), scopes=["log:read"])
        assert admit(database, text, any_of=["log:read", "log:admin"]).key_id == key.id
        with database.transaction() as tx:
            end(APIKeyRepository(tx), UserRepository(tx), key)
            # Not committed: another connection still sees the key as it was.
            assert admit(database, text, any_of=["log:read"]).key_id == key.id
        with pytest.raises(error):
            admit(database, text, any_of=["log:read"])


def test_a_deleted_owner_bars_a_key_that_was_not_revoked(database: Database) -> None:
    """Law 1: Even a key that deletion left active is refused with its owner."""
    user = make_user(database)
    _, text = make_key(database, user)
    execute(database, "UPDATE tally.users SET deleted_at = tally.clock(), deleted_by = 'db:test'")
    with pytest.raises(BlacklistedError):
        admit(database, text)


def test_no_window_of_a_real_minute_is_too_wide(database: Database) -> None:
    """identity 9: Law 2: Eight connections in real time: what passes is the burst and no more."""
    set_limits(database, "free", 60, None)
    user = make_user(database)
    texts = [make_key(database, user, rate_limit=10_000).secret for _ in range(8)]
    began = fetch(database, "SELECT tally.clock()")[0][0]

    def hammer(number: int) -> int:
        passed = 0
        for _ in range(40):
            try:
                admit(database, texts[number])
                passed += 1
            except RateLimitedError:
                pass
        return passed

    admitted = sum(count for count in at_once(8, hammer) if isinstance(count, int))
    took = (fetch(database, "SELECT tally.clock()")[0][0] - began).total_seconds()
    # The burst of 6, and one for each of 60/55 s that went by.
    assert 6 <= admitted <= 6 + took / (60 / 55)


def test_the_turn_of_the_day_widens_no_window(database: Database) -> None:
    """identity 9: Law 2: Across midnight the limit goes on; only the quota begins anew."""
    set_clock(database, BEFORE_MIDNIGHT)
    _, text = make_key(database, make_user(database))
    for _ in range(10):
        admit(database, text)
    for later in (0, 1):
        set_clock(database, BEFORE_MIDNIGHT + later * SECOND / 2)
        with pytest.raises(RateLimitedError):
            admit(database, text)
    set_clock(database, BEFORE_MIDNIGHT + SECOND)
    assert admit(database, text).remaining == 0


def test_ten_keys_are_one_limit(database: Database) -> None:
    """identity 9: Law 3: Ten keys of one user share his tier's rate and his quota."""
    set_clock(database, NOON)
    set_limits(database, "free", 100, 25)
    user = make_user(database)
    texts = [make_key(database, user).secret for _ in range(10)]
    tried = at_once(10, lambda n: [ask(database, texts[n]) for _ in range(10)])
    admitted = sum(
        one == "Admission" for found in tried if isinstance(found, list) for one in found
    )
    assert admitted == 10
    for minute in (1, 2, 3):
        set_clock(database, NOON + 60 * minute * SECOND)
        tried = at_once(10, lambda n: [ask(database, texts[n]) for _ in range(3)])
        admitted += sum(
            one == "Admission" for found in tried if isinstance(found, list) for one in found
        )
    assert admitted == 25
    assert ask(database, texts[0]) == "QuotaExceededError"
    other = make_key(database, make_user(database, 2)).secret
    assert ask(database, other) == "Admission"


def ask(database: Database, text: str) -> str:
    """How one request was answered, as a class's name."""
    try:
        return type(admit(database, text)).__name__
    except (RateLimitedError, QuotaExceededError) as raised:
        return type(raised).__name__


def test_each_request_counts_on_its_day(database: Database) -> None:
    """identity 9: Law 4: Requests count on their day, and the flush finds yesterday's end."""
    set_clock(database, BEFORE_MIDNIGHT)
    key, text = make_key(database, make_user(database))
    for _ in range(3):
        admit(database, text)
    flush(database)
    for _ in range(2):
        admit(database, text)
    # Midnight comes before the next flush, and requests with it.
    set_clock(database, BEFORE_MIDNIGHT + 10 * SECOND)
    for _ in range(4):
        admit(database, text)
    flush(database)
    flush(database)
    days = dict(fetch(database, "SELECT day, requests FROM tally.api_key_usage"))
    assert days == {datetime.date(2026, 3, 1): 5, datetime.date(2026, 3, 2): 4}
    with database.transaction() as tx:
        assert APIKeyRepository(tx).usage(key.id).used == 4


def test_a_flush_under_load_counts_each_request_once(database: Database) -> None:
    """Law 4: Requests of eight connections, with flushes in between, are counted each once."""
    set_limits(database, "free", 1_000_000, None)
    keys = [make_key(database, make_user(database, n), rate_limit=1_000_000) for n in range(4)]

    def work(number: int) -> int:
        if number == 8:
            return sum(flush(database) for _ in range(20))
        for _ in range(50):
            admit(database, keys[number % 4].secret)
        return 0

    found = at_once(9, work)
    assert kinds(found) == {"int": 9}, found
    flush(database)
    counted = fetch(
        database, "SELECT key_id, sum(requests)::int FROM tally.api_key_usage GROUP BY 1"
    )
    assert dict(counted) == {issued.key.id: 100 for issued in keys}


def test_a_flush_that_waits_holds_nothing_behind(database: Database) -> None:
    """A flush takes keys in their order: while it waits for one it holds none behind it."""
    user = make_user(database)
    issued = sorted((make_key(database, user) for _ in range(2)), key=lambda one: one.key.id)
    for one in issued:
        admit(database, one.secret)
    first, last = (one.key.id for one in issued)
    lock = "SELECT FROM tally.api_keys WHERE id = %(id)s FOR UPDATE NOWAIT"

    def hold() -> None:
        with database.transaction() as tx:
            tx.execute(as_query(lock.replace("FOR", "FOR NO KEY")), {"id": first})
            wait_for_a_blocked_session(database)
            tx.execute(as_query(lock), {"id": last})

    def wait() -> int:
        while not is_locked(first):
            time.sleep(0.01)
        return flush(database)

    def is_locked(key_id: object) -> bool:
        try:
            execute(database, lock, id=key_id)
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    assert at_once(2, lambda which: wait() if which else hold()) == [None, 2]


def test_a_risk_has_its_history(database: Database) -> None:
    """identity 9: Law 8: No role changes a score or a blacklist without its row of history."""
    user = make_user(database)
    for change in (
        "risk_score = 5",
        "blacklisted_at = now(), blacklisted_by = 'db:x', blacklist_reason = 'why'",
    ):
        with pytest.raises(InvalidValueError):
            execute(database, f"UPDATE tally.users SET {change}")
    with database.transaction() as tx:
        UserRepository(tx).update_risk_score(user.id, 5, **SAID)
        UserRepository(tx).blacklist(user.id, reason="fraud", actor=SYSTEM)
    for change in (
        "risk_score = 0",
        "blacklist_reason = 'other'",
        "blacklisted_at = NULL, blacklisted_by = NULL, blacklist_reason = NULL",
    ):
        with pytest.raises(InvalidValueError):
            execute(database, f"UPDATE tally.users SET {change}")


def test_one_source_counts_once(database: Database) -> None:
    """identity 9: Law 8: Twenty connections that adjust for one source lower a risk once."""
    user = make_user(database)
    with database.transaction() as tx:
        UserRepository(tx).update_risk_score(user.id, 90, **SAID)

    def adjust(_: int) -> int:
        with database.transaction() as tx:
            entry = UserRepository(tx).adjust_risk_score(
                user.id, -10, source_kind="proof", source_id="7", **SAID
            )
            return entry.id

    assert len(set(at_once(20, adjust))) == 1
    with database.transaction() as tx:
        assert UserRepository(tx).get_by_id(user.id).risk_score == 80
        assert len(UserRepository(tx).risk_history(user.id).items) == 2


def test_concurrent_adjustments_add_up(database: Database) -> None:
    """Law 8: Twenty sources at once: the score is their sum, and the rows are a chain."""
    user = make_user(database)

    def adjust(number: int) -> None:
        with database.transaction() as tx:
            UserRepository(tx).adjust_risk_score(
                user.id, 3, source_kind="proof", source_id=str(number), **SAID
            )

    assert kinds(at_once(20, adjust)) == {"NoneType": 20}
    with database.transaction() as tx:
        entries = UserRepository(tx).risk_history(user.id).items[::-1]
        assert UserRepository(tx).get_by_id(user.id).risk_score == 60
    assert [entry.old_score for entry in entries] == [Decimal(3 * n) for n in range(20)]
    assert [entry.new_score for entry in entries] == [Decimal(3 * n + 3) for n in range(20)]


def test_secrets_are_nowhere(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """identity 9: Law 9: The secret of a key is in no table, log line or error."""
    user = make_user(database)
    key, text = make_key(database, user, scopes=["log:read"])
    with database.transaction() as tx:
        successor, new_text = APIKeyRepository(tx).rotate(key.id, actor=SYSTEM)
    said = []
    for wrong in (text[:-1] + ("0" if text[-1] != "0" else "1"), text.lower()):
        with pytest.raises(UnknownKeyError) as raised:
            admit(database, wrong)
        said.append(repr(raised.value) + str(raised.value.evidence))
    with pytest.raises(ScopeError) as lacking:
        admit(database, text, any_of=["log:admin"])
    said.append(repr(lacking.value) + str(lacking.value.evidence) + repr(key) + repr(successor))
    flush(database)
    dump = "".join(
        str(fetch(database, f"SELECT t::text FROM tally.{table} AS t"))
        for (table,) in fetch(
            database,
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'tally'::regnamespace"
            " AND relkind IN ('r', 'v')",
        )
    )
    assert key.prefix in dump
    for secret in (text, new_text):
        part = secret.rpartition("_")[2]
        for place in (dump, caplog.text, *said):
            assert part not in place
            assert part[:43] not in place


def test_nobody_gives_what_he_lacks(database: Database) -> None:
    """identity 9: Law 10: By create, update or rotate a key gets no scope that its maker lacks."""
    user = make_user(database)
    actor, _ = make_key(database, user, scopes=["log:read", "proof:read"])
    wide, _ = make_key(database, user, scopes=["log:read", "log:admin"])
    tries = {
        "create": lambda keys: keys.create(
            user.id, name="new", scopes=["log:read", "log:admin"], actor=actor.principal
        ),
        "update": lambda keys: keys.update(
            actor.id, expected_version=1, scopes=["log:admin"], actor=actor.principal
        ),
        "rotate": lambda keys: keys.rotate(wide.id, actor=actor.principal),
        "as user": lambda keys: keys.create(
            user.id, name="new", scopes=["log:read"], actor=f"user:{user.id}"
        ),
        "tier": lambda keys: keys.create(
            user.id, name="new", tier="enterprise", actor=actor.principal
        ),
        "own tier": lambda keys: keys.update(
            actor.id, expected_version=1, tier="paid", actor=actor.principal
        ),
    }
    for act in tries.values():
        with pytest.raises(ScopeError) as raised, database.transaction() as tx:
            act(APIKeyRepository(tx))
        assert raised.value.needed
    assert fetch(database, "SELECT count(*) FROM tally.api_keys") == [(2,)]
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        given, _ = keys.create(user.id, name="new", scopes=["log:read"], actor=actor.principal)
        # What a key has it keeps, and may lose, whoever changes it.
        kept = keys.update(wide.id, expected_version=1, scopes=["log:admin"], actor=given.principal)
        assert kept.scopes == ("log:admin",)
        keys.revoke(actor.id, reason="lost", actor=SYSTEM)
    with pytest.raises(ScopeError), database.transaction() as tx:
        APIKeyRepository(tx).create(user.id, name="new", scopes=["log:read"], actor=actor.principal)


def test_only_one_key_is_the_fiftieth(database: Database) -> None:
    """Ten connections that make a key beside 45 others leave a user with 50, not one more."""
    user = make_user(database)
    for _ in range(45):
        make_key(database, user)
    found = kinds(at_once(10, lambda _: make_key(database, user)))
    assert found == {"IssuedKey": 5, "InvalidValueError": 5}


def test_a_narrowed_actor_gives_nothing(database: Database) -> None:
    """Law 10: An actor who loses a scope while he gives it gives it before, or not at all."""
    user = make_user(database)
    actor, _ = make_key(database, user, scopes=["log:admin"])
    with database.transaction() as tx:
        APIKeyRepository(tx).update(actor.id, expected_version=1, scopes=[], actor=SYSTEM)
        found = at_once(1, lambda _: begin_create(database, user.id, actor.principal))
    assert kinds(found) == {"int": 1}, "it waits for whoever narrows the actor"
    with pytest.raises(ScopeError), database.transaction() as tx:
        APIKeyRepository(tx).create(
            user.id, name="new", scopes=["log:admin"], actor=actor.principal
        )


def begin_create(database: Database, user_id: str, principal: str) -> int:
    """Try to make a key with 200 ms of patience; 1 where somebody's lock was in the way."""
    with psycopg.connect(database.url) as connection:
        connection.execute("SET lock_timeout = '200ms'")
        try:
            connection.execute(
                "SELECT tally.create_api_key_v1(%s, sha256('x'), 'tly_000000000', 'n',"
                " '{log:admin}', 'free', NULL, NULL, 'developer', NULL, NULL, %s)",
                (user_id, principal),
            )
        except psycopg.errors.LockNotAvailable:
            return 1
    return 0


def test_no_key_brings_back_one_that_is_more(database: Database) -> None:
    """Law 10: An expired key comes back, or lasts longer, by nobody who lacks what it holds."""
    set_clock(database, NOON)
    user = make_user(database)
    strong, _ = make_key(database, user, scopes=["identity:admin"], expires_at=NOON + SECOND)
    weak, _ = make_key(database, user)
    for moment in (NOON, NOON + 2 * SECOND):
        set_clock(database, moment)
        for until in (NOON + 60 * SECOND, None):
            with pytest.raises(ScopeError) as raised, database.transaction() as tx:
                APIKeyRepository(tx).update(
                    strong.id, expected_version=1, expires_at=until, actor=weak.principal
                )
            assert list(raised.value.needed) == ["identity:admin"]
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        sooner = keys.update(strong.id, expected_version=1, expires_at=NOON, actor=weak.principal)
        again = keys.update(strong.id, expected_version=2, expires_at=None, actor=SYSTEM)
    assert (sooner.expires_at, again.expires_at) == (NOON, None)


def test_a_revocation_of_all_meets_a_key_in_the_making(database: Database) -> None:
    """Law 1: A key that a lost key makes meanwhile is revoked with all others of its user."""
    user = make_user(database)
    lost, _ = make_key(database, user)
    made = threading.Event()

    def make() -> None:
        with database.transaction() as tx:
            APIKeyRepository(tx).create(user.id, name="hidden", actor=lost.principal)
            made.set()
            wait_for_a_blocked_session(database)

    def revoke() -> int:
        made.wait(10)
        with database.transaction() as tx:
            return APIKeyRepository(tx).revoke_all(user.id, reason="lost", actor=SYSTEM)

    revoked = at_once(2, lambda which: revoke() if which else make())[1]
    assert revoked == 2
    assert fetch(database, "SELECT DISTINCT revoked FROM tally.api_keys") == [(True,)]


def wait_for_a_blocked_session(database: Database) -> None:
    """Return once a session of this database waits for a lock."""
    blocked = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    for _ in range(500):
        if fetch(database, blocked) != [(0,)]:
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_evidence_is_not_deleted(database: Database) -> None:
    """identity 9: Law 11: No role deletes a used key, a user or a row of history."""
    user = make_user(database)
    _, text = make_key(database, user)
    with database.transaction() as tx:
        UserRepository(tx).update_risk_score(user.id, 5, **SAID)
    admit(database, text)
    with pytest.raises(EvidenceDeletionError):
        execute(database, "DELETE FROM tally.api_keys")
    for statement in (
        "DELETE FROM tally.users",
        "DELETE FROM tally.user_risk_history",
        "UPDATE tally.user_risk_history SET new_score = 0",
        "TRUNCATE tally.user_risk_history",
        "TRUNCATE tally.api_keys CASCADE",
        "TRUNCATE tally.users CASCADE",
    ):
        with pytest.raises(AppendOnlyError):
            execute(database, statement)


def test_a_key_whose_count_was_reset_stays_evidence(database: Database) -> None:
    """Law 11: A key that was used is not deleted after its day was given anew, flushed or not."""
    key, text = make_key(database, make_user(database))
    admit(database, text)
    with database.transaction() as tx:
        APIKeyRepository(tx).reset_daily_count(key.id, actor=SYSTEM)
        assert APIKeyRepository(tx).get_by_id(key.id).last_used is not None
    with pytest.raises(EvidenceDeletionError), database.transaction() as tx:
        APIKeyRepository(tx).delete(key.id)


def test_a_first_use_and_a_deletion_exclude_each_other(database: Database) -> None:
    """Law 11: Of a key that is deleted while it is first used, either the use is refused or it."""
    user = make_user(database)
    for number in range(12):
        key, text = make_key(database, user, name=str(number))

        def act(which: int, key_id: Any = key.id, text: str = text) -> object:
            if which:
                return admit(database, text)
            with database.transaction() as tx:
                APIKeyRepository(tx).delete(key_id)
            return None

        found = kinds(at_once(2, act))
        assert found in (
            {"EvidenceDeletionError": 1, "Admission": 1},
            {"NoneType": 1, "UnknownKeyError": 1},
        )


def test_one_wallet_is_one_users(database: Database) -> None:
    """identity 9: Law 12: Of twenty who name one wallet at once, in any case, one gets it."""
    spelt = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
    spellings = (spelt, spelt.lower(), "0x" + spelt[2:].upper())

    def create(number: int) -> str:
        with database.transaction() as tx:
            return UserRepository(tx).create(spellings[number % 3]).id

    assert kinds(at_once(20, create)) == {"str": 1, "DuplicateError": 19}
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(database, "INSERT INTO tally.users (wallet_address) VALUES (%(w)s)", w=spelt)


def test_walks_during_inserts(database: Database) -> None:
    """identity 9: Law 14: A list walked while rows come in shows each old row exactly once."""
    chance = random.Random(14)
    with database.transaction() as tx:
        users = UserRepository(tx)
        old = [users.create(tags=["t"]).id for _ in range(60)]
        for user_id in old:
            users.update_risk_score(user_id, chance.randrange(5), **SAID)
            users.blacklist(user_id, reason="r", actor=SYSTEM)
        owner = users.create()
        keys = [
            APIKeyRepository(tx).create(owner.id, name="k", actor=SYSTEM).key.id for _ in range(20)
        ]

    def insert(turn: int) -> None:
        with database.transaction() as tx:
            new = UserRepository(tx).create(tags=["t"]).id
            UserRepository(tx).update_risk_score(new, turn % 5, **SAID)
            UserRepository(tx).blacklist(new, reason="r", actor=SYSTEM)
            if turn < 25:
                APIKeyRepository(tx).create(owner.id, name="k", actor=SYSTEM)

    walks = (
        lambda tx, after: UserRepository(tx).list_by_risk_score(0, limit=7, after=after),
        lambda tx, after: UserRepository(tx).list_by_tag("t", limit=7, after=after),
        lambda tx, after: UserRepository(tx).list_blacklisted(limit=7, after=after),
        lambda tx, after: APIKeyRepository(tx).list_by_user(owner.id, limit=3, after=after),
        lambda tx, after: APIKeyRepository(tx).list_by_tier("free", limit=3, after=after),
    )
    turn = 0
    for walk in walks:
        seen: list[object] = []
        after = None
        while True:
            with database.transaction(read_only=True) as tx:
                page = walk(tx, after)
            seen += [one.id for one in page.items]
            after = page.next
            if after is None:
                break
            insert(turn)
            turn += 1
        assert len(seen) == len(set(seen))
        expected = old if seen[0].__class__ is str else keys
        assert set(expected) - {owner.id} <= set(seen)


def test_a_failure_leaves_nothing(database: Database) -> None:
    """identity 9: Law 15: What two repository calls did is gone where the third fails."""
    user = make_user(database, 1)
    with pytest.raises(DuplicateError), database.transaction() as tx:
        other = UserRepository(tx).create(wallet(2))
        UserRepository(tx).update_risk_score(user.id, 50, **SAID)
        APIKeyRepository(tx).create(other.id, name="key", actor=SYSTEM)
        UserRepository(tx).create(wallet(1))
    with database.transaction() as tx:
        assert UserRepository(tx).count() == 1
        assert UserRepository(tx).risk_history(user.id).items == ()
        assert APIKeyRepository(tx).count() == 0
    assert fetch(database, "SELECT count(*) FROM tally.outbox_events") == [(0,)]


def test_an_error_inside_is_named_at_once(database: Database) -> None:
    """A caller inside the transaction can tell what was refused, and go on from a savepoint."""
    make_user(database, 1)
    with database.transaction() as tx:
        with pytest.raises(DuplicateError), tx.savepoint():
            UserRepository(tx).create(wallet(1))
        UserRepository(tx).create(wallet(2))
    with database.transaction() as tx:
        assert UserRepository(tx).count() == 2


def test_an_admission_is_a_value(database: Database) -> None:
    """An admission says who calls, with which scopes, and where his limit stands."""
    set_clock(database, NOON)
    user = make_user(database)
    key, text = make_key(database, user, scopes=["log:read"])
    assert admit(database, text) == Admission(
        principal=f"key:{key.id}",
        user_id=user.id,
        key_id=key.id,
        scopes=frozenset({"log:read"}),
        limit=100,
        remaining=9,
        reset_seconds=pytest.approx(0.659341),
    )
