"""The database: pool, transactions, named queries, migrations, SQLSTATE (log.md, section 2.8)."""

from tallystick.db.database import Database, Transaction, connect
from tallystick.db.migrate import LOCK_CLASS, migrate
from tallystick.db.queries import Query, load_queries

__all__ = ["LOCK_CLASS", "Database", "Query", "Transaction", "connect", "load_queries", "migrate"]
