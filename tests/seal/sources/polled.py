"""What the tests of polled sources stand on: a table, a look at every source, a reconcile."""

from __future__ import annotations

from tallystick.seal.audit import reconcile_source
from tallystick.seal.sources import Poller, Source
from tests.seal.sources.rig import Rig

ORDERS = """CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(10, 2), note text);
            INSERT INTO orders SELECT i, i, 'n' || i FROM generate_series(1, 5) AS i"""


def poll(rig: Rig) -> int:
    """Look at every polled source once, whenever it was looked at last; return rows queued."""
    return sum(Poller(rig.database).run_once().values())


def reconcile(rig: Rig, table: str = "orders") -> int:
    """Reconcile a polled source and return the rows that it queued."""
    return reconcile_source(rig.database, "payments", table).queued


def keys(rig: Rig, source: Source) -> list[str]:
    """The keys in the source's queue, in order."""
    return [key for _, _, key in rig.queue(source)]
