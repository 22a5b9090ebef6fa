"""
What is read from a node without writing anything (chain.md, sections 4.1.6 and 4.2).

A block is a number, a hash, or one of `latest`, `safe`, `pending`, `earliest` and `finalized`;
what is final is asked as the network says: of the node's tag, or by depth below its head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tallystick.chain.errors import (
    EstimateRevertedError,
    MalformedAnswerError,
    NodeRefusedError,
    UnknownTransactionError,
)
from tallystick.chain.node.blocks import (
    parse_20_bytes,
    parse_hash,
    parse_header,
    parse_number,
    parse_receipt,
)
from tallystick.chain.node.client import Call, Node
from tallystick.chain.node.encoding import (
    format_data,
    format_quantity,
    parse_data,
    parse_object,
    parse_quantity,
)
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.refusals import Refusal, classify, decode_reason, revert_data
from tallystick.chain.values import ZERO_ADDRESS, SeenTransaction
from tallystick.record import Address, BlockHash, ChainId, TransactionHash, Wei

Block = int | str
"""A number, a hash, or one of `latest`, `safe`, `pending`, `earliest` and `finalized`."""
WORD: Final = 32
BALANCE_OF: Final = bytes.fromhex("70a08231")
"""balanceOf(address) of ERC-20."""
IS_VALID_SIGNATURE: Final = bytes.fromhex("1626ba7e")
"""isValidSignature(bytes32,bytes) of ERC-1271; also what it returns for yes."""
TRANSFER: Final = bytes.fromhex("a9059cbb")
"""transfer(address,uint256) of ERC-20."""


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """What an account had of a token at one block."""

    account: Address
    token: Address
    """The zero address is the chain's own coin."""
    amount: int | None
    """In base units; None where the token gave no amount."""


@dataclass(frozen=True, slots=True)
class TokenBalances:
    """Balances of one block."""

    block_number: int
    block_hash: BlockHash
    balances: tuple[TokenBalance, ...]


class ChainReader:
    """Reads any configured network; safe for any number of threads."""

    def __init__(self, nodes: Nodes, depth_of: Callable[[ChainId], int | None]) -> None:
        self._nodes = nodes
        self._depth_of = depth_of
        """A network's confirmations where it is final by depth, None where by the node's tag."""

    def look_up(self, chain_id: ChainId, transaction_hash: TransactionHash) -> SeenTransaction:
        """
        Return a transaction and its receipt's facts.

        Raises:
            UnknownTransactionError: The node knows no such transaction.
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        node = self._nodes.of(chain_id)
        calls: list[Call] = [
            ("eth_getTransactionByHash", (transaction_hash,)),
            ("eth_getTransactionReceipt", (transaction_hash,)),
        ]
        found, receipt = (answered(each) for each in node.batch(calls))
        if found is None:
            raise UnknownTransactionError(f"chain {chain_id} knows no such transaction")
        header = None
        if receipt is not None:
            block_hash = parse_hash(parse_object(receipt).get("blockHash"))
            header = node.call("eth_getBlockByHash", block_hash, False)
        seen = parse_seen(chain_id, found, receipt, header)
        if seen.transaction_hash != transaction_hash:
            raise MalformedAnswerError("the node answers another transaction than it was asked")
        return seen

    def code_at(self, chain_id: ChainId, address: Address, block: Block = "latest") -> bytes:
        """Return the code at *address*, empty where there is none; raises as `call`."""
        return parse_data(self._read(chain_id, "eth_getCode", address, block))

    def balance_at(self, chain_id: ChainId, address: Address, block: Block = "latest") -> Wei:
        """Return the balance of *address* in wei; raises as `call`."""
        return Wei(parse_quantity(self._read(chain_id, "eth_getBalance", address, block)))

    def nonce_at(self, chain_id: ChainId, address: Address, block: Block = "finalized") -> int:
        """Return how many transactions *address* has sent up to *block*; raises as `call`."""
        return parse_number(self._read(chain_id, "eth_getTransactionCount", address, block))

    def call(self, chain_id: ChainId, to: Address, data: bytes, block: Block = "latest") -> bytes:
        """
        Return what the contract at *to* returns for *data*.

        Raises:
            EstimateRevertedError: It reverts; with the decoded reason.
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        request = {"to": to, "data": format_data(data)}
        try:
            return parse_data(self._read(chain_id, "eth_call", request, block))
        except NodeRefusedError as refused:
            raise reverted_or(refused) from refused

    def estimate(self, chain_id: ChainId, call: Mapping[str, Any]) -> int:
        """
        Return the gas that *call* takes; it has the keys of JSON-RPC: from, to, data, value.

        Raises:
            EstimateRevertedError: It reverts; with the decoded reason.
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        try:
            return parse_number(self._nodes.of(chain_id).call("eth_estimateGas", dict(call)))
        except NodeRefusedError as refused:
            raise reverted_or(refused) from refused

    def token_balances(
        self, chain_id: ChainId, accounts: Sequence[Address], tokens: Sequence[Address]
    ) -> TokenBalances:
        """
        Return what each account has of each token, all at the hash of one block.

        Raises:
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        node = self._nodes.of(chain_id)
        header = parse_object(node.call("eth_getBlockByNumber", "latest", False))
        number, block_hash = parse_number(header.get("number")), parse_hash(header.get("hash"))
        pairs = [(account, token) for account in accounts for token in tokens]
        answers = node.batch([balance_call(*pair, block_hash) for pair in pairs])
        return TokenBalances(
            block_number=number,
            block_hash=BlockHash(block_hash),
            balances=tuple(
                TokenBalance(account, token, read_balance(token, answer))
                for (account, token), answer in zip(pairs, answers, strict=True)
            ),
        )

    def is_valid_signature(
        self, chain_id: ChainId, address: Address, digest: bytes, signature: bytes
    ) -> bool:
        """
        Whether the contract at *address* takes *signature* of *digest*, 32 bytes, for its own
        (ERC-1271), at the finalized block. An address without code takes none.

        Raises:
            NodeUnavailableError, NodeRefusedError: The node gives no answer.
        """
        assert len(digest) == WORD, "a digest has 32 bytes"
        padded = signature + b"\0" * (-len(signature) % WORD)
        head = digest + (2 * WORD).to_bytes(WORD, "big") + len(signature).to_bytes(WORD, "big")
        try:
            returned = self.call(chain_id, address, IS_VALID_SIGNATURE + head + padded, "finalized")
        except EstimateRevertedError:
            return False
        return returned == IS_VALID_SIGNATURE + b"\0" * (WORD - len(IS_VALID_SIGNATURE))

    def finalized_tag(self, chain_id: ChainId) -> str:
        """Return how the node is asked for its newest final block: a tag, or a number by depth."""
        depth = self._depth_of(chain_id)
        node = self._nodes.of(chain_id)
        return "finalized" if depth is None else final_by_depth(node, depth)

    def _read(self, chain_id: ChainId, method: str, subject: Any, block: Block) -> Any:
        tag = self.finalized_tag(chain_id) if block == "finalized" else format_block(block)
        return self._nodes.of(chain_id).call(method, subject, tag)


def transfer_call(token: Address, to: Address, amount: int) -> tuple[Address, bytes, Wei]:
    """
    Return receiver, call data and value of a transaction that pays *amount* base units to *to*:
    an ERC-20 transfer, or the chain's own coin where *token* is the zero address.
    """
    if token == ZERO_ADDRESS:
        return to, b"", Wei(amount)
    receiver = bytes.fromhex(to[2:]).rjust(WORD, b"\0")
    return token, TRANSFER + receiver + amount.to_bytes(WORD, "big"), Wei(0)


def final_by_depth(node: Node, depth: int) -> str:
    """Return the number of the newest block that is *depth* blocks deep, as a quantity."""
    head = parse_number(node.call("eth_blockNumber"))
    return format_quantity(max(0, head - depth + 1))


def format_block(block: Block) -> str | dict[str, str]:
    """Return *block* as nodes take it: a number as a quantity, a hash by EIP-1898."""
    if isinstance(block, int):
        return format_quantity(block)
    return {"blockHash": block} if block.startswith("0x") else block


def answered(answer: Any) -> Any:
    """
    Return the result in a batch's *answer*.

    Raises:
        NodeRefusedError: It is a refusal.
    """
    if isinstance(answer, NodeRefusedError):
        raise answer
    return answer


def reverted_or(refused: NodeRefusedError) -> EstimateRevertedError | NodeRefusedError:
    """Return the error that *refused* means: a revert with its reason, or what it is."""
    if classify(refused) is not Refusal.REVERTED:
        return refused
    reason = decode_reason(revert_data(refused)) or refused.said
    return EstimateRevertedError(f"the call reverts: {reason}", reason=reason)


def balance_call(account: Address, token: Address, block_hash: str) -> Call:
    """Return the call that asks what *account* has of *token*."""
    block = {"blockHash": block_hash}
    if token == ZERO_ADDRESS:
        return "eth_getBalance", (account, block)
    data = BALANCE_OF + bytes.fromhex(account[2:]).rjust(WORD, b"\0")
    return "eth_call", ({"to": token, "data": format_data(data)}, block)


def read_balance(token: Address, answer: Any) -> int | None:
    """
    Return the amount in *answer*; None where the token reverts or returns no number.

    Raises:
        NodeRefusedError: The node refused for another reason.
    """
    if isinstance(answer, NodeRefusedError) and classify(answer) is Refusal.REVERTED:
        return None
    if token == ZERO_ADDRESS:
        return parse_quantity(answered(answer))
    returned = parse_data(answered(answer))
    return int.from_bytes(returned, "big") if len(returned) == WORD else None


def parse_seen(chain_id: ChainId, transaction: Any, receipt: Any, header: Any) -> SeenTransaction:
    """
    Return what a node says of a transaction; *receipt* and *header* are None while it waits.

    Raises:
        MalformedAnswerError: It is not of its form, or of two transactions.
    """
    item = parse_object(transaction)
    transaction_hash = TransactionHash(parse_hash(item.get("hash")))
    to_address = item.get("to")
    mined: dict[str, Any] = {}
    if receipt is not None:
        facts, block = parse_receipt(receipt), parse_header(header)
        if facts.transaction_hash != transaction_hash or facts.block != block.id:
            raise MalformedAnswerError("the node answers a receipt of something else")
        mined = {
            "block_number": facts.block_number,
            "block_hash": facts.block_hash,
            "block_time": block.time,
            "transaction_index": facts.transaction_index,
            "receipt_status": facts.status,
            "gas_used": facts.gas_used,
            "gas_price": Wei(facts.gas_price),
            "l1_fee_wei": Wei(facts.l1_fee_wei),
            "contract_address": facts.contract_address,
        }
    return SeenTransaction(
        chain_id=chain_id,
        transaction_hash=transaction_hash,
        transaction_type=parse_number(item.get("type", "0x0")),
        from_address=parse_20_bytes(item.get("from")),
        to_address=None if to_address is None else parse_20_bytes(to_address),
        nonce=parse_number(item.get("nonce")),
        value=Wei(parse_quantity(item.get("value"))),
        call_data=parse_data(item.get("input", item.get("data"))),
        gas_limit=parse_number(item.get("gas")),
        **mined,
    )
