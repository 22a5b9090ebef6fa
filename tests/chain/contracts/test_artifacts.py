"""Contracts as they are shipped: sources, artifacts, selectors and topics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tallystick.chain.contracts import (
    artifact_names,
    check_contracts,
    check_sources,
    encode_call,
    encode_deployment,
    find_entry,
    load_artifact,
    selector_of,
    signature_of,
    topic_of,
)
from tallystick.chain.contracts.abi import as_json, decode_deployment
from tallystick.chain.contracts.artifacts import find_artifact, format_artifact, load_source
from tallystick.chain.contracts.compiling import compile_folder, compile_source, declared_errors
from tallystick.chain.contracts.errors import (
    ArgumentsError,
    MalformedSourceError,
    UnknownArtifactError,
)
from tallystick.record import canonical, keccak256

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "src/tallystick/chain/contracts"
FUNCTIONS = {
    "anchor(bytes32,bytes32,uint64)": "15954b2c",
    "anchoredAt(address,bytes32)": "f8c2919d",
    "checkInclusion(address,bytes32,bytes32,uint64,bytes32,uint64,bytes32[])": "6a48e0f3",
}
ERRORS = {"AlreadyAnchored(uint64)": "c1d04bb3"}
EVENTS = {
    "Anchored(bytes32,bytes32,address,uint64)": (
        "e000142600614eca96a70dd786d527e0f44d75b9b7f8815394c7cf558b0524ca"
    )
}


def of_kind(kind, named):
    """What TallyAnchor's ABI has of a kind, each with what *named* makes of it."""
    entries = [entry for entry in load_artifact("TallyAnchor").abi if entry["type"] == kind]
    return {signature_of(entry): named(entry).hex() for entry in entries}


@pytest.mark.parametrize("name", artifact_names())
def test_source_compiles_to_its_artifact(name):
    """chain 15: every source compiles, offline, to its artifact byte for byte."""
    again = format_artifact(compile_source(name, load_source(name)))
    assert (FOLDER / f"{name}.json").read_text() == again


@pytest.mark.parametrize("name", artifact_names())
def test_artifact_is_of_its_source(name):
    """An artifact names the source, the compiler and the rules that it was made by."""
    artifact = load_artifact(name)
    source = (FOLDER / f"{name}.vy").read_bytes()
    assert hashlib.sha256(source).digest() == artifact.source_sha256
    assert ("vyper 0.4.3", "cancun") == (artifact.compiler, artifact.evm_version)


def test_selectors_and_topics_are_those_of_the_specification():
    """chain 15: TallyAnchor's ABI has exactly the members of section 5.4, errors included."""
    assert FUNCTIONS == of_kind("function", selector_of)
    assert ERRORS == of_kind("error", selector_of)
    assert EVENTS == of_kind("event", topic_of)


def test_indexed_fields_of_the_event():
    """chain 15: statement, root and sender are topics of the event, the size is its data."""
    entry = find_entry(load_artifact("TallyAnchor"), "event", "Anchored")
    indexed = [(field["name"], field["indexed"]) for field in entry["inputs"]]
    expected = [("statementHash", True), ("merkleRoot", True), ("sender", True)]
    assert [*expected, ("leafCount", False)] == indexed


def test_view_functions_are_views():
    """Only anchoring changes the contract, and nothing takes money."""
    functions = [e for e in load_artifact("TallyAnchor").abi if e["type"] == "function"]
    found = {entry["name"]: entry["stateMutability"] for entry in functions}
    assert {"anchor": "nonpayable", "anchoredAt": "view", "checkInclusion": "view"} == found


def test_hashes_are_of_what_they_say():
    """abi_hash is SHA-256 of the canonical ABI, code_hash Keccak-256 of the runtime bytecode."""
    artifact = load_artifact("TallyAnchor")
    assert hashlib.sha256(canonical(artifact.abi)).digest() == artifact.abi_hash
    assert keccak256(artifact.runtime_bytecode) == artifact.code_hash


def test_unknown_contract_is_named():
    """A contract that is not shipped is refused by its name."""
    with pytest.raises(UnknownArtifactError, match="no contract Nothing is shipped"):
        load_artifact("Nothing")


def test_a_changed_source_is_told(tmp_path):
    """A source that compiles to something else than its artifact is written anew, and named."""
    for name in ("TallyAnchor.vy", "TallyAnchor.json"):
        shutil.copy(FOLDER / name, tmp_path / name)
    assert [] == compile_folder(tmp_path)
    source = tmp_path / "TallyAnchor.vy"
    source.write_text(source.read_text().replace("empty tree", "no leaves"))
    assert ["TallyAnchor"] == compile_folder(tmp_path)
    assert json.loads((tmp_path / "TallyAnchor.json").read_text())["version"] == "1"


@pytest.mark.parametrize("source", ["x = = 1", "# pragma version 0.4.3\n"])
def test_a_source_that_does_not_serve_is_named(source):
    """A source that does not compile, or does not say its version, is refused by name."""
    with pytest.raises(MalformedSourceError, match="Broken"):
        compile_source("Broken", source)


def test_declared_errors_become_abi():
    """Errors that a source's documentation names have their place in the ABI."""
    [first, second] = declared_errors("A(uint64 x, address y); B()")
    assert ("A(uint64,address)", "B()") == (signature_of(first), signature_of(second))
    for text in ("A(uint64)", "A", "A(uint64 x y)"):
        with pytest.raises(MalformedSourceError):
            declared_errors(text)


def test_calls_are_encoded_by_the_abi():
    """A call is the selector and the arguments; other arguments are refused at once."""
    artifact = load_artifact("TallyAnchor")
    data = encode_call(artifact, "anchor", [b"\1" * 32, b"\2" * 32, 3])
    assert bytes.fromhex("15954b2c") + b"\1" * 32 + b"\2" * 32 + (3).to_bytes(32) == data
    for arguments in ([b"\1" * 32], [b"\1" * 33, b"\2" * 32, 3], [b"\1" * 32, b"\2" * 32, 2**64]):
        with pytest.raises(ArgumentsError):
            encode_call(artifact, "anchor", arguments)
    with pytest.raises(ArgumentsError, match="no function nothing"):
        encode_call(artifact, "nothing", [])


def test_a_deployment_is_known_by_its_bytes():
    """What a deployment deploys, and with which arguments, is read from its call data alone."""
    artifact = load_artifact("TallyAnchor")
    assert (artifact, b"") == find_artifact(encode_deployment(artifact, []))
    assert (artifact, b"x") == find_artifact(artifact.bytecode + b"x")
    assert find_artifact(artifact.bytecode[:-1]) is None
    with pytest.raises(ArgumentsError):
        encode_deployment(artifact, [1])
    with pytest.raises(ArgumentsError):
        decode_deployment(artifact, b"x")


def test_arguments_of_a_constructor_go_both_ways():
    """Constructor arguments are encoded by the ABI and read back as JSON keeps them."""
    inputs = [{"name": "a", "type": "uint256"}, {"name": "b", "type": "bytes4[]"}]
    made = dataclasses.replace(
        load_artifact("TallyAnchor"), abi=[{"type": "constructor", "inputs": inputs}]
    )
    data = encode_deployment(made, [2**200, [b"abcd"]])[len(made.bytecode) :]
    assert [str(2**200), ["0x61626364"]] == decode_deployment(made, data)
    with pytest.raises(ArgumentsError):
        decode_deployment(made, data[:-1])
    assert [True, "x", ["1"]] == as_json((True, "x", [1]))


def test_sources_are_checked_with_one_verdict_each():
    """`tally chain check` says of each source whether its artifact is what it compiles to."""
    assert {(name, True) for name in artifact_names()} == {
        (checked.contract_name, checked.is_same) for checked in check_sources()
    }
    assert [] == check_contracts([], lambda *_: b"")


@pytest.mark.slow
def test_the_wheel_ships_sources_and_artifacts(tmp_path):
    """Sources and artifacts are in the wheel, and nothing else is needed to load them."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
    for name in artifact_names():
        assert {f"tallystick/chain/contracts/{name}{end}" for end in (".vy", ".json")} <= names
