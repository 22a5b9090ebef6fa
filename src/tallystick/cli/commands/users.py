"""`tally user`: users, their risk and their blacklist (identity.md, sections 4.1 and 6)."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Annotated, Final

from cyclopts import Parameter

from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_table, show
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.identity import Page, User, UserRepository
from tallystick.record import Address, format_address
from tallystick.seal.redaction import erase_user

COLUMNS: Final = ("id", "username", "wallet_address", "risk_score", "is_blacklisted", "tags")

UserArgument = Annotated[str, Parameter(help="Id of the user.")]
Reason = Annotated[str, Parameter(help="Why; it stands in the user's history for ever.")]
Limit = Annotated[int, Parameter(help="How many at most, 1 to 1000.")]
After = Annotated[str | None, Parameter(help="Go on behind this: `next` of the page before.")]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What became of a user."""

    user_id: str
    changed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Erased:
    """A user who was erased, and the leaves that hide nothing of him any more."""

    user_id: str
    redacted: list[int]


def add(
    *,
    wallet: Annotated[str | None, Parameter(help="Address of his wallet, in any case.")] = None,
    name: Annotated[str | None, Parameter(help="Name, 1 to 64 characters.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative="", help="A tag; may be repeated.")] = None,
    place: Place = HERE,
) -> None:
    """Make a user."""
    with place.transaction() as tx:
        user = UserRepository(tx).create(wallet, username=name, tags=tag or ())
    show(shown(user), as_json=place.json)


def show_one(user: UserArgument, /, *, place: Place = HERE) -> None:
    """Show a user, a deleted one too."""
    with place.transaction(read_only=True) as tx:
        found = UserRepository(tx).get_by_id(user, include_deleted=True)
    show(shown(found), as_json=place.json)


def list_all(
    *,
    min_risk: Annotated[Decimal | None, Parameter(help="Score from which on, 0 to 100.")] = None,
    tag: Annotated[str | None, Parameter(help="Those with this tag.")] = None,
    blacklisted: Annotated[bool, Parameter(negative="", help="Those who are blacklisted.")] = False,
    limit: Limit = 100,
    after: After = None,
    place: Place = HERE,
) -> None:
    """List users by risk, the highest first; by tag or blacklisted, the newest first."""
    if (min_risk is not None) + (tag is not None) + blacklisted > 1:
        raise UsageError("a list is by risk, by tag, or of the blacklisted")
    with place.transaction(read_only=True) as tx:
        users = UserRepository(tx)
        if tag is not None:
            page = users.list_by_tag(tag, limit=limit, after=after)
        elif blacklisted:
            page = users.list_blacklisted(limit=limit, after=after)
        else:
            page = users.list_by_risk_score(min_risk or 0, limit=limit, after=after)
    show_page(page, place=place)


def blacklist(user: UserArgument, /, *, reason: Reason, place: Place = HERE) -> None:
    """Blacklist a user: none of his keys is admitted any more."""
    with place.transaction() as tx:
        changed = UserRepository(tx).blacklist(user, reason=reason, actor=operator_name())
    show(Told(user, changed), as_json=place.json)


def unblacklist(user: UserArgument, /, *, reason: Reason, place: Place = HERE) -> None:
    """Take a user off the blacklist."""
    with place.transaction() as tx:
        changed = UserRepository(tx).remove_blacklist(user, reason=reason, actor=operator_name())
    show(Told(user, changed), as_json=place.json)


def risk(
    user: UserArgument,
    score: Annotated[Decimal | None, Parameter(help="The new score, 0 to 100.")] = None,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; needed with a score.")] = None,
    code: Annotated[str, Parameter(help="The reason as a word for programs.")] = "operator",
    place: Place = HERE,
) -> None:
    """Show how a user's risk came about, or set it."""
    if (score is None) != (reason is None):
        raise UsageError("a score needs its --reason, and a reason its score")
    with place.transaction(read_only=score is None) as tx:
        users = UserRepository(tx)
        if score is not None and reason is not None:
            actor = operator_name()
            users.update_risk_score(user, score, reason_code=code, reason=reason, actor=actor)
        users.get_by_id(user, include_deleted=True)
        history = users.risk_history(user)
    if place.json:
        print_json(history)
        return
    columns = ("at", "kind", "old_score", "new_score", "reason_code", "reason", "actor")
    rows = [[getattr(entry, column) for column in columns] for entry in history.items]
    print_table([column.replace("_", " ") for column in columns], rows)


def delete(user: UserArgument, /, *, place: Place = HERE) -> None:
    """Delete a user: his keys are revoked, his wallet and name stay reserved."""
    with place.transaction() as tx:
        changed = UserRepository(tx).delete(user, actor=operator_name())
    show(Told(user, changed), as_json=place.json)


def erase(user: UserArgument, /, *, place: Place = HERE) -> None:
    """Erase a deleted user: what names him is gone from rows and leaves; their proofs stay."""
    with place.transaction() as tx:
        redacted = erase_user(tx, user, actor=operator_name())
    show(Erased(user, list(redacted)), as_json=place.json)


def shown(user: User) -> User:
    """Return *user* with his wallet as people read it, with its checksum."""
    if user.wallet_address is None:
        return user
    wallet = Address(format_address(user.wallet_address))
    return dataclasses.replace(user, wallet_address=wallet)


def show_page(page: Page[User], *, place: Place) -> None:
    """Write a page of users, and where the next begins."""
    users = [shown(user) for user in page.items]
    if place.json:
        print_json({"items": users, "next": page.next})
        return
    rows = [[getattr(user, column) for column in COLUMNS] for user in users]
    print_table([column.replace("_", " ") for column in COLUMNS], rows)
    if page.next is not None:
        print_table(["next"], [[page.next]])
