"""`tally demo`: a shop sealed, falsified, audited and proven within a minute (log.md, 6.4)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

# Not used here: its import makes every SQLSTATE of sealing known to the database room.
import tallystick.seal.errors  # noqa: F401
from tallystick.cli.output import print_json
from tallystick.runtime.demo.processes import temporary_place
from tallystick.runtime.demo.screen import Screen
from tallystick.runtime.demo.shop import Shop
from tallystick.runtime.logging import configure_logging


def demo(
    *,
    keep: Annotated[
        bool, Parameter(negative="", help="Leave it running for the browser until Ctrl-C.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> None:
    """
    Tell a story with a shop: seal its tables, falsify a payment, find it, prove what was paid.

    Everything happens in a temporary directory, whatever is set. Exit code 1: something in it was
    not as the story expects it.
    """
    configure_logging("warning")
    with temporary_place() as place:
        told = Shop(Screen(silent=json), place).tell(keep=keep)
    if json:
        print_json(told)
