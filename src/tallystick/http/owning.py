"""
Whose rows a caller may reach: his own with any valid key, all with a scope (identity.md, 5.2).
"""

from __future__ import annotations

from tallystick.http.authorize import Principal
from tallystick.http.errors import NoUserError, UnauthenticatedError
from tallystick.identity.errors import ScopeError


def known(principal: Principal | None) -> Principal:
    """
    Return who asks.

    Raises:
        UnauthenticatedError: Nobody said; the guard lets none of those through to a route that
            asks.
    """
    if principal is None:
        raise UnauthenticatedError
    return principal


def own_user(principal: Principal | None) -> str:
    """
    Return the user whose key it is.

    Raises:
        NoUserError: It is the operator's, which is of no user.
    """
    user_id = known(principal).user_id
    if user_id is None:
        raise NoUserError
    return user_id


def owns(principal: Principal, user_id: str, *scopes: str) -> bool:
    """Return whether *principal* may reach the rows of this user: his own, or by a scope."""
    return principal.user_id == user_id or principal.has_one_of(*scopes)


def check_owns(principal: Principal | None, user_id: str, *scopes: str) -> Principal:
    """
    Return who asks, if he may reach the rows of this user, whether or not there is such a user.

    Raises:
        ScopeError: It is another user, and the key has none of *scopes*.
    """
    asking = known(principal)
    if not owns(asking, user_id, *scopes):
        raise ScopeError(
            f"for another user's this needs {' or '.join(scopes)}",
            evidence={"needed": list(scopes), "held": sorted(asking.scopes)},
        )
    return asking
