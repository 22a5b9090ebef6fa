"""
Evidence of what a transaction did: header, receipt and the path between (chain.md, 4.1.7).

What a node says is put into the form that the consensus hashes, and handed out only if the
check of `tally verify` passes on it. A node that does not agree with itself, or a block of a
fork that is not known here, yields no evidence rather than a false one.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tallystick.chain.errors import (
    EvidenceUnavailableError,
    MalformedAnswerError,
    NodeRefusedError,
    UnknownTransactionError,
)
from tallystick.chain.evidence.answers import (
    read_address,
    read_header,
    read_raw_receipts,
    read_receipts,
)
from tallystick.chain.node import Node, format_quantity, parse_data, parse_object, parse_quantity
from tallystick.chain.values import InclusionEvidence
from tallystick.record.evm import (
    Address,
    BlockHash,
    BlockHeader,
    TransactionHash,
    Wei,
    build_ordered_trie,
    format_header,
    keccak256,
)
from tallystick.verify import VerificationError, check_inclusion_evidence

HASH_BYTES: Final = 32
BLOCK_RECEIPTS: Final = "eth_getBlockReceipts"
READERS: Final[dict[str, Callable[[Any], list[bytes]]]] = {
    BLOCK_RECEIPTS: read_receipts,
    # For chains that tell of more receipts than the root holds, or of types that differ.
    "debug_getRawReceipts": read_raw_receipts,
}
"""The methods that answer a block's receipts, in the order in which they are asked."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, after which Python has no times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a transaction stands, as a node says, and what of it no receipt holds."""

    transaction_hash: TransactionHash
    block_hash: BlockHash
    index: int
    nonce: int
    from_address: Address
    to_address: Address | None
    gas_used: int
    gas_price: Wei
    """Effective, a unit of gas."""
    contract_address: Address | None


def inclusion_evidence(node: Node, transaction_hash: TransactionHash) -> InclusionEvidence:
    """
    Return what shows offline that a transaction stands in a block, and what it did there.

    It has passed `verify.check_inclusion_evidence`. Two requests; more where the node's
    receipts do not lead to the root in the header.

    Raises:
        UnknownTransactionError: The node does not know the transaction.
        EvidenceUnavailableError: It is in no block or the block has gone, the header does not
            hash to the block's hash, or no receipts of the node lead to the header's root.
        NodeUnavailableError: No node answers, or not with what was asked.
    """
    place = _find(node, transaction_hash)
    block, receipts = node.batch(
        [
            ("eth_getBlockByHash", (place.block_hash, False)),
            (BLOCK_RECEIPTS, (place.block_hash,)),
        ]
    )
    if isinstance(block, NodeRefusedError):
        raise block
    if block is None:
        raise EvidenceUnavailableError("the transaction's block has left the chain")
    header = _header_of(parse_object(block), place)
    receipt_rlp, proof = _prove(node, place, header, receipts)
    return _checked(node, place, format_header(header), receipt_rlp, proof)


def _find(node: Node, transaction_hash: TransactionHash) -> Place:
    """Return where the transaction stands."""
    transaction, receipt = node.batch(
        [
            ("eth_getTransactionByHash", (transaction_hash,)),
            ("eth_getTransactionReceipt", (transaction_hash,)),
        ]
    )
    for answer in (transaction, receipt):
        if isinstance(answer, NodeRefusedError):
            raise answer
    if transaction is None:
        raise UnknownTransactionError(f"the node does not know {transaction_hash}")
    transaction = parse_object(transaction)
    if receipt is None or transaction.get("blockHash") is None:
        raise EvidenceUnavailableError("the transaction is in no block yet")
    receipt = parse_object(receipt)
    to, contract = transaction.get("to"), receipt.get("contractAddress")
    return Place(
        transaction_hash=transaction_hash,
        block_hash=BlockHash(_hash(receipt.get("blockHash"))),
        index=parse_quantity(receipt.get("transactionIndex")),
        nonce=parse_quantity(transaction.get("nonce")),
        from_address=read_address(transaction.get("from")),
        to_address=None if to is None else read_address(to),
        gas_used=parse_quantity(receipt.get("gasUsed")),
        gas_price=Wei(parse_quantity(receipt.get("effectiveGasPrice"))),
        contract_address=None if contract is None else read_address(contract),
    )


def _header_of(block: dict[str, Any], place: Place) -> BlockHeader:
    """Return the header of the transaction's block, which hashes to the block's hash."""
    header = read_header(block)
    actual = "0x" + keccak256(format_header(header)).hex()
    if actual != place.block_hash:
        raise EvidenceUnavailableError(
            f"the header of {place.block_hash} hashes to {actual}: the block is of a fork that"
            " adds fields unknown here, or the node changed one"
        )
    transactions = block.get("transactions")
    # The receipt is proven by its index alone, so the index has to be the transaction's.
    if (
        not isinstance(transactions, list)
        or not place.index < len(transactions)
        or _hash(transactions[place.index]) != place.transaction_hash
    ):
        raise EvidenceUnavailableError("the block names another transaction at this index")
    return header


def _prove(
    node: Node, place: Place, header: BlockHeader, first_answer: Any
) -> tuple[bytes, list[bytes]]:
    """Return the receipt's bytes, and the nodes that lead to it from the header's root."""
    for receipts in _candidates(node, place, header, first_answer):
        # An index beyond them would be a receipt that the root does not hold either.
        if not place.index < len(receipts):
            continue
        trie = build_ordered_trie(receipts)
        if trie.root == header.receipts_root:
            return receipts[place.index], trie.prove(place.index)
    raise EvidenceUnavailableError("the node's receipts do not lead to the root in the header")


def _candidates(
    node: Node, place: Place, header: BlockHeader, first_answer: Any
) -> Iterator[list[bytes]]:
    """Yield the block's receipts as each method answers them, the first answer first."""
    for method, read in READERS.items():
        # Some nodes take a block's number only; the root tells whether the block is the same.
        for block in (place.block_hash, format_quantity(header.number)):
            is_first = method == BLOCK_RECEIPTS and block == place.block_hash
            answer = first_answer if is_first else node.batch([(method, (block,))])[0]
            if answer is None or isinstance(answer, NodeRefusedError):
                continue
            try:
                receipts = read(answer)
            except MalformedAnswerError:
                # Fields that this node leaves out may stand in the raw receipts.
                break
            yield receipts
            break


def _checked(
    node: Node, place: Place, header_rlp: bytes, receipt_rlp: bytes, proof: list[bytes]
) -> InclusionEvidence:
    """Return the evidence, all of it that can be proven from what the verifier has proven."""
    try:
        verified = check_inclusion_evidence(
            header_rlp=header_rlp,
            receipt_rlp=receipt_rlp,
            receipt_proof=proof,
            block_hash=place.block_hash,
            transaction_index=place.index,
        )
    except VerificationError as error:
        raise EvidenceUnavailableError(f"the evidence does not hold: {error.message}") from error
    header, receipt = verified.header, verified.receipt
    if receipt.status is None or header.timestamp > MAX_TIME:
        raise EvidenceUnavailableError("the receipt has no status, or its block no time")
    return InclusionEvidence(
        chain_id=node.chain_id,
        transaction_hash=place.transaction_hash,
        transaction_index=place.index,
        nonce=place.nonce,
        from_address=place.from_address,
        to_address=place.to_address,
        block_number=header.number,
        block_hash=place.block_hash,
        block_time=datetime.datetime.fromtimestamp(header.timestamp, datetime.UTC),
        state_root=header.state_root,
        transactions_root=header.transactions_root,
        receipts_root=header.receipts_root,
        header_rlp=header_rlp,
        receipt_rlp=receipt_rlp,
        receipt_proof=tuple(proof),
        receipt_status=receipt.status,
        gas_used=place.gas_used,
        gas_price=place.gas_price,
        contract_address=place.contract_address,
        logs=receipt.logs,
    )


def _hash(value: Any) -> str:
    return "0x" + parse_data(value, length=HASH_BYTES).hex()
