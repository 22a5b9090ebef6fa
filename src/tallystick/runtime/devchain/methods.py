"""
The JSON-RPC methods of the dev chain: what our client asks, and a little more (chain.md, 4.5).

Each method is a function of the machine and its parameters; a `Refusal` is its answer where the
parameters are not of their form or the machine refuses. `latest`, `safe`, `finalized` and
`pending` all mean the newest block: nothing is ever taken back here.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from eth_typing import Address

from tallystick import __version__
from tallystick.runtime.devchain import shapes
from tallystick.runtime.devchain.errors import Refusal
from tallystick.runtime.devchain.execution import Call, call, estimate
from tallystick.runtime.devchain.machine import GAS_LIMIT, Machine, MinedBlock
from tallystick.runtime.devchain.pool import REFUSED

INVALID_PARAMETERS: Final = -32602
NO_SUCH_METHOD: Final = -32601
QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
NEWEST: Final = frozenset({"latest", "safe", "finalized", "pending"})
ADDRESS_BYTES: Final = 20
HASH_BYTES: Final = 32
CALLER: Final = Address(bytes(ADDRESS_BYTES))
"""Who calls where nobody is named."""
MAX_FEE_BLOCKS: Final = 1024
MAX_LOGS: Final = 10_000
MAX_PERCENTILES: Final = 100
MAX_MINED_AT_ONCE: Final = 1000
MAX_STEP_SECONDS: Final = 10**9
LAST_TIME: Final = 250_246_627_199
"""The year 9900: behind 9999 Python has no times, and whoever reads the chain would stop."""
USUAL_TIP: Final = 10**9
"""What other nodes suggest on a network that is not busy, in wei."""
SAMPLED_BLOCKS: Final = 20

Parameters = Sequence[Any]
Method = Callable[[Machine, Parameters], Any]


def answer(machine: Machine, method: str, parameters: Parameters) -> Any:
    """
    Return the result of a call.

    Raises:
        Refusal: There is no such method, or it cannot be carried out.
    """
    handler = METHODS.get(method)
    if handler is None:
        raise Refusal(NO_SUCH_METHOD, f"the method {method[:100]} does not exist")
    return handler(machine, parameters)


# Parameters ----------------------------------------------------------------------------------


def parameter(parameters: Parameters, index: int, *, default: Any = ...) -> Any:
    """
    Return the parameter at *index*.

    Raises:
        Refusal: It is missing, and there is no default.
    """
    if index < len(parameters) and parameters[index] is not None:
        return parameters[index]
    if default is ...:
        raise Refusal(INVALID_PARAMETERS, f"missing value for required argument {index}")
    return default


def read_quantity(value: Any) -> int:
    """
    Return the number that *value* spells; a JSON number is taken too, as other nodes do.

    Raises:
        Refusal: It is no quantity of at most 256 bits.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**256:
        return value
    if not isinstance(value, str) or QUANTITY.fullmatch(value) is None:
        raise Refusal(INVALID_PARAMETERS, "a quantity is 0x and at most 64 hexadecimal digits")
    return int(value, 16)


def read_data(value: Any, length: int | None = None) -> bytes:
    """
    Return the bytes that *value* spells.

    Raises:
        Refusal: It is no data, or not of *length* bytes.
    """
    if not isinstance(value, str) or DATA.fullmatch(value) is None:
        raise Refusal(INVALID_PARAMETERS, "data is 0x and two hexadecimal digits for each byte")
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        raise Refusal(INVALID_PARAMETERS, f"{length} bytes were expected, not {len(data)}")
    return data


def read_object(value: Any) -> Mapping[str, Any]:
    """
    Return *value*, which is an object.

    Raises:
        Refusal: It is not.
    """
    if not isinstance(value, dict):
        raise Refusal(INVALID_PARAMETERS, "an object was expected")
    return value


def read_call(value: Any) -> Call:
    """
    Return the call that an object describes; what it would pay for gas is not looked at.

    Raises:
        Refusal: It describes none.
    """
    fields = read_object(value)
    given = fields.get("input", fields.get("data"))
    gas = fields.get("gas")
    return Call(
        sender=Address(read_data(fields["from"], ADDRESS_BYTES)) if fields.get("from") else CALLER,
        to=Address(read_data(fields["to"], ADDRESS_BYTES) if fields.get("to") else b""),
        data=b"" if given is None else read_data(given),
        value=0 if fields.get("value") is None else read_quantity(fields["value"]),
        gas=GAS_LIMIT if gas is None else min(read_quantity(gas), GAS_LIMIT),
    )


def find_block(machine: Machine, value: Any) -> MinedBlock | None:
    """
    Return the block of a number, a tag, or an object with one of them or a hash (EIP-1898).

    Raises:
        Refusal: It is none of these.
    """
    if isinstance(value, dict):
        if "blockHash" in value:
            number = machine.numbers.get(read_data(value["blockHash"], HASH_BYTES))
            return None if number is None else machine.blocks[number]
        value = value.get("blockNumber")
    if isinstance(value, str) and value in NEWEST:
        return machine.head
    number = 0 if value == "earliest" else read_quantity(value)
    return machine.blocks[number] if number < len(machine.blocks) else None


def block_of(machine: Machine, value: Any) -> MinedBlock:
    """
    Return the block that *value* names.

    Raises:
        Refusal: There is none.
    """
    block = find_block(machine, value)
    if block is None:
        raise Refusal(REFUSED, "header not found")
    return block


# The chain -----------------------------------------------------------------------------------


def chain_id(machine: Machine, _: Parameters) -> str:
    """eth_chainId."""
    return shapes.quantity(machine.chain_id)


def net_version(machine: Machine, _: Parameters) -> str:
    """net_version: the chain's id in decimal."""
    return str(machine.chain_id)


def client_version(_: Machine, __: Parameters) -> str:
    """web3_clientVersion."""
    return f"tallystick-devchain/{__version__}"


def block_number(machine: Machine, _: Parameters) -> str:
    """eth_blockNumber."""
    return shapes.quantity(machine.head.header.block_number)


def block_by_number(machine: Machine, parameters: Parameters) -> Any:
    """eth_getBlockByNumber(block, full)."""
    block = find_block(machine, parameter(parameters, 0))
    full = bool(parameter(parameters, 1, default=False))
    return None if block is None else shapes.block_shape(block, full=full)


def block_by_hash(machine: Machine, parameters: Parameters) -> Any:
    """eth_getBlockByHash(hash, full)."""
    block = find_block(machine, {"blockHash": parameter(parameters, 0)})
    full = bool(parameter(parameters, 1, default=False))
    return None if block is None else shapes.block_shape(block, full=full)


def block_receipts(machine: Machine, parameters: Parameters) -> Any:
    """eth_getBlockReceipts(block or its hash)."""
    block = find_block(machine, by_hash_or_name(parameter(parameters, 0)))
    if block is None:
        return None
    return [shapes.receipt_shape(block, index) for index in range(len(block.receipts))]


def raw_receipts(machine: Machine, parameters: Parameters) -> list[str]:
    """debug_getRawReceipts(block or its hash): as the receipts' trie holds them."""
    block = block_of(machine, by_hash_or_name(parameter(parameters, 0)))
    return [shapes.data(receipt.encode()) for receipt in block.receipts]


def by_hash_or_name(value: Any) -> Any:
    """Return *value* as `find_block` takes it, where a bare hash may stand for a block too."""
    is_hash = isinstance(value, str) and len(value) == 2 + 2 * HASH_BYTES
    return {"blockHash": value} if is_hash else value


def transaction_by_hash(machine: Machine, parameters: Parameters) -> Any:
    """eth_getTransactionByHash(hash): mined or waiting."""
    digest = read_data(parameter(parameters, 0), HASH_BYTES)
    place = machine.places.get(digest)
    if place is not None:
        block = machine.blocks[place[0]]
        return shapes.transaction_shape(block.transactions[place[1]], block, place[1])
    waiting = machine.pool.find(digest)
    return None if waiting is None else shapes.transaction_shape(waiting, None, None)


def transaction_receipt(machine: Machine, parameters: Parameters) -> Any:
    """eth_getTransactionReceipt(hash)."""
    place = machine.places.get(read_data(parameter(parameters, 0), HASH_BYTES))
    return None if place is None else shapes.receipt_shape(machine.blocks[place[0]], place[1])


def logs(machine: Machine, parameters: Parameters) -> list[shapes.Shape]:
    """eth_getLogs(filter)."""
    wanted = read_object(parameter(parameters, 0))
    address = wanted.get("address")
    addresses = [address] if isinstance(address, str) else address
    of = None if addresses is None else {read_data(one, ADDRESS_BYTES) for one in addresses}
    topics = wanted.get("topics") or []
    if not isinstance(topics, list):
        raise Refusal(INVALID_PARAMETERS, "topics are a list")
    found = list(itertools.islice(find_logs(machine, wanted, of, topics), MAX_LOGS + 1))
    if len(found) > MAX_LOGS:
        raise Refusal(REFUSED, f"query returned more than {MAX_LOGS} results")
    return found


def find_logs(
    machine: Machine, wanted: Mapping[str, Any], of: set[bytes] | None, topics: Sequence[Any]
) -> Iterator[shapes.Shape]:
    """Yield the logs of the filter *wanted* by the contracts *of* (None: all), in their order."""
    if wanted.get("blockHash") is not None:
        blocks = [block_of(machine, {"blockHash": wanted["blockHash"]})]
    else:
        first = find_block(machine, wanted.get("fromBlock") or "latest")
        last = find_block(machine, wanted.get("toBlock") or "latest") or machine.head
        start = len(machine.blocks) if first is None else first.header.block_number
        blocks = machine.blocks[start : last.header.block_number + 1]
    for block in blocks:
        for index, receipt in enumerate(block.receipts):
            fitting = [
                (of is None or log.address in of) and shapes.fits_topics(log, topics)
                for log in receipt.logs
            ]
            if any(fitting):
                yield from itertools.compress(shapes.log_shapes(block, index), fitting)


# Accounts ------------------------------------------------------------------------------------


def balance(machine: Machine, parameters: Parameters) -> str:
    """eth_getBalance(address, block)."""
    address = Address(read_data(parameter(parameters, 0), ADDRESS_BYTES))
    block = block_of(machine, parameter(parameters, 1, default="latest"))
    return shapes.quantity(machine.state_after(block).get_balance(address))


def code(machine: Machine, parameters: Parameters) -> str:
    """eth_getCode(address, block)."""
    address = Address(read_data(parameter(parameters, 0), ADDRESS_BYTES))
    block = block_of(machine, parameter(parameters, 1, default="latest"))
    return shapes.data(machine.state_after(block).get_code(address))


def storage(machine: Machine, parameters: Parameters) -> str:
    """eth_getStorageAt(address, slot, block)."""
    address = Address(read_data(parameter(parameters, 0), ADDRESS_BYTES))
    slot = read_quantity(parameter(parameters, 1))
    block = block_of(machine, parameter(parameters, 2, default="latest"))
    value = machine.state_after(block).get_storage(address, slot)
    return shapes.data(value.to_bytes(HASH_BYTES, "big"))


def transaction_count(machine: Machine, parameters: Parameters) -> str:
    """eth_getTransactionCount(address, block): `pending` counts what waits in order, too."""
    address = Address(read_data(parameter(parameters, 0), ADDRESS_BYTES))
    named = parameter(parameters, 1, default="latest")
    state = machine.state_after(block_of(machine, named))
    if named == "pending":
        return shapes.quantity(machine.pool.next_nonce(address, state))
    return shapes.quantity(state.get_nonce(address))


# Transactions and calls ----------------------------------------------------------------------


def send_raw_transaction(machine: Machine, parameters: Parameters) -> str:
    """eth_sendRawTransaction(bytes)."""
    return shapes.data(machine.submit(read_data(parameter(parameters, 0))))


def run_call(machine: Machine, parameters: Parameters) -> str:
    """Run a call on the state after a block: eth_call(call, block)."""
    if len(parameters) > len(("call", "block")):
        raise Refusal(INVALID_PARAMETERS, "a call with other state or another block is not known")
    asked = read_call(parameter(parameters, 0))
    block = block_of(machine, by_hash_or_name(parameter(parameters, 1, default="latest")))
    return shapes.data(call(machine, block, asked))


def estimate_gas(machine: Machine, parameters: Parameters) -> str:
    """eth_estimateGas(call): for the next block, whichever is named."""
    return shapes.quantity(estimate(machine, read_call(parameter(parameters, 0))))


def suggested_tip(machine: Machine, _: Parameters) -> str:
    """eth_maxPriorityFeePerGas."""
    return shapes.quantity(tip(machine))


def gas_price(machine: Machine, _: Parameters) -> str:
    """eth_gasPrice: enough for the next block."""
    return shapes.quantity(machine.next_base_fee() + tip(machine))


def tip(machine: Machine) -> int:
    """Return the median tip of the newest blocks, or the usual one where nobody sent anything."""
    paid = [
        shapes.gas_price_of(transaction, block.header.base_fee_per_gas)
        - block.header.base_fee_per_gas
        for block in machine.blocks[-SAMPLED_BLOCKS:]
        for transaction in block.transactions
    ]
    return statistics.median_low(paid) if paid else USUAL_TIP


def fee_history(machine: Machine, parameters: Parameters) -> shapes.Shape:
    """eth_feeHistory(number of blocks, newest block, percentiles)."""
    count = min(read_quantity(parameter(parameters, 0)), MAX_FEE_BLOCKS)
    newest = block_of(machine, parameter(parameters, 1))
    percentiles = read_percentiles(parameter(parameters, 2, default=[]))
    end = newest.header.block_number + 1
    blocks = machine.blocks[max(0, end - count) : end]
    after = (
        machine.blocks[end].header.base_fee_per_gas
        if end < len(machine.blocks)
        else machine.next_base_fee()
    )
    fees = [block.header.base_fee_per_gas for block in blocks]
    history: shapes.Shape = {
        "oldestBlock": shapes.quantity(end - len(blocks)),
        "baseFeePerGas": [shapes.quantity(fee) for fee in [*fees, after]],
        "gasUsedRatio": [block.header.gas_used / block.header.gas_limit for block in blocks],
    }
    if percentiles:
        history["reward"] = [rewards(block, percentiles) for block in blocks]
    return history


def read_percentiles(value: Any) -> list[float]:
    """
    Return the percentiles of a fee history.

    Raises:
        Refusal: They are not ascending numbers from 0 to 100.
    """
    is_list = isinstance(value, list) and len(value) <= MAX_PERCENTILES
    if not is_list or not all(isinstance(one, int | float) for one in value):
        raise Refusal(INVALID_PARAMETERS, "percentiles are a list of numbers")
    numbers = [float(one) for one in value]
    if numbers != sorted(numbers) or not all(0 <= one <= MAX_PERCENTILES for one in numbers):
        raise Refusal(INVALID_PARAMETERS, "percentiles ascend from 0 to 100")
    return numbers


def rewards(block: MinedBlock, percentiles: Sequence[float]) -> list[str]:
    """Return the tips at *percentiles* of the block's gas, in ascending order of tips."""
    base_fee = block.header.base_fee_per_gas
    paid = sorted(
        (shapes.gas_price_of(one, base_fee) - base_fee, shapes.gas_used_of(block, index))
        for index, one in enumerate(block.transactions)
    )
    if not paid:
        return [shapes.quantity(0) for _ in percentiles]
    reached = list(itertools.accumulate(gas for _, gas in paid))
    found = []
    for percentile in percentiles:
        threshold = block.header.gas_used * percentile / 100
        index = next((i for i, gas in enumerate(reached) if gas >= threshold), len(paid) - 1)
        found.append(shapes.quantity(paid[index][0]))
    return found


# What only a dev chain has -------------------------------------------------------------------


def mine(machine: Machine, parameters: Parameters) -> str:
    """evm_mine(time): one block of what waits; or evm_mine({"blocks": n})."""
    asked = parameter(parameters, 0, default=None)
    if isinstance(asked, dict):
        count, asked = read_quantity(asked.get("blocks", 1)), asked.get("timestamp")
    else:
        count = 1
    if count > MAX_MINED_AT_ONCE:
        raise Refusal(INVALID_PARAMETERS, f"at most {MAX_MINED_AT_ONCE} blocks at once")
    at = None if asked is None else read_quantity(asked)
    if at is not None and at <= machine.head.header.timestamp:
        raise Refusal(INVALID_PARAMETERS, "a block is later than its parent")
    if at is not None and at > LAST_TIME:
        raise Refusal(INVALID_PARAMETERS, "no block is of the year 9900 or later")
    for _ in range(count):
        machine.mine(at)
        at = None
    return shapes.quantity(0)


def increase_time(machine: Machine, parameters: Parameters) -> str:
    """evm_increaseTime(seconds)."""
    seconds = read_quantity(parameter(parameters, 0))
    if seconds > MAX_STEP_SECONDS or machine.next_time() + seconds > LAST_TIME:
        raise Refusal(INVALID_PARAMETERS, f"at most {MAX_STEP_SECONDS} seconds, to 9900")
    return shapes.quantity(machine.increase_time(seconds))


def set_automatic(machine: Machine, parameters: Parameters) -> bool:
    """evm_setAutomine(on): whether transactions are mined as they come, until the next start."""
    machine.is_automatic = bool(parameter(parameters, 0))
    if machine.is_automatic:
        machine.mine_ready()
    return True


METHODS: Final[Mapping[str, Method]] = {
    "debug_getRawReceipts": raw_receipts,
    "eth_accounts": lambda *_: [],
    "eth_blockNumber": block_number,
    "eth_call": run_call,
    "eth_chainId": chain_id,
    "eth_estimateGas": estimate_gas,
    "eth_feeHistory": fee_history,
    "eth_gasPrice": gas_price,
    "eth_getBalance": balance,
    "eth_getBlockByHash": block_by_hash,
    "eth_getBlockByNumber": block_by_number,
    "eth_getBlockReceipts": block_receipts,
    "eth_getCode": code,
    "eth_getLogs": logs,
    "eth_getStorageAt": storage,
    "eth_getTransactionByHash": transaction_by_hash,
    "eth_getTransactionCount": transaction_count,
    "eth_getTransactionReceipt": transaction_receipt,
    "eth_maxPriorityFeePerGas": suggested_tip,
    "eth_sendRawTransaction": send_raw_transaction,
    "eth_syncing": lambda *_: False,
    "evm_increaseTime": increase_time,
    "evm_mine": mine,
    "evm_setAutomine": set_automatic,
    "net_version": net_version,
    "web3_clientVersion": client_version,
}
"""Every method that is answered."""
