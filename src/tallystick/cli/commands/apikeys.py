"""`tally apikey`: keys of users, whose secrets are shown once (identity.md, 4.2 and 6)."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Annotated, Final

from cyclopts import Parameter

from tallystick.cli.commands.users import After, Limit, Reason
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines, print_table, show
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.identity import SCOPES, SLICE_OF_SCOPE, APIKeyRepository, IssuedKey

COLUMNS: Final = ("id", "prefix", "name", "tier", "scopes", "last_used", "expires_at", "revoked_at")
LIFE: Final = re.compile(r"([1-9][0-9]{0,4})([dhm])")
UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}

KeyArgument = Annotated[str, Parameter(help="Id of the key.")]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What became of a key."""

    key_id: str
    changed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ScopeLine:
    """A scope, and the slice that it opens something of."""

    scope: str
    slice: str


def create(
    user: Annotated[str, Parameter(help="Id of the user whose key it is.")],
    /,
    *,
    name: Annotated[str, Parameter(help="What it is for, 1 to 255 characters.")],
    scope: Annotated[
        list[str] | None,
        Parameter(negative="", help="A scope (`tally apikey scopes`); repeatable."),
    ] = None,
    tier: Annotated[str, Parameter(help="Its tier: limits that the user's keys share.")] = "free",
    rate_limit: Annotated[int | None, Parameter(help="Its own requests a minute.")] = None,
    expires: Annotated[str | None, Parameter(help="After how long: 90d, 12h, 30m.")] = None,
    place: Place = HERE,
) -> None:
    """Make a key, and write its secret to stdout, this once."""
    with place.transaction() as tx:
        issued = APIKeyRepository(tx).create(
            user,
            name=name,
            scopes=scope or (),
            tier=tier,
            rate_limit=rate_limit,
            expires_at=expiry(expires),
            actor=operator_name(),
        )
    tell(issued, place=place)


def list_all(
    user: Annotated[str, Parameter(help="Id of the user.")],
    /,
    *,
    active: Annotated[bool, Parameter(negative="", help="Only those that are good now.")] = False,
    limit: Limit = 100,
    after: After = None,
    place: Place = HERE,
) -> None:
    """List a user's keys, the newest first."""
    with place.transaction(read_only=True) as tx:
        keys = APIKeyRepository(tx)
        page = keys.list_by_user(user, active_only=active, limit=limit, after=after)
    if place.json:
        print_json(page)
        return
    rows = [[getattr(key, column) for column in COLUMNS] for key in page.items]
    print_table([column.replace("_", " ") for column in COLUMNS], rows)


def show_one(key: KeyArgument, /, *, place: Place = HERE) -> None:
    """Show a key, without its secret, which nobody can read."""
    with place.transaction(read_only=True) as tx:
        found = APIKeyRepository(tx).get_by_id(key)
    show(found, as_json=place.json)


def rotate(
    key: KeyArgument,
    /,
    *,
    overlap: Annotated[str, Parameter(help="How long the old one is still good: 24h.")] = "24h",
    place: Place = HERE,
) -> None:
    """Make a key's successor with its settings, and write the new secret to stdout, this once."""
    with place.transaction() as tx:
        keys = APIKeyRepository(tx)
        issued = keys.rotate(key, overlap=parse_life(overlap), actor=operator_name())
    tell(issued, place=place)


def revoke(key: KeyArgument, /, *, reason: Reason, place: Place = HERE) -> None:
    """Revoke a key, at once and for good."""
    with place.transaction() as tx:
        keys = APIKeyRepository(tx)
        keys.get_by_id(key)
        changed = keys.revoke(key, reason=reason, actor=operator_name())
    show(Told(key, changed), as_json=place.json)


def usage(
    key: KeyArgument,
    /,
    *,
    days: Annotated[int, Parameter(help="Of how many days, 1 to 366.")] = 30,
    place: Place = HERE,
) -> None:
    """Show a key's requests by day, and what is left of its owner's quota today."""
    with place.transaction(read_only=True) as tx:
        used = APIKeyRepository(tx).usage(key, days)
    if place.json:
        print_json(
            {**dataclasses.asdict(used), "key_id": str(used.key_id), "remaining": used.remaining}
        )
        return
    print_table(["day", "requests"], [[day.day, day.requests] for day in used.days])
    left = "no limit" if used.remaining is None else f"{used.remaining} of {used.quota} left"
    print_lines(f"today {used.used} by all keys of the user and tier, {left}")


def scopes(*, place: Place = HERE) -> None:
    """List the scopes that a key may have."""
    lines = [ScopeLine(scope, SLICE_OF_SCOPE[scope]) for scope in SCOPES]
    if place.json:
        print_json({"items": lines, "next": None})
    else:
        print_table(["scope", "slice"], [[line.scope, line.slice] for line in lines])


def tell(issued: IssuedKey, *, place: Place) -> None:
    """Write a new key's secret to stdout, and with --json the key too."""
    if place.json:
        print_json({"key": issued.key, "secret": issued.secret})
    else:
        print_lines(issued.secret)


def expiry(life: str | None) -> datetime.datetime | None:
    """Return when what lives for *life* from now on ends; None lives for ever."""
    return None if life is None else datetime.datetime.now(datetime.UTC) + parse_life(life)


def parse_life(text: str) -> datetime.timedelta:
    """
    Return the duration that *text* writes: a number and d, h or m.

    Raises:
        UsageError: It writes none.
    """
    found = LIFE.fullmatch(text)
    if found is None:
        raise UsageError(f"a duration is a number of days, hours or minutes: 90d, not {text!r}")
    return datetime.timedelta(**{UNITS[found[2]]: int(found[1])})
