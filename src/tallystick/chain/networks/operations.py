"""Operations on networks and accounts; each takes the caller's transaction (chain.md, 2, 3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Final, Literal

from tallystick.chain.errors import (
    InvalidChainValueError,
    PriceUnavailableError,
    UnknownAccountError,
    UnknownNetworkError,
)
from tallystick.chain.networks import store
from tallystick.chain.prices import find_price
from tallystick.chain.values import (
    NO_WEI,
    ChainAccount,
    ChainBlock,
    FinalityMode,
    Network,
)
from tallystick.db import Transaction
from tallystick.record import Address, ChainId, Wei

MAX_CHAIN_ID: Final = 2**53 - 1
"""Chain ids are numbers in messages, and JSON is exact to here."""
MAX_NAME_CHARACTERS: Final = 100
MAX_REASON_CHARACTERS: Final = 500
MAX_UINT256: Final = 2**256 - 1
PURPOSE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
SIGNER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
SYMBOL: Final = re.compile(r"[A-Z0-9]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What a network is added with; the defaults are those of an unknown public network."""

    native_symbol: str = "ETH"
    is_testnet: bool = False
    has_l1_fee: bool = False
    confirmations: int = 12
    finality_mode: FinalityMode = "tag"
    finality_quorum: int = 1
    block_seconds: Decimal = Decimal(12)
    resubmit_seconds: int = 48
    max_fee_per_gas_wei: Wei = Wei(500_000_000_000)  # noqa: RUF009 (a number)
    min_tip_wei: Wei = Wei(1_000_000)  # noqa: RUF009 (a number)


def add_network(
    tx: Transaction, chain_id: ChainId, name: str, settings: NetworkSettings | None = None
) -> Network:
    """
    Add a network, paused, and return it; one that is there already is returned as it is.

    Raises:
        InvalidChainValueError: A setting is out of its range.
    """
    settings = settings or NetworkSettings()
    if not 1 <= chain_id <= MAX_CHAIN_ID:
        raise InvalidChainValueError("a chain id lies between 1 and 2^53 - 1", field="chain_id")
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidChainValueError("a network's name has 1 to 100 characters", field="name")
    if SYMBOL.fullmatch(settings.native_symbol) is None:
        raise InvalidChainValueError("a symbol is 1 to 16 of A-Z, 0-9", field="native_symbol")
    values = asdict(settings)
    check_settings(values)
    store.add_network(tx, chain_id, name, values)
    return get_network(tx, chain_id)


def set_network(
    tx: Transaction,
    chain_id: ChainId,
    *,
    status: Literal["active", "paused"] | None = None,
    reason: str | None = None,
    confirmations: int | None = None,
    finality_mode: FinalityMode | None = None,
    finality_quorum: int | None = None,
    block_seconds: Decimal | None = None,
    resubmit_seconds: int | None = None,
    max_fee_per_gas_wei: Wei | None = None,
    min_tip_wei: Wei | None = None,
) -> Network:
    """
    Pause a network or let it be active, change what is not None, and return it.

    Raises:
        UnknownNetworkError: There is no such network.
        PriceUnavailableError: It cannot be active: nobody has recorded a price of its coin.
        IllegalTransitionError: It is halted, which `resume_network` ends.
        InvalidChainValueError: A setting is out of its range.
    """
    network = get_network(tx, chain_id)
    changes = {
        "confirmations": confirmations,
        "finality_mode": finality_mode,
        "finality_quorum": finality_quorum,
        "block_seconds": block_seconds,
        "resubmit_seconds": resubmit_seconds,
        "max_fee_per_gas_wei": max_fee_per_gas_wei,
        "min_tip_wei": min_tip_wei,
    }
    check_settings(changes)
    if reason is not None:
        check_reason(reason)
    if status == "active" and network.status == "paused":
        require_price(tx, network)
    store.set_network(tx, chain_id, {"status": status, "reason": reason, **changes})
    return get_network(tx, chain_id)


def resume_network(tx: Transaction, chain_id: ChainId, *, reason: str) -> Network:
    """
    Let a halted network go on, with the operator's *reason*, and return it.

    Raises:
        UnknownNetworkError: There is no such network.
        IllegalTransitionError: It is not halted.
        InvalidChainValueError: The reason is empty or too long.
        PriceUnavailableError: Nobody has recorded a price of its coin.
    """
    network = get_network(tx, chain_id)
    check_reason(reason)
    require_price(tx, network)
    store.resume_network(tx, chain_id, reason)
    return get_network(tx, chain_id)


def open_network(tx: Transaction, chain_id: ChainId, *, reason: str) -> Network:
    """
    Let a network be active, whether an operator had paused it or the watcher halted it.

    Raises:
        UnknownNetworkError, InvalidChainValueError, PriceUnavailableError: As `resume_network`.
    """
    check_reason(reason)
    if get_network(tx, chain_id).status == "halted":
        return resume_network(tx, chain_id, reason=reason)
    return set_network(tx, chain_id, status="active", reason=reason)


def get_network(tx: Transaction, chain_id: ChainId) -> Network:
    """
    Return a network.

    Raises:
        UnknownNetworkError: There is none with this chain id.
    """
    # A bigint is all that the database can be asked for.
    found = store.list_networks(tx, chain_id) if 0 < chain_id <= MAX_CHAIN_ID else []
    if not found:
        raise UnknownNetworkError(f"there is no network with the chain id {chain_id}")
    return found[0]


def list_networks(tx: Transaction) -> list[Network]:
    """Return every network, by chain id."""
    return store.list_networks(tx, None)


def add_account(
    tx: Transaction,
    chain_id: ChainId,
    address: Address,
    *,
    purpose: str,
    signer_name: str,
    minimum_balance_wei: Wei = NO_WEI,
) -> bool:
    """
    Let *address* send what has *purpose* on the network; False where one of them is taken there.

    Raises:
        UnknownNetworkError: There is no such network.
        InvalidChainValueError: A value is out of its range.
    """
    if PURPOSE.fullmatch(purpose) is None:
        raise InvalidChainValueError("a purpose is a lower-case word", field="purpose")
    check_account(signer_name, minimum_balance_wei)
    return store.add_account(
        tx,
        chain_id=get_network(tx, chain_id).chain_id,
        address=address,
        purpose=purpose,
        signer_name=signer_name,
        minimum_balance_wei=minimum_balance_wei,
    )


def set_account(
    tx: Transaction,
    chain_id: ChainId,
    address: Address,
    *,
    signer_name: str | None = None,
    minimum_balance_wei: Wei | None = None,
    is_paused: bool | None = None,
) -> None:
    """
    Change what an account signs with, when it stops and whether it sends; None changes nothing.

    Raises:
        UnknownAccountError: There is no such account.
        InvalidChainValueError: A value is out of its range.
    """
    check_account(signer_name, minimum_balance_wei)
    is_changed = store.set_account(
        tx,
        chain_id=chain_id,
        address=address,
        signer_name=signer_name,
        minimum_balance_wei=minimum_balance_wei,
        is_paused=is_paused,
    )
    if not is_changed:
        raise UnknownAccountError(f"network {chain_id} has no account {address} of ours")


def list_accounts(tx: Transaction, chain_id: ChainId | None = None) -> list[ChainAccount]:
    """Return the accounts of one network, or of all, by network and purpose."""
    return store.list_accounts(tx, chain_id)


def block_at(tx: Transaction, chain_id: ChainId, number: int) -> ChainBlock | None:
    """Return the canonical block *number* as the watcher recorded it; None: not, or pruned."""
    return store.block_at(tx, chain_id, number)


def require_price(tx: Transaction, network: Network) -> None:
    """
    Check that the network's coin has a price.

    Raises:
        PriceUnavailableError: Nobody has recorded one.
    """
    if find_price(tx, network.native_symbol) is None:
        raise PriceUnavailableError(f"nobody has recorded a price of {network.native_symbol}")


def check_reason(reason: str) -> None:
    """
    Check that an operator said why.

    Raises:
        InvalidChainValueError: The reason is blank or too long.
    """
    if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidChainValueError("a reason has 1 to 500 characters", field="reason")


def check_settings(settings: Mapping[str, object]) -> None:
    """
    Check the settings that are not None.

    Raises:
        InvalidChainValueError: One is out of its range; it is named.
    """
    for name, most in (
        ("confirmations", 2**31 - 1),
        ("finality_quorum", 2**15 - 1),
        ("resubmit_seconds", 2**31 - 1),
        ("block_seconds", 99_999),
    ):
        value = settings[name]
        if value is not None and not (isinstance(value, int | Decimal) and 0 < value <= most):
            raise InvalidChainValueError(f"{name} lies between 1 and {most}", field=name)
    for name in ("max_fee_per_gas_wei", "min_tip_wei"):
        value = settings[name]
        if value is not None and not (isinstance(value, int) and 0 <= value <= MAX_UINT256):
            raise InvalidChainValueError(f"{name} is a uint256", field=name)
    if settings["finality_mode"] not in (None, "tag", "depth"):
        raise InvalidChainValueError("finality is by tag or by depth", field="finality_mode")


def check_account(signer_name: str | None, minimum_balance_wei: Wei | None) -> None:
    """
    Check what of an account is not None.

    Raises:
        InvalidChainValueError: A value is out of its range; it is named.
    """
    if signer_name is not None and SIGNER_NAME.fullmatch(signer_name) is None:
        raise InvalidChainValueError("a signer's name is a plain word", field="signer_name")
    if minimum_balance_wei is not None and not 0 <= minimum_balance_wei <= MAX_UINT256:
        raise InvalidChainValueError("a balance is a uint256", field="minimum_balance_wei")
