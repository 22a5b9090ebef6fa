"""The registry: only what stands on the chain as it was compiled, one active of each name."""

from __future__ import annotations

import dataclasses
import json

import psycopg
import pytest

from tallystick.chain import add_account
from tallystick.chain.contracts import (
    DeploymentFollower,
    check_contracts,
    deploy,
    encode_deployment,
    get_contract,
    get_contract_at,
    list_contracts,
    load_artifact,
    register_contract,
)
from tallystick.chain.errors import (
    CodeHashMismatchError,
    EvidenceUnavailableError,
    IdempotencyConflictError,
    NodeUnavailableError,
    UnknownAccountError,
    UnknownContractError,
    UnknownNetworkError,
)
from tallystick.chain.intents import get_transaction
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.db import connect
from tallystick.record import Address, ChainId, canonical, keccak256

ARTIFACT = load_artifact("TallyAnchor")
FIRST, SECOND = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
DEPLOYER = Address("0x" + "de" * 20)
OTHER_CHAIN = ChainId(31337)


@pytest.fixture
def database(database_url):
    """A pool on this test's database."""
    with connect(database_url, pool_size=2) as pool:
        yield pool


@pytest.fixture
def tx(database):
    """A transaction."""
    with database.transaction() as opened:
        yield opened


def register(tx, address=FIRST, *, chain_id=DEV_CHAIN_ID, code=ARTIFACT.runtime_bytecode):
    """Register TallyAnchor at *address*."""
    return register_contract(tx, code, name="TallyAnchor", chain_id=chain_id, address=address)


def test_other_code_is_refused(tx):
    """chain 15: code with one bit changed, longer, shorter or absent is never registered."""
    code = ARTIFACT.runtime_bytecode
    for other in (b"", code[:-1], code + b"\0", bytes([code[0] ^ 1]) + code[1:]):
        with pytest.raises(CodeHashMismatchError) as refused:
            register(tx, code=other)
        assert (ARTIFACT.code_hash, keccak256(other)) == (
            refused.value.expected,
            refused.value.actual,
        )
    assert [] == list_contracts(tx, DEV_CHAIN_ID)


def test_a_registered_contract_is_its_artifact(tx):
    """The row holds the artifact, with the hashes by which anybody can check it."""
    register(tx)
    found = get_contract(tx, "TallyAnchor", DEV_CHAIN_ID)
    assert (FIRST, "1", True, "vyper 0.4.3") == (
        found.contract_address,
        found.contract_version,
        found.is_active,
        found.compiler_version,
    )
    assert (ARTIFACT.abi_hash, ARTIFACT.code_hash, ARTIFACT.source_sha256) == (
        found.abi_hash,
        found.code_hash,
        found.source_hash,
    )
    assert canonical(ARTIFACT.abi) == canonical(found.abi)
    assert found == get_contract_at(tx, DEV_CHAIN_ID, FIRST)


def test_a_new_one_takes_the_name_of_the_old(tx):
    """chain 15: the older contract of a name becomes inactive, and stays."""
    register(tx)
    register(tx, SECOND)
    assert [(SECOND, True), (FIRST, False)] == [
        (found.contract_address, found.is_active) for found in list_contracts(tx, DEV_CHAIN_ID)
    ]
    assert SECOND == get_contract(tx, "TallyAnchor", DEV_CHAIN_ID).contract_address


def test_registering_again_makes_active_again(tx):
    """The same contract keeps its row, and is the active one again."""
    first = register(tx)
    register(tx, SECOND)
    assert first == register(tx)
    assert FIRST == get_contract(tx, "TallyAnchor", DEV_CHAIN_ID).contract_address
    assert 2 == len(list_contracts(tx))


def test_networks_are_apart(tx):
    """A name is active once on each network."""
    register(tx)
    register(tx, chain_id=OTHER_CHAIN)
    assert {DEV_CHAIN_ID, OTHER_CHAIN} == {found.chain_id for found in list_contracts(tx)}
    assert all(found.is_active for found in list_contracts(tx))


def test_what_is_not_there_is_named(tx):
    """An unknown name, address or network is refused by its own error."""
    with pytest.raises(UnknownContractError, match="TallyAnchor"):
        get_contract(tx, "TallyAnchor", DEV_CHAIN_ID)
    with pytest.raises(UnknownContractError, match=FIRST):
        get_contract_at(tx, DEV_CHAIN_ID, FIRST)
    with pytest.raises(UnknownNetworkError), tx.savepoint():
        register(tx, chain_id=ChainId(5))


def test_rows_never_change(database, database_url):
    """Nobody changes what a contract was, nor removes it."""
    with database.transaction() as tx:
        register(tx)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (
            "UPDATE tally.contract_deployments SET contract_version = '2'",
            "UPDATE tally.contract_deployments SET code_hash = sha256('x')",
            "DELETE FROM tally.contract_deployments",
            "TRUNCATE tally.contract_deployments CASCADE",
        ):
            with pytest.raises(psycopg.Error, match="append-only"):
                connection.execute(statement)


# Deploying ------------------------------------------------------------------------------------


def add_deployer(tx):
    """Let there be an account that deploys."""
    add_account(tx, DEV_CHAIN_ID, DEPLOYER, purpose="deployer", signer_name="test")


def test_a_deployment_is_an_intent(tx):
    """deploy queues the artifact's bytes from the account that deploys, once for each key."""
    add_deployer(tx)
    asked = {"chain_id": DEV_CHAIN_ID, "idempotency_key": "once"}
    number = deploy(tx, "TallyAnchor", **asked)
    assert number == deploy(tx, "TallyAnchor", **asked)
    row = get_transaction(tx, number)
    assert ("contract_deploy", DEPLOYER, None, "queued", ARTIFACT.bytecode) == (
        row.transaction_type,
        row.from_address,
        row.to_address,
        row.state,
        row.call_data,
    )
    with pytest.raises(IdempotencyConflictError), tx.savepoint():
        deploy(tx, "TallyAnchor", chain_id=DEV_CHAIN_ID, arguments=(), idempotency_key="once") and (
            send_other(tx)
        )


def send_other(tx):
    """An intent of other bytes under the same key."""
    from tallystick.chain import ChainIntent, send

    return send(
        tx,
        ChainIntent(
            chain_id=DEV_CHAIN_ID,
            transaction_type="contract_deploy",
            idempotency_key="once",
            to=None,
            call_data=b"\1",
        ),
    )


def test_a_deployment_needs_an_account(tx):
    """Where no account of ours deploys, the intent is refused."""
    with pytest.raises(UnknownAccountError), tx.savepoint():
        deploy(tx, "TallyAnchor", chain_id=DEV_CHAIN_ID, idempotency_key="once")


# The built-in follower ------------------------------------------------------------------------


def deployed(tx, **changes):
    """A transaction of ours that deployed TallyAnchor at FIRST, as a follower is told of it."""
    add_deployer(tx)
    number = deploy(tx, "TallyAnchor", chain_id=DEV_CHAIN_ID, idempotency_key="once")
    row = get_transaction(tx, number)
    return dataclasses.replace(row, **{"contract_address": FIRST, "state": "finalized", **changes})


def test_the_follower_registers_what_it_read_before(database):
    """Code that was read before the transaction is registered in it, at finality."""
    follower = DeploymentFollower()
    follower.prepare(DEV_CHAIN_ID, {FIRST}, lambda _: ARTIFACT.runtime_bytecode)
    with database.transaction() as tx:
        transaction = deployed(tx)
        follower.on_included(tx, transaction)
        follower.on_rolled_back(tx, transaction)
        follower.on_failed(tx, transaction)
        assert [] == list_contracts(tx)
        follower.on_finalized(tx, transaction)
        assert FIRST == get_contract(tx, "TallyAnchor", DEV_CHAIN_ID).contract_address


def test_the_follower_asks_for_what_it_has_not_read(database):
    """A worker that was started in between reads the code before the second try."""
    follower, asked = DeploymentFollower(), []

    def read(address):
        asked.append(address)
        return ARTIFACT.runtime_bytecode

    with database.transaction() as tx:
        transaction = deployed(tx)
        with pytest.raises(EvidenceUnavailableError):
            follower.on_finalized(tx, transaction)
        follower.prepare(OTHER_CHAIN, set(), read)
        assert [] == asked
        follower.prepare(DEV_CHAIN_ID, set(), read)
        follower.on_finalized(tx, transaction)
        assert ([FIRST], 1) == (asked, len(list_contracts(tx)))


@pytest.mark.parametrize(
    "changes", [{"call_data": b"\1\2"}, {"call_data": encode_deployment(ARTIFACT, []) + b"x"}]
)
def test_the_follower_registers_only_ours(tx, changes):
    """What is no contract of ours is not registered, and holds up no block."""
    follower = DeploymentFollower()
    follower.prepare(DEV_CHAIN_ID, {FIRST}, lambda _: ARTIFACT.runtime_bytecode)
    follower.on_finalized(tx, deployed(tx, **changes))
    assert [] == list_contracts(tx)


def test_the_follower_does_not_believe_that_there_is_no_code(database):
    """An endpoint that is behind shows none yet: the code is asked for again, and registered."""
    follower = DeploymentFollower()
    follower.prepare(DEV_CHAIN_ID, {FIRST}, lambda _: b"")
    with database.transaction() as tx:
        transaction = deployed(tx)
        with pytest.raises(EvidenceUnavailableError):
            follower.on_finalized(tx, transaction)
        follower.prepare(DEV_CHAIN_ID, set(), lambda _: ARTIFACT.runtime_bytecode)
        follower.on_finalized(tx, transaction)
        assert 1 == len(list_contracts(tx))


def test_the_follower_refuses_other_code(tx):
    """Other code than the artifact's is not registered, and holds up no block."""
    follower = DeploymentFollower()
    follower.prepare(DEV_CHAIN_ID, {FIRST}, lambda _: b"\x60\x01")
    follower.on_finalized(tx, deployed(tx))
    assert [] == list_contracts(tx)


# Checking -------------------------------------------------------------------------------------


def test_contracts_are_checked_against_their_chain(tx):
    """Code that is another by now, or cannot be read, is told of each contract."""
    register(tx)
    register(tx, SECOND)
    register(tx, chain_id=OTHER_CHAIN)

    def code_at(chain_id, address):
        if chain_id == OTHER_CHAIN:
            raise NodeUnavailableError
        return ARTIFACT.runtime_bytecode if address == FIRST else b""

    found = check_contracts(list_contracts(tx), code_at)
    verdicts = {(one.chain_id, one.contract_address): one.is_same for one in found}
    assert {
        (DEV_CHAIN_ID, FIRST): True,
        (DEV_CHAIN_ID, SECOND): False,
        (OTHER_CHAIN, FIRST): None,
    } == verdicts
    assert all(one.reason for one in found if not one.is_same)
    assert json.dumps([dataclasses.asdict(one) for one in found])
