"""
The one client of all nodes: JSON-RPC to several endpoints of one network (chain.md, 4.4.5).

Each request goes to the first endpoint that is fit, in the order of the configuration, and to
the next where that one does not answer. An endpoint that is three blocks behind, has another
chain id or is silent is left out until a later look finds it fit again. Everything that is
asked here may be asked twice: bytes that a node has are "already known" to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Self

import msgspec

from tallystick import metrics
from tallystick.chain.errors import (
    MalformedAnswerError,
    NodeRefusedError,
    NodeUnavailableError,
    WrongChainError,
)
from tallystick.chain.node.encoding import parse_quantity, printable
from tallystick.chain.node.endpoints import Endpoint, EndpointFailed, Standing
from tallystick.record import ChainId

DEADLINE_SECONDS: Final = 10.0
"""How long an endpoint may take for one answer."""
LOOK_SECONDS: Final = 5.0
"""How often each endpoint's chain id and head are looked at."""
HURRIED_LOOK_SECONDS: Final = 1.0
"""How often while none is fit: a node that comes back is wanted at once."""
GRACE_SECONDS: Final = 0.5
"""How long the very first request waits for the other endpoints once one has answered."""
MAX_LAG_BLOCKS: Final = 3
"""An endpoint that is so many blocks behind is left out (section 4.4.5)."""
WITNESSES_OF_HEAD: Final = 3
"""From so many answers on, one alone cannot put the others behind by naming a high block."""
MAX_BATCH: Final = 100
"""Calls of one HTTP request: the least limit that the public services have."""
MAX_MESSAGE: Final = 300
"""Characters that are kept of what a node says."""

Call = tuple[str, Sequence[Any]]
"""A method's name and its parameters."""
Clear = Callable[[str], str]
"""Takes credentials out of a text."""


class Node:
    """One network through its endpoints; safe for any number of threads."""

    def __init__(
        self,
        chain_id: ChainId,
        urls: Sequence[str],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.chain_id = chain_id
        self._look_seconds = look_seconds
        self._deadline_seconds = deadline_seconds
        self._endpoints = tuple(
            Endpoint(url, number=number, deadline_seconds=deadline_seconds)
            for number, url in enumerate(urls, start=1)
        )
        self._seen = threading.Condition()
        self._is_first = True

    def __repr__(self) -> str:
        return f"<node of chain {self.chain_id} with {len(self._endpoints)} endpoints>"

    def call(self, method: str, *parameters: Any) -> Any:
        """
        Return the result of one call.

        Raises:
            NodeRefusedError: The node answered with an error.
            WrongChainError: Every endpoint that answers serves another chain.
            NodeUnavailableError: No endpoint answered in time.
            MalformedAnswerError: What was answered, by all that did, is no JSON-RPC.
        """
        answer = self._exchange(method, [(method, parameters)])[0]
        if isinstance(answer, NodeRefusedError):
            raise answer
        return answer

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """
        Return the results of *calls* in their order, a `NodeRefusedError` where one is refused.

        A hundred calls make one HTTP request, and all of a request are answered by one endpoint.

        Raises:
            WrongChainError, NodeUnavailableError, MalformedAnswerError: As `call`.
        """
        answers: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            answers += self._exchange("batch", calls[start : start + MAX_BATCH])
        return answers

    def ask_each(self, calls: Sequence[Call]) -> list[list[Any]]:
        """
        Return what each fit endpoint answers to *calls*, at most 100, asked at the same time.

        An endpoint that does not answer is not among them; none at all is an empty list.
        """
        assert len(calls) <= MAX_BATCH, "one request for each endpoint"
        self._look()
        answers: dict[int, list[Any]] = {}

        def ask(endpoint: Endpoint) -> None:
            try:
                answers[endpoint.number] = self._ask(endpoint, calls)
            except (EndpointFailed, MalformedAnswerError):
                return

        self._in_parallel(ask, self._fit())
        # A copy: whoever answers after his time must not change what is read here.
        in_time = dict(answers)
        return [in_time[number] for number in sorted(in_time)]

    def look(self) -> None:
        """Look at every endpoint now, and return when each has answered or let 10 s pass."""
        self._in_parallel(self._look_at, self._endpoints)

    def fit_endpoints(self) -> list[int]:
        """Return the numbers, from 1 in the order of the configuration, of those that are used."""
        return [endpoint.number for endpoint in self._fit()]

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints:
            endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, label: str, calls: Sequence[Call]) -> list[Any]:
        began = time.monotonic()
        malformed: MalformedAnswerError | None = None
        self._look()
        try:
            for endpoint in self._fit():
                try:
                    return self._ask(endpoint, calls)
                except EndpointFailed as failed:
                    self._leave_out(endpoint, str(failed))
                except MalformedAnswerError as failed:
                    # A service in front of the node may say so that it has had enough.
                    malformed = failed
                    self._leave_out(endpoint, str(failed))
            raise malformed or self._nobody()
        finally:
            metrics.CHAIN_RPC_SECONDS.labels(label).observe(time.monotonic() - began)

    def _ask(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[Any]:
        requests = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": list(parameters)}
            for index, (method, parameters) in enumerate(calls)
        ]
        # One alone goes as an object: some nodes answer a batch of one with an object.
        payload = msgspec.json.encode(requests[0] if len(requests) == 1 else requests)
        answer = endpoint.post(payload)
        return read_answers(answer, len(calls), endpoint.without_secrets)

    def _fit(self) -> list[Endpoint]:
        fit = choose_fit([endpoint.standing for endpoint in self._endpoints], self.chain_id)
        return [self._endpoints[index] for index in fit]

    def _look(self) -> None:
        """Look at endpoints whose time has come, behind the caller's back unless none is fit."""
        is_hurried = not self._fit()
        patience = min(HURRIED_LOOK_SECONDS, self._look_seconds) if is_hurried else 0.0
        now = time.monotonic()
        due = [
            endpoint
            for endpoint in self._endpoints
            if now - endpoint.standing.looked_at >= (patience or self._look_seconds)
        ]
        for endpoint in due:
            threading.Thread(target=self._look_at, args=(endpoint,), daemon=True).start()
        if is_hurried and due:
            self._wait_for_fit(due, since=now)

    def _wait_for_fit(self, looked_at: Sequence[Endpoint], *, since: float) -> None:
        """Wait until an endpoint is fit, and a moment for the others, or until all have failed."""

        def are_all_seen() -> bool:
            return all(endpoint.standing.looked_at >= since for endpoint in looked_at)

        with self._seen:
            self._seen.wait_for(lambda: self._fit() or are_all_seen(), self._deadline_seconds)
            if self._is_first:
                # A first request could otherwise go to an endpoint that is behind, unknown to us.
                self._seen.wait_for(are_all_seen, GRACE_SECONDS)
                self._is_first = False

    def _look_at(self, endpoint: Endpoint) -> None:
        if not endpoint.is_looked_at.acquire(blocking=False):
            return
        try:
            standing = self._standing_of(endpoint)
            with self._seen:
                endpoint.standing = standing
                self._seen.notify_all()
        finally:
            endpoint.is_looked_at.release()

    def _standing_of(self, endpoint: Endpoint) -> Standing:
        try:
            answers = self._ask(endpoint, [("eth_chainId", ()), ("eth_blockNumber", ())])
            chain_id, head = (parse_quantity(answer) for answer in answers)
        except (EndpointFailed, MalformedAnswerError) as failed:
            return Standing(failure=str(failed), looked_at=time.monotonic())
        return Standing(chain_id=chain_id, head=head, failure=None, looked_at=time.monotonic())

    def _leave_out(self, endpoint: Endpoint, failure: str) -> None:
        with self._seen:
            endpoint.standing = replace(
                endpoint.standing, failure=failure, looked_at=time.monotonic()
            )

    def _in_parallel(self, ask: Callable[[Endpoint], None], endpoints: Sequence[Endpoint]) -> None:
        threads = [
            threading.Thread(target=ask, args=(endpoint,), daemon=True) for endpoint in endpoints
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * self._deadline_seconds)

    def _nobody(self) -> NodeUnavailableError:
        answered = [e.standing.chain_id for e in self._endpoints if e.standing.failure is None]
        if any(answered) and self.chain_id not in answered:
            return WrongChainError(expected=self.chain_id, actual=answered[0])
        return NodeUnavailableError(f"no endpoint of chain {self.chain_id} answers")


def choose_fit(standings: Sequence[Standing], chain_id: int) -> list[int]:
    """
    Return the indexes of the endpoints to use, in their order.

    Fit is one that answered, serves *chain_id* and is fewer than 3 blocks behind the highest
    head, or behind the second highest where three or more answer.
    """
    able = {
        index: standing.head
        for index, standing in enumerate(standings)
        if standing.failure is None and standing.chain_id == chain_id and standing.head is not None
    }
    if not able:
        return []
    heads = sorted(able.values(), reverse=True)
    reference = heads[1] if len(heads) >= WITNESSES_OF_HEAD else heads[0]
    return [index for index, head in able.items() if reference - head < MAX_LAG_BLOCKS]


def read_answers(answer: Any, count: int, without_secrets: Clear) -> list[Any]:
    """
    Return the *count* results of a response in the order of their calls.

    Raises:
        MalformedAnswerError: The response is no JSON-RPC, or lacks one of the calls.
    """
    single = isinstance(answer, dict)
    if single and count > 1 and "error" in answer:
        # The whole batch is refused, with one error.
        return [read_refusal(answer["error"], without_secrets)] * count
    items = [answer] if single else answer
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedAnswerError("the node answers something else than JSON-RPC")
    by_id = {item["id"]: item for item in items if isinstance(item.get("id"), int)}
    if len(by_id) != len(items) or by_id.keys() != set(range(count)):
        raise MalformedAnswerError("the node answers other calls than it was asked")
    return [read_result(by_id[index], without_secrets) for index in range(count)]


def read_result(item: dict[str, Any], without_secrets: Clear) -> Any:
    """Return the result of one response, or the error that it is."""
    error = item.get("error")
    return item.get("result") if error is None else read_refusal(error, without_secrets)


def read_refusal(error: Any, without_secrets: Clear) -> NodeRefusedError:
    """Return the error that a node answered, its words cleared of credentials and shortened."""
    if not isinstance(error, dict):
        error = {"message": str(error)}
    said = printable(without_secrets(str(error.get("message", "")))[:MAX_MESSAGE])
    code, data = error.get("code"), error.get("data")
    # Some nodes nest what the EVM returned one level deeper.
    if isinstance(data, dict):
        data = data.get("data")
    return NodeRefusedError(
        f"the node refused: {said}",
        rpc_code=code if isinstance(code, int) else 0,
        said=said,
        data=data if isinstance(data, str) else None,
    )
