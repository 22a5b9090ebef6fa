"""
Users: one object over the caller's transaction (identity.md, section 4.1).

Reads marked R there may run on a replica. What decides, `is_blacklisted`, is for the primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.identity.changes import UNCHANGED, Unchanged, named_changes
from tallystick.identity.constraints import names_errors
from tallystick.identity.errors import (
    InvalidValueError,
    NotFoundError,
    StaleVersionError,
)
from tallystick.identity.inputs import parse_wallet
from tallystick.identity.paging import (
    DEFAULT_LIMIT,
    Page,
    begin_at,
    check_limit,
    page_of,
)
from tallystick.identity.subjects import KEYS, USERS, name_of, user_subject
from tallystick.identity.users import store
from tallystick.identity.users.user import NewUser, RiskEntry, User

MAX_ROWS: Final = 10_000
"""So many rows one statement makes; more are a bulk import, which commits in parts."""
HIGHEST: Final = "1000"
"""Above every risk score: where the first page begins."""
LATEST: Final = "infinity"
"""After every time."""
LAST_ENTRY: Final = str(2**63 - 1)


@names_errors
@dataclass(frozen=True, slots=True)
class UserRepository:
    """
    The users, in the transaction *tx*.

    Every method may raise InvalidValueError, which names the field, for a value that its column
    cannot hold.
    """

    tx: Transaction

    def create(
        self, wallet: str | None = None, *, username: str | None = None, tags: Sequence[str] = ()
    ) -> User:
        """
        Make a user and return him.

        Raises:
            InvalidAddressError: *wallet* is no address.
            DuplicateError: The wallet or the name is somebody's; the constraint is named.
        """
        [user] = self.create_many([NewUser(wallet, username, tags)])
        return user

    def create_many(self, rows: Sequence[NewUser]) -> list[User]:
        """
        Make up to 10,000 users, all or none, and return them in the order of *rows*.

        Raises:
            InvalidValueError: There are more.
            InvalidAddressError, DuplicateError: As `create`.
        """
        if len(rows) > MAX_ROWS:
            message = f"at most {MAX_ROWS} users are made at once"
            raise InvalidValueError(message, evidence={"field": "rows"})
        self.tx.changed(USERS)
        return store.create_users(
            self.tx,
            [
                {"wallet": wallet_of(row.wallet), "username": row.username, "tags": [*row.tags]}
                for row in rows
            ],
        )

    def get_by_id(self, user_id: str, *, include_deleted: bool = False) -> User:
        """
        Return a user.

        Raises:
            NotFoundError: There is none, or he was deleted and *include_deleted* is not set.
        """
        found = self.tx.cached(
            user_subject(user_id), "user", User | None, lambda: store.get_user(self.tx, user_id)
        )
        return shown(found, include_deleted=include_deleted)

    def get_by_wallet(self, wallet: str, *, include_deleted: bool = False) -> User:
        """
        Return the user who has *wallet*.

        Raises:
            InvalidAddressError: *wallet* is no address.
            NotFoundError: As `get_by_id`.
        """
        address = parse_wallet(wallet)
        found = self.tx.cached(
            USERS,
            name_of("wallet", address),
            User | None,
            lambda: store.get_user_by_wallet(self.tx, address),
        )
        return shown(found, include_deleted=include_deleted)

    def exists(self, wallet: str) -> bool:
        """
        Whether a live user has *wallet*.

        Raises:
            InvalidAddressError: *wallet* is no address.
        """
        found = store.get_user_by_wallet(self.tx, parse_wallet(wallet))
        return found is not None and found.deleted_at is None

    def update(
        self,
        user_id: str,
        *,
        expected_version: int,
        wallet: str | Unchanged | None = UNCHANGED,
        username: str | Unchanged | None = UNCHANGED,
        tags: Sequence[str] | Unchanged = UNCHANGED,
    ) -> User:
        """
        Change the named fields and return the user as he is then.

        Raises:
            NotFoundError: There is no such user, or he was deleted.
            StaleVersionError: He has another version than *expected_version*.
            InvalidAddressError, DuplicateError: As `create`.
        """
        changes = named_changes(
            wallet=wallet if isinstance(wallet, Unchanged) else wallet_of(wallet),
            username=username,
            tags=tags if isinstance(tags, Unchanged) else [*tags],
        )
        self._changed(user_id)
        changed = store.update_user(
            self.tx, user_id, expected_version=expected_version, changes=changes
        )
        if changed is not None:
            return changed
        actual = self.get_by_id(user_id).version
        raise StaleVersionError(
            f"the user has version {actual}, not {expected_version}",
            evidence={"expected": expected_version, "actual": actual},
        )

    def update_risk_score(
        self, user_id: str, score: Decimal | int, *, reason_code: str, reason: str, actor: str
    ) -> RiskEntry:
        """
        Set a user's risk score and return its row of history.

        Raises:
            NotFoundError: There is no such user.
            InvalidValueError: *score* is outside of 0 to 100.
        """
        said = {"reason_code": reason_code, "reason": reason, "actor": actor}
        self._changed(user_id)
        return store.set_risk(self.tx, user_id, Decimal(score), **said)

    def adjust_risk_score(
        self,
        user_id: str,
        delta: Decimal | int,
        *,
        source_kind: str,
        source_id: str,
        reason_code: str,
        reason: str,
        actor: str,
    ) -> RiskEntry:
        """
        Add *delta* to a user's risk score, within 0 to 100, and return its row of history.

        The same source again changes nothing and returns its first row.

        Raises:
            NotFoundError: There is no such user.
        """
        self._changed(user_id)
        return store.adjust_risk(
            self.tx,
            user_id,
            Decimal(delta),
            source_kind=source_kind,
            source_id=source_id,
            reason_code=reason_code,
            reason=reason,
            actor=actor,
        )

    def update_last_activity(self, user_ids: Sequence[str]) -> int:
        """
        Note that users did something now; return how many rows were written.

        A time never moves back, and is written at most once a minute for each user.

        Raises:
            InvalidValueError: There are more than 10,000.
        """
        if len(user_ids) > MAX_ROWS:
            message = f"at most {MAX_ROWS} users are noted at once"
            raise InvalidValueError(message, evidence={"field": "user_ids"})
        self._changed(*user_ids)
        return store.touch_users(self.tx, user_ids)

    def blacklist(self, user_id: str, *, reason: str, actor: str) -> bool:
        """
        Blacklist a user, or give another reason; False where that reason stood already.

        His keys stay: `admit` refuses them.

        Raises:
            NotFoundError: There is no such user.
        """
        self._changed(user_id)
        return store.blacklist(self.tx, user_id, reason=reason, actor=actor)

    def remove_blacklist(self, user_id: str, *, reason: str, actor: str) -> bool:
        """
        Take a user off the blacklist; False, and no row, where he was not on it.

        Raises:
            NotFoundError: There is no such user.
        """
        self._changed(user_id)
        return store.unblacklist(self.tx, user_id, reason=reason, actor=actor)

    def is_blacklisted(self, user_id: str | None = None, *, wallet: str | None = None) -> bool:
        """
        Whether a user, by id or by wallet, is blacklisted; ask the primary.

        A wallet that is nobody's is not.

        Raises:
            NotFoundError: There is no user of that id.
            InvalidAddressError: *wallet* is no address.
        """
        assert (user_id is None) != (wallet is None), "a user is named by one of the two"
        if wallet is not None:
            found = store.get_user_by_wallet(self.tx, parse_wallet(wallet))
            return found is not None and found.is_blacklisted
        assert user_id is not None
        # What decides is read, never remembered.
        return shown(store.get_user(self.tx, user_id), include_deleted=True).is_blacklisted

    def delete(self, user_id: str, *, actor: str) -> bool:
        """
        Delete a user: his keys are revoked, his wallet and name stay reserved.

        False where he was deleted already.

        Raises:
            NotFoundError: There is no such user.
        """
        self._changed(user_id)
        self.tx.changed(KEYS)
        return store.delete_user(self.tx, user_id, actor=actor)

    def erase(self, user_id: str, *, actor: str) -> bool:
        """
        Take out of a deleted user's rows what names him; False where nothing was left.

        The caller redacts his leaves in the same transaction. His nullifiers stay, so that
        nobody else can use his wallet.

        Raises:
            NotFoundError: There is no such user.
            EvidenceDeletionError: He is not deleted.
        """
        self._changed(user_id)
        self.tx.changed(KEYS)
        return store.erase_user(self.tx, user_id, actor=actor)

    def list_by_risk_score(
        self, threshold: Decimal | int, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[User]:
        """
        Return live users whose score is at least *threshold*, highest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        score, user_id = begin_at(after, first=(HIGHEST, ""))
        size = check_limit(limit) + 1
        found = self.tx.cached(
            USERS,
            name_of("risk", threshold, score, user_id, limit),
            tuple[User, ...],
            lambda: tuple(
                store.list_by_risk(
                    self.tx, Decimal(threshold), after_score=score, after_id=user_id, limit=size
                )
            ),
        )
        return page_of(found, limit, lambda user: (str(user.risk_score), user.id))

    def list_blacklisted(
        self, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[User]:
        """
        Return live users who are blacklisted, the newest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        moment, user_id = begin_at(after, first=(LATEST, ""))
        size = check_limit(limit) + 1
        found = self.tx.cached(
            USERS,
            name_of("blacklisted", moment, user_id, limit),
            tuple[User, ...],
            lambda: tuple(
                store.list_blacklisted(self.tx, after_at=moment, after_id=user_id, limit=size)
            ),
        )
        return page_of(found, limit, since_of)

    def list_by_tag(
        self, tag: str, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[User]:
        """
        Return live users with *tag*, the newest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        moment, user_id = begin_at(after, first=(LATEST, ""))
        size = check_limit(limit) + 1
        found = self.tx.cached(
            USERS,
            name_of("tag", tag, moment, user_id, limit),
            tuple[User, ...],
            lambda: tuple(
                store.list_by_tag(self.tx, tag, after_at=moment, after_id=user_id, limit=size)
            ),
        )
        return page_of(found, limit, lambda user: (format_time(user.created_at), user.id))

    def risk_history(
        self, user_id: str, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[RiskEntry]:
        """
        Return the changes of a user's risk, the newest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        [entry_id] = begin_at(after, first=(LAST_ENTRY,))
        found = store.list_risk_history(
            self.tx, user_id, after_id=entry_id, limit=check_limit(limit) + 1
        )
        return page_of(found, limit, lambda entry: (str(entry.id),))

    def count(self) -> int:
        """Return how many users are not deleted."""
        return self.tx.cached(USERS, name_of("count"), int, lambda: store.count_users(self.tx))

    def _changed(self, *user_ids: str) -> None:
        self.tx.changed(USERS, *map(user_subject, user_ids))


def wallet_of(text: str | None) -> str | None:
    """Return the stored form of a wallet that may be missing."""
    return None if text is None else parse_wallet(text)


def shown(user: User | None, *, include_deleted: bool) -> User:
    """
    Return *user* where the caller may see him.

    Raises:
        NotFoundError: There is none, or he was deleted and that was not asked for.
    """
    if user is None or (user.deleted_at is not None and not include_deleted):
        raise NotFoundError("there is no such user")
    return user


def since_of(user: User) -> tuple[str, str]:
    """Return a blacklisted user's place in the list of them."""
    assert user.blacklisted_at is not None, "he is in the list of those who are"
    return format_time(user.blacklisted_at), user.id
