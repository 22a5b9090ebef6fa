"""A process that runs the outbox's worker on the database that its argument names."""

import sys
import threading

from tallystick.db import connect
from tallystick.outbox import OutboxSettings, run_outbox

if __name__ == "__main__":
    with connect(sys.argv[1], pool_size=4) as database:
        run_outbox(database, threading.Event(), OutboxSettings())
