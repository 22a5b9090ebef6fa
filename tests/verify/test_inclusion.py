"""The verdict on a receipt: header, path and receipt hold together, or a step says which not."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys

import pytest

from tallystick.errors import Kind
from tallystick.record import (
    BlockHeader,
    Receipt,
    ReceiptLog,
    build_ordered_trie,
    format_header,
    format_receipt,
    keccak256,
)
from tallystick.verify import (
    BlockHeaderError,
    ReceiptFormatError,
    ReceiptNotIncludedError,
    check_inclusion_evidence,
)

CONTRACT = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
INDEX = 5
COUNT = 20


def receipts(count=COUNT):
    """Return so many receipts' bytes, of every type, with a log each."""
    return [
        format_receipt(
            Receipt(
                type=number % 5,
                status=number % 2,
                cumulative_gas_used=21_000 * (number + 1),
                logs_bloom=bytes(256),
                logs=(ReceiptLog(CONTRACT, (number.to_bytes(32, "big"),), b"data"),),
            )
        )
        for number in range(count)
    ]


@functools.cache
def evidence():
    """Return the evidence of one of a block's receipts, as arguments of the check."""
    block = receipts()
    trie = build_ordered_trie(block)
    header = BlockHeader(
        parent_hash=bytes(32),
        ommers_hash=bytes(32),
        beneficiary=CONTRACT,
        state_root=b"\x01" * 32,
        transactions_root=b"\x02" * 32,
        receipts_root=trie.root,
        logs_bloom=bytes(256),
        difficulty=0,
        number=1_234_567,
        gas_limit=30_000_000,
        gas_used=21_000 * COUNT,
        timestamp=1_767_323_045,
        extra_data=b"",
        mix_hash=bytes(32),
        nonce=bytes(8),
        base_fee_per_gas=7,
    )
    encoded = format_header(header)
    return {
        "header_rlp": encoded,
        "receipt_rlp": block[INDEX],
        "receipt_proof": trie.prove(INDEX),
        "block_hash": hash_of(encoded),
        "transaction_index": INDEX,
    }


def hash_of(header):
    """Return the hash of the block with this header."""
    return "0x" + keccak256(header).hex()


def flipped(data):
    """Yield *data* with a bit of each of its bytes turned round, in turn."""
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        yield bytes(changed)


def test_true_evidence_yields_header_and_receipt():
    """All steps hold: what block and receipt say may be trusted as far as the block's hash."""
    verified = check_inclusion_evidence(**evidence())
    assert 1_234_567 == verified.header.number
    assert (0, 1) == (verified.receipt.type, verified.receipt.status)
    assert CONTRACT == verified.receipt.logs[0].address


def test_each_changed_byte_of_the_header_is_refused():
    """chain 17: step 1: a header with another byte is another block's."""
    for header in flipped(evidence()["header_rlp"]):
        with pytest.raises(BlockHeaderError) as caught:
            check_inclusion_evidence(**{**evidence(), "header_rlp": header})
        assert (1, Kind.FALSE) == (caught.value.step, caught.value.kind)


def test_each_changed_byte_of_the_receipt_is_refused():
    """chain 17: step 2: a receipt with another byte stands in no block."""
    for receipt in flipped(evidence()["receipt_rlp"]):
        with pytest.raises(ReceiptNotIncludedError) as caught:
            check_inclusion_evidence(**{**evidence(), "receipt_rlp": receipt})
        assert (2, Kind.FALSE) == (caught.value.step, caught.value.kind)


def test_each_changed_byte_of_the_proof_is_refused():
    """chain 17: step 2: a node with another byte does not lead on."""
    proof = evidence()["receipt_proof"]
    for number, node in enumerate(proof):
        for changed in flipped(node):
            other = [*proof[:number], changed, *proof[number + 1 :]]
            with pytest.raises(ReceiptNotIncludedError):
                check_inclusion_evidence(**{**evidence(), "receipt_proof": other})


def test_another_transactions_receipt_is_refused():
    """Step 2: the receipt is proven at its own index alone, and another one's is not it."""
    for index in range(COUNT):
        if index != INDEX:
            with pytest.raises(ReceiptNotIncludedError):
                check_inclusion_evidence(**{**evidence(), "transaction_index": index})
    with pytest.raises(ReceiptNotIncludedError):
        check_inclusion_evidence(**{**evidence(), "receipt_rlp": receipts()[INDEX + 1]})


def test_another_blocks_header_is_refused():
    """Step 1: a header that is whole and another block's is not what was asked for."""
    with pytest.raises(BlockHeaderError):
        check_inclusion_evidence(**{**evidence(), "block_hash": "0x" + "00" * 32})


def test_a_hash_of_no_header_is_refused():
    """Step 1: bytes that hash to the block's hash and are no header prove nothing."""
    with pytest.raises(BlockHeaderError):
        check_inclusion_evidence(**{**evidence(), "header_rlp": b"x", "block_hash": hash_of(b"x")})


def test_a_receipt_of_an_unknown_type_is_refused():
    """Step 3: what the block holds there has a type whose fields are not known here."""
    block = [b"\x6a" + receipt for receipt in receipts()]
    trie = build_ordered_trie(block)
    header = check_inclusion_evidence(**evidence()).header
    encoded = format_header(dataclasses.replace(header, receipts_root=trie.root))
    with pytest.raises(ReceiptFormatError) as caught:
        check_inclusion_evidence(
            header_rlp=encoded,
            receipt_rlp=block[INDEX],
            receipt_proof=trie.prove(INDEX),
            block_hash=hash_of(encoded),
            transaction_index=INDEX,
        )
    assert (3, Kind.MALFORMED) == (caught.value.step, caught.value.kind)


def test_the_verifier_loads_no_package_of_ethereum():
    """Whoever checks a receipt needs the kernel alone: nothing that knows an EVM is loaded."""
    script = (
        "import sys; import tallystick.verify; "
        "foreign = {'eth', 'eth_abi', 'eth_account', 'eth_hash', 'rlp', 'trie', 'Crypto', "
        "'coincurve', 'httpx', 'psycopg'}; "
        "print(sorted(foreign & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "[]\n" == done.stdout
