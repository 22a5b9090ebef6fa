"""
The sender's worker: a thread for each account that this process can sign for (chain.md, 4.3).

Any number of processes may run it. The one whose session holds an account's advisory lock
sends for it; the others look each second whether it has died.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import psycopg
import structlog

from tallystick.chain.errors import InsufficientGasFundsError
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender import store
from tallystick.chain.sender.account import AccountSender
from tallystick.chain.sender.store import Account
from tallystick.chain.signers import Signers
from tallystick.chain.watcher.decision import back_off_seconds
from tallystick.chain.watcher.delivery import FollowerFailed
from tallystick.db import Database, Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.errors import Error

LOOK_SECONDS: Final = 1.0
"""How soon a new account is served, and how soon a waiting sender takes over from a dead one."""
LISTEN_SECONDS: Final = 0.5
"""How long a session listens before it looks whether it has to stop."""
END_SECONDS: Final = 12.0
"""How long a round under way may take to end: an answer of a node takes 10 s at most."""

_log = structlog.get_logger(__name__)


def run_sender(database: Database, nodes: Nodes, signers: Signers, stop: threading.Event) -> None:
    """
    Send for every account whose network has endpoints and whose signer is configured here.

    Returns when *stop* is set and rounds under way have ended. Whatever a node, a signer or the
    database says is logged by its name and tried again.
    """
    senders: dict[Account, tuple[threading.Thread, threading.Event]] = {}
    while not stop.is_set():
        try:
            with database.transaction(read_only=True) as tx:
                accounts = set(store.list_accounts(tx, nodes.chain_ids))
        except (Error, psycopg.Error) as raised:
            _log.warning("chain.sender_waits", error=type(raised).__name__)
            accounts = set(senders)
        for account in senders.keys() - accounts:
            # Its network is halted, or another signer signs for it: that is another `Account`.
            senders[account][1].set()
        for account in accounts:
            is_sent_for = account in senders and senders[account][0].is_alive()
            if account.signer_name in signers and not is_sent_for:
                senders[account] = start_sender(database, nodes, signers, account)
        stop.wait(LOOK_SECONDS)
    for _, ended in senders.values():
        ended.set()
    deadline = time.monotonic() + END_SECONDS
    for thread, _ in senders.values():
        thread.join(max(0.0, deadline - time.monotonic()))


def start_sender(
    database: Database, nodes: Nodes, signers: Signers, account: Account
) -> tuple[threading.Thread, threading.Event]:
    """Start the thread that sends for *account*; return it with the event that ends it."""
    ended = threading.Event()
    # A daemon: a node that never ends its answer must not keep the process alive.
    thread = threading.Thread(
        target=send_for,
        args=(database, nodes, signers, account, ended),
        name=f"sender {account.chain_id} {account.address}",
        daemon=True,
    )
    thread.start()
    return thread, ended


def send_for(
    database: Database, nodes: Nodes, signers: Signers, account: Account, stop: threading.Event
) -> None:
    """Send for *account* until *stop* is set, whenever this process holds the account's lock."""
    failures = 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            with database.session() as connection:
                session = Transaction(connection)
                if store.take_lock(session, account.chain_id, account.address):
                    work(database, session, nodes, signers, account, stop)
                    return
            stop.wait(LOOK_SECONDS)
            failures = 0
        except (Error, psycopg.Error) as raised:
            _log.warning(
                "chain.sender_interrupted",
                chain_id=account.chain_id,
                address=account.address,
                error=type(raised).__name__,
            )
            failures = 1 if time.monotonic() - began > LOOK_SECONDS * 60 else failures + 1
            stop.wait(back_off_seconds(failures))


def work(
    database: Database,
    session: Transaction,
    nodes: Nodes,
    signers: Signers,
    account: Account,
    stop: threading.Event,
) -> None:
    """
    Do everything that the holder of an account's lock does, until *stop* is set.

    Raises:
        DatabaseUnavailableError: The session of the lock is lost, and with it the lock.
        InvalidSignerError: The signer cannot be made, or signs for another address.
    """
    store.listen(session)
    signer = signers.of_account(account.signer_name, account.address)
    sender = AccountSender(database, nodes.of(account.chain_id), signer, account)
    is_caught_up = False
    failures, told = 0, ""
    while not stop.is_set():
        pause = LISTEN_SECONDS
        try:
            if not is_caught_up:
                sender.catch_up()
                is_caught_up = True
            pause = sender.round()
            failures, told = 0, ""
        except DatabaseUnavailableError:
            raise
        except (Error, FollowerFailed) as raised:
            failures += 1
            name = raised.code() if isinstance(raised, Error) else "follower_failed"
            # Once for each trouble: it is tried again for as long as it lasts.
            if name != told:
                told = name
                _log.warning(
                    "chain.sender_waits",
                    chain_id=account.chain_id,
                    address=account.address,
                    error=name,
                )
            if not isinstance(raised, InsufficientGasFundsError):
                pause = back_off_seconds(failures)
        listen(session, account, stop, seconds=pause)


def listen(
    session: Transaction, account: Account, stop: threading.Event, *, seconds: float
) -> None:
    """Wait until the account's network is woken, *stop* is set, or so much time has passed."""
    deadline = time.monotonic() + seconds
    while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
        # As lists: the connection is locked for as long as one of these is not read to its end.
        heard = list(session.connection.notifies(timeout=min(left, LISTEN_SECONDS), stop_after=1))
        if any(each.payload == str(account.chain_id) for each in heard):
            # One round answers every call that came until now.
            list(session.connection.notifies(timeout=0))
            return
