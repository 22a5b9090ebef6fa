"""A client's hash is believed in nothing: law 5 case by case (chain.md, sections 4.1.6 and 7.5)."""

from __future__ import annotations

import threading

import pytest

from tallystick.chain import ANY, Expectation, get_transaction, observe, send
from tallystick.chain.errors import (
    ExpectationFailedError,
    NetworkUnavailableError,
    TransactionReusedError,
    UnknownNetworkError,
    UnknownTransactionTypeError,
)
from tallystick.chain.intents import check_expectation
from tallystick.chain.intents.calls import selector_of
from tallystick.chain.intents.expecting import parse_signature
from tests.chain.rows import CHAIN, CONTRACT, OURS, THEIRS, intent, seen

OTHER = "0x" + "ee" * 20
PAYMENT = Expectation(chain_id=CHAIN, from_address=THEIRS, to=OURS, value=5)
JOIN = Expectation(
    chain_id=CHAIN,
    from_address=THEIRS,
    to=CONTRACT,
    function="join(uint256,address,bytes32)",
    arguments=(17, THEIRS, b"\x07" * 32),
    value=5,
)


def joining(challenge: int = 17, who: str = THEIRS, mark: bytes = b"\x07" * 32, **changes):
    """A client's call of the contract."""
    data = selector_of("join(uint256,address,bytes32)")
    data += challenge.to_bytes(32) + bytes(12) + bytes.fromhex(who[2:]) + mark
    return seen(**{"to_address": CONTRACT, "call_data": data, **changes})


def test_what_was_expected_is_recorded(chain_database, chain_rows):
    """chain 11: a transaction that is what it had to be is followed, with the chain's own words."""
    with chain_database.transaction() as tx:
        number = observe(
            tx,
            joining(),
            expectation=JOIN,
            transaction_type="challenge_join",
            challenge_id=17,
            user_id="bob",
        )
        found = get_transaction(tx, number)
    assert (found.state, found.origin, found.idempotency_key) == ("broadcast", "observed", None)
    assert (found.from_address, found.to_address, found.value_transferred) == (THEIRS, CONTRACT, 5)
    assert (found.challenge_id, found.user_id, found.nonce) == (17, "bob", 0)
    assert found.function_name == "join"
    assert found.parameters == {"0": "17", "1": THEIRS, "2": "0x" + "07" * 32}


@pytest.mark.parametrize(
    ("field", "transaction"),
    [
        ("transaction_type", joining(transaction_type=3)),
        ("chain_id", joining(chain_id=1)),
        ("from_address", joining(from_address=OTHER)),
        ("to", joining(to_address=OTHER)),
        ("to", joining(to_address=None)),
        ("value", joining(value=4)),
        ("value", joining(value=6)),
        ("function", joining(call_data=b"\x01\x02\x03\x04" + joining().call_data[4:])),
        ("function", joining(call_data=b"")),
        ("arguments", joining(call_data=joining().call_data + b"\x00")),
        ("arguments", joining(call_data=joining().call_data[:-1])),
        ("arguments", joining(call_data=joining().call_data[:4])),
        ("arguments[0]", joining(challenge=18)),
        ("arguments[1]", joining(who=OTHER)),
        ("arguments[2]", joining(mark=b"\x08" * 32)),
    ],
)
def test_each_difference_is_refused(chain_database, chain_rows, field, transaction):
    """chain 11: another's, of another chain, contract, function, argument or value is refused."""
    with pytest.raises(ExpectationFailedError) as raised, chain_database.transaction() as tx:
        observe(tx, transaction, expectation=JOIN, transaction_type="challenge_join")
    assert raised.value.field == field
    assert raised.value.expected != raised.value.actual
    assert chain_rows.run("SELECT count(*) FROM tally.blockchain_transactions") == 0


def test_an_address_with_dirty_padding_is_refused():
    """chain 11: bytes that a contract would ignore must not hide what differs."""
    data = bytearray(joining().call_data)
    data[4 + 32] = 1
    with pytest.raises(ExpectationFailedError):
        check_expectation(joining(call_data=bytes(data)), JOIN)


def test_payments_carry_no_call():
    """chain 11: a plain payment is one without call data, to the receiver alone."""
    assert check_expectation(seen(), PAYMENT) is None
    with pytest.raises(ExpectationFailedError) as raised:
        check_expectation(seen(call_data=b"\x01"), PAYMENT)
    assert raised.value.field == "call_data"


def test_open_arguments_may_be_any():
    """An argument that is expected to be `ANY`, and a field that is None, are not compared."""
    loose = Expectation(
        chain_id=CHAIN,
        from_address=None,
        to=CONTRACT,
        function="join(uint256,address,bytes32)",
        arguments=(17, ANY, ANY),
        value=None,
    )
    call = check_expectation(joining(who=OTHER, from_address=OTHER, value=9), loose)
    assert call is not None
    with pytest.raises(ExpectationFailedError):
        check_expectation(joining(challenge=18), loose)


def test_dynamic_arguments_are_compared():
    """chain 11: text, lists and tuples are decoded and compared, in their one encoding."""
    from eth_abi.abi import encode

    signature = "resolve(uint256,(address,uint256)[],string)"
    values = (17, [(OTHER, 5), (THEIRS, 6)], "done")
    types = ["uint256", "(address,uint256)[]", "string"]
    expectation = Expectation(
        chain_id=CHAIN,
        from_address=THEIRS,
        to=CONTRACT,
        function=signature,
        arguments=values,
        value=5,
    )
    data = selector_of(signature) + encode(types, values)
    assert check_expectation(joining(call_data=data), expectation) is not None
    for other in ((17, [(OTHER, 5), (THEIRS, 7)], "done"), (17, [(OTHER, 5)], "done")):
        with pytest.raises(ExpectationFailedError):
            changed = selector_of(signature) + encode(types, other)
            check_expectation(joining(call_data=changed), expectation)
    with pytest.raises(ExpectationFailedError):
        check_expectation(joining(call_data=data + bytes(32)), expectation)


@pytest.mark.parametrize(
    ("signature", "types"),
    [
        ("f()", ()),
        ("f(uint256)", ("uint256",)),
        ("f(uint256,(address,bytes)[],bool)", ("uint256", "(address,bytes)[]", "bool")),
        ("f((uint8,(int8,int8)),string)", ("(uint8,(int8,int8))", "string")),
    ],
)
def test_signatures_are_taken_apart(signature, types):
    """A signature's arguments are those between its outer commas."""
    assert parse_signature(signature) == ("f", types)


def test_a_hash_serves_once(chain_database, chain_rows):
    """chain 11: two challenges cannot use one hash."""
    with chain_database.transaction() as tx:
        first = observe(
            tx, seen(), expectation=PAYMENT, transaction_type="payout_claim", challenge_id=1
        )
    with pytest.raises(TransactionReusedError) as raised, chain_database.transaction() as tx:
        observe(tx, seen(), expectation=PAYMENT, transaction_type="payout_claim", challenge_id=2)
    assert raised.value.evidence["transaction_id"] == first


def test_two_challenges_at_once_cannot_use_one_hash(chain_database, chain_rows):
    """chain 11: of two who bring one hash at the same time one is refused."""
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def bring(challenge: int) -> None:
        try:
            with chain_database.transaction() as tx:
                start.wait(10)
                observe(
                    tx,
                    seen(),
                    expectation=PAYMENT,
                    transaction_type="payout_claim",
                    challenge_id=challenge,
                )
        except TransactionReusedError:
            outcomes.append("refused")
        else:
            outcomes.append("recorded")

    threads = [threading.Thread(target=bring, args=(challenge,)) for challenge in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["recorded", "refused"]


def test_our_own_attempts_cannot_be_brought(chain_database, chain_rows):
    """chain 11: a hash of any attempt of ours serves already, also one that was replaced."""
    with chain_database.transaction() as tx:
        number = send(tx, intent())
    first = chain_rows.sign(number)
    second = chain_rows.sign(number, attempt=2)
    for transaction_hash in (first, second):
        with pytest.raises(TransactionReusedError), chain_database.transaction() as tx:
            observe(
                tx,
                seen(transaction_hash=transaction_hash),
                expectation=PAYMENT,
                transaction_type="payout_claim",
            )


def test_unknown_networks_types_and_halted_networks(chain_database, chain_rows):
    """An unknown network or type is refused; a halted network's node counts for nothing."""
    elsewhere = Expectation(chain_id=999, from_address=THEIRS, to=OURS, value=5)
    with pytest.raises(UnknownNetworkError), chain_database.transaction() as tx:
        observe(tx, seen(chain_id=999), expectation=elsewhere, transaction_type="payout_claim")
    with pytest.raises(UnknownTransactionTypeError), chain_database.transaction() as tx:
        observe(tx, seen(), expectation=PAYMENT, transaction_type="no_such")
    chain_rows.run(
        "UPDATE tally.networks SET status = 'halted', halted_reason = 'x' WHERE chain_id = 31337"
    )
    with pytest.raises(NetworkUnavailableError), chain_database.transaction() as tx:
        observe(tx, seen(), expectation=PAYMENT, transaction_type="payout_claim")
