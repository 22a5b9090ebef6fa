"""From a client's hash to a followed transaction, through a real node (chain.md, 4.1.6, 7.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tallystick.chain import Expectation, SeenTransaction, get_transaction, observe
from tallystick.chain.errors import (
    ExpectationFailedError,
    NoEndpointError,
    UnknownTransactionError,
)
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import ChainReader
from tallystick.record import Address, ChainId, TransactionHash, Wei
from tests.chain.rows import CHAIN
from tests.support.evm import DEV_ACCOUNTS, Anvil, running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = Address(DEV_ACCOUNTS[0].address.lower())
PAYEE = Address(DEV_ACCOUNTS[1].address.lower())
LARGE = Wei(10**21 + 1)


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    """A node."""
    with running_anvil() as running:
        yield running


@pytest.fixture(scope="module")
def reader(anvil: Anvil) -> Iterator[ChainReader]:
    """What looks hashes up on it."""
    with Nodes({anvil.chain_id: [SecretStr(anvil.url)]}) as nodes:
        yield ChainReader(nodes, lambda _: 1)


def pay(anvil: Anvil, kind: int) -> TransactionHash:
    """A client's payment, as a transaction of that type; its hash."""
    fees = {"gasPrice": hex(10**10)} if kind < 2 else {"maxFeePerGas": hex(10**10)}
    request = {
        "from": CLIENT,
        "to": PAYEE,
        "value": hex(LARGE),
        "type": hex(kind),
        **({"accessList": []} if kind == 1 else {}),
        **fees,
    }
    return TransactionHash(anvil.rpc("eth_sendTransaction", request))


def expected(**changes: object) -> Expectation:
    """The payment that the client owes."""
    values = {"chain_id": CHAIN, "from_address": CLIENT, "to": PAYEE, "value": LARGE}
    return Expectation(**{**values, **changes})


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_payment_is_looked_up_and_followed(anvil, reader, chain_database, kind):
    """chain 11: what is recorded is what the node says, for each type of transaction."""
    transaction_hash = pay(anvil, kind)
    seen = reader.look_up(CHAIN, transaction_hash)
    assert seen.transaction_type == kind
    with chain_database.transaction() as tx:
        number = observe(
            tx, seen, expectation=expected(), transaction_type="payout_claim", challenge_id=1
        )
        found = get_transaction(tx, number)
    assert (found.transaction_hash, found.from_address) == (transaction_hash, CLIENT)
    assert (found.to_address, found.value_transferred) == (PAYEE, LARGE)


@pytest.mark.parametrize(
    ("field", "change"),
    [("from_address", {"from_address": PAYEE}), ("to", {"to": CLIENT}), ("value", {"value": 1})],
)
def test_another_payment_is_refused(anvil, reader, chain_database, field, change):
    """chain 11: another's payment, to another or of another value is refused."""
    seen = reader.look_up(CHAIN, pay(anvil, 2))
    with pytest.raises(ExpectationFailedError) as raised, chain_database.transaction() as tx:
        observe(tx, seen, expectation=expected(**change), transaction_type="payout_claim")
    assert raised.value.field == field


def test_an_unknown_hash_is_refused(reader):
    """chain 11: a hash that no node knows is no transaction."""
    with pytest.raises(UnknownTransactionError):
        reader.look_up(CHAIN, TransactionHash("0x" + "ab" * 32))


def test_a_hash_of_another_chain_is_refused(anvil, reader, chain_database):
    """chain 11: a network without a node is not asked, and another's payment is not expected."""
    transaction_hash = pay(anvil, 2)
    with pytest.raises(NoEndpointError):
        reader.look_up(ChainId(1), transaction_hash)
    seen: SeenTransaction = reader.look_up(CHAIN, transaction_hash)
    with pytest.raises(ExpectationFailedError) as raised, chain_database.transaction() as tx:
        observe(
            tx, seen, expectation=expected(chain_id=ChainId(1)), transaction_type="payout_claim"
        )
    assert raised.value.field == "chain_id"
