"""
The embedded dev chain: an EVM with its whole history, as a process of `runtime` (chain.md, 4.5).

    process      the process: journal, machine, server, until it is told to stop
    server       JSON-RPC over HTTP on loopback
    methods      what is answered, by method
    shapes       blocks, transactions, receipts and logs as JSON-RPC shows them
    execution    calls and estimates, which leave nothing behind
    machine      mining, live and replayed; on py-evm
    pool         transactions that wait
    journal      what survives a restart
    accounts     the keys of the chain's accounts, as files

Nothing here imports the EVM until the process itself is run.
"""

import importlib.util

from tallystick.runtime.devchain.process import run_dev_chain

__all__ = ["has_dev_chain", "run_dev_chain"]


def has_dev_chain() -> bool:
    """Return whether the extra `devchain` is installed; nothing is imported to find out."""
    return all(importlib.util.find_spec(name) for name in ("eth", "coincurve"))
