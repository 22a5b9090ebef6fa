"""`tally up` with its dev chain: one more process, ready to be used, gone with the others."""

from __future__ import annotations

import json
import signal
import socket

import httpx
import pytest

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.config import load_settings
from tallystick.runtime.devchain import place
from tallystick.runtime.devchain.errors import DevChainMissingError
from tallystick.runtime.devchain.place import (
    chain_endpoints,
    choose_port,
    is_ours,
    is_wanted,
    plan_dev_chain,
)
from tests.runtime.conftest import until
from tests.runtime.test_supervisor import free_port, is_alive, running
from tests.support.devchain import START_SECONDS

REGISTERED = """
  SELECT d.contract_name, d.is_active, t.state FROM tally.contract_deployments AS d
  JOIN tally.blockchain_transactions AS t ON t.transaction_hash = d.deployment_tx_hash
"""


def rpc(url, method, *parameters):
    """The result of a call; None while nobody answers."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    try:
        return httpx.post(url, json=asked, timeout=10, trust_env=False).json()["result"]
    except httpx.TransportError:
        return None


@pytest.mark.slow
def test_up_runs_the_dev_chain(tmp_path):
    """chain 14: `tally up` has a chain with TallyAnchor on it, and after a restart the same one."""
    port = free_port()
    with running(tmp_path / "data", port, tmp_path / "first", dev_chain=True) as up:
        url = up.facts["dev_chain"]
        until(
            lambda: up.execute(REGISTERED) == [("TallyAnchor", True, "finalized")],
            seconds=START_SECONDS,
            what="TallyAnchor was not deployed",
        )
        until(lambda: up.execute("SELECT * FROM tally.v_chain_violations") == [])
        before = rpc(url, "eth_getBlockByNumber", "latest", True)
        [pid] = [pid for pid, words in up.tree().items() if "devchain" in words]
        up.process.send_signal(signal.SIGTERM)
        assert 0 == up.process.wait(timeout=30)
        assert not is_alive(pid)
    with running(tmp_path / "data", port, tmp_path / "second", dev_chain=True) as up:
        url = up.facts["dev_chain"]
        until(lambda: rpc(url, "eth_chainId"), seconds=START_SECONDS)
        assert before == rpc(url, "eth_getBlockByNumber", "latest", True)
        known = chain_endpoints(load_settings(data_dir=tmp_path / "data"))
        assert [url] == [one.get_secret_value() for one in known[DEV_CHAIN_ID]]


def test_the_dev_chain_is_run_where_nothing_else_is_configured(tmp_path, monkeypatch):
    """It is run with the embedded PostgreSQL where no endpoint is named; the setting wins."""

    def wanted(**settings):
        return is_wanted(load_settings(data_dir=tmp_path, **settings))

    other = {1: ["https://node.example.com"]}
    ours = {DEV_CHAIN_ID: ["http://127.0.0.1:1"]}
    assert wanted()
    assert not wanted(dev_chain=False)
    assert not wanted(database_url="postgresql://example.com/x")
    assert wanted(database_url="postgresql://example.com/x", dev_chain=True)
    assert not wanted(chain_endpoints=other)
    assert wanted(chain_endpoints=other, dev_chain=True)
    assert not wanted(chain_endpoints=ours, dev_chain=True), "somebody runs one already"
    monkeypatch.setattr(place, "has_dev_chain", lambda: False)
    assert not wanted()
    with pytest.raises(DevChainMissingError, match=r"tallystick\[devchain\]"):
        plan_dev_chain(load_settings(data_dir=tmp_path, dev_chain=True))
    assert plan_dev_chain(load_settings(data_dir=tmp_path)) is None


def test_a_plan_says_where_the_chain_will_be(tmp_path):
    """The plan's URL is in the environment of the children, and in a file for other shells."""
    settings = load_settings(
        data_dir=tmp_path / "data", dev_chain=True, chain_endpoints={1: ["https://a.example.com/k"]}
    )
    plan = plan_dev_chain(settings)
    assert plan is not None
    said = place.format_endpoints(settings, plan)
    # As the environment gives it.
    child = load_settings(data_dir=tmp_path / "data", chain_endpoints=json.loads(said))
    assert is_ours(child)
    assert not is_ours(settings)
    assert {1, DEV_CHAIN_ID} == set(child.chain_endpoints) == set(chain_endpoints(settings))


def test_a_port_beside_the_servers_is_taken_if_it_is_free():
    """The port behind the server's is used, or any other where that one is taken."""
    free = free_port()
    assert free == choose_port(free)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port != choose_port(port)
    assert 0 < choose_port(65_536) < 65_536
