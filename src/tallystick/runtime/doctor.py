"""
What `tally doctor` looks at, and what it says of it (log.md, section 6.4).

Settings, the database and its schema, rights, key files, triggers, failed logs, the clock, dead
rows in front of the queue, for information long transactions with who holds them, and networks:
halted ones, intents that wait, accounts that cannot pay (chain.md, section 6). Each
check reads facts and judges them; a check whose ground is missing is left out, because the
check before it has said why.
"""

from __future__ import annotations

import datetime
import enum
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from tallystick.chain import ChainAccount, list_accounts
from tallystick.chain.node import Node, parse_quantity
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.overview import list_standings
from tallystick.clock import utc_now
from tallystick.config import Settings
from tallystick.db import Database, Transaction
from tallystick.db.migrate import check_migrated
from tallystick.errors import Error
from tallystick.record import load_signer
from tallystick.runtime import store
from tallystick.runtime.place import database_url
from tallystick.seal.wal import WalLag, is_needed, lag

LONG_TRANSACTION_SECONDS: Final = 60.0
CLOCK_SECONDS: Final = 2.0
"""Times in records are the database's; a machine that is further off misleads its readers."""
SLOW_LOOK_SECONDS: Final = 0.05
"""An empty look takes 0.1 ms; from here on the queue's dead rows are what it pays for."""
DEAD_ROWS: Final = 1_000_000
LAG_SECONDS: Final = 30.0
OLD_INTENT_SECONDS: Final = 600.0
"""Offered anew every 48 s, a transaction that no block takes for so long is in trouble."""
WAL_LIMIT_BYTES: Final = 10**9
"""As the setting's default: so much WAL fills before somebody should look."""


class Level(enum.Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """For information: nothing is wrong."""
    WARNING = "warning"
    """It works, and somebody should look at it."""
    PROBLEM = "problem"
    """Something does not work, or evidence is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one check."""

    check: str
    level: Level
    message: str


Findings = Iterator[Finding]


def examine(settings: Settings) -> list[Finding]:
    """Look at everything and return what was found, in the order of the checks."""
    found = [Finding("settings", Level.OK, f"keys in {settings.keys}")]
    try:
        url = database_url(settings)
        with Database(url, pool_size=2, application="tallystick-doctor") as database:
            found += examine_database(
                database, settings.keys, wal_limit_bytes=settings.wal_lag_limit_mb * 10**6
            )
            found += check_nodes(database, settings)
    except Error as error:
        found.append(Finding("database", Level.PROBLEM, error.message))
    return found


def examine_database(
    database: Database, keys: Path, *, wal_limit_bytes: int = WAL_LIMIT_BYTES
) -> list[Finding]:
    """Look at the database and the key files that it needs."""
    with database.session() as connection:
        try:
            check_migrated(connection)
        except Error as error:
            return [Finding("schema", Level.PROBLEM, error.message)]
    checks: list[tuple[str, Callable[[Transaction], Findings]]] = [
        ("database", check_server),
        ("rights", check_rights),
        ("keys", lambda tx: check_keys(store.active_keys(tx), keys)),
        ("logs", check_logs),
        ("sources", check_sources),
        ("wal", lambda tx: check_wal(tx, wal_limit_bytes)),
        ("queue", check_queue),
        ("transactions", check_transactions),
        ("chain", check_chain),
    ]
    found = [Finding("schema", Level.OK, "every migration is applied, as this program knows it")]
    for name, check in checks:
        try:
            with database.transaction(read_only=True) as tx:
                found += check(tx)
        except (Error, psycopg.Error) as error:
            words = error.message if isinstance(error, Error) else type(error).__name__
            found.append(Finding(name, Level.PROBLEM, words))
    return found


def check_server(tx: Transaction) -> Findings:
    """The server, its clock against ours, and what no production database has."""
    facts = store.server_facts(tx)
    yield Finding("database", Level.OK, f"PostgreSQL {facts.version}, as {facts.role}")
    if not facts.is_durable:
        yield Finding("database", Level.WARNING, "fsync is off: a crash of the machine loses data")
    if facts.is_replica:
        yield Finding("database", Level.PROBLEM, "the server is a replica and takes no writes")
    if facts.sequence_cache != 1:
        said = f"capture_seq has CACHE {facts.sequence_cache}, it must be 1: nothing is sealed"
        yield Finding("database", Level.PROBLEM, said)
    off_seconds = (facts.clock - utc_now()).total_seconds()
    if abs(off_seconds) > CLOCK_SECONDS:
        said = f"the database's clock is {off_seconds:+.1f} s from this machine's"
        yield Finding("clock", Level.WARNING, said)
    else:
        yield Finding("clock", Level.OK, "the database's clock agrees with this machine's")
    if facts.has_test_clock:
        said = "the database was made with --test: its clock can be set"
        yield Finding("clock", Level.WARNING, said)


def check_rights(tx: Transaction) -> Findings:
    """What a worker must be allowed to do."""
    missing = store.missing_rights(tx)
    if missing:
        said = f"this role lacks {', '.join(missing)}; grant it tally_app"
        yield Finding("rights", Level.PROBLEM, said)
    else:
        yield Finding("rights", Level.OK, "this role may do what a worker does")


def check_keys(active: Iterable[store.ActiveKey], directory: Path) -> Findings:
    """Every key that signs now has its file, safe and of the same key."""
    count = 0
    for key in active:
        count += 1
        path = directory / f"{key.key_id.hex()}.key"
        try:
            signer = load_signer(path)
        except Error as error:
            yield Finding("keys", Level.PROBLEM, f"{key.name}: {error.message}")
            continue
        if (signer.name, signer.public_key) != (key.name, key.public_key):
            yield Finding("keys", Level.PROBLEM, f"{path} is another key than that of {key.name}")
    yield Finding("keys", Level.OK, f"{count} active keys looked for in {directory}")


def check_logs(tx: Transaction) -> Findings:
    """No log has failed, and none is far behind."""
    for failed in store.failed_logs(tx):
        said = f"log {failed.log_name} failed ({failed.reason}); audit it, then recover it"
        yield Finding("logs", Level.PROBLEM, said)
    states = store.logs(tx)
    for log in states:
        if log.status == "active" and log.enabled and (log.lag_seconds or 0) > LAG_SECONDS:
            said = (
                f"log {log.log_name}: {log.rows_waiting} changes wait,"
                f" the oldest for {log.lag_seconds:.0f} s; is a worker running?"
            )
            yield Finding("logs", Level.PROBLEM, said)
        if log.quarantined:
            said = f"log {log.log_name}: {log.quarantined} rows cannot be sealed (quarantined)"
            yield Finding("logs", Level.WARNING, said)
    sealing = store.sealing_state(tx)
    if sealing != "running":
        yield Finding("logs", Level.WARNING, f"sealing is {sealing}")
    yield Finding("logs", Level.OK, f"{len(states)} logs")


def check_sources(tx: Transaction) -> Findings:
    """Every source stands on its table with its triggers enabled always."""
    sources = store.source_facts(tx)
    for source in sources:
        name = f"{source.source_table} of log {source.log_name}"
        for level, said in judge_source(source):
            yield Finding("sources", level, f"{name}: {said}")
    yield Finding("sources", Level.OK, f"{len(sources)} sources")


def judge_source(source: store.SourceFacts) -> Iterator[tuple[Level, str]]:
    """Yield what is wrong with a source: its table, its state, its triggers."""
    if source.status == "broken":
        known = source.problem or {}
        reason = known.get("message") or known.get("code") or "see `tally source show`"
        yield Level.PROBLEM, f"broken: {reason}"
    elif not source.same_table:
        yield Level.PROBLEM, "its table is gone, or another stands under its name"
    elif source.capture == "trigger" and source.enabled:
        if source.triggers == 0:
            yield Level.PROBLEM, "its triggers are missing"
        elif source.silenced:
            yield Level.PROBLEM, f"{source.silenced} of its triggers are not enabled always"
    if not source.enabled:
        yield Level.WARNING, "disabled: changes are not captured"


def check_wal(tx: Transaction, limit_bytes: int) -> Findings:
    """Where sources are captured from the WAL: may it be read, and is it?"""
    if not is_needed(tx):
        return
    facts, behind = store.wal_facts(tx), lag(tx)
    if facts.wal_level != "logical":
        said = f"wal_level is {facts.wal_level}: set it to logical and restart the server"
        yield Finding("wal", Level.PROBLEM, said)
    if not facts.may_replicate:
        said = f"role {facts.role} lacks the attribute REPLICATION, which the worker needs"
        yield Finding("wal", Level.PROBLEM, said)
    if not facts.is_published:
        yield Finding("wal", Level.PROBLEM, "the publication tally is gone: changes are not sent")
    if facts.keeps_all:
        said = "max_slot_wal_keep_size is -1: WAL that nobody reads may fill the disk"
        yield Finding("wal", Level.NOTE, said)
    yield from judge_lag(behind, limit_bytes)


def judge_lag(behind: WalLag | None, limit_bytes: int) -> Findings:
    """Yield how far reading is behind, and whether anybody reads."""
    if behind is None or not behind.has_slot or behind.wal_status == "lost":
        said = "there is no replication slot: the worker makes it; what was before it is a gap"
        yield Finding("wal", Level.PROBLEM, said)
    elif behind.bytes > limit_bytes:
        said = f"{behind.bytes / 1e6:.0f} MB of WAL wait to be read, over the limit"
        yield Finding("wal", Level.WARNING, said)
    elif not behind.is_active:
        yield Finding("wal", Level.WARNING, "nobody reads the WAL; is a worker running?")
    else:
        yield Finding("wal", Level.OK, f"{behind.bytes / 1e6:.1f} MB of WAL wait to be read")


def check_queue(tx: Transaction) -> Findings:
    """Dead rows in front of the queue's index are what every look pays for."""
    began = time.monotonic()
    store.look_at_queue(tx)
    seconds = time.monotonic() - began
    facts = store.queue_facts(tx)
    if facts is None:
        return
    vacuumed = age_of(facts.vacuumed_at)
    said = (
        f"{facts.dead_rows} dead rows, index {facts.index_bytes / 1e6:.0f} MB,"
        f" last vacuum {vacuumed}, empty look {1000 * seconds:.1f} ms"
    )
    is_slow = seconds > SLOW_LOOK_SECONDS or facts.dead_rows > DEAD_ROWS
    hint = "; an old transaction keeps vacuum from removing them" if is_slow else ""
    yield Finding("queue", Level.WARNING if is_slow else Level.OK, said + hint)


def check_transactions(tx: Transaction) -> Findings:
    """Transactions over 60 s: no sealing waits for them, and their holders are worth knowing."""
    found = store.long_transactions(tx, seconds=LONG_TRANSACTION_SECONDS)
    for transaction in found:
        holder = (
            f"prepared transaction {transaction.prepared}"
            if transaction.prepared is not None
            else f"process {transaction.pid} ({transaction.application or 'no name'})"
        )
        wrote = "has written" if transaction.has_written else "has only read"
        said = (
            f"open for {transaction.seconds:.0f} s: {holder} of role {transaction.role},"
            f" {transaction.state or 'state hidden'}, {wrote}"
        )
        yield Finding("transactions", Level.NOTE, said)
    if not found:
        yield Finding("transactions", Level.OK, "none is open for over 60 s")


def check_chain(tx: Transaction) -> Findings:
    """No network is halted, and no intent waits longer than blocks explain."""
    for network in list_standings(tx):
        name = f"network {network.chain_id}"
        if network.status == "halted":
            said = f"{name} is halted; find out why, then `tally chain resume` it"
            yield Finding("chain", Level.PROBLEM, said)
        waits_seconds = network.oldest_intent_seconds or 0.0
        if waits_seconds > OLD_INTENT_SECONDS and network.status == "active":
            said = f"{name}: an intent has waited for {waits_seconds:.0f} s; does a worker send?"
            yield Finding("chain", Level.WARNING, said)


def check_nodes(database: Database, settings: Settings) -> list[Finding]:
    """Ask the configured nodes what our accounts have; nothing where there are none."""
    if not settings.chain_endpoints:
        return []
    found: list[Finding] = []
    try:
        with database.transaction(read_only=True) as tx:
            accounts = list_accounts(tx)
        # No transaction waits for a node.
        with Nodes(settings.chain_endpoints) as nodes:
            for chain_id in nodes.chain_ids:
                ours = [one for one in accounts if one.chain_id == chain_id]
                found += check_balances(nodes.of(chain_id), ours)
    except (Error, psycopg.Error) as error:
        words = error.message if isinstance(error, Error) else type(error).__name__
        found.append(Finding("chain", Level.PROBLEM, words))
    return found


def check_balances(node: Node, accounts: Sequence[ChainAccount]) -> Findings:
    """What each of a network's accounts has, against the least that it must have."""
    name = f"network {node.chain_id}"
    try:
        balances = node.batch([("eth_getBalance", (one.address, "latest")) for one in accounts])
        amounts = [parse_quantity(balance) for balance in balances]
        node.call("eth_blockNumber")
    except Error as error:
        yield Finding("chain", Level.WARNING, f"{name}: {error.message}")
        return
    for account, amount in zip(accounts, amounts, strict=True):
        if amount < max(1, account.minimum_balance_wei):
            said = (
                f"{name}: the account that sends {account.purpose} has {amount} wei,"
                f" and sends nothing below {account.minimum_balance_wei}"
            )
            yield Finding("chain", Level.WARNING, said)
    yield Finding("chain", Level.OK, f"{name} answers; {len(accounts)} accounts looked at")


def age_of(moment: datetime.datetime | None) -> str:
    """Return how long ago *moment* was, in words."""
    if moment is None:
        return "never"
    minutes = max(0, int((utc_now() - moment).total_seconds() // 60))
    return f"{minutes} min ago"
