"""What no table, log line, metric or problem document may hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import msgspec
from psycopg import sql

from tallystick.chain import errors
from tallystick.chain.errors import ChainError
from tallystick.errors import all_errors
from tests.chain.sender.support import ACCOUNT, ROOT, until

USER, PASSWORD, PATH_KEY = "node-user-word", "node-password-word", "project-key-word"
KEYSTORE_PASSWORD = "keystore-password-word"

PROGRAM = """
import json, os, signal, sys, threading
from tallystick import metrics
from tallystick.config import load_settings
from tallystick.db import connect
from tallystick.runtime.chain import chain_duties
from tallystick.runtime.logging import configure_logging

configure_logging("debug")
settings, stop = load_settings(log_level="debug"), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print(settings, flush=True)
with connect(settings.database_url, pool_size=8) as database:
    duties = chain_duties(database, settings, stop)
    threads = [threading.Thread(target=duty, daemon=True) for duty in duties.values()]
    for thread in threads:
        thread.start()
    while not stop.wait(0.2):
        pass
    for thread in threads:
        thread.join(15)
    print(metrics.exposition().decode(), flush=True)
"""


def test_no_key_password_or_endpoint_is_ever_shown(desk, tmp_path):
    """chain 19: A run with good and bad endpoints leaves no credential in tables, logs, metrics."""
    from eth_account import Account

    keystore = tmp_path / "key.json"
    encrypted = Account.encrypt(ACCOUNT.key, KEYSTORE_PASSWORD, kdf="pbkdf2", iterations=2)
    keystore.write_bytes(msgspec.json.encode(encrypted))
    host = desk.anvil.url.removeprefix("http://")
    chain = str(desk.anvil.chain_id)
    good = f"http://{USER}:{PASSWORD}@{host}/?key={PATH_KEY}"
    endpoints = {
        chain: [f"http://{USER}:{PASSWORD}@127.0.0.1:1/{PATH_KEY}", good],
        "1": [good],
        "10": [f"https://{PATH_KEY}.invalid/{PATH_KEY}"],
    }
    signers = {
        "test": {"kind": "file", "path": str(keystore), "password_env": "SIGNER_PASSWORD"},
        "wrong": {"kind": "env", "key_env": "OTHER_KEY"},
    }
    other = desk.anvil.accounts[1]
    desk.run("SELECT tally.account_add_v1(%s, %s, 'settle', 'wrong', 0)", chain, other.address)
    desk.run("SELECT tally.account_add_v1(10, %s, 'settle', 'test', 0)", ACCOUNT.address)
    (refused,) = desk.queue(to="0x" + "99" * 20, data=b"\1")
    desk.anvil.rpc("anvil_setCode", "0x" + "99" * 20, "0x60006000fd")
    desk.queue(3)
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "TALLY_DATABASE_URL": desk.url,
                "TALLY_CHAIN_ENDPOINTS": msgspec.json.encode(endpoints).decode(),
                "TALLY_CHAIN_SIGNERS": msgspec.json.encode(signers).decode(),
                "SIGNER_PASSWORD": KEYSTORE_PASSWORD,
                "OTHER_KEY": other.key + "00",
            },
        )
        try:
            until(lambda: not {"queued", "signed", "broadcast"} & set(desk.states()), what="sent")
            time.sleep(1)
            process.terminate()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
    told = log.read_text()
    assert "tally_chain_rpc_seconds" in told
    assert "chain.sender_interrupted" in told, "the wrong key was met"
    shown = told + "".join(all_rows(desk)) + problems()
    assert str(refused)
    for secret in (USER, PASSWORD, PATH_KEY, KEYSTORE_PASSWORD, ACCOUNT.key[2:], other.key[2:]):
        assert secret not in shown, secret
    assert host not in shown


def all_rows(desk) -> list[str]:
    """Every row of every table of ours, as text."""
    tables = desk.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'tally'::regnamespace"
        " AND relkind IN ('r', 'p')"
    )
    assert len(tables) > 30
    found = []
    for (table,) in tables:
        statement = sql.SQL("SELECT t::text FROM tally.{} AS t").format(sql.Identifier(table))
        found += [row for (row,) in desk.rows(statement)]
    return found


def problems() -> str:
    """What each error of the slice says of itself."""
    return "".join(
        str(error()) for error in all_errors(ChainError) if error.__module__ == errors.__name__
    )
