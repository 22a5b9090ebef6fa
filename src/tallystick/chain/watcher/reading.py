"""
What the watcher asks a node, all of it before its transaction (chain.md, sections 4.4 and 7.9).

Blocks, receipts and hashes are read in batches. Near the head logs are asked for by the hash
of their block, because a node that is behind answers a range that it does not know yet with
nothing, and the events would be lost; far below it they are read in ranges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from tallystick.chain.errors import MalformedAnswerError, NodeRefusedError
from tallystick.chain.node import Call, Node, format_quantity, parse_data, parse_object
from tallystick.chain.node.blocks import (
    BlockId,
    Header,
    Log,
    Receipt,
    are_logs_of,
    parse_header,
    parse_logs,
    parse_number,
    parse_receipt,
)
from tallystick.chain.node.refusals import Refusal, classify, revert_data
from tallystick.record import Address, BlockHash, TransactionHash

MAX_RANGE_BLOCKS: Final = 2_000
"""Blocks of one eth_getLogs (section 4.4.1); halved where a node refuses so many."""
SETTLED_BLOCKS: Final = 64
"""So far below the head logs are read in ranges: no endpoint that is used is so far behind."""
FINALIZED: Final = "finalized"


class BlockReader:
    """Reads one network; holds what it read ahead of logs, and nothing else."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ahead: tuple[range, frozenset[Address], tuple[Log, ...]] | None = None

    def look(self, number: int) -> tuple[int, BlockHash | None]:
        """
        Return the number of the newest block, and the hash at *number*; None: it has none yet.

        Raises:
            NodeUnavailableError, NodeRefusedError: As for every question here.
        """
        newest, block = self._batch([("eth_blockNumber", ()), block_call(number)])
        return parse_number(newest), None if block is None else _header_at(block, number).hash

    def head(self) -> int:
        """Return the number of the newest block."""
        return parse_number(self._node.call("eth_blockNumber"))

    def headers(self, first: int, last: int) -> list[Header]:
        """Return the blocks from *first* to *last*, up to where the node has none yet."""
        numbers = range(first, last + 1)
        headers: list[Header] = []
        answers = self._batch([block_call(number) for number in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            if answer is None:
                break
            headers.append(_header_at(answer, number))
        return headers

    def headers_at(self, numbers: Iterable[int]) -> list[Header]:
        """Return the blocks of *numbers* that the node has."""
        asked = list(numbers)
        answers = self._batch([block_call(number) for number in asked]) if asked else []
        return [
            _header_at(answer, number)
            for number, answer in zip(asked, answers, strict=True)
            if answer is not None
        ]

    def hashes(self, numbers: Iterable[int]) -> dict[int, BlockHash]:
        """Return the hash of each of *numbers* that the node has a block of."""
        return {header.number: header.hash for header in self.headers_at(numbers)}

    def receipts(self, hashes: Collection[TransactionHash]) -> list[Receipt]:
        """Return the receipts of those of *hashes* that are mined."""
        asked = list(hashes)
        answers = self._batch([("eth_getTransactionReceipt", (each,)) for each in asked])
        receipts = []
        for transaction_hash, answer in zip(asked, answers, strict=True):
            # Some nodes answer a receipt without a block for what waits in their pool.
            if answer is None or parse_object(answer).get("blockHash") is None:
                continue
            receipt = parse_receipt(answer)
            if receipt.transaction_hash != transaction_hash:
                raise MalformedAnswerError("the node answers another receipt than it was asked")
            receipts.append(receipt)
        return receipts

    def are_known(self, hashes: Collection[TransactionHash]) -> list[bool]:
        """Return of each hash whether the node knows it, mined or not."""
        answers = self._batch([("eth_getTransactionByHash", (each,)) for each in hashes])
        return [answer is not None for answer in answers]

    def reverts(self, receipts: Sequence[Receipt]) -> dict[TransactionHash, bytes]:
        """
        Return what the EVM says to each of these reverted transactions, called again.

        The call is made on the state of their block, where whatever stood in the way still
        does; a node that has that state no more leaves the transaction out.
        """
        calls: list[Call] = [
            ("eth_getTransactionByHash", (receipt.transaction_hash,)) for receipt in receipts
        ]
        again: list[tuple[TransactionHash, Call]] = []
        for receipt, answer in zip(receipts, self._node.batch(calls), strict=True):
            if isinstance(answer, dict):
                asked = {
                    key: answer[key]
                    for key in ("from", "to", "value", "input", "gas")
                    if answer.get(key) is not None
                }
                parameters = (asked, format_quantity(receipt.block_number))
                again.append((receipt.transaction_hash, ("eth_call", parameters)))
        answers = self._node.batch([call for _, call in again])
        return {
            transaction_hash: revert_data(answer)
            for (transaction_hash, _), answer in zip(again, answers, strict=True)
            if isinstance(answer, NodeRefusedError) and classify(answer) is Refusal.REVERTED
        }

    def logs(
        self, headers: Sequence[Header], addresses: Collection[Address], *, head: int
    ) -> list[Log] | None:
        """
        Return the logs of *addresses* in *headers*, which follow one another.

        None: the chain changed meanwhile; whoever asks looks again.
        """
        if not headers or not addresses:
            return []
        if headers[-1].number + SETTLED_BLOCKS > head:
            return self.logs_of_blocks([header.id for header in headers], addresses)
        wanted = range(headers[0].number, headers[-1].number + 1)
        logs = [
            log
            for log in self._logs_ahead(wanted, frozenset(addresses), head=head)
            if log.block_number in wanted
        ]
        if not are_logs_of(logs, [header.id for header in headers]):
            self.forget()
            return None
        return logs

    def logs_of_blocks(
        self, blocks: Sequence[BlockId], addresses: Collection[Address]
    ) -> list[Log] | None:
        """Return the logs of *addresses* in *blocks*; None: the node lacks one of them."""
        wanted = sorted(addresses)
        answers = self._node.batch(
            [("eth_getLogs", ({"blockHash": block.hash, "address": wanted},)) for block in blocks]
        )
        if any(isinstance(answer, NodeRefusedError) for answer in answers):
            # The endpoint does not know that block: it is behind, or the block has left the chain.
            return None
        logs = [log for answer in answers for log in parse_logs(answer)]
        return logs if are_logs_of(logs, blocks) else None

    def logs_of_range(self, first: int, last: int, addresses: Collection[Address]) -> list[Log]:
        """Return the logs of *addresses* from block *first* to *last*, however many these are."""
        logs: list[Log] = []
        for start in range(first, last + 1, MAX_RANGE_BLOCKS):
            logs += self._range(start, min(last, start + MAX_RANGE_BLOCKS - 1), addresses)
        return logs

    def code(self, address: Address) -> bytes:
        """Return the code at *address* now, empty where there is none."""
        return parse_data(self._node.call("eth_getCode", address, "latest"))

    def forget(self) -> None:
        """Forget the logs that were read ahead: the chain has changed."""
        self._ahead = None

    def finalized_tags(self) -> list[BlockId]:
        """Return the block that each endpoint calls finalized; those that know none are absent."""
        call: Call = ("eth_getBlockByNumber", (FINALIZED, False))
        tags = []
        for (answer,) in self._node.ask_each([call]):
            if isinstance(answer, dict):
                tags.append(parse_header(answer).id)
        return tags

    def hashes_of_each(self, number: int) -> list[BlockHash | None]:
        """
        Return what each endpoint has at *number*, if it calls that block final itself.

        Both questions go to one endpoint in one request, so that its two answers agree.
        """
        tag: Call = ("eth_getBlockByNumber", (FINALIZED, False))
        found: list[BlockHash | None] = []
        for newest, block in self._node.ask_each([tag, block_call(number)]):
            if not isinstance(newest, dict) or not isinstance(block, dict):
                continue
            is_final = parse_header(newest).number >= number
            found.append(_header_at(block, number).hash if is_final else None)
        return found

    def _logs_ahead(
        self, wanted: range, addresses: frozenset[Address], *, head: int
    ) -> tuple[Log, ...]:
        """Return the logs of a range that covers *wanted*, read once for the next windows too."""
        if self._ahead is not None:
            covered, known, logs = self._ahead
            if known == addresses and wanted[0] in covered and wanted[-1] in covered:
                return logs
        last = max(wanted[-1], min(head - SETTLED_BLOCKS, wanted[0] + MAX_RANGE_BLOCKS - 1))
        read = tuple(self._range(wanted[0], last, addresses))
        self._ahead = (range(wanted[0], last + 1), addresses, read)
        return read

    def _range(self, first: int, last: int, addresses: Collection[Address]) -> list[Log]:
        asked = {
            "fromBlock": format_quantity(first),
            "toBlock": format_quantity(last),
            "address": sorted(addresses),
        }
        try:
            return parse_logs(self._node.call("eth_getLogs", asked))
        except NodeRefusedError:
            if first == last:
                raise
        middle = (first + last) // 2
        return self._range(first, middle, addresses) + self._range(middle + 1, last, addresses)

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        answers = self._node.batch(calls)
        for answer in answers:
            if isinstance(answer, NodeRefusedError):
                raise answer
        return answers


def block_call(number: int) -> Call:
    """Return the call that reads the block at *number* with the hashes of its transactions."""
    return ("eth_getBlockByNumber", (format_quantity(number), False))


def _header_at(answer: Any, number: int) -> Header:
    header = parse_header(answer)
    if header.number != number:
        raise MalformedAnswerError(f"the node answers block {header.number}, asked for {number}")
    return header
