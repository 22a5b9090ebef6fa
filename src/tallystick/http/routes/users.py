"""Users, their risk and their blacklist (identity.md, sections 4.1 and 6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.http.answers import Body, Page, optional_time
from tallystick.http.asked import After, Caller, Flag, IfMatch, Limit, Read, Text, Write
from tallystick.http.owning import check_owns, known
from tallystick.http.parameters import check_limit, parse_if_match
from tallystick.identity import RiskEntry, User, UserRepository
from tallystick.identity.human_proofs import HumanProofRepository
from tallystick.record import format_address
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.redaction import erase_user

SEES_ALL: Final = "identity:read"
UserId = FromPath[str]


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to be; what is left out he does not have."""

    wallet: str | None = None
    username: str | None = None
    tags: list[str] = []


class UserChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a user; fields that are left out stay."""

    wallet: str | msgspec.UnsetType | None = msgspec.UNSET
    username: str | msgspec.UnsetType | None = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; it is sealed, and must name nobody."""

    reason: str


class RiskScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A risk score of 0 to 100 and why: a word to count by, and a sentence for people."""

    score: Decimal
    reason_code: str
    reason: str


class UserItem(msgspec.Struct, frozen=True):
    """A user; *wallet* with its checksum."""

    id: str
    wallet: str | None
    username: str | None
    tags: list[str]
    risk_score: float
    is_blacklisted: bool
    blacklisted_at: str | None
    blacklisted_by: str | None
    blacklist_reason: str | None
    created_at: str
    last_activity: str | None
    deleted_at: str | None
    version: int


class UserBody(Body, frozen=True, kw_only=True):
    """One user."""

    user: UserItem


class ErasedBody(UserBody, frozen=True, kw_only=True):
    """A user who was erased, and which leaves of the house log hide nothing any more."""

    redacted: list[int]


class RiskItem(msgspec.Struct, frozen=True):
    """One change of a user's risk."""

    id: int
    kind: str
    old_score: float
    new_score: float
    reason_code: str
    reason: str
    actor: str
    source_kind: str | None
    source_id: str | None
    at: str


class VerificationScoreBody(Body, frozen=True, kw_only=True):
    """How many proofs count now, how many were submitted, and their ratio, null without any."""

    user_id: str
    valid: int
    submitted: int
    ratio: float | None


@post("/api/v1/users", sync_to_thread=True)
def post_user(writing: Write, data: JSONBody[NewUser]) -> Response[UserBody]:
    """Add a user."""
    return writing.run(
        lambda tx: user_body(
            UserRepository(tx).create(data.wallet, username=data.username, tags=data.tags)
        ),
        status=201,
    )


@get("/api/v1/users", sync_to_thread=True)
def get_users(
    reading: Read,
    min_risk: Annotated[Decimal | None, QueryParameter(description="Highest risk first.")] = None,
    tag: Text = None,
    blacklisted: Flag = None,
    limit: Limit = None,
    after: After = None,
) -> Page[UserItem]:
    """Users by risk, or those with a tag, or those who are blacklisted, the newest first."""
    if (min_risk is not None) + (tag is not None) + bool(blacklisted) > 1:
        raise InvalidRequestError("a list is by min_risk, by tag or of the blacklisted")
    size = check_limit(limit)

    def read(tx: Transaction) -> Page[UserItem]:
        users = UserRepository(tx)
        if blacklisted:
            page = users.list_blacklisted(limit=size, after=after)
        elif tag is not None:
            page = users.list_by_tag(tag, limit=size, after=after)
        else:
            page = users.list_by_risk_score(min_risk or Decimal(0), limit=size, after=after)
        return Page(items=[user_item(user) for user in page.items], next=page.next)

    return reading.run(read)


@get("/api/v1/users/{user_id:str}", sync_to_thread=True)
def get_user(reading: Read, principal: Caller, user_id: UserId) -> UserBody:
    """A user; one who was deleted is shown to those who read all."""
    sees_all = check_owns(principal, user_id, SEES_ALL).has_one_of(SEES_ALL)
    return reading.run(
        lambda tx: user_body(UserRepository(tx).get_by_id(user_id, include_deleted=sees_all))
    )


@patch("/api/v1/users/{user_id:str}", sync_to_thread=True)
def patch_user(
    writing: Write, user_id: UserId, if_match: IfMatch, data: JSONBody[UserChanges]
) -> Response[UserBody]:
    """Change wallet, name or tags of a user as he was read: `If-Match` is his version."""
    version = parse_if_match(if_match)
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(data).items()
        if value is not msgspec.UNSET
    }
    return writing.run(
        lambda tx: user_body(
            UserRepository(tx).update(user_id, expected_version=version, **changes)
        )
    )


@delete("/api/v1/users/{user_id:str}", status_code=200, sync_to_thread=True)
def delete_user(
    writing: Write, principal: Caller, user_id: UserId, erase: Flag = None
) -> Response[UserBody | ErasedBody]:
    """
    Delete a user: his row stays, his keys are revoked. With `erase`, for one who was deleted:
    wallet, name and tags go for ever, from his leaves too; every proof of them stays valid.
    """
    actor = known(principal).name

    def remove(tx: Transaction) -> UserBody | ErasedBody:
        users = UserRepository(tx)
        if not erase:
            users.delete(user_id, actor=actor)
            return user_body(users.get_by_id(user_id, include_deleted=True))
        redacted = erase_user(tx, user_id, actor=actor)
        user = user_item(users.get_by_id(user_id, include_deleted=True))
        return ErasedBody(user=user, redacted=list(redacted))

    return writing.run(remove)


@post("/api/v1/users/{user_id:str}/blacklist", status_code=200, sync_to_thread=True)
def post_blacklist(
    writing: Write, principal: Caller, user_id: UserId, data: JSONBody[Reason]
) -> Response[UserBody]:
    """Shut a user out, or give another reason: from now on his keys are refused."""
    actor = known(principal).name

    def shut_out(tx: Transaction) -> UserBody:
        users = UserRepository(tx)
        users.blacklist(user_id, reason=data.reason, actor=actor)
        return user_body(users.get_by_id(user_id, include_deleted=True))

    return writing.run(shut_out)


@delete("/api/v1/users/{user_id:str}/blacklist", status_code=200, sync_to_thread=True)
def delete_blacklist(
    writing: Write, principal: Caller, user_id: UserId, data: JSONBody[Reason]
) -> Response[UserBody]:
    """Take a user off the blacklist."""
    actor = known(principal).name

    def let_in(tx: Transaction) -> UserBody:
        users = UserRepository(tx)
        users.remove_blacklist(user_id, reason=data.reason, actor=actor)
        return user_body(users.get_by_id(user_id, include_deleted=True))

    return writing.run(let_in)


@put("/api/v1/users/{user_id:str}/risk", sync_to_thread=True)
def put_risk(
    writing: Write, principal: Caller, user_id: UserId, data: JSONBody[RiskScore]
) -> Response[UserBody]:
    """Set a user's risk score; that it was set, by whom and why, is a row of his history."""
    actor = known(principal).name

    def set_risk(tx: Transaction) -> UserBody:
        users = UserRepository(tx)
        users.update_risk_score(
            user_id, data.score, reason_code=data.reason_code, reason=data.reason, actor=actor
        )
        return user_body(users.get_by_id(user_id, include_deleted=True))

    return writing.run(set_risk)


@get("/api/v1/users/{user_id:str}/risk-history", sync_to_thread=True)
def get_risk_history(
    reading: Read,
    principal: Caller,
    user_id: UserId,
    limit: Limit = None,
    after: After = None,
) -> Page[RiskItem]:
    """Every change of a user's risk and of his blacklisting, the newest first."""
    check_owns(principal, user_id, SEES_ALL)
    size = check_limit(limit)

    def read(tx: Transaction) -> Page[RiskItem]:
        page = UserRepository(tx).risk_history(user_id, limit=size, after=after)
        return Page(items=[risk_item(change) for change in page.items], next=page.next)

    return reading.run(read)


@get("/api/v1/users/{user_id:str}/verification-score", sync_to_thread=True)
def get_verification_score(
    reading: Read, principal: Caller, user_id: UserId
) -> VerificationScoreBody:
    """How many of a user's proofs count now, of those that he submitted."""
    check_owns(principal, user_id, SEES_ALL)
    score = reading.run(lambda tx: HumanProofRepository(tx).verification_score(user_id))
    return VerificationScoreBody(
        user_id=user_id,
        valid=score.valid,
        submitted=score.submitted,
        ratio=None if score.ratio is None else float(score.ratio),
    )


def user_body(user: User) -> UserBody:
    """Return *user* as an answer."""
    return UserBody(user=user_item(user))


def user_item(user: User) -> UserItem:
    """Return *user* as he is answered."""
    return UserItem(
        id=user.id,
        wallet=None if user.wallet_address is None else format_address(user.wallet_address),
        username=user.username,
        tags=list(user.tags),
        risk_score=float(user.risk_score),
        is_blacklisted=user.is_blacklisted,
        blacklisted_at=optional_time(user.blacklisted_at),
        blacklisted_by=user.blacklisted_by,
        blacklist_reason=user.blacklist_reason,
        created_at=format_time(user.created_at),
        last_activity=optional_time(user.last_activity),
        deleted_at=optional_time(user.deleted_at),
        version=user.version,
    )


def risk_item(change: RiskEntry) -> RiskItem:
    """Return *change* as it is answered."""
    return RiskItem(
        id=change.id,
        kind=change.kind,
        old_score=float(change.old_score),
        new_score=float(change.new_score),
        reason_code=change.reason_code,
        reason=change.reason,
        actor=change.actor,
        source_kind=change.source_kind,
        source_id=change.source_id,
        at=format_time(change.at),
    )


ROUTES: Final = [
    post_user,
    get_users,
    get_user,
    patch_user,
    delete_user,
    post_blacklist,
    delete_blacklist,
    put_risk,
    get_risk_history,
    get_verification_score,
]
