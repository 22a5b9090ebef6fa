"""
Transactions on their way into a block: decoded, checked, waiting (chain.md, section 4.5).

The refusals are worded as geth words them, because clients of every kind read them: `nonce too
low`, `already known`, `replacement transaction underpriced`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from eth.abc import SignedTransactionAPI
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from tallystick.runtime.devchain.errors import Refusal

REFUSED: Final = -32000
MAX_TRANSACTION_BYTES: Final = 131_072
"""As other nodes have it."""
MAX_INIT_CODE_BYTES: Final = 49_152
"""EIP-3860."""
HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""EIP-2: of the two s that sign the same, only the lower is taken."""
MAX_WAITING: Final = 4096
"""More than our sender has under way for all of its accounts together."""
MINED_TYPES: Final = (0, 1, 2)
"""Blobs have no place to be kept here, and delegations no user."""
REPLACEMENT_TENTHS: Final = 11
"""A replacement must offer at least 11 tenths of what it replaces."""

Place = tuple[bytes, int]
"""Sender and nonce: one transaction can stand there."""


def decode_transaction(raw: bytes, chain_id: int) -> SignedTransactionAPI:
    """
    Return the transaction that *raw* is.

    Raises:
        Refusal: It is none, is of a type that is not mined here, or was signed for another chain.
    """
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise Refusal(REFUSED, "oversized data")
    if raw and raw[0] < 0x80 and raw[0] not in MINED_TYPES:  # noqa: PLR2004 (EIP-2718's border)
        raise Refusal(REFUSED, "transaction type not supported")
    try:
        transaction = PragueTransactionBuilder.decode(raw)
        transaction.validate()
    except (ValidationError, RLPException, UnrecognizedTransactionType, TypeError, ValueError):
        raise Refusal(REFUSED, "the bytes are no transaction") from None
    except IndexError:
        raise Refusal(REFUSED, "typed transaction too short") from None
    if transaction.chain_id is None:
        raise Refusal(REFUSED, "only replay-protected (EIP-155) transactions allowed over RPC")
    if transaction.chain_id != chain_id:
        raise Refusal(
            REFUSED,
            f"invalid chain id for signer: have {transaction.chain_id} want {chain_id}",
        )
    if transaction.s > HALF_ORDER:
        raise Refusal(REFUSED, "invalid transaction v, r, s values")
    try:
        transaction.check_signature_validity()
        _ = transaction.sender
    except (ValidationError, BadSignature):
        raise Refusal(REFUSED, "invalid sender") from None
    return transaction


def check_transaction(transaction: SignedTransactionAPI, state: Any, *, gas_limit: int) -> None:
    """
    Check that *transaction* may stand in some block after *state*.

    Raises:
        Refusal: It cannot.
    """
    nonce = state.get_nonce(transaction.sender)
    if transaction.nonce < nonce:
        raise Refusal(REFUSED, f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise Refusal(REFUSED, "max priority fee per gas higher than max fee per gas")
    if transaction.gas > gas_limit:
        raise Refusal(REFUSED, "exceeds block gas limit")
    if not transaction.to and len(transaction.data) > MAX_INIT_CODE_BYTES:
        raise Refusal(REFUSED, "max initcode size exceeded")
    if transaction.gas < transaction.intrinsic_gas:
        raise Refusal(
            REFUSED,
            f"intrinsic gas too low: have {transaction.gas}, want {transaction.intrinsic_gas}",
        )
    cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
    balance = state.get_balance(transaction.sender)
    if balance < cost:
        raise Refusal(
            REFUSED,
            f"insufficient funds for gas * price + value: have {balance} want {cost}",
        )


class Pool:
    """The transactions that wait, one for each sender and nonce."""

    def __init__(self) -> None:
        self._waiting: dict[Place, SignedTransactionAPI] = {}
        self._raw: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def check_is_new(self, transaction: SignedTransactionAPI, mined: Container[bytes]) -> None:
        """
        Check that *transaction* is unknown, and good enough for its place.

        Raises:
            Refusal: It is known, offers too little to replace what has its place, or the pool
                is full.
        """
        digest = bytes(transaction.hash)
        if digest in self._raw or digest in mined:
            raise Refusal(REFUSED, "already known")
        standing = self._waiting.get((transaction.sender, transaction.nonce))
        if standing is None:
            if len(self._waiting) >= MAX_WAITING:
                raise Refusal(REFUSED, "txpool is full")
        elif not is_better(transaction, standing):
            raise Refusal(REFUSED, "replacement transaction underpriced")

    def put(self, transaction: SignedTransactionAPI, raw: bytes) -> None:
        """Let *transaction* wait, in the place of the one of its sender and nonce."""
        self.remove(transaction)
        self._waiting[transaction.sender, transaction.nonce] = transaction
        self._raw[bytes(transaction.hash)] = raw

    def remove(self, transaction: SignedTransactionAPI) -> None:
        """Empty the place of *transaction*."""
        standing = self._waiting.pop((transaction.sender, transaction.nonce), None)
        if standing is not None:
            del self._raw[bytes(standing.hash)]

    def raw_of(self, transaction: SignedTransactionAPI) -> bytes:
        """Return the bytes by which *transaction* came."""
        return self._raw[bytes(transaction.hash)]

    def find(self, digest: bytes) -> SignedTransactionAPI | None:
        """Return the waiting transaction of this hash."""
        if digest not in self._raw:
            return None
        return next(one for one in self._waiting.values() if bytes(one.hash) == digest)

    def ready(self, state: Any, base_fee: int) -> list[SignedTransactionAPI]:
        """Return what a block after *state* can hold, each sender's in the order of nonces."""
        ready = []
        for sender in sorted({sender for sender, _ in self._waiting}):
            nonce = state.get_nonce(sender)
            while (one := self._waiting.get((sender, nonce))) is not None:
                if one.max_fee_per_gas < base_fee:
                    break
                ready.append(one)
                nonce += 1
        return ready

    def is_ready(self, transaction: SignedTransactionAPI, state: Any, base_fee: int) -> bool:
        """Whether the very next block can hold *transaction*."""
        return (
            transaction.nonce == state.get_nonce(transaction.sender)
            and transaction.max_fee_per_gas >= base_fee
        )

    def next_nonce(self, sender: bytes, state: Any) -> int:
        """Return the first nonce of *sender* that neither a block nor a waiting one has."""
        nonce = int(state.get_nonce(sender))
        while (sender, nonce) in self._waiting:
            nonce += 1
        return nonce


def is_better(transaction: SignedTransactionAPI, standing: SignedTransactionAPI) -> bool:
    """Whether *transaction* offers a tenth more than *standing*, in both of its fees."""
    pairs = (
        (transaction.max_fee_per_gas, standing.max_fee_per_gas),
        (transaction.max_priority_fee_per_gas, standing.max_priority_fee_per_gas),
    )
    return all(10 * offered >= REPLACEMENT_TENTHS * known for offered, known in pairs)
