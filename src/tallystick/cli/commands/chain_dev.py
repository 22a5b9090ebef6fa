"""`tally chain dev`: the embedded dev chain in the foreground (chain.md, section 4.5)."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.cli.output import print_json, print_lines
from tallystick.cli.place import HERE, Place
from tallystick.runtime.devchain.place import choose_port, dev_chain_directory, remember_url
from tallystick.runtime.devchain.process import run_dev_chain
from tallystick.runtime.signals import stop_on_signals


@dataclass(frozen=True, slots=True)
class Answering:
    """A dev chain that answers."""

    chain_id: int
    url: str


def dev(
    *,
    reset: Annotated[
        bool, Parameter(negative="", help="Put the journal aside and begin a new chain.")
    ] = False,
    port: Annotated[int, Parameter(help="Port to listen on; 0: any that is free.")] = 0,
    place: Place = HERE,
) -> None:
    """Run the dev chain of the data directory, until Ctrl-C; `tally up` runs it too."""
    settings = place.settings()
    stop = threading.Event()
    stop_on_signals(stop)

    def tell(url: str) -> None:
        remember_url(settings, url)
        if place.json:
            print_json(Answering(DEV_CHAIN_ID, url))
        else:
            print_lines(f"dev chain {DEV_CHAIN_ID} answers at {url}", "Ctrl-C ends it.")
        # Whoever reads through a pipe waits for just this.
        sys.stdout.flush()

    directory = dev_chain_directory(settings)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_dev_chain(
        directory,
        settings.keys.absolute(),
        stop,
        port=choose_port(port),
        reset=reset,
        started=tell,
    )
