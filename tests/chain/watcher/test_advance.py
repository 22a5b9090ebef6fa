"""What a look records, and whom it tells (chain.md, sections 3 and 4.4)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

import pytest

from tallystick.chain.errors import PriceUnavailableError
from tests.chain.watcher.support import ACCOUNT, CHAIN_ID, PRICE, anchor_call


def cost_of(fee_wei: int, usd: str = PRICE) -> Decimal:
    """What a fee costs, exactly, half even."""
    exact = Decimal(fee_wei) * Decimal(usd) / 10**18
    return exact.quantize(Decimal("0.00000001"), rounding=ROUND_HALF_EVEN)


def receipt_of(world, transaction_id):
    """What the database has of a transaction's receipt."""
    return world.rows(
        "SELECT fee_wei, transaction_fee, cost_usd, gas_used * gas_price, l1_fee_wei"
        " FROM tally.blockchain_transactions WHERE id = %s",
        transaction_id,
    )[0]


def test_a_transaction_is_followed_to_finality(world, recorder):
    """A transaction goes from mined to finalized, and followers are told once of each."""
    world.catch_up()
    sent = world.send()
    world.catch_up()
    assert world.state_of(sent) == "mined"
    world.anvil.mine(2)
    world.catch_up()
    assert world.state_of(sent) == "finalized"
    assert world.effects() == [("included", f"tx {sent}"), ("finalized", f"tx {sent}")]
    world.check_laws()


def test_included_and_final_in_one_look(world, recorder):
    """Law 6: where finality comes in the same transaction `on_included` is told a mined row."""
    world.catch_up()
    sent = world.send()
    world.anvil.mine(5)
    world.catch_up()
    told = [
        (call, fact.state, fact.finalized_at is None)
        for call, fact in recorder.calls
        if call != "on_block_final"
    ]
    assert told == [("on_included", "mined", True), ("on_finalized", "finalized", False)]
    assert world.effects() == [("included", f"tx {sent}"), ("finalized", f"tx {sent}")]


def test_each_final_block_is_told_once_in_order(world, recorder):
    """`on_block_final` comes once for each block, without gaps, after what the block holds."""
    world.catch_up()
    first = world.scanned() - 1
    world.send()
    world.anvil.mine(70)
    world.catch_up()
    blocks = [fact.number for call, fact in recorder.calls if call == "on_block_final"]
    assert blocks == list(range(first, world.scanned()))
    subjects = [subject for (subject,) in world.rows("SELECT call FROM effects ORDER BY n")]
    mined = world.value("SELECT block_number FROM tally.blockchain_transactions")
    of_block = world.value("SELECT n FROM effects WHERE subject = %s", f"block {mined}")
    assert subjects[of_block - 2] == "finalized"


def test_every_included_row_is_priced(world):
    """chain 12: An included row has fee, price, source, time and its cost, half even."""
    world.catch_up()
    sent = world.send()
    world.catch_up()
    fee, in_coins, cost, gas, l1_fee = receipt_of(world, sent)
    receipt = world.anvil.rpc(
        "eth_getTransactionReceipt",
        world.value("SELECT transaction_hash FROM tally.blockchain_transactions"),
    )
    paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert (fee, in_coins, cost) == (paid, Decimal(paid).scaleb(-18), cost_of(paid))
    assert (gas, l1_fee) == (paid, 0)
    assert world.rows(
        "SELECT p.usd, p.source, p.taken_at IS NOT NULL FROM tally.price_snapshots AS p"
        " JOIN tally.blockchain_transactions AS t ON t.price_id = p.id"
    ) == [(Decimal(PRICE), "fixed:test", True)]
    world.check_laws()


def test_a_cost_takes_the_newest_price(world):
    """chain 12: The newest price counts, and one that comes later changes nothing."""
    world.catch_up()
    world.run("SELECT tally.price_record_v1('ETH', 1, 'fixed:newer', now())")
    sent = world.send()
    world.catch_up()
    world.run("SELECT tally.price_record_v1('ETH', 9, 'fixed:latest', now())")
    world.anvil.mine(2)
    world.catch_up()
    fee, _, cost, *_ = receipt_of(world, sent)
    assert cost == cost_of(int(fee), "1")


def test_an_l1_fee_counts(meddled_world, meddler):
    """chain 12: What a rollup's receipt names as l1Fee is a part of fee and cost."""
    world = meddled_world

    def with_l1_fee(method, _params, result):
        if method == "eth_getTransactionReceipt" and result:
            result["l1Fee"] = hex(10**15 + 1)
        return result

    meddler.change = with_l1_fee
    world.catch_up()
    sent = world.send()
    world.catch_up()
    fee, in_coins, cost, gas, l1_fee = receipt_of(world, sent)
    assert l1_fee == 10**15 + 1
    assert (fee, in_coins) == (gas + l1_fee, Decimal(int(gas + l1_fee)).scaleb(-18))
    assert cost == cost_of(int(fee))
    world.check_laws()


@pytest.mark.parametrize(
    ("gas_used", "gas_price"), [(1, 1), (21_000, 2**200 // 21_000), (1, 2**200)]
)
def test_the_identity_of_fees_holds_at_any_size(meddled_world, meddler, gas_used, gas_price):
    """chain 12: 1 wei and 2^200 wei are recorded to the last digit, and nothing stops."""
    world = meddled_world

    def huge(method, _params, result):
        if method == "eth_getTransactionReceipt" and result:
            result |= {"gasUsed": hex(gas_used), "effectiveGasPrice": hex(gas_price)}
        return result

    meddler.change = huge
    world.catch_up()
    sent = world.send()
    world.anvil.mine(2)
    world.catch_up()
    fee, in_coins, *_ = receipt_of(world, sent)
    assert int(fee) == gas_used * gas_price
    assert int(in_coins.scaleb(18, Context(prec=100))) == gas_used * gas_price
    assert world.state_of(sent) == "finalized"
    world.check_laws()


def test_nothing_is_included_without_a_price(world):
    """Law 8: where nobody has recorded a price an inclusion waits, and is not skipped."""
    world.catch_up()
    before = world.scanned()
    world.run("ALTER TABLE tally.price_snapshots DISABLE TRIGGER ALL")
    world.run("DELETE FROM tally.price_snapshots")
    sent = world.send()
    with pytest.raises(PriceUnavailableError):
        world.catch_up()
    assert world.scanned() == before
    world.run("SELECT tally.price_record_v1('ETH', 2, 'fixed:test', now())")
    world.catch_up()
    assert world.state_of(sent) == "mined"


def test_a_revert_is_told_at_finality_alone(world, recorder):
    """chain 10: A revert on chain calls `on_failed` once, final, with the reason; nothing else."""
    address = world.deploy_anchor()
    world.catch_up()
    world.send(to=address, data=anchor_call(1), value=0)
    second = world.send(to=address, data=anchor_call(1), value=0)
    world.catch_up()
    assert world.state_of(second) == "mined"
    world.anvil.mine(2)
    world.catch_up()
    assert world.state_of(second) == "failed"
    assert [call for call, subject in world.effects() if subject == f"tx {second}"] == ["failed"]
    message, data = world.rows(
        "SELECT error_message, revert_data FROM tally.blockchain_transactions WHERE id = %s", second
    )[0]
    assert message.startswith("reverted: AlreadyAnchored(")
    assert bytes(data)[:4].hex() == "c1d04bb3"
    world.check_laws()


def test_a_cancel_ends_cancelled(world, recorder):
    """chain 10: A mined cancel calls `on_failed` once and nothing else."""
    world.catch_up()
    world.anvil.automine(on=False)
    sent = world.send()
    world.broadcast(world.sign(sent, kind="cancel"))
    world.anvil.mine(1)
    world.catch_up()
    assert (world.state_of(sent), world.effects()) == ("mined", [])
    world.anvil.mine(2)
    world.catch_up()
    assert world.state_of(sent) == "cancelled"
    assert world.effects() == [("failed", f"tx {sent}")]
    assert world.value("SELECT error_message FROM tally.blockchain_transactions") == "cancelled"
    world.check_laws()


def test_any_attempt_may_be_the_mined_one(world, recorder):
    """The row takes the hash of the attempt that was mined, whichever it was."""
    world.catch_up()
    world.anvil.automine(on=False)
    sent = world.send()
    first = world.value("SELECT transaction_hash FROM tally.blockchain_transactions")
    world.sign(sent)
    world.anvil.mine(1)
    world.catch_up()
    assert (
        world.state_of(sent),
        world.value("SELECT transaction_hash FROM tally.blockchain_transactions"),
    ) == ("mined", first)
    world.check_laws()


def test_what_was_mined_before_it_was_observed_is_found(world, recorder):
    """An observed transaction whose block is recorded already is included in it, and final."""
    world.catch_up()
    sent = world.send_by_other()
    world.anvil.mine(5)
    world.catch_up()
    observed = world.observe(sent)
    world.catch_up()
    assert world.state_of(observed) == "finalized"
    assert world.effects() == [("included", f"tx {observed}"), ("finalized", f"tx {observed}")]
    world.check_laws()


def test_what_was_mined_before_watching_began_is_found(world, recorder):
    """A transaction in a block that was never recorded is included with its block."""
    sent = world.send_by_other()
    world.anvil.mine(10)
    world.catch_up()
    assert world.value("SELECT min(block_number) FROM tally.chain_blocks") > world.anvil.head - 5
    observed = world.observe(sent)
    world.catch_up()
    assert world.state_of(observed) == "finalized"
    world.check_laws()


def test_what_stands_where_watching_begins_is_found(world, recorder):
    """A transaction that was sent before the first look, and stands in its block, is included."""
    sent = world.send()
    world.anvil.mine(1)
    world.catch_up()
    assert world.value("SELECT min(block_number) FROM tally.chain_blocks") == world.anvil.head - 1
    assert world.state_of(sent) == "finalized"
    world.check_laws()


def test_a_drop_calls_nobody_and_may_come_back(world, recorder):
    """chain 10: What no node has known for a day is dropped; mined after all, it is final."""
    world.catch_up()
    world.anvil.automine(on=False)
    sent = world.send_by_other()
    raw = world.anvil.rpc("eth_getRawTransactionByHash", sent)
    observed = world.observe(sent)
    world.catch_up()
    world.anvil.rpc("anvil_dropAllTransactions")
    world.restart()
    world.catch_up()
    assert world.state_of(observed) == "broadcast"
    world.run("SELECT tally.set_test_clock(now() + interval '25 hours')")
    world.restart()
    world.catch_up()
    assert (world.state_of(observed), world.effects()) == ("dropped", [])
    world.anvil.automine(on=True)
    world.anvil.rpc("eth_sendRawTransaction", raw)
    world.anvil.mine(2)
    world.catch_up()
    assert world.state_of(observed) == "finalized"


def test_events_are_recorded_with_their_blocks(world, recorder):
    """A log of a registered contract becomes an event with decoded arguments, then final."""
    address = world.deploy_anchor()
    world.register_anchor(address)
    world.catch_up()
    world.send(to=address, data=anchor_call(5), value=0)
    world.catch_up()
    block = world.scanned()
    assert world.events() == [(block, "observed")]
    word = "0x" + (5).to_bytes(32, "big").hex()
    assert world.rows("SELECT event_name, args FROM tally.contract_events") == [
        (
            "Anchored",
            {
                "statementHash": word,
                "merkleRoot": word,
                "sender": ACCOUNT.address,
                "leafCount": "7",
            },
        )
    ]
    world.anvil.mine(1)
    world.catch_up()
    assert world.events() == [(block, "final")]
    of_events = [effect for effect in world.effects() if effect[0].startswith("event")]
    assert of_events == [("event", f"event {block}/0"), ("event_final", f"event {block}/0")]
    world.check_laws()


def test_the_past_of_a_contract_is_read(world, recorder):
    """A contract that is registered late has the events from its deployment on, each once."""
    address = world.deploy_anchor()
    deployed = world.anvil.head
    world.send(to=address, data=anchor_call(1), value=0)
    world.anvil.mine(80)
    world.catch_up()
    world.send(to=address, data=anchor_call(2), value=0)
    world.catch_up()
    assert world.events() == []
    world.register_anchor(address, block_number=deployed)
    world.send(to=address, data=anchor_call(3), value=0)
    world.catch_up()
    newest = world.scanned()
    assert world.events() == [
        (deployed + 1, "final"),
        (newest - 1, "final"),
        (newest, "observed"),
    ]
    assert [call for call, _ in world.effects() if call == "event"] == ["event"] * 3
    world.check_laws()


def test_old_blocks_are_pruned(world):
    """Blocks 256 below finality go, but for those that something refers to."""
    world.catch_up()
    sent = world.send()
    world.anvil.mine(400)
    world.catch_up()
    block = world.value("SELECT block_number FROM tally.blockchain_transactions")
    kept = [n for (n,) in world.rows("SELECT block_number FROM tally.chain_blocks ORDER BY 1")]
    final = world.value("SELECT finalized_block FROM tally.networks WHERE chain_id = %s", CHAIN_ID)
    assert kept == [block, *range(final - 256, world.scanned() + 1)]
    assert world.state_of(sent) == "finalized"
    world.check_laws()
