"""
The verdict on a transaction's receipt: the block that holds it, offline (chain.md, 4.1.7).

Header, path and receipt prove what a transaction did, given the hash of its block. That the
block is on the canonical chain, and on which chain at all, is not to be seen in them: whoever
trusts the verdict trusts the hash, and says whence he has it (proof.md, section 5.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.record.errors import RecordError
from tallystick.record.evm import (
    BlockHash,
    BlockHeader,
    Receipt,
    check_header,
    check_trie_proof,
    parse_receipt,
)
from tallystick.verify.errors import (
    BlockHeaderError,
    ReceiptFormatError,
    ReceiptNotIncludedError,
)


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt that its block holds; all that stands in both may be trusted as the hash is."""

    header: BlockHeader
    receipt: Receipt


def check_inclusion_evidence(
    *,
    header_rlp: bytes,
    receipt_rlp: bytes,
    receipt_proof: Sequence[bytes],
    block_hash: BlockHash,
    transaction_index: int,
) -> VerifiedReceipt:
    """
    Return what the block *block_hash* says of its transaction number *transaction_index*.

    1. header: the header's bytes hash to *block_hash*, and are a header.
    2. path: *receipt_proof*, trie nodes from the root on, leads from the header's root of
       receipts to *receipt_rlp* at the index, and no node is left over.
    3. receipt: those bytes are a receipt.

    Not checked: the hash of the transaction, its sender and its gas, which no receipt holds.

    Raises:
        BlockHeaderError: Step 1.
        ReceiptNotIncludedError: Step 2.
        ReceiptFormatError: Step 3.
    """
    try:
        header = check_header(header_rlp, block_hash=block_hash)
    except RecordError as error:
        raise BlockHeaderError from error
    try:
        check_trie_proof(
            receipt_proof, root=header.receipts_root, index=transaction_index, item=receipt_rlp
        )
    except RecordError as error:
        raise ReceiptNotIncludedError from error
    try:
        receipt = parse_receipt(receipt_rlp)
    except RecordError as error:
        raise ReceiptFormatError from error
    return VerifiedReceipt(header, receipt)
