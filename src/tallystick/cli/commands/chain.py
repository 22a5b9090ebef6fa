"""`tally chain`: networks, accounts, prices and contracts (chain.md, section 6)."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from tallystick.chain import (
    NetworkSettings,
    add_account,
    add_network,
    list_accounts,
    list_networks,
    open_network,
    record_price,
    set_account,
    set_network,
)
from tallystick.chain.contracts import (
    Checked,
    check_contracts,
    check_sources,
    deploy,
    list_contracts,
    load_artifact,
)
from tallystick.chain.errors import UnknownAccountError
from tallystick.chain.networks import check_reason
from tallystick.chain.node.encoding import parse_data
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.prices import get_price
from tallystick.cli.commands.chain_output import show_facts, show_facts_list
from tallystick.cli.errors import FindingsError, NotComparedError, UsageError
from tallystick.cli.output import print_json, print_table
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.clock import utc_now
from tallystick.db import Database
from tallystick.record import ChainId, Wei, parse_address
from tallystick.runtime.devchain.place import chain_endpoints

NETWORK_COLUMNS: Final = (
    "chain_id",
    "name",
    "native_symbol",
    "status",
    "confirmations",
    "finality_mode",
    "scanned_block",
    "finalized_block",
    "halted_reason",
)
ACCOUNT_COLUMNS: Final = (
    "chain_id",
    "purpose",
    "address",
    "signer_name",
    "next_nonce",
    "minimum_balance_wei",
    "is_paused",
)
CONTRACT_COLUMNS: Final = (
    "chain_id",
    "contract_name",
    "contract_version",
    "contract_address",
    "is_active",
    "block_number",
)

ChainArgument = Annotated[int, Parameter(help="Chain id of the network.")]
ChainOption = Annotated[int | None, Parameter(help="Of this network alone, by its chain id.")]
Reason = Annotated[str, Parameter(help="Why; it stands with the network, and is sealed.")]


def networks(*, place: Place = HERE) -> None:
    """List the networks, how far each was read, and what is final there."""
    with place.transaction(read_only=True) as tx:
        found = list_networks(tx)
    show_facts_list(found, NETWORK_COLUMNS, as_json=place.json)


def add(
    chain_id: ChainArgument,
    name: Annotated[str, Parameter(help="What people call it.")],
    /,
    *,
    symbol: Annotated[str, Parameter(help="Of its own coin, by which prices are named.")] = "ETH",
    testnet: Annotated[bool, Parameter(negative="", help="Its coins are worth nothing.")] = False,
    l1_fee: Annotated[
        bool, Parameter(negative="", help="Its receipts tell a fee of the layer below.")
    ] = False,
    confirmations: Annotated[int, Parameter(help="Depth at which a block is confirmed.")] = 12,
    finality: Annotated[
        Literal["tag", "depth"], Parameter(help="Final by the node's word, or by depth.")
    ] = "tag",
    quorum: Annotated[int, Parameter(help="Endpoints that must agree on what is final.")] = 1,
    block_seconds: Annotated[Decimal, Parameter(help="What a block takes.")] = Decimal(12),
    resubmit: Annotated[int, Parameter(help="Seconds until more is offered.")] = 48,
    max_fee: Annotated[str | None, Parameter(help="Most wei for a unit of gas.")] = None,
    min_tip: Annotated[str | None, Parameter(help="Least tip in wei for a unit of gas.")] = None,
    place: Place = HERE,
) -> None:
    """Add a network, paused; `tally chain resume` opens it once its coin has a price."""
    default = NetworkSettings()
    settings = NetworkSettings(
        native_symbol=symbol,
        is_testnet=testnet,
        has_l1_fee=l1_fee,
        confirmations=confirmations,
        finality_mode=finality,
        finality_quorum=quorum,
        block_seconds=block_seconds,
        resubmit_seconds=resubmit,
        max_fee_per_gas_wei=default.max_fee_per_gas_wei if max_fee is None else wei(max_fee),
        min_tip_wei=default.min_tip_wei if min_tip is None else wei(min_tip),
    )
    with place.transaction() as tx:
        network = add_network(tx, ChainId(chain_id), name, settings)
    show_facts(network, as_json=place.json)


def pause(chain_id: ChainArgument, /, *, reason: Reason, place: Place = HERE) -> None:
    """Sign nothing more on a network; what was sent is followed on."""
    with place.transaction() as tx:
        check_reason(reason)
        network = set_network(tx, ChainId(chain_id), status="paused", reason=reason)
    show_facts(network, as_json=place.json)


def resume(chain_id: ChainArgument, /, *, reason: Reason, place: Place = HERE) -> None:
    """Let a network go on that is paused or halted."""
    with place.transaction() as tx:
        network = open_network(tx, ChainId(chain_id), reason=reason)
    show_facts(network, as_json=place.json)


def accounts(*, chain: ChainOption = None, place: Place = HERE) -> None:
    """List our accounts: which address sends what, and by which signer."""
    with place.transaction(read_only=True) as tx:
        found = list_accounts(tx, None if chain is None else ChainId(chain))
    show_facts_list(found, ACCOUNT_COLUMNS, as_json=place.json)


def account(
    address: Annotated[str, Parameter(help="The account's address.")],
    /,
    *,
    chain: ChainArgument,
    purpose: Annotated[str | None, Parameter(help="What it sends; makes the account.")] = None,
    signer: Annotated[str | None, Parameter(help="A signer of CHAIN_SIGNERS, by name.")] = None,
    minimum: Annotated[str | None, Parameter(help="Wei below which it sends nothing.")] = None,
    paused: Annotated[bool | None, Parameter(help="Whether it sends nothing for now.")] = None,
    place: Place = HERE,
) -> None:
    """Add an account with --purpose and --signer, or change one; keys stay with the signer."""
    parsed, chain_id = parse_address(address), ChainId(chain)
    least = None if minimum is None else wei(minimum)
    if purpose is not None and signer is None:
        raise UsageError("an account with a purpose needs its --signer")
    with place.transaction() as tx:
        if purpose is not None and signer is not None:
            add_account(
                tx,
                chain_id,
                parsed,
                purpose=purpose,
                signer_name=signer,
                minimum_balance_wei=least or Wei(0),
            )
        set_account(
            tx,
            chain_id,
            parsed,
            signer_name=signer,
            minimum_balance_wei=least,
            is_paused=paused,
        )
        found = [one for one in list_accounts(tx, chain_id) if one.address == parsed]
        if purpose not in {None, found[0].purpose}:
            raise UnknownAccountError(f"{address} sends {found[0].purpose}, or {purpose} is taken")
    show_facts(found[0], as_json=place.json)


def price(
    symbol: Annotated[str, Parameter(help="Of the coin: ETH.")],
    usd: Annotated[str, Parameter(help="What one whole coin costs in USD.")],
    /,
    *,
    place: Place = HERE,
) -> None:
    """Record what a coin costs now; its source is whoever runs the command."""
    try:
        amount = Decimal(usd)
    except InvalidOperation as error:
        raise UsageError(f"{usd!r} is no price") from error
    with place.transaction() as tx:
        source = f"fixed:{operator_name()}"
        recorded = get_price(tx, record_price(tx, symbol, amount, source, utc_now()))
    show_facts(recorded, as_json=place.json)


def contracts(*, chain: ChainOption = None, place: Place = HERE) -> None:
    """List our contracts, the active ones first; as JSON with their ABIs."""
    with place.transaction(read_only=True) as tx:
        found = list_contracts(tx, None if chain is None else ChainId(chain))
    show_facts_list(found, CONTRACT_COLUMNS, as_json=place.json)


def deploy_one(
    name: Annotated[str, Parameter(help="A contract that is shipped: TallyAnchor.")],
    /,
    *,
    chain: ChainArgument,
    arguments: Annotated[
        str, Parameter(help="The constructor's, as a JSON array; bytes as text with 0x.")
    ] = "[]",
    key: Annotated[
        str | None, Parameter(help="Idempotency key; default: one for each version and network.")
    ] = None,
    place: Place = HERE,
) -> None:
    """Queue the deployment of a contract; it is registered when that is final."""
    version = load_artifact(name).code_hash.hex()[:16]
    with place.transaction() as tx:
        number = deploy(
            tx,
            name,
            chain_id=ChainId(chain),
            arguments=parse_arguments(arguments),
            idempotency_key=key or f"deploy:{name}:{version}:{chain}",
        )
    if place.json:
        print_json({"transaction_id": number})
    else:
        print_table(["transaction"], [[number]])


def check(*, place: Place = HERE) -> None:
    """Compile the shipped contracts again, and compare the registered ones with their chains."""
    settings = place.settings()
    with place.database() as database:
        results = check_sources() + check_registered(database, Nodes(chain_endpoints(settings)))
    columns = ("contract_name", "chain_id", "contract_address", "is_same", "reason")
    show_facts_list(results, columns, as_json=place.json)
    differing = [one for one in results if one.is_same is False]
    unknown = [one for one in results if one.is_same is None]
    if differing:
        raise FindingsError(f"{len(differing)} of {len(results)} are not what they should be")
    if unknown:
        raise NotComparedError(f"{len(unknown)} of {len(results)} could not be compared")


def check_registered(database: Database, nodes: Nodes) -> list[Checked]:
    """Compare the code of every registered contract with the registry, and close *nodes*."""
    with database.transaction(read_only=True) as tx:
        registered = list_contracts(tx)
    # No transaction waits for a node.
    with nodes:
        return check_contracts(
            registered,
            lambda chain_id, address: parse_data(
                nodes.of(chain_id).call("eth_getCode", address, "latest")
            ),
        )


def parse_arguments(text: str) -> list[Any]:
    """
    Return the arguments in the JSON array *text*; text of 0x and hexadecimal becomes bytes,
    but for 20 bytes, which are an address.

    Raises:
        UsageError: It is no JSON array.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError("--arguments is a JSON array") from error
    if not isinstance(found, list):
        raise UsageError("--arguments is a JSON array")
    return [argument_of(value) for value in found]


def argument_of(value: Any) -> Any:
    """Return *value* as an ABI's encoder takes it."""
    if isinstance(value, list):
        return [argument_of(each) for each in value]
    address_characters = 42
    if isinstance(value, str) and value.startswith("0x") and len(value) != address_characters:
        try:
            return bytes.fromhex(value[2:])
        except ValueError as error:
            raise UsageError(f"{value[:20]!r} is not hexadecimal") from error
    return value


def wei(text: str) -> Wei:
    """
    Return the amount that *text* writes in digits.

    Raises:
        UsageError: It writes none.
    """
    if not text.isdecimal() or not text.isascii():
        raise UsageError(f"{text!r} is no amount of wei")
    return Wei(int(text))
