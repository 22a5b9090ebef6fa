"""
Errors of identity (identity.md, section 3).

    DatabaseRuleError (db)
    └── IdentityError
        ├── NotFoundError            TSI01, also an id that is no UUID
        ├── DuplicateError           TSI02, names the constraint
        ├── StaleVersionError        TSI03, expected and actual
        ├── InvalidValueError        TSI04, names the field
        ├── InvalidAddressError      TSI05, also record's
        ├── BlacklistedError         TSI06, also a deleted owner
        ├── UnknownKeyError          TSI07
        ├── KeyRevokedError          TSI08
        ├── KeyExpiredError          TSI09
        ├── ScopeError               TSI10, needed and held
        ├── RefusedForNowError       seconds until it is right again
        │   ├── RateLimitedError         TSI11
        │   └── QuotaExceededError       TSI12
        ├── ChallengeExpiredError    TSI13
        ├── ChallengeSpentError      TSI14
        ├── UnknownVerifierError     TSI15
        ├── EvidenceDeletionError    TSI16
        ├── IdempotencyConflictError TSI17
        ├── ProofRefusedError        code and attempts_left of a submission
        └── RecoveryUnavailableError the extra `chain` is not installed

The same error leaves whether a function of the schema refused or Python did. No message and no
evidence ever holds the secret of a key, a wallet or a name.
"""

from __future__ import annotations

import math
from typing import ClassVar

from tallystick.db.errors import DatabaseRuleError
from tallystick.errors import Kind
from tallystick.record import errors as record


class IdentityError(DatabaseRuleError):
    """Identity refused."""


class NotFoundError(IdentityError):
    """There is nothing of this id."""

    sqlstate = "TSI01"
    kind: ClassVar[Kind] = Kind.NOT_FOUND


class DuplicateError(IdentityError):
    """There is one already with this value, and there can be only one."""

    sqlstate = "TSI02"

    @property
    def constraint(self) -> str | None:
        """The constraint that allows only one."""
        return text_or_none(self.evidence.get("constraint"))


class StaleVersionError(IdentityError):
    """Somebody changed it since it was read; read it again."""

    sqlstate = "TSI03"

    @property
    def expected(self) -> int | None:
        """The version that the caller had read."""
        return int_or_none(self.evidence.get("expected"))

    @property
    def actual(self) -> int | None:
        """The version that it has."""
        return int_or_none(self.evidence.get("actual"))


class InvalidValueError(IdentityError):
    """A value is outside of what its field may hold."""

    sqlstate = "TSI04"
    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    @property
    def field(self) -> str | None:
        """The field, or the claim that a stored row must fulfil."""
        return text_or_none(self.evidence.get("field"))


class InvalidAddressError(IdentityError, record.InvalidAddressError):
    """The text is no EVM address: 20 bytes in hexadecimal, with a right checksum if it has one."""

    sqlstate = "TSI05"
    kind: ClassVar[Kind] = Kind.UNPROCESSABLE


class BlacklistedError(IdentityError):
    """The user is blacklisted or deleted."""

    sqlstate = "TSI06"
    kind: ClassVar[Kind] = Kind.FORBIDDEN


class UnknownKeyError(IdentityError):
    """This is no API key of ours."""

    sqlstate = "TSI07"
    kind: ClassVar[Kind] = Kind.UNAUTHENTICATED


class KeyRevokedError(IdentityError):
    """The API key was revoked, and there is no way back."""

    sqlstate = "TSI08"
    kind: ClassVar[Kind] = Kind.UNAUTHENTICATED


class KeyExpiredError(IdentityError):
    """The API key has expired."""

    sqlstate = "TSI09"
    kind: ClassVar[Kind] = Kind.UNAUTHENTICATED


class ScopeError(IdentityError):
    """The API key lacks a scope that this needs."""

    sqlstate = "TSI10"
    kind: ClassVar[Kind] = Kind.FORBIDDEN

    @property
    def needed(self) -> tuple[str, ...]:
        """The scopes of which one would do, or those that the actor would have to hold."""
        return texts(self.evidence.get("needed"))

    @property
    def held(self) -> tuple[str, ...]:
        """The scopes that the key has."""
        return texts(self.evidence.get("held"))


class RefusedForNowError(IdentityError):
    """The request came too early."""

    kind: ClassVar[Kind] = Kind.TOO_MANY

    @property
    def retry_after(self) -> float:
        """After how many seconds the same request is admitted, if no other comes before it."""
        seconds = self.evidence.get("retry_after", 0)
        assert isinstance(seconds, int | float), "a span of time is a number of seconds"
        return float(seconds)

    @property
    def retry_after_seconds(self) -> int:
        """The same in whole seconds, at least 1: what `Retry-After` says."""
        return max(1, math.ceil(self.retry_after))


class RateLimitedError(RefusedForNowError):
    """The limit of requests in a minute is reached."""

    sqlstate = "TSI11"


class QuotaExceededError(RefusedForNowError):
    """The quota of the day is used up; it is full again at 00:00 UTC."""

    sqlstate = "TSI12"


class ChallengeExpiredError(IdentityError):
    """The challenge has expired; ask for another."""

    sqlstate = "TSI13"


class ChallengeSpentError(IdentityError):
    """The challenge was decided already; ask for another."""

    sqlstate = "TSI14"


class UnknownVerifierError(IdentityError):
    """The operator has named no such verifier."""

    sqlstate = "TSI15"
    kind: ClassVar[Kind] = Kind.UNPROCESSABLE


class EvidenceDeletionError(IdentityError):
    """This is evidence and is not deleted."""

    sqlstate = "TSI16"


class IdempotencyConflictError(IdentityError):
    """The Idempotency-Key came before with another request."""

    sqlstate = "TSI17"


class ProofRefusedError(IdentityError):
    """The submission is no proof; its code says why, and one attempt is spent."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    @property
    def refusal_code(self) -> str | None:
        """Why: `wrong_signer`, `too_regular` and others."""
        return text_or_none(self.evidence.get("code"))

    @property
    def attempts_left(self) -> int | None:
        """How many answers the challenge still takes."""
        return int_or_none(self.evidence.get("attempts_left"))


class RecoveryUnavailableError(IdentityError):
    """Signatures of wallets need the extra `chain`: install tallystick[chain]."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


def text_or_none(value: object) -> str | None:
    """Return *value* where it is text."""
    return value if isinstance(value, str) else None


def int_or_none(value: object) -> int | None:
    """Return *value* where it is a number."""
    return value if isinstance(value, int) else None


def texts(value: object) -> tuple[str, ...]:
    """Return the texts in *value*, a JSON array."""
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()
