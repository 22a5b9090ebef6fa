"""Handing over intents: once for each key, all or none, in one commit (chain.md, 4.1)."""

from __future__ import annotations

import threading
from decimal import Decimal

import psycopg
import pytest

from tallystick.chain import (
    ChainIntent,
    find_transaction,
    get_transaction,
    list_transactions,
    send,
    send_many,
)
from tallystick.chain.errors import (
    IdempotencyConflictError,
    InvalidChainValueError,
    UnknownAccountError,
    UnknownNetworkError,
    UnknownTransactionError,
    UnknownTransactionTypeError,
)
from tallystick.chain.intents.calls import selector_of
from tallystick.chain.values import DEV_CHAIN_ID, MAX_INTENTS
from tallystick.record import parse_address
from tallystick.record.chain_messages import chain_intent_digest
from tallystick.record.errors import InvalidAddressError
from tests.chain.rows import CHAIN, CONTRACT, OURS, THEIRS, ChainRows, intent

OTHERS = [
    {"call_data": b"\x01"},
    {"to": THEIRS},
    {"to": None},
    {"value": 1},
    {"transaction_type": "contract_admin"},
    {"chain_id": DEV_CHAIN_ID},
]
"""What makes another intent under the same key."""


@pytest.fixture
def wide(chain_rows: ChainRows) -> ChainRows:
    """Accounts also for other types, and on the dev chain."""
    deployer = "0x" + "d0" * 20
    chain_rows.run("SELECT tally.account_add_v1(%s, %s, 'deployer', 'd', 0)", CHAIN, deployer)
    chain_rows.run("SELECT tally.account_add_v1(%s, %s, 'anchor', 'd', 0)", DEV_CHAIN_ID, deployer)
    return chain_rows


def count(rows: ChainRows) -> int:
    """How many transactions there are."""
    return rows.run("SELECT count(*) FROM tally.blockchain_transactions")


def test_an_intent_is_a_queued_row(chain_database, chain_rows):
    """`send` inserts one queued row from the purpose's account, without nonce and hash."""
    with chain_database.transaction() as tx:
        number = send(tx, intent(value=7, challenge_id=3, user_id="alice"))
        found = get_transaction(tx, number)
    assert (found.state, found.status, found.origin) == ("queued", "pending", "managed")
    assert (found.from_address, found.to_address, found.value_transferred) == (OURS, CONTRACT, 7)
    assert (found.nonce, found.transaction_hash, found.fee_wei) == (None, None, None)
    assert (found.challenge_id, found.user_id) == (3, "alice")


def test_the_stored_digest_is_the_messages(chain_database, chain_rows):
    """chain 23: the database's digest is that of the message builder, for every kind of intent."""
    intents = [
        intent("a"),
        intent("b", to=None, call_data=b"\x00\xff" * 100),
        intent("c", value=2**256 - 1, call_data=b""),
        intent("d", call_data=b"\\x'\n"),
    ]
    with chain_database.transaction() as tx:
        numbers = send_many(tx, intents)
        stored = [get_transaction(tx, number).intent_digest for number in numbers]
    assert stored == [digest_of(each) for each in intents]


def digest_of(given: ChainIntent) -> bytes:
    """The digest of an intent."""
    return chain_intent_digest(
        chain_id=given.chain_id,
        transaction_type=given.transaction_type,
        to=given.to,
        call_data=given.call_data,
        value=given.value,
    )


def test_rolled_back_intents_never_were(chain_database, chain_rows):
    """An intent whose transaction rolls back leaves no row: nothing of it can be sent."""
    with pytest.raises(ZeroDivisionError), chain_database.transaction() as tx:
        send(tx, intent())
        raise ZeroDivisionError
    assert count(chain_rows) == 0


def test_the_same_intent_again_is_the_first(chain_database, chain_rows):
    """chain 23: the same key with the same intent returns the first row's number."""
    with chain_database.transaction() as tx:
        first = send(tx, intent())
    with chain_database.transaction() as tx:
        assert send(tx, intent(user_id="somebody else")) == first
        assert send_many(tx, [intent("two"), intent(), intent("two")]) == [
            first + 1,
            first,
            first + 1,
        ]
    assert count(chain_rows) == 2


@pytest.mark.parametrize("change", OTHERS)
def test_the_same_key_for_another_intent_is_refused(chain_database, wide, change):
    """chain 23: the same key with another intent is a conflict, and nothing of it is queued."""
    with chain_database.transaction() as tx:
        send(tx, intent())
    with pytest.raises(IdempotencyConflictError) as raised, chain_database.transaction() as tx:
        send_many(tx, [intent("beside"), intent(**change)])
    assert raised.value.key == "one"
    assert count(wide) == 1


@pytest.mark.parametrize("change", OTHERS)
def test_two_intents_of_one_key_in_one_batch_are_refused(chain_database, wide, change):
    """chain 23: within one `send_many` also a key stands for one intent."""
    with pytest.raises(IdempotencyConflictError), chain_database.transaction() as tx:
        send_many(tx, [intent("beside"), intent(), intent(**change)])
    assert count(wide) == 0


def test_numbers_follow_the_order_of_the_intents(chain_database, chain_rows):
    """A batch's numbers rise in its order, whatever its keys: the sender sends in that order."""
    keys = [f"{(place * 7919) % 1000:04}" for place in range(MAX_INTENTS)]
    with chain_database.transaction() as tx:
        numbers = send_many(tx, [intent(key) for key in keys])
        assert [get_transaction(tx, numbers[at]).idempotency_key for at in (0, 1, 999)] == [
            keys[0],
            keys[1],
            keys[999],
        ]
    assert numbers == list(range(numbers[0], numbers[0] + MAX_INTENTS))


def test_batches_of_the_same_keys_never_deadlock(chain_database, chain_rows):
    """Two that send the same keys in opposite orders both get the same rows."""
    intents = [intent(f"{number:03}") for number in range(300)]
    found: dict[bool, list[int]] = {}
    start = threading.Barrier(2)

    def run(*, is_reversed: bool) -> None:
        with chain_database.transaction() as tx:
            start.wait(10)
            given = intents[::-1] if is_reversed else intents
            numbers = send_many(tx, given)
            found[is_reversed] = numbers[::-1] if is_reversed else numbers

    threads = [threading.Thread(target=run, kwargs={"is_reversed": each}) for each in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found[False] == found[True]
    assert count(chain_rows) == 300


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"chain_id": 999}, UnknownNetworkError),
        ({"transaction_type": "no_such"}, UnknownTransactionTypeError),
        ({"transaction_type": "bounty_payment"}, UnknownAccountError),
        ({"from_address": THEIRS}, UnknownAccountError),
        ({"idempotency_key": ""}, InvalidChainValueError),
        ({"idempotency_key": "k" * 201}, InvalidChainValueError),
        ({"idempotency_key": "a\x00b"}, InvalidChainValueError),
        ({"value": -1}, InvalidChainValueError),
        ({"value": 2**256}, InvalidChainValueError),
        ({"chain_id": 2**63}, InvalidChainValueError),
        ({"call_data": bytes(131_073)}, InvalidChainValueError),
        ({"to": None, "call_data": b""}, InvalidChainValueError),
    ],
)
def test_what_cannot_be_sent_is_refused(chain_database, chain_rows, change, error):
    """An unknown network, type or account, and a value out of range, are refused by name."""
    with pytest.raises(error), chain_database.transaction() as tx:
        send_many(tx, [intent("beside"), intent(**change)])
    assert count(chain_rows) == 0


def test_too_many_at_once_are_refused(chain_database, chain_rows):
    """A batch has at most 1,000 intents; none is no batch and no error."""
    with chain_database.transaction() as tx:
        assert send_many(tx, []) == []
        with pytest.raises(InvalidChainValueError):
            send_many(tx, [intent(str(number)) for number in range(MAX_INTENTS + 1)])


@pytest.mark.parametrize("status", ["paused", "halted"])
def test_a_network_that_stands_still_takes_intents(chain_database, chain_rows, status):
    """A paused or halted network is no reason to refuse an intent: it waits."""
    reason = "'a fork'" if status == "halted" else "NULL"
    chain_rows.run(
        f"UPDATE tally.networks SET status = '{status}', halted_reason = {reason}"
        " WHERE chain_id = 31337"
    )
    with chain_database.transaction() as tx:
        assert get_transaction(tx, send(tx, intent())).state == "queued"


def test_intents_wake_the_sender(chain_database, chain_rows):
    """The commit of an intent notifies `tally_chain` with the network's chain id."""
    chain_rows.run("LISTEN tally_chain")
    with chain_database.transaction() as tx:
        send(tx, intent())
    heard = next(chain_rows.connection.notifies(timeout=10, stop_after=1))
    assert heard.payload == "31337"


def test_calls_of_registered_contracts_are_described(chain_database, chain_rows):
    """A call of a registered contract names contract, function and arguments, exactly."""
    chain_rows.contract(
        abi='[{"type":"function","name":"anchor","inputs":[{"name":"root","type":"bytes32"},'
        '{"name":"leafCount","type":"uint64"}]}]'
    )
    data = bytes.fromhex("f4aea3cf")  # of another function: shown as it is
    known = selector_of("anchor(bytes32,uint64)") + b"\xab" * 32 + (2**60).to_bytes(32)
    with chain_database.transaction() as tx:
        numbers = send_many(tx, [intent("a", call_data=known), intent("b", call_data=data)])
        first, second = (get_transaction(tx, number) for number in numbers)
    assert (first.contract_name, first.contract_address) == ("TallyAnchor", CONTRACT)
    assert first.function_name == "anchor"
    assert first.parameters == {"root": "0x" + "ab" * 32, "leafCount": str(2**60)}
    assert (second.contract_name, second.function_name) == ("TallyAnchor", None)


def test_fees_of_one_wei_and_large_chain_ids_come_back(database_url, chain_database):
    """chain 20: chain id 131277322940537 and amounts of 1 wei come back as they were given."""
    rows = ChainRows(chain_rows_of(database_url), chain_id=DEV_CHAIN_ID).open()
    with chain_database.transaction() as tx:
        number = send(tx, intent(chain_id=DEV_CHAIN_ID, value=1))
        rows_found = list_transactions(tx, chain_id=DEV_CHAIN_ID)
    rows.block(1)
    rows.scan(1)
    signed = rows.sign(number)
    rows.include(number, 1, gas_used=1, gas_price=1)
    with chain_database.transaction() as tx:
        found = find_transaction(tx, DEV_CHAIN_ID, signed)
    assert [row.id for row in rows_found] == [number]
    assert (found.chain_id, found.value_transferred, found.fee_wei) == (DEV_CHAIN_ID, 1, 1)
    assert found.transaction_fee == Decimal("0.000000000000000001")
    rows.connection.close()


def chain_rows_of(url: str):
    """A superuser's connection in autocommit mode."""
    return psycopg.connect(url, autocommit=True)


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("0x833589fCD6eDb6E08f4c7C32D4f71b3566dA8860", False),
        ("0x3c499c542cEF5E3811e1192ce70d8cC7d307B653", False),
        ("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", True),
        ("0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", True),
        ("0x833589FCD6EDB6E08F4C7C32D4F71B54BDA02913", True),
    ],
)
def test_addresses_follow_eip_55(text, is_taken):
    """chain 20: mixed case must pass EIP-55; the earlier documents' two addresses fail."""
    if is_taken:
        assert parse_address(text) == text.lower()
    else:
        with pytest.raises(InvalidAddressError):
            parse_address(text)


def test_unknown_transactions_are_named(chain_database, chain_rows):
    """A number or hash that nothing has is an error of its own, whatever it looks like."""
    with chain_database.transaction() as tx:
        for number in (0, 99, 2**63, -1):
            with pytest.raises(UnknownTransactionError):
                get_transaction(tx, number)
        with pytest.raises(UnknownTransactionError):
            find_transaction(tx, CHAIN, "0x" + "0" * 64)
