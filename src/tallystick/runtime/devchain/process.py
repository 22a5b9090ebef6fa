"""
The dev chain's process: it opens the journal, mines it again, and answers (chain.md, 4.5).

`python -m tallystick.runtime.devchain` is what `tally up` starts, and `tally chain dev`
runs the same function. The EVM is imported here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import ChainId
from tallystick.runtime.children import stop_with_parent
from tallystick.runtime.devchain.accounts import FAUCET, address_of, load_or_create_key
from tallystick.runtime.devchain.errors import DevChainMissingError, OtherNetworkError
from tallystick.runtime.devchain.journal import Genesis, Journal, open_journal, set_aside
from tallystick.runtime.devchain.server import RpcServer
from tallystick.runtime.errors import AddressInUseError
from tallystick.runtime.logging import configure_logging
from tallystick.runtime.signals import stop_on_signals

if TYPE_CHECKING:
    from tallystick.runtime.devchain.machine import Machine

FAUCET_WEI: Final = 10**9 * 10**18
"""A thousand million coins: more than any test or demonstration spends."""
LOOK_SECONDS: Final = 0.2
STACK_BYTES: Final = 64 * 2**20
"""Of each thread: py-evm allows ten times the usual depth of calls, and JSON may nest as deep."""

Result = TypeVar("Result")

logger = structlog.get_logger(__name__)


def run_dev_chain(
    directory: Path,
    key_dir: Path,
    stop: threading.Event,
    *,
    chain_id: ChainId = DEV_CHAIN_ID,
    port: int = 0,
    reset: bool = False,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """
    Run the dev chain whose journal is in *directory* until *stop* is set.

    *started* is told the URL once it answers. With *reset* the journal is put aside first and
    the chain starts anew; with port 0 any port that is free is taken.

    Raises:
        OtherNetworkError: *chain_id*, or the journal's, is not the dev chain's.
        DevChainMissingError: The extra `devchain` is not installed.
        DevChainBusyError: Another process keeps this journal.
        JournalDamagedError, JournalDivergedError: The journal does not lead to what it was.
        AddressInUseError: Another program listens on the port.
    """
    if chain_id != DEV_CHAIN_ID:
        raise OtherNetworkError(
            f"chain {chain_id} is not the dev chain, {DEV_CHAIN_ID}: nodes of others are"
            " named in the configuration",
            expected=DEV_CHAIN_ID,
            actual=chain_id,
        )
    if reset:
        set_aside(directory)
    journal = open_journal(directory, chain_id=chain_id, genesis=lambda: new_genesis(key_dir))
    before = threading.stack_size(STACK_BYTES)
    try:
        if journal.torn:
            logger.warning("devchain.torn_line_cut", process="devchain", rows=journal.torn)
        serve(journal, port=port, stop=stop, started=started)
    finally:
        threading.stack_size(before)
        journal.close()


def new_genesis(key_dir: Path) -> Genesis:
    """Return block 0 of a new chain: now, and everything is the faucet's."""
    faucet = address_of(load_or_create_key(key_dir, FAUCET))
    return Genesis(DEV_CHAIN_ID, int(time.time()), {faucet: FAUCET_WEI})


def serve(
    journal: Journal, *, port: int, stop: threading.Event, started: Callable[[str], None]
) -> None:
    """
    Mine *journal* again and answer JSON-RPC until *stop* is set, or the disk refuses.

    Raises:
        DevChainMissingError, JournalDivergedError, AddressInUseError: As `run_dev_chain`.
        OSError: The journal could not be written.
    """
    try:
        from tallystick.runtime.devchain.machine import Machine  # noqa: PLC0415 (imports the EVM)
        from tallystick.runtime.devchain.methods import answer  # noqa: PLC0415 (as above)
    except ImportError as error:
        raise DevChainMissingError from error
    began = time.monotonic()
    machine = in_a_thread(lambda: start(Machine(journal)))
    try:
        server = RpcServer(port, lambda method, parameters: answer(machine, method, parameters))
    except OSError as error:
        raise AddressInUseError(f"127.0.0.1:{port}: {error.strerror or error}") from error
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        took_ms = round(1000 * (time.monotonic() - began), 1)
        logger.info(
            "devchain.started",
            process="devchain",
            address=server.url,
            rows=len(machine.blocks) - 1,
            duration_ms=took_ms,
        )
        started(server.url)
        while not stop.wait(LOOK_SECONDS):
            if server.broken.is_set():
                raise OSError("the dev chain's journal cannot be written")
        server.shutdown()
        # Whoever is mining finishes, and it is on the disk; nobody begins.
        server.broken.set()
        with server.turn:
            logger.info("devchain.stopped", process="devchain", pid=os.getpid())


def start(machine: Machine) -> Machine:
    """Mine what could be mined when the chain was ended, and return *machine*."""
    machine.mine_ready()
    return machine


def in_a_thread(function: Callable[[], Result]) -> Result:
    """
    Return what *function* does, run in a thread: the main one's stack is the system's choice, and
    what was mined in a deeper one must be mined again in one as deep.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the dev chain as the supervisor starts it."""
    parser = argparse.ArgumentParser(prog="tallystick.runtime.devchain")
    parser.add_argument("directory", type=Path)
    parser.add_argument("key_dir", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--supervised", action="store_true")
    options = parser.parse_args(arguments)
    configure_logging(options.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    if options.supervised:
        stop_with_parent()
    run_dev_chain(options.directory, options.key_dir, stop, port=options.port)
