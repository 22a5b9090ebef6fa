"""
The EVM of the dev chain: transactions in, blocks out, the same blocks when replayed.

Follows chain.md, section 4.5. Blocks are mined by py-evm's own chain, under its own rules. All
that could differ from one run to the next is chosen here: the time, which the journal keeps,
and mix_hash, the SHA-256 of the decimal block number. A transaction is mined at once, in a
block of its own; one that cannot be, because its nonce is ahead or its fee below the base fee,
waits until a block makes it fit, or another of the same nonce replaces it.

This module and those beside it that import `eth` are loaded by the dev chain's process alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from eth.abc import ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague import PragueVM
from eth_utils.exceptions import ValidationError

from tallystick.runtime.devchain.errors import JournalDivergedError
from tallystick.runtime.devchain.journal import BlockEntry, Journal, WaitingEntry
from tallystick.runtime.devchain.pool import Pool, check_transaction, decode_transaction

GAS_LIMIT: Final = 30_000_000
"""Gas of one block, as on the public networks of today."""
EXTRA_DATA: Final = b"tallystick"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block with what py-evm would have to compute again for each question."""

    header: Any
    """As py-evm has it; its abstract class lacks the fields of newer forks."""
    block_hash: bytes
    transactions: Sequence[SignedTransactionAPI]
    receipts: Sequence[ReceiptAPI]


class Machine:
    """One dev chain; its caller sees to it that one thread at a time is inside."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._chain = make_chain(journal)
        self._ahead_seconds = 0
        self.pool = Pool()
        self.is_automatic = True
        """Whether transactions are mined as they come; else they wait for `mine`."""
        genesis = self._chain.get_canonical_head()
        self.blocks = [MinedBlock(genesis, genesis.hash, (), ())]
        self.numbers = {genesis.hash: 0}
        """The number of each block by its hash."""
        self.places: dict[bytes, tuple[int, int]] = {}
        """Block number and index of each transaction by its hash."""
        self._replay()

    @property
    def chain_id(self) -> int:
        """The chain's id."""
        return self._journal.genesis.chain_id

    @property
    def head(self) -> MinedBlock:
        """The newest block."""
        return self.blocks[-1]

    def submit(self, raw: bytes) -> bytes:
        """
        Take a signed transaction, mine it if it fits, and return its hash.

        When this returns the transaction is on the disk, in a block or waiting.

        Raises:
            Refusal: It is not valid now, or no better than the one whose place it would take.
        """
        transaction = decode_transaction(raw, self.chain_id)
        self.pool.check_is_new(transaction, self.places)
        state = self.state_after(self.head)
        check_transaction(transaction, state, gas_limit=GAS_LIMIT)
        self.pool.put(transaction, raw)
        if not (self.is_automatic and self.pool.is_ready(transaction, state, self.next_base_fee())):
            self._journal.append(WaitingEntry(raw))
        if self.is_automatic:
            self.mine_ready()
        return bytes(transaction.hash)

    def mine_ready(self) -> None:
        """Mine what fits, each transaction in a block of its own, until nothing more does."""
        while len(self.pool) and (ready := self._ready()):
            self._mine_or_drop(ready[:1])

    def mine(self, timestamp: int | None = None) -> None:
        """Mine one block of everything that fits, even if that is nothing."""
        number = self.head.header.block_number
        while not self._mine_or_drop(fit_block(self._ready()), timestamp):
            pass
        assert self.head.header.block_number == number + 1, "one block was asked for"

    def increase_time(self, seconds: int) -> int:
        """Let the clock go ahead by *seconds* more, until the process ends; return all of it."""
        self._ahead_seconds += seconds
        return self._ahead_seconds

    def next_time(self) -> int:
        """Return the time that the next block has: the clock's, but behind its parent's."""
        parent: int = self.head.header.timestamp
        return max(int(time.time()) + self._ahead_seconds, parent + 1)

    def next_header(self, timestamp: int | None = None) -> Any:
        """Return the header that the next block starts from."""
        number = self.head.header.block_number + 1
        return self._chain.create_header_from_parent(
            self.head.header,
            timestamp=timestamp or self.next_time(),
            gas_limit=GAS_LIMIT,
            mix_hash=hashlib.sha256(b"%d" % number).digest(),
        )

    def next_base_fee(self) -> int:
        """Return the base fee of the next block, in wei."""
        return int(calculate_expected_base_fee_per_gas(self.head.header))

    def state_after(self, block: MinedBlock) -> Any:
        """Return the state that *block* left, to be read."""
        return self._chain.get_vm(block.header).state

    def state_before(self, header: Any) -> Any:
        """Return the state in which a block of *header* runs, to be thrown away afterwards."""
        return self._chain.get_vm(header).state

    def _ready(self) -> list[SignedTransactionAPI]:
        """Return what the next block can hold, but for its limit of gas."""
        return self.pool.ready(self.state_after(self.head), self.next_base_fee())

    def _mine_or_drop(
        self, transactions: Sequence[SignedTransactionAPI], timestamp: int | None = None
    ) -> bool:
        """
        Mine *transactions* as the next block. False: it would not be valid, and the first
        transaction that makes it so has been dropped.
        """
        try:
            entry = self._mine(transactions, timestamp or self.next_time())
        except ValidationError:
            self._drop(self._first_invalid(transactions))
            return False
        # Nobody hears of the block before it is on the disk: whoever asks waits for his turn.
        self._journal.append(entry)
        return True

    def _is_valid(self, transactions: Sequence[SignedTransactionAPI]) -> bool:
        """Whether a block of *transactions* would be valid; nothing is kept of it."""
        header = self.next_header()
        try:
            self._chain.get_vm(header).apply_all_transactions(transactions, header)
        except ValidationError:
            return False
        return True

    def _first_invalid(self, transactions: Sequence[SignedTransactionAPI]) -> SignedTransactionAPI:
        """Return the transaction that makes a block of *transactions* invalid."""
        valid = 0
        while self._is_valid(transactions[: valid + 1]):
            valid += 1
        return transactions[valid]

    def _drop(self, transaction: SignedTransactionAPI) -> None:
        """Forget a transaction that was valid when it came, and is no longer."""
        logger.warning("devchain.dropped", process="devchain")
        self.pool.remove(transaction)

    def _mine(self, transactions: Sequence[SignedTransactionAPI], timestamp: int) -> BlockEntry:
        """
        Mine the next block, and return what the journal has to keep of it.

        Raises:
            ValidationError: A transaction is not valid in it; nothing has changed.
        """
        raw = [self.pool.raw_of(transaction) for transaction in transactions]
        # The EVM sees the same mix_hash as the header has: the block is valid for everybody.
        self._chain.header = self.next_header(timestamp)
        result, receipts, _ = self._chain.mine_all(transactions)
        block = result.imported_block
        mined = MinedBlock(block.header, block.hash, tuple(transactions), receipts)
        self.blocks.append(mined)
        self.numbers[mined.block_hash] = mined.header.block_number
        for index, transaction in enumerate(transactions):
            self.places[bytes(transaction.hash)] = (mined.header.block_number, index)
            self.pool.remove(transaction)
        return BlockEntry(mined.header.block_number, timestamp, raw, "0x" + mined.block_hash.hex())

    def _replay(self) -> None:
        """
        Mine the journal's blocks again.

        Raises:
            JournalDivergedError: A block does not become what it was.
        """
        for entry in self._journal.entries:
            if isinstance(entry, WaitingEntry):
                self.pool.put(
                    decode_transaction(entry.transaction, self.chain_id), entry.transaction
                )
            else:
                self._replay_block(entry)

    def _replay_block(self, entry: BlockEntry) -> None:
        transactions = [decode_transaction(raw, self.chain_id) for raw in entry.transactions]
        for transaction, raw in zip(transactions, entry.transactions, strict=True):
            self.pool.put(transaction, raw)
        try:
            again = self._mine(transactions, entry.time)
        except ValidationError as error:
            raise JournalDivergedError(
                block=entry.number, expected=entry.block_hash, actual="not valid"
            ) from error
        if (again.number, again.block_hash) != (entry.number, entry.block_hash):
            raise JournalDivergedError(
                block=entry.number, expected=entry.block_hash, actual=again.block_hash
            )


def make_chain(journal: Journal) -> Any:
    """Return py-evm's chain with the journal's genesis."""
    rules = MiningChain.configure(
        __name__="DevChain",
        vm_configuration=((0, PragueVM),),
        chain_id=journal.genesis.chain_id,
    )
    accounts: Any = {
        bytes.fromhex(address.removeprefix("0x")): {
            "balance": balance,
            "nonce": 0,
            "code": b"",
            "storage": {},
        }
        for address, balance in journal.genesis.accounts.items()
    }
    parameters: Any = {
        "gas_limit": GAS_LIMIT,
        "timestamp": journal.genesis.time,
        "extra_data": EXTRA_DATA,
    }
    return rules.from_genesis(AtomicDB(), parameters, accounts)


def fit_block(ready: Sequence[SignedTransactionAPI]) -> list[SignedTransactionAPI]:
    """Return the first of *ready* whose gas limits one block holds together."""
    fitting: list[SignedTransactionAPI] = []
    gas = 0
    for transaction in ready:
        gas += transaction.gas
        if gas > GAS_LIMIT:
            break
        fitting.append(transaction)
    return fitting
