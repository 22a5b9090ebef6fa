"""Senders that are killed, and senders that meet: real processes, a real node."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.chain.sender.support import ACCOUNT, ROOT, until

POINTS = ("chain.sender.queued", "chain.sender.signed", "chain.sender.sent")
BEFORE = {
    "chain.sender.queued": ("queued", 0),
    "chain.sender.signed": ("signed", 0),
    "chain.sender.sent": ("signed", 1),
}
"""The state that the kill leaves, and how many transactions the chain has by then."""

QUEUE = """
import sys
from tallystick.chain import ChainIntent, send
from tallystick.db import connect

url, name, count, chain, receiver = sys.argv[1:]
with connect(url, pool_size=1) as database:
    for number in range(int(count)):
        with database.transaction() as tx:
            send(tx, ChainIntent(chain_id=int(chain), transaction_type="anchor_publish",
                idempotency_key=f"{name}/{number}", to=receiver, call_data=b"", value=1))
"""


@pytest.mark.parametrize("point", POINTS)
def test_a_sender_killed_anywhere_sends_once(desk, tmp_path, point):
    """chain 3: Killed at queued, signed or sent-not-marked, one transaction is on chain, final."""
    desk.queue()
    with desk.process("sender", pause_at=point, place=tmp_path) as process:
        until((tmp_path / point).exists, what=point)
        process.kill()
        process.wait()
    state, count = BEFORE[point]
    assert desk.states() == [state]
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == count
    with desk.process():
        until(lambda: desk.states() in (["mined"], ["confirmed"], ["finalized"]), what="mined")
        desk.anvil.mine(3)
        until(lambda: desk.states() == ["finalized"], what="finality")
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1
    desk.check_laws()


@pytest.mark.parametrize("state", ["mined", "confirmed"])
def test_a_process_killed_after_inclusion_finishes(desk, state):
    """chain 3: Killed at mined or confirmed, the transaction becomes final once, after restart."""
    # With the tag, finality comes blocks after confirmation, and so does what lies between.
    desk.run(
        "SELECT tally.network_set_v1(%s, NULL, NULL, 3, 'tag', 1, NULL, NULL, NULL, NULL)",
        desk.anvil.chain_id,
    )
    desk.queue()
    with desk.process():
        until(lambda: desk.states() == ["mined"], what="mined")
        if state == "confirmed":
            desk.anvil.mine(3)
            until(lambda: desk.states() == ["confirmed"], what="confirmed")
    assert desk.states() == [state]
    with desk.process():
        desk.anvil.mine(100)
        until(lambda: desk.states() == ["finalized"], what="finality")
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1
    desk.check_laws()


def test_of_two_senders_one_waits(desk):
    """chain 4: The second takes over when the first is killed; each nonce is used once."""
    with desk.process() as first:
        desk.queue(20)
        until(lambda: "queued" not in desk.states(), what="the first")
        with desk.process():
            holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            assert desk.value(holders) == 2, "one sender and one watcher"
            desk.queue(20)
            until(lambda: "queued" not in desk.states(), what="the first, again")
            first.kill()
            first.wait()
            desk.queue(20)
            until(lambda: desk.states().count("queued") == 0, what="the second")
    nonces = [int(each["nonce"], 16) for each in desk.anvil.transactions_from(ACCOUNT.address)]
    assert sorted(nonces) == list(range(60))


@pytest.mark.slow
def test_intents_of_eight_processes_get_nonces_without_gap(desk):
    """chain 4: 200 intents that 8 processes queue while they are sent have nonces 0 to 199."""
    with desk.process():
        receiver = desk.anvil.accounts[1].address
        program = [sys.executable, "-c", QUEUE, desk.url]
        queueing = [
            subprocess.Popen(
                [*program, f"p{n}", "25", str(desk.anvil.chain_id), receiver],
                cwd=ROOT,
                env=os.environ,
            )
            for n in range(8)
        ]
        assert [process.wait(timeout=120) for process in queueing] == [0] * 8
        until(lambda: not {"queued", "signed", "broadcast"} & set(desk.states()), what="all")
        desk.anvil.mine(3)
        until(lambda: set(desk.states()) == {"finalized"}, what="finality")
    nonces = [int(each["nonce"], 16) for each in desk.anvil.transactions_from(ACCOUNT.address)]
    assert sorted(nonces) == list(range(200))
    assert desk.value("SELECT count(*) FROM tally.blockchain_transaction_attempts") == 200
    desk.check_laws()
