"""The one client of all nodes: which endpoint it asks, and what it never says."""

from __future__ import annotations

import base64
import contextlib
import http.server
import logging
import socket
import threading
import traceback
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from tallystick import metrics
from tallystick.chain.errors import (
    InvalidEndpointError,
    MalformedAnswerError,
    NodeRefusedError,
    NodeUnavailableError,
    WrongChainError,
)
from tallystick.chain.node import Node, choose_fit
from tallystick.chain.node.client import DEADLINE_SECONDS, MAX_BATCH, read_answers
from tallystick.chain.node.endpoints import Endpoint, Standing
from tests.support.evm import running_anvil
from tests.support.stores import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a-credential-nobody-may-see"


@pytest.fixture(scope="module")
def anvil():
    """A node with ten blocks."""
    with running_anvil() as running:
        running.mine(10)
        yield running


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def answering(body: bytes, status: int = 200, *, but_batches_of: str = "") -> Iterator[str]:
    """An endpoint that answers the same to everything, or asks another one about batches."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            said = body
            if but_batches_of and asked.startswith(b"["):
                kind = {"Content-Type": "application/json"}
                said = httpx.post(but_batches_of, content=asked, headers=kind).content
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_endpoint_three_blocks_behind_is_left_out(anvil):
    """chain 18: Two blocks behind is fit, three are not; the other endpoint answers."""
    with (
        running_anvil() as behind,
        Node(anvil.chain_id, [behind.url, anvil.url], look_seconds=0.0) as node,
    ):
        behind.mine(anvil.head - 2)
        node.look()
        assert node.fit_endpoints() == [1, 2]
        anvil.mine()
        node.look()
        assert node.fit_endpoints() == [2]
        assert int(node.call("eth_blockNumber"), 16) == anvil.head
        behind.mine()
        node.look()
        assert node.fit_endpoints() == [1, 2]


def test_an_endpoint_with_another_chain_id_is_left_out(anvil):
    """chain 18: An endpoint of another chain is not asked while another one serves ours."""
    with (
        running_anvil(chain_id=5) as other,
        Node(anvil.chain_id, [other.url, anvil.url]) as node,
    ):
        assert int(node.call("eth_chainId"), 16) == anvil.chain_id
        assert node.fit_endpoints() == [2]


def test_a_silent_endpoint_is_left_out_and_the_work_goes_on(anvil):
    """chain 18: After one deadline a silent endpoint is passed over, until it answers again."""
    with silent() as url, Node(anvil.chain_id, [url, anvil.url], deadline_seconds=0.5) as node:
        for _ in range(20):
            assert int(node.call("eth_chainId"), 16) == anvil.chain_id
        assert node.fit_endpoints() == [2]
    assert DEADLINE_SECONDS == 10


def test_an_endpoint_that_falls_silent_later_is_left_out_at_once(anvil):
    """chain 18: A call under way goes to the next endpoint, and comes back when the first does."""
    port = free_port()
    with running_anvil() as lasting:
        lasting.mine(10)
        with Node(
            anvil.chain_id, [f"http://127.0.0.1:{port}", lasting.url], look_seconds=0.05
        ) as node:
            with running_anvil(port=port) as first:
                first.mine(10)
                node.look()
                assert node.fit_endpoints() == [1, 2]
            assert int(node.call("eth_blockNumber"), 16) == 10
            assert node.fit_endpoints() == [2]
            with running_anvil(port=port) as again:
                again.mine(10)
                node.look()
                assert node.fit_endpoints() == [1, 2]


def test_nobody_answers_is_a_named_error():
    """Without an endpoint that answers a call raises NodeUnavailableError, not the library's."""
    with Node(1, [f"http://127.0.0.1:{free_port()}"]) as node:
        with pytest.raises(NodeUnavailableError, match="no endpoint of chain 1 answers"):
            node.call("eth_chainId")
        assert node.ask_each([("eth_chainId", ())]) == []


def test_only_another_chain_answers_is_told_apart(anvil):
    """Where every endpoint that answers serves another chain, the error names both ids."""
    with (
        Node(1, [f"http://127.0.0.1:{free_port()}", anvil.url]) as node,
        pytest.raises(WrongChainError) as raised,
    ):
        node.call("eth_chainId")
    assert (raised.value.expected, raised.value.actual) == (1, anvil.chain_id)


def test_a_batch_keeps_its_order_and_tells_each_refusal(anvil):
    """Results stand where their calls stood, over several requests, a refusal in its place."""
    calls = [("eth_getBlockByNumber", (hex(n % 10), False)) for n in range(MAX_BATCH + 5)]
    calls[3] = ("eth_noSuchMethod", ())
    with Node(anvil.chain_id, [anvil.url]) as node:
        answers = node.batch(calls)
    assert isinstance(answers[3], NodeRefusedError)
    numbers = [int(answer["number"], 16) for n, answer in enumerate(answers) if n != 3]
    assert numbers == [n % 10 for n in range(MAX_BATCH + 5) if n != 3]


def test_each_endpoint_can_be_asked(anvil):
    """A quorum is counted over what every fit endpoint answers by itself."""
    with (
        running_anvil() as second,
        running_anvil(chain_id=9) as other,
        Node(anvil.chain_id, [anvil.url, other.url, second.url]) as node,
    ):
        second.mine(anvil.head)
        node.look()
        calls = [("eth_getBlockByNumber", ("0x0", False)), ("eth_chainId", ())]
        answers = node.ask_each(calls)
    assert [answer[1] for answer in answers] == [hex(anvil.chain_id)] * 2


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"17",
        b'{"id": 7, "result": 1}',
        b'[{"id": [], "result": 1}]',
        b"[" * 200_000,
    ],
)
def test_what_is_no_json_rpc_is_no_answer(body):
    """An endpoint that answers something else is as good as silent."""
    with answering(body) as url, Node(1, [url]) as node, pytest.raises(NodeUnavailableError):
        node.call("eth_chainId")


def test_a_busy_service_is_passed_over(anvil):
    """HTTP 429 of one endpoint sends the call to the next."""
    with answering(b"{}", 429) as url, Node(anvil.chain_id, [url, anvil.url]) as node:
        assert int(node.call("eth_chainId"), 16) == anvil.chain_id


def test_an_endpoint_that_talks_nonsense_is_passed_over(anvil):
    """One that answers looks and nothing else leaves each call to the next endpoint."""
    with (
        answering(b'{"message": "too much"}', but_batches_of=anvil.url) as url,
        Node(anvil.chain_id, [url, anvil.url]) as node,
    ):
        assert int(node.call("eth_chainId"), 16) == anvil.chain_id
        assert node.fit_endpoints() == [2]


def test_a_refusal_is_text_that_a_row_can_hold():
    """What a node says is kept in rows and shown in terminals: without NUL and other controls."""
    said = b'{"id": 0, "error": {"code": 1, "message": "a\\u0000b\\u001b[1m"}}'
    (refused,) = read_answers(msgspec.json.decode(said), 1, str)
    assert refused.said == "a\ufffdb\ufffd[1m"


@pytest.mark.parametrize(
    "url", ["", "ftp://host/x", "http://", "https://[", "localhost:8545", f"{SECRET}"]
)
def test_an_endpoint_that_is_no_url_is_named_by_its_number(url):
    """A wrong URL in the configuration is refused without being quoted."""
    with pytest.raises(InvalidEndpointError) as raised:
        Node(1, ["http://localhost:1", url])
    assert str(raised.value) == "endpoint 2 is no http or https URL"


def test_no_credential_of_an_endpoint_is_ever_said(anvil, caplog):
    """chain 19: URL, host, user, password and key of an endpoint are in no error, log or metric."""
    caplog.set_level(logging.DEBUG)
    port = anvil.url.rpartition(":")[2]
    good = f"http://{SECRET}-user:{SECRET}-password@127.0.0.1:{port}/?key={SECRET}-key"
    told = f'{{"id": 0, "error": {{"code": -1, "message": "bad key {SECRET}-path"}}}}'.encode()
    said: list[str] = []
    with (
        answering(told) as refusing,
        Node(anvil.chain_id, [good]) as node,
        Node(1, [f"http://{SECRET}-host.invalid/{SECRET}-path"], deadline_seconds=2) as lost,
        Node(1, [f"{refusing}/{SECRET}-path"]) as refused,
    ):
        node.call("eth_blockNumber")
        # The look at it was refused too; here it is the words that count.
        refused._endpoints[0].standing = Standing(chain_id=1, head=1, failure=None, looked_at=1e18)
        for asked in (node, lost, refused):
            said.append(repr(asked))
            try:
                asked.call("eth_noSuchMethod")
            except (NodeRefusedError, NodeUnavailableError) as raised:
                said += [
                    repr(raised),
                    repr(vars(raised)),
                    "".join(traceback.format_exception(raised)),
                ]
        said += [repr(endpoint) for each in (node, lost, refused) for endpoint in each._endpoints]
    said += [caplog.text, metrics.exposition().decode()]
    assert any("bad key [endpoint]" in each for each in said)
    assert [each for each in said if SECRET in each or port in each] == []


@pytest.mark.parametrize(
    ("heads", "fit"),
    [
        ([10], [0]),
        ([10, 8], [0, 1]),
        ([10, 7], [0]),
        ([7, 10], [1]),
        ([10, 10, 999], [0, 1, 2]),
        ([10, 6, 999], [0, 2]),
        ([None, 10], [1]),
    ],
)
def test_who_is_fit_follows_from_the_heads(heads, fit):
    """Of three and more the second highest head is the measure: one liar puts nobody out."""
    standings = [
        Standing(chain_id=1, head=head, failure="silent" if head is None else None)
        for head in heads
    ]
    assert choose_fit(standings, 1) == fit
    assert choose_fit(standings, 2) == []


def test_a_malformed_answer_is_unavailability(anvil):
    """Who waits for a node waits as well for one that talks nonsense."""
    assert issubclass(MalformedAnswerError, NodeUnavailableError)


def test_a_credential_is_withheld_in_each_of_its_spellings():
    """chain 19: As the URL writes it, as it is meant, and as the header of Basic has it."""
    url = "https://our%2Duser:p%40ssw0rd@node.example/rpc?key=a%2Fcredential+here&x=1"
    endpoint = Endpoint(url, number=1, deadline_seconds=1)
    header = base64.b64encode(b"our-user:p@ssw0rd").decode()
    said = f"our-user p@ssw0rd a/credential here {header} a%2Fcredential+here p%40ssw0rd"
    assert endpoint.without_secrets(said) == " ".join(["[endpoint]"] * 6)
    endpoint.close()
