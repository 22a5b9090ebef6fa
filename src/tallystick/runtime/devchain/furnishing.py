"""
What `tally up` puts on the dev chain: accounts with funds, a price, our contracts (chain.md, 4.5).

The worker does it once the chain answers, and tries again until it is done; everything that is
there already is left as it is, so that it may run at each start. Keys are files of the key
directory; rows name a signer, `devchain-<purpose>`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import psycopg
import structlog

from tallystick.chain.contracts import DEPLOY_TYPE, deploy, get_contract, load_artifact
from tallystick.chain.errors import NodeUnavailableError, UnknownContractError
from tallystick.chain.networks import add_account, get_network, list_accounts, set_network
from tallystick.chain.node import Node, parse_quantity
from tallystick.chain.node.blocks import parse_header
from tallystick.chain.node.reader import answered
from tallystick.chain.prices import find_price, record_price
from tallystick.chain.sender.transaction import UnsignedTransaction
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.clock import utc_now
from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.record import Address
from tallystick.runtime import store
from tallystick.runtime.devchain.accounts import (
    FAUCET,
    address_of,
    load_or_create_key,
    sign_with,
    signer_name,
)

CONTRACTS: Final[Sequence[str]] = ("TallyAnchor",)
"""What is deployed; none of them takes arguments."""
PRICE_USD: Final = Decimal(2500)
PRICE_SOURCE: Final = "fixed:dev"
FUNDS_WEI: Final = 10_000 * 10**18
"""What an account is given; enough for millions of anchors."""
LEAST_WEI: Final = 1_000 * 10**18
"""Below this an account is given again."""
TRANSFER_GAS: Final = 21_000
FEE_WEI: Final = 100 * 10**9
LOOK_SECONDS: Final = 0.2
PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def furnish(database: Database, node: Node, key_dir: Path, stop: threading.Event) -> None:
    """Furnish the dev chain, however long it takes to answer, and wait for *stop*."""
    failures = 0
    while not stop.is_set():
        try:
            if furnish_once(database, node, key_dir):
                logger.info("devchain.furnished", process="worker")
                break
        except NodeUnavailableError:
            # It replays its journal, or was killed and comes back.
            stop.wait(LOOK_SECONDS)
        except (Error, psycopg.Error, OSError) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.warning("devchain.not_furnished", process="worker", error=code)
            stop.wait(min(PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
        else:
            stop.wait(LOOK_SECONDS)
    stop.wait()


def run_when_answering(node: Node, stop: threading.Event, duty: Callable[[], None]) -> None:
    """Run *duty* once the chain answers: until then it would only say that nobody does."""
    while not stop.is_set():
        try:
            node.call("eth_chainId")
        except Error:
            stop.wait(LOOK_SECONDS)
        else:
            duty()
            return


def furnish_once(database: Database, node: Node, key_dir: Path) -> bool:
    """
    Do what can be done now, and return whether everything is there.

    Raises:
        NodeUnavailableError: The chain does not answer, or not as a chain does.
        NodeRefusedError: It refuses, because its disk is full or an account is not to be funded.
        KeyPermissionsError, MalformedKeyError: The file of a key is open to others, or holds none.
    """
    genesis = parse_header(node.call("eth_getBlockByNumber", "0x0", False)).hash
    with database.transaction() as tx:
        accounts = open_accounts(tx, key_dir)
    fund(node, accounts, key_dir)
    with database.transaction() as tx:
        if get_network(tx, DEV_CHAIN_ID).scanned_block is None:
            # What is sent before anybody watches would be found by chance, much later.
            return False
        deploy_missing(tx, genesis)
    return True


def open_accounts(tx: Transaction, key_dir: Path) -> Mapping[str, Address]:
    """
    Return the account of each purpose that a type of transaction has; new ones are added.

    With the first of them the network is opened. Later it is left as it is: who pauses it has
    his reason.
    """
    known = {one.purpose: one.address for one in list_accounts(tx, DEV_CHAIN_ID)}
    if not known:
        open_network(tx)
    for purpose in store.read_purposes(tx):
        if purpose not in known:
            known[purpose] = address_of(load_or_create_key(key_dir, purpose))
            add_account(
                tx,
                DEV_CHAIN_ID,
                known[purpose],
                purpose=purpose,
                signer_name=signer_name(purpose),
            )
    return known


def open_network(tx: Transaction) -> None:
    """Let the network be active, and give its coin a price if it has none."""
    network = get_network(tx, DEV_CHAIN_ID)
    if find_price(tx, network.native_symbol) is None:
        record_price(tx, network.native_symbol, PRICE_USD, PRICE_SOURCE, utc_now())
    if network.status == "paused":
        set_network(tx, DEV_CHAIN_ID, status="active")


def fund(node: Node, accounts: Mapping[str, Address], key_dir: Path) -> None:
    """
    Give each account that has little what it needs, from the faucet.

    Raises:
        NodeUnavailableError, NodeRefusedError: The chain does not answer, or refuses.
    """
    addresses = sorted(accounts.values())
    balances = node.batch([("eth_getBalance", (each, "latest")) for each in addresses])
    poor = [
        each
        for each, balance in zip(addresses, balances, strict=True)
        if parse_quantity(answered(balance)) < LEAST_WEI
    ]
    if not poor:
        return
    key = load_or_create_key(key_dir, FAUCET)
    nonce = parse_quantity(node.call("eth_getTransactionCount", address_of(key), "pending"))
    for place, address in enumerate(poor):
        transfer = UnsignedTransaction(
            chain_id=DEV_CHAIN_ID,
            nonce=nonce + place,
            max_priority_fee_per_gas=1,
            max_fee_per_gas=FEE_WEI,
            gas_limit=TRANSFER_GAS,
            to=address,
            value=FUNDS_WEI,
            call_data=b"",
        )
        node.call("eth_sendRawTransaction", "0x" + sign_with(key, transfer).hex())


def deploy_missing(tx: Transaction, genesis: str) -> None:
    """Intend to deploy each contract that is not registered, once for each chain that begins."""
    for name in CONTRACTS:
        try:
            get_contract(tx, name, DEV_CHAIN_ID)
        except UnknownContractError:
            version = load_artifact(name).code_hash.hex()[:16]
            key = f"{DEPLOY_TYPE}:{name}:{version}:{genesis}"
            deploy(tx, name, chain_id=DEV_CHAIN_ID, idempotency_key=key)
