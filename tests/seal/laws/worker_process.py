"""
A process that seals, as `tally worker` does.

Arguments: the database's URL, the key directory, and how many threads. The word `unlocked` behind
them makes it believe that it always has the log to itself.
"""

import signal
import sys
import threading
from pathlib import Path

from tallystick.db import connect
from tallystick.seal.logs import KeyRing
from tallystick.seal.sequencer import SequencerWorker, store


def believe_unlocked() -> None:
    """Take every log as one's own: what the advisory lock prevents now happens."""
    ask = store.lock_log

    def lock_log(tx, log_id):
        ask(tx, log_id)  # its settings hold for the transaction
        return True

    store.lock_log = lock_log


def main() -> None:
    """Run the worker until SIGTERM."""
    url, key_dir, threads = sys.argv[1:4]
    if "unlocked" in sys.argv[4:]:
        believe_unlocked()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Whoever started us may end us from here on.
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with connect(url, pool_size=8) as database:
        worker = SequencerWorker(
            database, KeyRing(Path(key_dir)), origin_prefix="log.example", threads=int(threads)
        )
        worker.run(stop)


if __name__ == "__main__":
    main()
