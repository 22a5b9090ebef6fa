"""The EVM of the dev chain: what it takes, when it mines, and that replaying is exact."""

from __future__ import annotations

import hashlib
import json

import pytest
from eth_account import Account

from tallystick.chain.contracts import encode_call, encode_deployment, load_artifact
from tallystick.runtime.devchain.errors import JournalDivergedError
from tallystick.runtime.devchain.journal import JOURNAL_FILE
from tallystick.runtime.devchain.machine import GAS_LIMIT, fit_block
from tests.runtime.devchain.support import FUNDS, OTHER, OWNER, RECEIVER, Bench, raw

ANCHOR = load_artifact("TallyAnchor")
LOW_FEE = 10**6
"""Below the base fee of the first hundred blocks."""


@pytest.fixture
def bench(tmp_path):
    """A machine."""
    made = Bench(tmp_path)
    yield made
    made.close()


def again(bench, tmp_path):
    """The same machine after a restart."""
    bench.close()
    return Bench(tmp_path)


def test_one_block_for_each_transaction_at_once(bench):
    """Each transaction is in a block of its own when its hash is answered."""
    hashes = [bench.send() for _ in range(3)]
    assert 3 == bench.height
    found = [bench.ask("eth_getTransactionByHash", each)["blockNumber"] for each in hashes]
    assert ["0x1", "0x2", "0x3"] == found


def test_blocks_carry_what_the_journal_promises(bench):
    """mix_hash is SHA-256 of the decimal number; the base fee falls as EIP-1559 says."""
    for _ in range(11):
        bench.send()
    block = bench.ask("eth_getBlockByNumber", "0xb", False)
    assert "0x" + hashlib.sha256(b"11").hexdigest() == block["mixHash"]
    fees = [one.header.base_fee_per_gas for one in bench.machine.blocks]
    assert fees == sorted(fees, reverse=True)
    assert 10**9 - 10**9 * (GAS_LIMIT // 2) // (GAS_LIMIT // 2) // 8 == fees[1]


def test_times_ascend(bench):
    """However fast blocks come, each is later than its parent."""
    for _ in range(5):
        bench.send()
    times = [block.header.timestamp for block in bench.machine.blocks]
    assert len(set(times)) == len(times)
    assert times == sorted(times)


def test_replay_leads_to_the_same_blocks(bench, tmp_path):
    """chain 14: a restart has every block's hash, balances, code, and the receipts of before."""
    bench.send(to=None, value=0, gas=2_000_000, data=encode_deployment(ANCHOR, []))
    contract = bench.ask("eth_getBlockReceipts", "latest")[0]["contractAddress"]
    call = encode_call(ANCHOR, "anchor", [b"\1" * 32, b"\2" * 32, 3])
    bench.send(to=bytes.fromhex(contract[2:]), value=0, gas=100_000, data=call)
    bench.send(by=OTHER, gasPrice=2 * 10**9)
    bench.ask("evm_increaseTime", 10**6)
    bench.send(accessList=[], gasPrice=2 * 10**9, type=1)
    bench.ask("evm_setAutomine", False)
    for by in (OWNER, OWNER, OTHER):
        bench.send(by=by)
    bench.ask("evm_mine")
    bench.ask("evm_mine", {"blocks": 2})
    before = everything(bench)
    restarted = again(bench, tmp_path)
    assert before == everything(restarted)
    restarted.close()


def everything(bench):
    """What a client could see of the chain."""
    blocks = [
        (
            bench.ask("eth_getBlockByNumber", hex(number), True),
            bench.ask("eth_getBlockReceipts", hex(number)),
            bench.ask("eth_getBalance", OWNER.address, hex(number)),
            bench.ask("eth_getTransactionCount", OTHER.address, hex(number)),
        )
        for number in range(bench.height + 1)
    ]
    return blocks, bench.ask("eth_getLogs", {"fromBlock": "earliest"}), bench.head


def test_a_changed_journal_is_refused_by_the_block(bench, tmp_path):
    """A journal that leads to another block than it says is refused, and the block is named."""
    for _ in range(3):
        bench.send()
    bench.close()
    path = tmp_path / JOURNAL_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["time"] += 1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(JournalDivergedError) as refused:
        Bench(tmp_path)
    assert (2, lines[2]["hash"]) == (refused.value.block, refused.value.expected)


def test_a_journal_whose_block_is_missing_is_refused(bench, tmp_path):
    """A transaction whose turn has not come cannot be replayed: the journal was changed."""
    for _ in range(2):
        bench.send()
    bench.close()
    path = tmp_path / JOURNAL_FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2]]))
    with pytest.raises(JournalDivergedError, match="not valid"):
        Bench(tmp_path)


# What waits -----------------------------------------------------------------------------------


def test_a_nonce_ahead_waits_for_those_before(bench):
    """A transaction whose nonce is ahead waits, and is mined behind the one that it waited for."""
    second = bench.send(nonce=1)
    assert (0, "0x0") == (bench.height, bench.ask("eth_getTransactionCount", OWNER.address))
    assert bench.ask("eth_getTransactionByHash", second)["blockNumber"] is None
    first = bench.send(nonce=0)
    numbers = [bench.ask("eth_getTransactionReceipt", h)["blockNumber"] for h in (first, second)]
    assert ["0x1", "0x2"] == numbers


def test_a_fee_below_the_base_fee_waits(bench):
    """A fee below the base fee waits until the base fee has fallen, and is mined then."""
    waiting = bench.send(by=OTHER, maxFeePerGas=8 * 10**8)
    assert 0 == bench.height
    for _ in range(3):
        bench.send()
    receipt = bench.ask("eth_getTransactionReceipt", waiting)
    assert ("0x2", 4) == (receipt["blockNumber"], bench.height)


def test_what_waits_survives_a_restart(bench, tmp_path):
    """chain 14: a transaction that was taken and could not be mined is there after a restart."""
    waiting = bench.send(nonce=1)
    restarted = again(bench, tmp_path)
    assert "0x0" == restarted.ask("eth_getTransactionCount", OWNER.address, "pending")
    assert restarted.ask("eth_getTransactionByHash", waiting)["blockNumber"] is None
    restarted.send(nonce=0)
    assert "0x2" == restarted.ask("eth_getTransactionReceipt", waiting)["blockNumber"]
    assert (
        "already known"
        == restarted.refusal("eth_sendRawTransaction", raw(restarted.machine, nonce=1)).message
    )
    restarted.close()


def test_a_replacement_offers_a_tenth_more(bench):
    """Another transaction of the same nonce needs a tenth more in both fees; one is mined."""
    bench.ask("evm_setAutomine", False)
    first = bench.send(nonce=0, maxFeePerGas=100 * LOW_FEE, maxPriorityFeePerGas=100)
    for fees in ((109, 200), (200, 109), (100, 100)):
        refused = bench.refused(
            nonce=0, maxFeePerGas=fees[0] * LOW_FEE, maxPriorityFeePerGas=fees[1], value=2
        )
        assert "replacement transaction underpriced" == refused
    second = bench.send(nonce=0, maxFeePerGas=2000 * LOW_FEE, maxPriorityFeePerGas=110, value=3)
    assert bench.ask("eth_getTransactionByHash", first) is None
    bench.ask("evm_mine")
    assert "0x1" == bench.ask("eth_getTransactionReceipt", second)["blockNumber"]
    assert "0x3" == bench.ask("eth_getBalance", RECEIVER)


def test_pending_counts_what_waits_in_order(bench):
    """The pending nonce is behind everything that waits without a gap."""
    bench.ask("evm_setAutomine", False)
    for nonce in (0, 1, 3):
        bench.send(nonce=nonce)
    counts = [
        bench.ask("eth_getTransactionCount", OWNER.address, tag) for tag in ("latest", "pending")
    ]
    assert ["0x0", "0x2"] == counts
    bench.ask("evm_setAutomine", True)
    assert 2 == bench.height


def test_a_transaction_that_became_invalid_is_dropped(bench):
    """What can no longer be paid for by its turn is dropped, and the others are mined."""
    bench.ask("evm_setAutomine", False)
    bench.send(by=OTHER, nonce=0, value=FUNDS - 10**15)
    lost = bench.send(by=OTHER, nonce=1, value=FUNDS // 2)
    kept = bench.send(nonce=0)
    bench.ask("evm_mine")
    assert bench.ask("eth_getTransactionByHash", lost) is None
    assert "0x1" == bench.ask("eth_getTransactionReceipt", kept)["blockNumber"]
    assert 2 == len(bench.machine.head.transactions)


def test_a_block_holds_no_more_gas_than_its_limit(bench):
    """What one block cannot hold waits for the next."""
    bench.ask("evm_setAutomine", False)
    for _ in range(3):
        bench.send(gas=GAS_LIMIT // 2)
    bench.ask("evm_mine")
    assert 2 == len(bench.machine.head.transactions)
    bench.ask("evm_mine")
    assert 1 == len(bench.machine.head.transactions)
    assert [] == fit_block([])


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"chainId": 31337}, "invalid chain id for signer: have 31337 want 131277322940537"),
        ({"gas": 20_999}, "intrinsic gas too low: have 20999, want 21000"),
        ({"gas": GAS_LIMIT + 1}, "exceeds block gas limit"),
        ({"value": FUNDS}, "insufficient funds for gas * price + value"),
        ({"maxFeePerGas": 10, "maxPriorityFeePerGas": 11}, "max priority fee per gas higher"),
        ({"to": None, "data": bytes(49_153), "gas": 10**7}, "max initcode size exceeded"),
        ({"data": bytes(131_073), "gas": 10**7}, "oversized data"),
    ],
)
def test_what_no_block_can_hold_is_refused(bench, fields, said):
    """A transaction that can never be mined is refused in the words of other nodes."""
    assert bench.refused(**fields).startswith(said)
    assert (0, 0) == (bench.height, len(bench.machine.pool))


def test_a_known_transaction_is_said_to_be_known(bench):
    """The same bytes again, mined or waiting, are `already known`; an old nonce is too low."""
    mined, waiting = raw(bench.machine), raw(bench.machine, nonce=5)
    for each in (mined, waiting):
        bench.ask("eth_sendRawTransaction", each)
        assert "already known" == bench.refusal("eth_sendRawTransaction", each).message
    assert "nonce too low: next nonce 1, tx nonce 0" == bench.refused(nonce=0, value=7)


@pytest.mark.parametrize(
    "data", ["0x", "0x00", "0x02", "0x02c0", "0x03f8", "0x04c0", "0x7f", "0x80", "0xc0", "0xf8ff"]
)
def test_bytes_that_are_no_transaction_are_refused(bench, data):
    """Whatever bytes are sent, a sentence is answered and nothing changes."""
    said = bench.refusal("eth_sendRawTransaction", data).message
    assert said in {
        "the bytes are no transaction",
        "typed transaction too short",
        "transaction type not supported",
    }


def test_a_transaction_that_any_chain_would_take_is_refused(bench):
    """A signature without a chain id could be replayed elsewhere."""
    fields = {"nonce": 0, "gasPrice": 10**10, "gas": 21_000, "to": RECEIVER, "value": 1}
    fields["to"] = bytes.fromhex(RECEIVER[2:])
    signed = Account.sign_transaction(fields, OWNER.key)
    said = bench.refusal("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    assert "replay-protected" in said.message


def test_a_false_signature_is_refused(bench):
    """A signature from which no sender follows, or one with a high s, is refused."""
    whole = bytes.fromhex(raw(bench.machine)[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = (order - int.from_bytes(whole[-32:])).to_bytes(32)
    refused = bench.refusal("eth_sendRawTransaction", "0x" + (whole[:-32] + high).hex())
    assert "invalid transaction v, r, s values" == refused.message
