"""
A process that sends and watches on one network, for tests that kill it: `python -m` with

    python -m tests.support.chain_worker DATABASE_URL CHAIN_ID NODE_URL [ROLES]

ROLES are `sender`, `watcher` or both, separated by a comma. The key of its signer `test` is in
TEST_CHAIN_KEY. It says `ready` and runs until it is terminated.
"""

from __future__ import annotations

import signal
import sys
import threading

from pydantic import SecretStr

from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender.worker import run_sender
from tallystick.chain.signers import Signers
from tallystick.chain.watcher import run_watcher
from tallystick.config import EnvSigner
from tallystick.db import connect
from tallystick.record import ChainId

KEY_VARIABLE = "TEST_CHAIN_KEY"


def main(url: str, chain: str, node_url: str, roles: str = "sender,watcher") -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    chain_id = ChainId(int(chain))
    signers = Signers({"test": EnvSigner(kind="env", key_env=KEY_VARIABLE)})
    with connect(url, pool_size=6) as database, Nodes({chain_id: [SecretStr(node_url)]}) as nodes:
        duties = {
            "sender": lambda: run_sender(database, nodes, signers, stop),
            "watcher": lambda: run_watcher(database, nodes.of(chain_id), chain_id, stop),
        }
        threads = [threading.Thread(target=duties[role], daemon=True) for role in roles.split(",")]
        for thread in threads:
            thread.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
