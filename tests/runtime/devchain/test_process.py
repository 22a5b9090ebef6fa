"""The dev chain as a process: on loopback alone, killed and started again, the same chain."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from tallystick.chain.evidence import inclusion_evidence
from tallystick.chain.node import Node
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import ChainId
from tallystick.runtime.devchain.errors import (
    DevChainBusyError,
    JournalDamagedError,
    OtherNetworkError,
)
from tallystick.runtime.devchain.journal import JOURNAL_FILE
from tallystick.runtime.devchain.process import run_dev_chain
from tallystick.runtime.errors import AddressInUseError
from tallystick.verify import check_inclusion_evidence
from tests.support.devchain import FUNDS, DevChain, running_devchain, start_devchain
from tests.support.stores import free_port

RECEIVER = "0x" + "cd" * 20


@pytest.fixture(scope="module")
def node():
    """A dev chain that these tests share."""
    with running_devchain() as running:
        yield running


def post(node, body, **headers):
    """The status and the body of an HTTP request."""
    connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=10)
    connection.request("POST", "/", body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def rpc(method, *parameters, number=1):
    """A request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}


def test_killed_and_started_again_it_is_the_same_chain(tmp_path):
    """chain 14: after kill -9 head hash, balances and evidence are the same, and it goes on."""
    with running_devchain(tmp_path) as node:
        sender = node.accounts[0].address
        hashes = [node.send(**{"from": sender, "to": RECEIVER, "value": 7}) for _ in range(5)]
        with Node(DEV_CHAIN_ID, [node.url]) as client:
            evidence = [inclusion_evidence(client, each) for each in hashes]
        before = seen(node, hashes)
        node.kill()
    again = start_devchain(tmp_path)
    try:
        assert before == seen(again, hashes)
        with Node(DEV_CHAIN_ID, [again.url]) as client:
            assert evidence == [inclusion_evidence(client, each) for each in hashes]
        for each in evidence:
            check_inclusion_evidence(
                header_rlp=each.header_rlp,
                receipt_rlp=each.receipt_rlp,
                receipt_proof=each.receipt_proof,
                block_hash=each.block_hash,
                transaction_index=each.transaction_index,
            )
        again.send(**{"from": sender, "to": RECEIVER, "value": 1})
        assert 36 == again.number("eth_getBalance", RECEIVER, "latest")
    finally:
        again.end()


def seen(node, hashes):
    """What a client could see of the chain's head, its accounts and its receipts."""
    return (
        node.rpc("eth_getBlockByNumber", "latest", True),
        [node.rpc("eth_getBalance", one.address, "latest") for one in node.accounts],
        [node.rpc("eth_getTransactionReceipt", each) for each in hashes],
        node.number("eth_getBalance", RECEIVER, "latest"),
    )


@pytest.mark.slow
def test_killed_while_it_mines_nothing_acknowledged_is_lost(tmp_path):
    """chain 14: killed under load, whatever was answered is mined after the restart."""
    answered: list[str] = []
    with running_devchain(tmp_path) as node:
        signed = [
            node.sign(account.key, account.address, to=RECEIVER, value=1, gas=21_000, nonce=nonce)
            for nonce in range(20)
            for account in node.accounts
        ]

        def send() -> None:
            try:
                for raw in signed:
                    answered.append(node.rpc("eth_sendRawTransaction", raw))
                    if len(answered) == 20:
                        enough.set()
            except httpx.HTTPError:
                enough.set()

        enough = threading.Event()
        sending = threading.Thread(target=send)
        sending.start()
        assert enough.wait(60)
        node.kill()
        sending.join()
    again = start_devchain(tmp_path)
    try:
        receipts = [again.rpc("eth_getTransactionReceipt", each) for each in answered]
        assert ["0x1"] * len(answered) == [receipt["status"] for receipt in receipts]
        # The one that was under way may have been mined too, without having been answered.
        assert again.number("eth_getBalance", RECEIVER, "latest") - len(answered) in {0, 1}
    finally:
        again.end()


def test_a_torn_journal_is_cut_and_said(tmp_path):
    """A torn last line is named in the log and cut, and the chain goes on before it."""
    with running_devchain(tmp_path) as node:
        assert 0 == node.stop()
    path = tmp_path / "chain" / JOURNAL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = start_devchain(tmp_path)
    try:
        assert 3 == again.head
        [line] = [
            json.loads(line)
            for line in (tmp_path / "devchain.log").read_text().splitlines()
            if "torn" in line
        ]
        assert ("devchain.torn_line_cut", 5) == (line["event"], line["rows"])
    finally:
        again.end()


def test_a_reset_chain_begins_anew_and_keeps_what_was(tmp_path):
    """With reset the chain starts at block 0 and the earlier journal lies beside the new one."""
    with running_devchain(tmp_path) as node:
        node.stop()
    heads: list[str] = []
    stop = threading.Event()

    def started(url: str) -> None:
        heads.append(url)
        stop.set()

    run_dev_chain(tmp_path / "chain", tmp_path / "keys", stop, reset=True, started=started)
    assert 1 == len(heads)
    names = sorted(path.name for path in (tmp_path / "chain").iterdir())
    assert ["journal.1.jsonl", JOURNAL_FILE] == names
    assert 1 == len((tmp_path / "chain" / JOURNAL_FILE).read_text().splitlines())


def test_other_networks_are_refused(tmp_path):
    """Only the dev chain's own network is run, and nothing is made for another."""
    with pytest.raises(OtherNetworkError, match="chain 1 is not the dev chain") as refused:
        run_dev_chain(tmp_path / "chain", tmp_path / "keys", threading.Event(), chain_id=ChainId(1))
    assert (DEV_CHAIN_ID, 1, []) == (
        refused.value.expected,
        refused.value.actual,
        list(tmp_path.iterdir()),
    )


def test_a_second_process_is_refused(tmp_path):
    """One process keeps a chain; a port that is taken and a damaged journal are named too."""
    places = (tmp_path / "chain", tmp_path / "keys", threading.Event())
    with running_devchain(tmp_path, funded=False) as node:
        with pytest.raises(DevChainBusyError):
            run_dev_chain(*places)
        with pytest.raises(AddressInUseError):
            run_dev_chain(tmp_path / "other", *places[1:], port=int(node.url.rpartition(":")[2]))
        node.stop()
    (tmp_path / "chain" / JOURNAL_FILE).write_text("what is this?\n")
    with pytest.raises(JournalDamagedError):
        run_dev_chain(*places)


@pytest.mark.slow
def test_it_ends_with_who_started_it(tmp_path):
    """When the pipe from its parent ends, it ends, by itself and cleanly."""
    node = start_devchain(tmp_path)
    assert node.process.stdin is not None
    node.process.stdin.close()
    assert 0 == node.process.wait(timeout=30)
    node.process.stdin = None
    node.end()


@pytest.mark.slow
def test_a_disk_that_refuses_ends_it(tmp_path):
    """A block that cannot be written is answered to nobody, and the process ends for a restart."""
    limited = "import resource,sys;resource.setrlimit(resource.RLIMIT_FSIZE,(600,600));"
    run = "from tallystick.runtime.devchain.process import main;main(sys.argv[1:])"
    port = free_port()
    places = [str(tmp_path / "chain"), str(tmp_path / "keys"), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", limited + run, *places],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node = DevChain(f"http://127.0.0.1:{port}", tmp_path, process)
    node.wait()
    answer = node.answer("evm_mine", {"blocks": 10})
    assert {"code": -32603, "message": "OSError"} == answer["error"]
    assert 0 != process.wait(timeout=30)
    node.end()
    again = start_devchain(tmp_path)
    try:
        written = (tmp_path / "chain" / JOURNAL_FILE).read_text().splitlines()
        assert len(written) - 1 == again.head
    finally:
        again.end()


# HTTP -----------------------------------------------------------------------------------------


def test_it_listens_on_loopback_alone(node):
    """The dev chain is reached on 127.0.0.1 and on no other address of the machine."""
    port = urlsplit(node.url).port
    assert node.url == f"http://127.0.0.1:{port}"
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None)}
    for address in others - {"127.0.0.1", "::1"}:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
            trial.settimeout(2)
            assert 0 != trial.connect_ex((address, port))


def test_a_batch_is_answered_in_its_order(node):
    """A batch is answered as a list; a notification is answered by nothing."""
    asked = [rpc("eth_chainId", number=5), {"jsonrpc": "2.0", "method": "eth_chainId"}, 7]
    asked += [rpc("eth_nothing", number="x")]
    status, body = post(node, json.dumps(asked))
    answers = json.loads(body)
    assert (200, [5, None, "x"]) == (status, [answer["id"] for answer in answers])
    assert [None, -32600, -32601] == [answer.get("error", {}).get("code") for answer in answers]
    assert (204, b"") == post(node, json.dumps({"jsonrpc": "2.0", "method": "eth_chainId"}))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", -32700),
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ("7", -32600),
        ('{"id":1}', -32600),
        ('{"id":1,"method":7}', -32600),
        ('{"id":1,"method":"eth_chainId","params":{}}', -32600),
        (json.dumps([7] * 1001), -32600),
        (b"\xff", -32700),
    ],
)
def test_what_is_no_request_is_answered_as_such(node, body, code):
    """Whatever is posted, JSON-RPC is answered, and the process goes on."""
    status, answer = post(node, body)
    assert (200, code) == (status, json.loads(answer)["error"]["code"])
    assert 200 == post(node, json.dumps(rpc("eth_chainId")))[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "chain.example.com"}, 403),
        ({"Host": "example.com:127.0.0.1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": "99999999999"}, 413),
        ({"Content-Length": "x"}, 411),
    ],
)
def test_pages_of_other_hosts_are_refused(node, headers, status):
    """What a page in a browser could send without asking is refused before it is read."""
    assert status == post(node, json.dumps(rpc("eth_chainId")), **headers)[0]


def test_many_connections_are_served_at_once(node):
    """Connections that say nothing hold up nobody."""
    place = urlsplit(node.url)
    idle = [socket.create_connection((place.hostname, place.port)) for _ in range(50)]
    assert FUNDS >= node.number("eth_getBalance", node.accounts[3].address, "latest") > 0
    for connection in idle:
        connection.close()


def test_a_contract_that_calls_itself_is_run_to_its_end(tmp_path):
    """Calls as deep as gas allows are mined, and mined again: no stack of ours is shallower."""
    # A contract whose code calls itself with all the gas that is left, and its constructor.
    code = bytes.fromhex("60006000600060006000305af100")
    constructor = bytes.fromhex("600e600c600039600e6000f3") + code
    with running_devchain(tmp_path) as node:
        sender = node.accounts[0].address
        made = node.send(**{"from": sender, "data": "0x" + constructor.hex(), "gas": 200_000})
        contract = node.rpc("eth_getTransactionReceipt", made)["contractAddress"]
        assert "0x" + code.hex() == node.rpc("eth_getCode", contract, "latest")
        called = node.send(**{"from": sender, "to": contract, "gas": 29_000_000})
        receipt = node.rpc("eth_getTransactionReceipt", called)
        # Of what a call is given a 64th stays behind: some 700 calls in each other.
        assert ("0x1", True) == (receipt["status"], int(receipt["gasUsed"], 16) > 80_000)
        node.kill()
    again = start_devchain(tmp_path)
    try:
        assert receipt == again.rpc("eth_getTransactionReceipt", called)
    finally:
        again.end()
