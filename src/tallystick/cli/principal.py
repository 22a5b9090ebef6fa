"""Who a command acts as, in events and records: the account that runs it."""

from __future__ import annotations

import getpass


def operator_name() -> str:
    """Return the principal of the command line: `system:cli/<account>`."""
    try:
        return f"system:cli/{getpass.getuser()}"
    except (KeyError, OSError):
        return "system:cli"
