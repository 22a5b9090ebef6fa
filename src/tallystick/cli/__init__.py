"""
The command `tally` (log.md, section 6.4).

Each command parses, calls one function of a slice, and renders; which error ends in which
exit code is said in `exits` alone. Commands are loaded when they are called: `tally verify`
loads neither the database's driver nor the server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tallystick.cli.exits import OK, exit_code, words

__all__ = ["main", "run"]


def main() -> None:
    """Run the command that the process was started with, and exit by its code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as `head` does: nothing is left to be said, even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run `tally` with *arguments* and return the exit code; a bug of ours raises."""
    from tallystick.cli.app import dispatch  # noqa: PLC0415 (errors above are told without it)

    try:
        dispatch(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (Exception, KeyboardInterrupt) as error:
        line = words(error)
        if line is None:
            raise
        sys.stderr.write(f"{line}\n")
        return exit_code(error)
    return OK
