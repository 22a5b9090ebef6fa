"""
The story of `tally demo`: a shop whose books are sealed, and falsified (log.md, section 6.4).

PostgreSQL, worker and server run as `tally up` runs them. Each step that a line names by a
command is that command, as a process of its own, with the exit code that the line states.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.config import Settings
from tallystick.db import Database, Transaction
from tallystick.runtime.demo import store
from tallystick.runtime.demo.errors import expect
from tallystick.runtime.demo.processes import Tally, free_port, run
from tallystick.runtime.demo.screen import Screen, StepDone
from tallystick.runtime.demo.writers import Writers, check_all_sealed
from tallystick.runtime.house import origin_prefix
from tallystick.runtime.status import read_status, wait_until_sealed
from tallystick.seal.logs import KeyRing, LogSettings, create_log
from tallystick.seal.sources import add_source

LOGS: Final = {
    "catalogue": ("products",),
    "sales": ("customers", "orders", "order_items", "products"),
    "ledger": ("orders", "payments"),
}
"""Three logs over five tables; `products` and `orders` feed two each."""
PRIVATE: Final = {"customers": ("email",)}
"""Columns that appear as commitments: leaves of a public log are for ever."""
PRODUCTS, CUSTOMERS, ORDERS = 400, 800, 1_500
"""7,200 rows with the items and payments of the orders."""
STORY_PAYMENT: Final = 42
FIRST_OPEN_ORDER: Final = 100
"""Writers leave the orders before it alone, and so the story's payment."""
LOG_INTERVAL_MS: Final = 100
WRITING_SECONDS: Final = 3.0
SEAL_SECONDS: Final = 30.0
PORT: Final = 7421


@dataclass(frozen=True, slots=True)
class Told:
    """A story that came out as it should: its steps, and the leaves of each log at the end."""

    steps: list[StepDone]
    leaves: dict[str, int]
    seconds: float


class Shop:
    """The story, in its order, in the directory *place*."""

    def __init__(self, screen: Screen, place: Path) -> None:
        self._screen = screen
        self._place = place
        self._tally = Tally(place / "data", port=free_port(PORT))

    def tell(self, *, keep: bool) -> Told:
        """
        Tell it; with *keep* leave it running until Ctrl-C.

        Raises:
            DemoError: Something is not as the story expects it.
        """
        began = time.monotonic()
        with self._running() as database:
            self._open(database)
            self._write_and_seal(database)
            paid = self._falsify(database)
            self._find(database)
            self._prove(paid)
            told = self._sum_up(database, began)
            if keep:
                self._screen.line(f"explorer: {self._tally.url}/ (Ctrl-C ends it)")
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
        return told

    @contextlib.contextmanager
    def _running(self) -> Iterator[Database]:
        with contextlib.ExitStack() as stack:
            with self._screen.step("tally up") as step:
                stack.enter_context(self._tally.running())
                step.detail = "PostgreSQL, worker and server, in an empty directory"
            database = Database(self._tally.database_url, application="tallystick-demo")
            yield stack.enter_context(database)

    def _open(self, database: Database) -> None:
        with self._screen.step("open a shop") as step:
            with database.transaction() as tx:
                rows = store.open_shop(tx, products=PRODUCTS, customers=CUSTOMERS, orders=ORDERS)
            step.detail = f"5 tables, {rows:,} rows"
        with self._screen.step("attach its tables to logs") as step:
            make_logs(database, self._tally.data)
            step.detail = "; ".join(f"{log}: {', '.join(fed)}" for log, fed in LOGS.items())

    def _write_and_seal(self, database: Database) -> None:
        """Let writers write while rows are sealed; each change must be its leaf in the end."""
        with self._screen.step("write while all is sealed") as step:
            writers = Writers(database, (buy, price, keep_books), actor="user:clerk")
            writers.start()
            try:
                time.sleep(WRITING_SECONDS)
            finally:
                changes = writers.stop()
            step.detail = f"{changes.total():,} rows changed by 3 writers"
        with self._screen.step("seal what still waits") as step:
            self._wait(database, *LOGS)
            check_all_sealed(database, changes, LOGS)
            step.detail = "each change is one leaf in each log that its table feeds"
        with self._screen.step("tally audit") as step:
            reports = self._tally("audit")["items"]
            leaves, rows = (sum(report[name] for report in reports) for name in ("leaves", "rows"))
            step.detail = f"exit 0: {leaves:,} leaves hashed anew, {rows:,} rows compared"

    def _falsify(self, database: Database) -> str:
        """Change the story's payment behind the log's back, and return what had been paid."""
        with database.transaction() as tx:
            paid = store.amount_of(tx, STORY_PAYMENT)
            changed = store.change_unseen(
                tx, "payments", lambda tx: store.embezzle(tx, STORY_PAYMENT)
            )
            now = store.amount_of(tx, STORY_PAYMENT)
        assert paid is not None, "writers leave the story's payment alone"
        expect(changed == 1, f"one payment was to be falsified, {changed} were")
        self._screen.line(
            f"\nA superuser disables the triggers and makes payment {STORY_PAYMENT}"
            f" {now}, where {paid} was paid.\n"
        )
        return paid

    def _find(self, database: Database) -> None:
        """The audit names the row; the reconcile seals it as it is; the audit is clean again."""
        with self._screen.step("tally audit ledger") as step:
            [report] = self._tally("audit", "ledger", code=1)["items"]
            step.detail = f"exit 1: {name_finding(report['findings'])}"
        with self._screen.step("tally reconcile ledger payments --repair") as step:
            done = self._tally("reconcile", "ledger", "payments", "--repair")
            queued = done["report"]["queued"]
            expect(queued == 1, f"one row differs, {queued} were queued")
            self._wait(database, "ledger")
            step.detail = "exit 0: the row is sealed as it is now, marked as reconciled"
        with self._screen.step("tally audit ledger") as step:
            [report] = self._tally("audit", "ledger")["items"]
            step.detail = f"exit 0: clean, {report['rows']:,} rows compared"

    def _prove(self, paid: str) -> None:
        """What was paid is proven from the first version, whatever the table says now."""
        proof, policy = self._place / "payment.tlog-proof", self._place / "payment.policy"
        leaf = proof.with_suffix(".leaf")
        with self._screen.step("tally prove ledger --version first") as step:
            self._tally(
                "prove", "ledger", "--table", "payments", "--key", str(STORY_PAYMENT),
                "--version", "first", "-o", str(proof), "--policy-out", str(policy),
            )  # fmt: skip
            size = sum(file.stat().st_size for file in (proof, leaf, policy))
            step.detail = f"exit 0: proof, leaf and policy, {size:,} bytes"
        # Three files and no data directory: nothing here could ask the log.
        arguments = ("verify", proof.name, "--policy", policy.name)
        with self._screen.step("tally verify") as step:
            verdict = run(*arguments, at=self._place)
            amount = json.loads(leaf.read_bytes().partition(b"\n")[2])["row"]["amount"]
            expect(verdict["verdict"] == "established", f"not established: {verdict}")
            expect(amount == paid, f"{paid} was paid, the leaf says {amount}")
            step.detail = f"exit 0, offline: leaf {verdict['index']:,} says amount {amount}"
        with self._screen.step("tally verify, one byte flipped") as step:
            data = bytearray(leaf.read_bytes())
            data[-2] ^= 1
            leaf.write_bytes(data)
            verdict = run(*arguments, at=self._place, code=1)
            step.detail = f"exit 1: refused at step {verdict['failed']!r}"

    def _sum_up(self, database: Database, began: float) -> Told:
        leaves = {log.log_name: log.size for log in read_status(database).logs}
        told = Told(
            steps=self._screen.done,
            leaves={log: leaves[log] for log in LOGS},
            seconds=round(time.monotonic() - began, 1),
        )
        sizes = ", ".join(f"{log} {size:,}" for log, size in told.leaves.items())
        self._screen.line(f"\nleaves: {sizes}; all of it took {told.seconds:.1f} s")
        return told

    def _wait(self, database: Database, *logs: str) -> None:
        for log in logs:
            in_time = wait_until_sealed(database, log, timeout_seconds=SEAL_SECONDS)
            expect(in_time, f"{log} is not sealed within {SEAL_SECONDS:.0f} s")


def make_logs(database: Database, data: Path) -> None:
    """Make the three logs and attach the tables, as `tally log create` and `source add` do."""
    # Made without the environment: the server that runs on *data* was started without it too.
    settings = Settings.model_construct(data_dir=data)
    public = LogSettings(visibility="public", batch_interval_ms=LOG_INTERVAL_MS)
    with database.transaction() as tx:
        prefix = origin_prefix(tx, settings)
        for log in LOGS:
            create_log(tx, log, keys=KeyRing(settings.keys), origin_prefix=prefix, settings=public)
        for log, tables in LOGS.items():
            for table in tables:
                add_source(tx, log, table, private=PRIVATE.get(table, ()))


def name_finding(findings: list[dict[str, Any]]) -> str:
    """
    Return the one finding in words.

    Raises:
        DemoError: It is not the falsified payment, or not alone.
    """
    expect(len(findings) == 1, f"one row was falsified, the audit found {findings}")
    [finding] = findings
    found = (finding["kind"], finding["source_table"], json.loads(finding["source_key"] or "null"))
    expected = ("row_changed", "payments", [str(STORY_PAYMENT)])
    expect(found == expected, f"the audit names {found}, not {expected}")
    expect(list(finding["columns"]) == ["amount"], f"other columns than amount: {finding}")
    return f"{finding['kind']} {finding['source_table']} {finding['source_key']}: amount"


def buy(tx: Transaction, chance: random.Random) -> Iterable[tuple[str, str, int]]:
    """Somebody orders up to four things and pays."""
    products = chance.sample(range(1, PRODUCTS + 1), chance.randint(1, 4))
    items = store.place_order(tx, customer=chance.randint(1, CUSTOMERS), products=products)
    return ("orders", "I", 1), ("order_items", "I", items), ("payments", "I", 1)


def price(tx: Transaction, chance: random.Random) -> Iterable[tuple[str, str, int]]:
    """A shelf becomes dearer."""
    shelf = chance.randrange(store.SHELVES)
    return (("products", "U", store.raise_prices(tx, shelf=shelf)),)


def keep_books(tx: Transaction, chance: random.Random) -> Iterable[tuple[str, str, int]]:
    """Orders are sent or one is cancelled, or a customer has another address."""
    orders = chance.sample(range(FIRST_OPEN_ORDER, ORDERS + 1), 5)
    match chance.randrange(3):
        case 0:
            return (("orders", "U", store.send_orders(tx, orders)),)
        case 1:
            gone = store.cancel_order(tx, orders[0])
            return [(table, "D", rows) for table, rows in gone.items()]
        case _:
            customer = chance.randint(1, CUSTOMERS)
            email = f"customer{customer}.{chance.randrange(10**9)}@shop.example"
            return (("customers", "U", store.change_email(tx, customer=customer, email=email)),)
