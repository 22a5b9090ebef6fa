# pragma version 0.4.3
# pragma evm-version cancun
"""
@title TallyAnchor
@custom:version 1
@custom:errors AlreadyAnchored(uint64 blockNumber)
@notice Keeps, for each sender and statement, the block at which a Merkle root was anchored.
@dev chain.md, section 5.4. One slot for each entry: the block number in the low 64 bits, above it
     the high 192 bits of keccak256(abi.encode(merkleRoot, leafCount)). Nobody owns this contract
     and it holds no money; an entry never changes.
"""

MAX_PATH: constant(uint256) = 64  # a tree has fewer than 2^64 leaves
BLOCK_BITS: constant(uint256) = 2**64 - 1
ALREADY_ANCHORED: constant(bytes4) = method_id("AlreadyAnchored(uint64)", output_type=bytes4)

event Anchored:
    statementHash: indexed(bytes32)
    merkleRoot: indexed(bytes32)
    sender: indexed(address)
    leafCount: uint64

entries: HashMap[address, HashMap[bytes32, uint256]]


@external
def anchor(statementHash: bytes32, merkleRoot: bytes32, leafCount: uint64):
    """
    @notice Anchor a statement under the caller's address; a repeat reverts with its block.
    """
    assert leafCount > 0, "empty tree"
    entry: uint256 = self.entries[msg.sender][statementHash]
    if entry != 0:
        raw_revert(abi_encode(entry & BLOCK_BITS, method_id=ALREADY_ANCHORED))
    self.entries[msg.sender][statementHash] = self._high(merkleRoot, leafCount) | block.number
    log Anchored(statementHash=statementHash, merkleRoot=merkleRoot, sender=msg.sender, leafCount=leafCount)


@external
@view
def anchoredAt(sender: address, statementHash: bytes32) -> uint64:
    """
    @notice Return the number of the block in which *sender* anchored the statement, or 0.
    """
    return convert(self.entries[sender][statementHash] & BLOCK_BITS, uint64)


@external
@view
def checkInclusion(
    sender: address,
    statementHash: bytes32,
    merkleRoot: bytes32,
    leafCount: uint64,
    leafHash: bytes32,
    index: uint64,
    path: DynArray[bytes32, MAX_PATH],
) -> uint64:
    """
    @notice Check an RFC 6962 inclusion proof against an anchored root, and return its block.
    """
    entry: uint256 = self.entries[sender][statementHash]
    assert entry != 0 and entry & ~BLOCK_BITS == self._high(merkleRoot, leafCount), "not anchored"
    assert index < leafCount, "index outside tree"
    node: bytes32 = leafHash
    position: uint256 = convert(index, uint256)
    last: uint256 = convert(leafCount, uint256) - 1
    for sibling: bytes32 in path:
        assert last != 0, "path too long"
        if position & 1 == 1 or position == last:
            node = sha256(concat(b"\x01", sibling, node))
            # At the tree's right border a node without a sibling stands for itself.
            for _: uint256 in range(MAX_PATH):
                if position & 1 == 1 or position == 0:
                    break
                position >>= 1
                last >>= 1
        else:
            node = sha256(concat(b"\x01", node, sibling))
        position >>= 1
        last >>= 1
    assert last == 0, "path too short"
    assert node == merkleRoot, "not included"
    return convert(entry & BLOCK_BITS, uint64)


@internal
@pure
def _high(merkleRoot: bytes32, leafCount: uint64) -> uint256:
    return convert(keccak256(abi_encode(merkleRoot, leafCount)), uint256) & ~BLOCK_BITS
