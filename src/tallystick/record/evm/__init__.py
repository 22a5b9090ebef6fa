"""
What an EVM chain's evidence is made of: Keccak-256, RLP, addresses (chain.md, 4.1.7 and 5.2).

Pure Python over bytes: whoever verifies a proof needs no package of Ethereum's.
"""

from tallystick.record.evm.headers import BlockHeader, check_header, format_header, parse_header
from tallystick.record.evm.keccak import keccak256, keccak256_many
from tallystick.record.evm.receipts import (
    DEPOSIT_TYPE,
    RECEIPT_TYPES,
    Receipt,
    ReceiptLog,
    format_receipt,
    parse_receipt,
)
from tallystick.record.evm.rlp import (
    MAX_RLP_BYTES,
    MAX_RLP_DEPTH,
    RlpInput,
    RlpItem,
    format_rlp_integer,
    parse_rlp_integer,
    rlp_decode,
    rlp_encode,
    rlp_join,
)
from tallystick.record.evm.trie import (
    EMPTY_TRIE_ROOT,
    MAX_PROOF_BYTES,
    OrderedTrie,
    build_ordered_trie,
    check_trie_proof,
)
from tallystick.record.evm.values import (
    Address,
    BlockHash,
    ChainId,
    TransactionHash,
    Wei,
    format_address,
    parse_address,
    parse_block_hash,
    parse_transaction_hash,
)

__all__ = [
    "DEPOSIT_TYPE",
    "EMPTY_TRIE_ROOT",
    "MAX_PROOF_BYTES",
    "MAX_RLP_BYTES",
    "MAX_RLP_DEPTH",
    "RECEIPT_TYPES",
    "Address",
    "BlockHash",
    "BlockHeader",
    "ChainId",
    "OrderedTrie",
    "Receipt",
    "ReceiptLog",
    "RlpInput",
    "RlpItem",
    "TransactionHash",
    "Wei",
    "build_ordered_trie",
    "check_header",
    "check_trie_proof",
    "format_address",
    "format_header",
    "format_receipt",
    "format_rlp_integer",
    "keccak256",
    "keccak256_many",
    "parse_address",
    "parse_block_hash",
    "parse_header",
    "parse_receipt",
    "parse_rlp_integer",
    "parse_transaction_hash",
    "rlp_decode",
    "rlp_encode",
    "rlp_join",
]
