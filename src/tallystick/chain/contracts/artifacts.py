"""
Contracts as they are shipped: `NAME.json` beside `NAME.vy` (chain.md, section 5.3).

An artifact is all that deploying, registering and decoding need; the source is there to be
read and compiled again. None of our contracts has immutables, so the code on a chain equals
`runtime_bytecode`, and its hash is the same on every chain.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tallystick.chain.contracts.errors import UnknownArtifactError
from tallystick.record import canonical, keccak256

PACKAGE: Final = "tallystick.chain.contracts"
FIELDS: Final = (
    "name",
    "version",
    "compiler",
    "evm_version",
    "abi",
    "bytecode",
    "runtime_bytecode",
    "source_sha256",
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract."""

    name: str
    version: str
    compiler: str
    """`vyper 0.4.3`: name and version of what compiled it."""
    evm_version: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes
    """What is sent to deploy it, before the encoded arguments of its constructor."""
    runtime_bytecode: bytes
    """What stands on the chain afterwards."""
    source_sha256: bytes

    @property
    def abi_hash(self) -> bytes:
        """SHA-256 of the RFC 8785 bytes of the ABI."""
        return hashlib.sha256(canonical(self.abi)).digest()

    @property
    def code_hash(self) -> bytes:
        """keccak-256 of the code on the chain."""
        return keccak256(self.runtime_bytecode)


def artifact_names() -> list[str]:
    """Return the names of all contracts that are shipped, sorted."""
    folder = importlib.resources.files(PACKAGE)
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".json")]
    return sorted(name.removesuffix(".json") for name in names)


@functools.cache
def load_artifact(name: str) -> Artifact:
    """
    Return the artifact of the contract *name*.

    Raises:
        UnknownArtifactError: No contract of that name is shipped.
    """
    if name not in artifact_names():
        raise UnknownArtifactError(name[:100])
    folder = importlib.resources.files(PACKAGE)
    return parse_artifact(folder.joinpath(f"{name}.json").read_text("utf-8"))


def load_source(name: str) -> str:
    """
    Return the Vyper source of the contract *name*.

    Raises:
        UnknownArtifactError: No contract of that name is shipped.
    """
    if name not in artifact_names():
        raise UnknownArtifactError(name[:100])
    folder = importlib.resources.files(PACKAGE)
    return folder.joinpath(f"{name}.vy").read_text("utf-8")


def find_artifact(call_data: bytes) -> tuple[Artifact, bytes] | None:
    """
    Return the contract that *call_data* deploys, with the encoded arguments behind its code.

    None: it is no contract of ours. No bytecode is a prefix of another, because each ends in
    the compiler's own account of its length.
    """
    for name in artifact_names():
        artifact = load_artifact(name)
        if call_data.startswith(artifact.bytecode):
            return artifact, call_data[len(artifact.bytecode) :]
    return None


def format_artifact(artifact: Artifact) -> str:
    """Return the text of the artifact's file: the same artifact has one text."""
    fields = {
        "name": artifact.name,
        "version": artifact.version,
        "compiler": artifact.compiler,
        "evm_version": artifact.evm_version,
        "abi": [dict(entry) for entry in artifact.abi],
        "bytecode": "0x" + artifact.bytecode.hex(),
        "runtime_bytecode": "0x" + artifact.runtime_bytecode.hex(),
        "source_sha256": artifact.source_sha256.hex(),
    }
    return json.dumps(fields, indent=2) + "\n"


def parse_artifact(text: str) -> Artifact:
    """Return the artifact of a file that `format_artifact` wrote."""
    fields = json.loads(text)
    assert tuple(fields) == FIELDS, "an artifact has exactly these fields"
    return Artifact(
        name=fields["name"],
        version=fields["version"],
        compiler=fields["compiler"],
        evm_version=fields["evm_version"],
        abi=fields["abi"],
        bytecode=bytes.fromhex(fields["bytecode"][2:]),
        runtime_bytecode=bytes.fromhex(fields["runtime_bytecode"][2:]),
        source_sha256=bytes.fromhex(fields["source_sha256"]),
    )
