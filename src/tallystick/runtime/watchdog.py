"""
Ends one process when the supervisor dies: `python watchdog.py PID`, with a pipe as stdin.

The embedded server must survive neither Ctrl-C too early nor the supervisor too long. The
supervisor holds the pipe's other end; when it is gone, however it went, the read ends. A pidfd
names the process itself, so that a pid that was given again can never be hit. As a file of its
own that loads the standard library alone, it costs a few megabytes.
"""

from __future__ import annotations

import os
import select
import signal
import sys

GRACE_SECONDS = 15.0
"""The workers notice the same end of file and finish their transactions first."""
FAST_SECONDS = 60.0


def main() -> None:
    """Wait for the end of stdin, then for the process's end; then end it."""
    # The supervisor says when we are to go; Ctrl-C in its terminal does not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = os.pidfd_open(int(sys.argv[1]))
    except ProcessLookupError:
        return
    while True:
        ready, _, _ = select.select([0, process], [], [])
        if process in ready:
            return
        if not os.read(0, 4096):
            break
    for number, seconds in (
        (None, GRACE_SECONDS),
        (signal.SIGINT, FAST_SECONDS),
        (signal.SIGQUIT, FAST_SECONDS),
    ):
        if number is not None:
            signal.pidfd_send_signal(process, number)
        if select.select([process], [], [], seconds)[0]:
            return


if __name__ == "__main__":
    main()
