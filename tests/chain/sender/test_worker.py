"""The sender's worker: whom it serves, and that it goes on."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tallystick.chain.followers import register_follower
from tallystick.chain.sender.worker import run_sender
from tests.chain.sender.support import ACCOUNT, Desk, until

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
SIGNER = "SELECT tally.account_set_v1(31337, %s, %s, NULL, NULL)"


@pytest.fixture
def running(desk) -> Iterator[None]:
    """A worker of this process."""
    with running_sender(desk):
        yield


@contextlib.contextmanager
def running_sender(desk: Desk) -> Iterator[None]:
    """Run the worker in a thread, and end it."""
    stop = threading.Event()
    arguments = (desk.database, desk.nodes, desk.signers, stop)
    thread = threading.Thread(target=run_sender, args=arguments)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.usefixtures("running")
def test_it_sends_for_accounts_whose_signer_it_has(desk):
    """An account is served while its signer is configured here, and left when it is another's."""
    desk.queue()
    until(lambda: desk.states() == ["broadcast"], what="the first")
    desk.run(SIGNER, ACCOUNT.address, "somebody-elses")
    until(lambda: desk.value(HOLDERS) == 0, what="leaving the account")
    desk.queue()
    desk.run(SIGNER, ACCOUNT.address, "test")
    until(lambda: desk.states() == ["broadcast"] * 2, what="the second")


def test_it_ends_and_gives_its_lock_back(desk):
    """When it is told to stop it ends its rounds, and another may go on at once."""
    for count in (1, 2):
        desk.queue()
        with running_sender(desk):
            until(lambda n=count: desk.states() == ["broadcast"] * n, what="sending")
        assert desk.value(HOLDERS) == 0


@pytest.mark.usefixtures("running")
def test_it_goes_on_after_its_session_was_ended(desk):
    """A sender that loses its session loses its lock, takes it again and sends."""
    desk.queue()
    until(lambda: desk.states() == ["broadcast"], what="the first")
    desk.run(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    desk.queue()
    until(lambda: desk.states() == ["broadcast"] * 2, what="the second")


def test_a_follower_that_raises_holds_up_nobody(desk):
    """While on_failed of one intent raises, the others are signed and sent."""

    class Raising:
        def on_failed(self, _tx, _transaction):
            raise RuntimeError("never")

    register_follower("anchor_publish", Raising())
    reverting = "0x" + "99" * 20
    desk.anvil.rpc("anvil_setCode", reverting, "0x60006000fd")
    desk.queue(to=reverting)
    desk.queue()
    with running_sender(desk):
        until(lambda: desk.states() == ["queued", "broadcast"], what="the other")
