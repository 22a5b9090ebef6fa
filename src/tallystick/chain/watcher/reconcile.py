"""
After a restore: what the chain knows and the database forgot (chain.md, section 4.5).

A backup is older than the chain. Intents that are queued in it may have been signed and sent
since, and those that were signed may have been signed again; the bytes are lost, and only the
chain has them. Before an account sends anything, its transactions on the chain that no attempt
of ours names are looked for, and given to the intents that they carry out: the same nonce, or
the same receiver, call data and value in the order of their numbers. Where the search begins
follows from the intents and from no position: the watcher moves meanwhile. It then finds their
receipts and events by its normal path. The key is used by nobody else (section 1), which is why
a transaction of the same content is the intent's.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from tallystick.chain.errors import MalformedAnswerError, UnsettledNonceError
from tallystick.chain.node import (
    Call,
    Node,
    format_quantity,
    parse_data,
    parse_list,
    parse_object,
    parse_quantity,
)
from tallystick.chain.node.blocks import parse_20_bytes, parse_hash, parse_header, parse_number
from tallystick.chain.node.reader import answered, final_by_depth
from tallystick.chain.values import TransactionId
from tallystick.chain.watcher import store
from tallystick.chain.watcher.store import AccountState, Adoptable, Position
from tallystick.chain.watcher.watcher import Watcher
from tallystick.db import Database, Transaction
from tallystick.record import Address, ChainId, TransactionHash, keccak256, rlp_encode
from tallystick.record.evm import RlpInput, format_rlp_integer

DYNAMIC_FEE: Final = 2
"""EIP-2718 type of everything that our sender signs."""
BLOCKS_AT_ONCE: Final = 16
"""Full blocks of one request: a busy network's are half a megabyte each."""
MAX_LOOKS: Final = 1_000_000
SKEW_SECONDS: Final = 600.0
"""A block's time may lie before our clock's by so much, though it holds what was sent later."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconciliation found."""

    adopted: tuple[TransactionId, ...]
    """Transactions that were on the chain, unknown to the database."""
    is_caught_up: bool
    """Whether receipts and events were read to the head; else the running watcher does it."""


def reconcile(database: Database, node: Node, chain_id: ChainId) -> Reconciled:
    """
    Bring a network's accounts, receipts and events up to the chain, and return what was found.

    What is found is told: whoever calls this has registered every follower, as the worker has.
    No sender of the network may be running.

    Raises:
        UnsettledNonceError: A node's pool, or a block that is not final, has transactions of
            ours that nobody knows: they are final soon, or the operator replaces them.
        NodeUnavailableError, NodeRefusedError: The node gives no answer.
    """
    with database.transaction(read_only=True) as tx:
        addresses = store.read_addresses(tx, chain_id)
    adopted: list[TransactionId] = []
    for address in addresses:
        adopted += reconcile_account(database, node, chain_id, address)
    with database.session() as connection:
        is_ours = store.take_lock(Transaction(connection), chain_id)
        if is_ours:
            watcher = Watcher(database, node, chain_id)
            for _ in range(MAX_LOOKS):
                if not watcher.look():
                    break
    return Reconciled(tuple(adopted), is_ours)


def reconcile_account(
    database: Database, node: Node, chain_id: ChainId, address: Address
) -> list[TransactionId]:
    """
    Adopt what the chain has of an account and the database forgot; return whose it was.

    Its sender calls it before it sends anything, and before it takes a nonce for a foreign one.
    In the normal case, where the database knows every nonce that the chain has used, that is
    one request.

    Raises:
        UnsettledNonceError, NodeUnavailableError, NodeRefusedError: As `reconcile`.
    """
    with database.transaction(read_only=True) as tx:
        position = store.read_position(tx, chain_id)
        account = store.read_account(tx, chain_id, address)
    if position is None or account is None:
        return []
    final, latest, pending = read_nonces(node, position, address)
    wanted = forgotten_nonces(node, account, latest)
    awaits_since = account.awaits_since
    if awaits_since is not None and pending > max(latest, account.next_nonce):
        raise UnsettledNonceError(
            f"a pool of chain {chain_id} has transactions of {address} from nonce"
            f" {max(latest, account.next_nonce)} on that are not known here"
        )
    found: list[Adoptable] = []
    if wanted and awaits_since is not None:
        with database.transaction(read_only=True) as tx:
            before = store.read_block_before(tx, chain_id, address, min(wanted))
        first = first_block_since(node, awaits_since, lowest=before or 0)
        found = find_sent(node, address, wanted, first=first)
        if any(nonce >= final for nonce in wanted - {each.nonce for each in found}):
            raise UnsettledNonceError(
                f"chain {chain_id} has transactions of {address} that are not known here, and"
                " not final"
            )
    if not found and final <= account.next_nonce:
        return []
    with database.transaction() as tx:
        adopted = store.adopt(tx, chain_id, address, found)
        store.catch_up(tx, chain_id, address, final)
    if adopted:
        logger.warning("chain.adopted", chain_id=chain_id, address=address, count=len(adopted))
    return adopted


def read_nonces(node: Node, position: Position, address: Address) -> tuple[int, int, int]:
    """Return how many transactions of *address* are final, mined, and mined or in the pool."""
    final = (
        "finalized"
        if position.finality_mode == "tag"
        else final_by_depth(node, position.confirmations)
    )
    calls: list[Call] = [
        ("eth_getTransactionCount", (address, tag)) for tag in (final, "latest", "pending")
    ]
    nonces = [parse_number(answered(answer)) for answer in node.batch(calls)]
    return nonces[0], nonces[1], max(nonces[1:])


def forgotten_nonces(node: Node, account: AccountState, latest: int) -> set[int]:
    """
    Return the nonces that the chain has used and no attempt that is known here explains.

    These are all behind the account's next one, and those of unmined transactions none of whose
    attempts has a receipt.
    """
    wanted = set(range(account.next_nonce, latest))
    used = {nonce: hashes for nonce, hashes in account.unmined if nonce < latest}
    calls: list[Call] = [
        ("eth_getTransactionReceipt", (each,)) for hashes in used.values() for each in hashes
    ]
    answers = iter(node.batch(calls) if calls else [])
    for nonce, hashes in used.items():
        receipts = [answered(next(answers)) for _ in hashes]
        if all(receipt is None for receipt in receipts):
            wanted.add(nonce)
    return wanted


def first_block_since(node: Node, since: datetime.datetime, *, lowest: int) -> int:
    """
    Return the first block, from *lowest* on, that may hold what was handed over at *since*.

    Blocks are halved by their times. Neither bound moves with the watcher, which may have read
    past what is looked for.
    """
    earliest = since.timestamp() - SKEW_SECONDS
    highest = parse_number(node.call("eth_blockNumber"))
    while lowest < highest:
        middle = (lowest + highest) // 2
        header = parse_header(node.call("eth_getBlockByNumber", format_quantity(middle), False))
        if header.time.timestamp() < earliest:
            lowest = middle + 1
        else:
            highest = middle
    return lowest


def find_sent(node: Node, address: Address, wanted: set[int], *, first: int) -> list[Adoptable]:
    """Return the transactions of *address* with the nonces *wanted* in blocks from *first* on."""
    head = parse_number(node.call("eth_blockNumber"))
    found: list[Adoptable] = []
    for start in range(first, head + 1, BLOCKS_AT_ONCE):
        numbers = range(start, min(head + 1, start + BLOCKS_AT_ONCE))
        calls: list[Call] = [
            ("eth_getBlockByNumber", (format_quantity(number), True)) for number in numbers
        ]
        for answer in node.batch(calls):
            found += parse_sent(answered(answer), address, wanted)
        if len(found) == len(wanted):
            break
    return found


def parse_sent(block: Any, address: Address, wanted: set[int]) -> Iterable[Adoptable]:
    """
    Return those of a full block's transactions that *address* sent with a nonce of *wanted*.

    Raises:
        MalformedAnswerError: It is no block: an endpoint that is behind answers null, and what
            the block holds would pass for forgotten.
    """
    for each in parse_list(parse_object(block).get("transactions")):
        sent = parse_object(each)
        if parse_20_bytes(sent.get("from")) != address:
            continue
        nonce = parse_number(sent.get("nonce"))
        # Other types than our sender's are foreign, and not to be rebuilt from what is shown.
        if nonce in wanted and parse_quantity(sent.get("type", "0x0")) == DYNAMIC_FEE:
            yield parse_adoptable(sent)


def parse_adoptable(sent: dict[str, Any]) -> Adoptable:
    """
    Return a transaction of EIP-1559 with its signed bytes, rebuilt from what a node shows of it.

    Raises:
        MalformedAnswerError: It is not of its form, or the bytes do not hash to its hash.
    """
    transaction_hash = TransactionHash(parse_hash(sent.get("hash")))
    to = None if sent.get("to") is None else parse_20_bytes(sent.get("to"))
    call_data = parse_data(sent.get("input"))
    numbers = {
        name: parse_quantity(sent.get(name))
        for name in ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "value")
    }
    signature = (sent.get("yParity", sent.get("v")), sent.get("r"), sent.get("s"))
    access_list: list[RlpInput] = [
        [
            bytes.fromhex(parse_20_bytes(entry.get("address"))[2:]),
            [parse_data(key) for key in parse_list(entry.get("storageKeys"))],
        ]
        for entry in map(parse_object, parse_list(sent.get("accessList") or []))
    ]
    raw = bytes([DYNAMIC_FEE]) + rlp_encode(
        [
            *(
                format_rlp_integer(numbers[name])
                for name in ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
            ),
            b"" if to is None else bytes.fromhex(to[2:]),
            format_rlp_integer(numbers["value"]),
            call_data,
            access_list,
            *map(format_rlp_integer, map(parse_quantity, signature)),
        ]
    )
    if "0x" + keccak256(raw).hex() != transaction_hash:
        raise MalformedAnswerError("the node shows a transaction that does not have its hash")
    return Adoptable(
        hash=transaction_hash,
        nonce=numbers["nonce"],
        to_address=to,
        call_data=call_data,
        value=numbers["value"],
        raw=raw,
        cap=numbers["maxFeePerGas"],
        tip=numbers["maxPriorityFeePerGas"],
        gas_limit=numbers["gas"],
    )
