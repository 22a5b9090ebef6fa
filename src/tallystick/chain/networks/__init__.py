"""Networks, the accounts that send on them, and their blocks (chain.md, sections 2 and 3.2)."""

from tallystick.chain.networks.operations import (
    NetworkSettings,
    add_account,
    add_network,
    block_at,
    check_reason,
    get_network,
    list_accounts,
    list_networks,
    open_network,
    resume_network,
    set_account,
    set_network,
)

__all__ = [
    "NetworkSettings",
    "add_account",
    "add_network",
    "block_at",
    "check_reason",
    "get_network",
    "list_accounts",
    "list_networks",
    "open_network",
    "resume_network",
    "set_account",
    "set_network",
]
