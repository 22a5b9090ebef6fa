"""The SQL of the demonstrations: the shop's tables, its writers, and the falsified row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from tallystick.db import Query, Transaction, load_queries


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    act_as: Query
    count_captured: Query
    triggers_of: Query
    create_shop: Query
    fill_products: Query
    fill_customers: Query
    fill_orders: Query
    fill_order_items: Query
    fill_payments: Query
    place_order: Query
    raise_prices: Query
    send_orders: Query
    change_email: Query
    cancel_payments: Query
    cancel_items: Query
    cancel_order: Query
    amount_of: Query
    embezzle: Query


SQL = load_queries(Queries, __package__)
SHELVES: Final = 50
"""As `raise_prices` counts them."""


def act_as(tx: Transaction, actor: str) -> None:
    """State who changes the rows of this transaction."""
    tx.value(SQL.act_as, {"actor": actor})


def count_captured(tx: Transaction, logs: list[str]) -> dict[tuple[str, str, str], int]:
    """Return the leaves that triggers captured, by log, table and operation."""
    rows = tx.rows(lambda *columns: columns, SQL.count_captured, {"logs": logs})
    return {(log, table, op): count for log, table, op, count in rows}


def change_unseen(tx: Transaction, table: str, change: Callable[[Transaction], int]) -> int:
    """Run *change* on *table* with its triggers disabled, and leave no trace in the catalogue."""
    names = tx.values(SQL.triggers_of, {"table": table})
    target = sql.Identifier(table)
    tx.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(target))
    changed = change(tx)
    for name in names:
        enable = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")
        tx.execute(enable.format(target, sql.Identifier(name)))
    return changed


def open_shop(tx: Transaction, *, products: int, customers: int, orders: int) -> int:
    """Make the shop's five tables with so many rows, and return the rows of all."""
    tx.execute(SQL.create_shop)
    return sum(
        (
            tx.execute(SQL.fill_products, {"products": products}),
            tx.execute(SQL.fill_customers, {"customers": customers}),
            tx.execute(SQL.fill_orders, {"orders": orders, "customers": customers}),
            tx.execute(SQL.fill_order_items, {"products": products}),
            tx.execute(SQL.fill_payments),
        )
    )


def place_order(tx: Transaction, *, customer: int, products: Sequence[int]) -> int:
    """Place and pay an order, and return how many items it has."""
    return int(tx.value(SQL.place_order, {"customer": customer, "products": list(products)}))


def raise_prices(tx: Transaction, *, shelf: int) -> int:
    """Raise the prices of a shelf, and return how many."""
    return tx.execute(SQL.raise_prices, {"shelf": shelf})


def send_orders(tx: Transaction, orders: Sequence[int]) -> int:
    """Send what is paid of *orders*, and return how many that is."""
    return tx.execute(SQL.send_orders, {"orders": list(orders)})


def change_email(tx: Transaction, *, customer: int, email: str) -> int:
    """Give a customer another address, and return how many customers that is."""
    return tx.execute(SQL.change_email, {"customer": customer, "email": email})


def cancel_order(tx: Transaction, order: int) -> dict[str, int]:
    """Take an order out of the books, and return the deleted rows by table."""
    where = {"order": order}
    return {
        "payments": tx.execute(SQL.cancel_payments, where),
        "order_items": tx.execute(SQL.cancel_items, where),
        "orders": tx.execute(SQL.cancel_order, where),
    }


def amount_of(tx: Transaction, payment: int) -> str | None:
    """Return what a payment says now."""
    amount: str | None = tx.value(SQL.amount_of, {"payment": payment})
    return amount


def embezzle(tx: Transaction, payment: int) -> int:
    """Take nearly all of a payment, and return how many rows that changed."""
    return tx.execute(SQL.embezzle, {"payment": payment})
