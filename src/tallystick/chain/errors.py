"""
Errors of the chain (chain.md, section 4.6).

    Error
    └── ChainError
        ├── ChainRuleError (also db's DatabaseRuleError)   a rule that the database keeps
        │   ├── NetworkUnavailableError     TSC01
        │   ├── IdempotencyConflictError    TSC02
        │   ├── MisnamedIntentError         TSC03, which of the two its evidence says
        │   │   ├── UnknownTransactionTypeError
        │   │   └── UnknownAccountError
        │   ├── UnknownPlaceError           TSC04, likewise
        │   │   ├── UnknownNetworkError
        │   │   └── UnknownContractError
        │   ├── FinalityViolationError      TSC05
        │   └── TransactionReusedError      TSC06
        ├── NodeUnavailableError        no node answers, or not in time
        │   ├── WrongChainError             those that answer serve another chain
        │   └── MalformedAnswerError        what was answered is not of its form
        ├── NodeRefusedError            a node answered a call with an error
        ├── NoEndpointError             the configuration names no node of the network
        ├── InvalidEndpointError        an endpoint is no URL
        ├── InvalidSignerError          a signer of the configuration cannot be made
        │   └── UnknownSignerError
        ├── SigningFailedError          a signer did not sign, or not what it was given
        ├── InsufficientGasFundsError   the account cannot pay for gas
        ├── UnsettledNonceError         a pool has transactions of ours that nobody here knows
    ├── PriceUnavailableError       nobody has recorded a price
        ├── PriceSourceError            a source gives no price now; the last one stays
        ├── EvidenceUnavailableError    the node cannot give the evidence
        ├── UnknownTransactionError
        ├── EstimateRevertedError       the call would revert; with the decoded reason
        ├── ExpectationFailedError      a client's transaction is not what it should be
        ├── CodeHashMismatchError       the code on chain is not the artifact's
        └── InvalidChainValueError      a value is outside of its range; names the field

InvalidAddressError is `record`'s, because every slice takes addresses. No message and no
attribute ever holds an endpoint, a key or a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tallystick.db.errors import DatabaseRuleError
from tallystick.errors import Error, Kind


class ChainError(Error):
    """The chain refuses the operation."""


class ChainRuleError(ChainError, DatabaseRuleError):
    """A rule of the chain's tables was about to be broken."""


class NetworkUnavailableError(ChainRuleError):
    """The network takes no part now: it is halted, or has no price yet."""

    sqlstate = "TSC01"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class IdempotencyConflictError(ChainRuleError):
    """The idempotency key was used for another intent."""

    sqlstate = "TSC02"
    kind: ClassVar[Kind] = Kind.CONFLICT

    @property
    def key(self) -> str:
        """The key that stands for two intents."""
        return str(self.evidence.get("idempotency_key", ""))


class MisnamedIntentError(ChainRuleError):
    """The intent names a type or an account that does not exist."""

    sqlstate = "TSC03"
    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    @classmethod
    def for_evidence(cls, evidence: Mapping[str, object]) -> type[DatabaseRuleError]:
        """The subclass that *evidence* means: an account has a network, a type has none."""
        return UnknownAccountError if "chain_id" in evidence else UnknownTransactionTypeError


class UnknownTransactionTypeError(MisnamedIntentError):
    """No slice has transactions of this type."""


class UnknownAccountError(MisnamedIntentError):
    """There is no account of ours with this address or purpose on the network."""


class UnknownPlaceError(ChainRuleError):
    """There is no such network or contract."""

    sqlstate = "TSC04"
    kind: ClassVar[Kind] = Kind.NOT_FOUND

    @classmethod
    def for_evidence(cls, evidence: Mapping[str, object]) -> type[DatabaseRuleError]:
        """The subclass that *evidence* means."""
        return UnknownContractError if "contract" in evidence else UnknownNetworkError


class UnknownNetworkError(UnknownPlaceError):
    """There is no network of this chain id."""


class UnknownContractError(UnknownPlaceError):
    """There is no contract of this name or address on the network."""


class FinalityViolationError(ChainRuleError):
    """A block that was final is no longer on the chain."""

    sqlstate = "TSC05"
    kind: ClassVar[Kind] = Kind.DAMAGED


class TransactionReusedError(ChainRuleError):
    """The transaction already serves another purpose."""

    sqlstate = "TSC06"
    kind: ClassVar[Kind] = Kind.CONFLICT


class NodeUnavailableError(ChainError):
    """No node of the network answers."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class WrongChainError(NodeUnavailableError):
    """Every endpoint that answers serves another chain than the network's."""

    def __init__(
        self, message: str | None = None, *, expected: int = 0, actual: int | None = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """The chain id of the network."""
        self.actual = actual
        """The chain id that was answered."""


class MalformedAnswerError(NodeUnavailableError):
    """A node's answer is not of its form."""


class NodeRefusedError(ChainError):
    """The node refused the call."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE

    def __init__(
        self,
        message: str | None = None,
        *,
        rpc_code: int = 0,
        said: str = "",
        data: str | None = None,
    ) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        """The error code of JSON-RPC."""
        self.said = said
        """The node's own words, without any part of its endpoint."""
        self.data = data
        """What the EVM returned, in hexadecimal; None where the node sent nothing."""


class NoEndpointError(ChainError):
    """No endpoint is configured for this network."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class InvalidEndpointError(ChainError):
    """An endpoint of the configuration is no http or https URL."""

    kind: ClassVar[Kind] = Kind.INVALID


class InvalidSignerError(ChainError):
    """A signer of the configuration cannot be made."""

    kind: ClassVar[Kind] = Kind.INVALID


class UnknownSignerError(InvalidSignerError):
    """No signer of this name is configured."""


class SigningFailedError(ChainError):
    """The signer did not sign, or signed something else than it was given."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class InsufficientGasFundsError(ChainError):
    """The account's balance is below its minimum, so it sends nothing."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UnsettledNonceError(ChainError):
    """A node's pool has transactions of an account of ours that the database does not know."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class PriceUnavailableError(ChainError):
    """No price of this symbol has been recorded."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class PriceSourceError(ChainError):
    """The source gives no price now."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class EvidenceUnavailableError(ChainError):
    """The node cannot give evidence that holds."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UnknownTransactionError(ChainError):
    """There is no such transaction."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class EstimateRevertedError(ChainError):
    """The node says that the call would revert."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    def __init__(self, message: str | None = None, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """The decoded reason, empty where the contract gave none."""


class ExpectationFailedError(ChainError):
    """The transaction is not the one that was expected."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str = "",
        expected: object = None,
        actual: object = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        """What differs: chain_id, from_address, to, function, arguments[0], value, ..."""
        self.expected = expected
        """What it had to be, as text."""
        self.actual = actual
        """What it is, as text."""


class CodeHashMismatchError(ChainError):
    """The code on the chain is not the artifact's."""

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(
        self, message: str | None = None, *, expected: bytes = b"", actual: bytes = b""
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """Keccak-256 of the artifact's runtime bytecode, 32 bytes."""
        self.actual = actual
        """Keccak-256 of the code that was read from the chain, 32 bytes."""


class InvalidChainValueError(ChainError):
    """A value is outside of its range."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE

    def __init__(self, message: str | None = None, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The field at fault."""
