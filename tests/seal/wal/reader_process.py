"""
A process that reads the WAL, as `tally worker` does, until SIGTERM.

Argument: the database's URL. `TALLY_PAUSE_AT` and `TALLY_PAUSE_FILE` stop it where a test wants.
"""

import signal
import sys
import threading

from tallystick.seal.wal import WalReader


def main() -> None:
    """Read until told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with WalReader(sys.argv[1]) as reader:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        reader.run(stop)


if __name__ == "__main__":
    main()
