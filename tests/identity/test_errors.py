"""Each error by name, SQLSTATE and problem document (identity.md, section 3)."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.errors import all_errors
from tallystick.http.problems import problem_of
from tallystick.identity import APIKeyRepository, UserRepository, admit, errors
from tallystick.identity.errors import IdentityError
from tallystick.record import InvalidAddressError as MisspeltAddressError
from tests.identity.people import (
    SYSTEM,
    execute,
    make_key,
    make_user,
    set_clock,
    set_limits,
    wallet,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.db import Database

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "identity.md"
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


class Stage:
    """A user with a key, at noon, and what is wrong with them in each case."""

    def __init__(self, database: Database) -> None:
        set_clock(database, NOON)
        self.database = database
        self.user = make_user(database)
        self.key, self.text = make_key(database, self.user, scopes=["log:read"])

    def keys(self, act: Callable[[APIKeyRepository], Any]) -> None:
        """Do something with the keys, committed."""
        with self.database.transaction() as tx:
            act(APIKeyRepository(tx))

    def users(self, act: Callable[[UserRepository], Any]) -> None:
        """Do something with the users, committed."""
        with self.database.transaction() as tx:
            act(UserRepository(tx))

    def admit(self, **options: Any) -> None:
        """Make a request with the key."""
        admit(self.database, self.text, **options)

    def not_found(self) -> None:
        """No UUID."""
        self.keys(lambda keys: keys.get_by_id("7"))

    def duplicate(self) -> None:
        """The same wallet again."""
        make_user(self.database)

    def stale_version(self) -> None:
        """A version that the user never had."""
        self.users(lambda users: users.update(self.user.id, expected_version=9, tags=[]))

    def invalid_value(self) -> None:
        """A score above 100."""
        self.users(
            lambda users: users.update_risk_score(
                self.user.id, 101, reason_code="a", reason="b", actor=SYSTEM
            )
        )

    def invalid_address(self) -> None:
        """One digit less."""
        self.users(lambda users: users.create(wallet(7)[:-1]))

    def blacklisted(self) -> None:
        """A request of a blacklisted user."""
        self.users(lambda users: users.blacklist(self.user.id, reason="r", actor=SYSTEM))
        self.admit()

    def unknown_key(self) -> None:
        """A key whose row is gone."""
        self.keys(lambda keys: keys.delete(self.key.id))
        self.admit()

    def key_revoked(self) -> None:
        """A request with a revoked key."""
        self.keys(lambda keys: keys.revoke(self.key.id, reason="r", actor=SYSTEM))
        self.admit()

    def key_expired(self) -> None:
        """A request with an expired key."""
        self.keys(
            lambda keys: keys.update(self.key.id, expected_version=1, expires_at=NOON, actor=SYSTEM)
        )
        self.admit()

    def scope(self) -> None:
        """A request that needs another scope."""
        self.admit(any_of=["log:admin", "log:audit"])

    def rate_limited(self) -> None:
        """A second request where the burst is one."""
        set_limits(self.database, "free", 1, None)
        self.admit()
        self.admit()

    def quota_exceeded(self) -> None:
        """A second request of a day that has one."""
        set_limits(self.database, "free", 100, 1)
        self.admit()
        self.admit()

    def evidence_deletion(self) -> None:
        """The deletion of a used key."""
        self.admit()
        self.keys(lambda keys: keys.delete(self.key.id))


CASES = {
    "not_found": ("TSI01", 404, {}),
    "duplicate": ("TSI02", 409, {"constraint": "wallet_belongs_to_one_user"}),
    "stale_version": ("TSI03", 409, {"expected": 9, "actual": 1}),
    "invalid_value": ("TSI04", 422, {"field": "score"}),
    "invalid_address": ("TSI05", 422, {}),
    "blacklisted": ("TSI06", 403, {}),
    "unknown_key": ("TSI07", 401, {}),
    "key_revoked": ("TSI08", 401, {}),
    "key_expired": ("TSI09", 401, {}),
    "scope": ("TSI10", 403, {"needed": ("log:admin", "log:audit"), "held": ("log:read",)}),
    "rate_limited": ("TSI11", 429, {"retry_after": 60.0, "retry_after_seconds": 60}),
    "quota_exceeded": ("TSI12", 429, {"retry_after": 43_200.0}),
    "evidence_deletion": ("TSI16", 409, {}),
}


@pytest.mark.parametrize("code", CASES)
def test_each_error_once(database: Database, code: str) -> None:
    """identity 6: Each error is raised by its cause, with its state, evidence and problem."""
    sqlstate, status, evidence = CASES[code]
    stage = Stage(database)
    with pytest.raises(IdentityError) as raised:
        getattr(stage, code)()
    error = raised.value
    assert (sqlstate, code) == (error.sqlstate, error.code())
    assert evidence == {name: getattr(error, name) for name in evidence}
    problem = problem_of(error)
    assert status == problem.status
    assert f"/problems/identity/{code}" == problem.members["type"]
    assert wallet(1) not in problem.body().decode()
    assert stage.text[14:] not in problem.body().decode()


@pytest.mark.parametrize("code", CASES)
def test_each_state_is_its_error(shared_database: Database, code: str) -> None:
    """identity 6: The same state raised in SQL is the same error."""
    error = next(one for one in all_errors(IdentityError) if one.code() == code)
    with pytest.raises(error):
        execute(shared_database, "SELECT tally.refuse(%(state)s, 'refused')", state=CASES[code][0])


@pytest.mark.skipif(
    not SPEC.exists(), reason="the specification's pages are not beside the project"
)
def test_the_errors_are_those_of_the_specification() -> None:
    """identity 6: State, name and status of every error are those of section 3."""
    text = SPEC.read_text().partition("Errors, all under")[2].partition("## 4.")[0]
    named = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for said, status in zip(cells[::2], cells[1::2], strict=False):
            match = re.match(r"(TSI\d\d) `(\w+)`", said)
            if match:
                named[match[1]] = (match[2], int(status))
    ours = {
        error.sqlstate: (error.__name__, int(problem_of(error()).status))
        for error in all_errors(IdentityError)
        if issubclass(error, IdentityError) and error.sqlstate
    }
    assert len(named) == 17
    assert named == ours


def test_a_wrong_address_is_the_kernels_error_too() -> None:
    """Who reads addresses by the kernel's name catches identity's as well."""
    assert issubclass(errors.InvalidAddressError, MisspeltAddressError)
